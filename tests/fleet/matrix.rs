use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{Fleet, expected};

#[test]
fn d3_every_cell_is_built_for_its_platform() {
    let (document, expected) = (Fleet::shared().document(), expected());
    assert_eq!(document["schema"], "catamaran/build/v1");
    assert_eq!(document["complete"], true);
    assert_eq!(document["expected"], expected.cells);
    assert_eq!(document["present"], expected.cells);
    let mut cells = BTreeSet::new();
    for cell in document["cells"].as_array().expect("cells") {
        assert_eq!(cell["state"], "built", "{cell}");
        assert!(cell["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{cell}");
        assert!(cell["seconds"].is_f64() && cell["reason"].is_null(), "{cell}");
        assert!(cell["builder"].as_str().is_some_and(|builder| builder.starts_with("unix://")), "{cell}");
        let log = format!("logs/{}/{}.log", text(&cell["component"]), text(&cell["platform"]).replace('/', "-"));
        assert!(cell["log"].as_str().is_some_and(|path| path.ends_with(&log) && Path::new(path).exists()), "{cell}");
        let foreign = cell["platform"] != format!("linux/{}", host());
        assert_eq!(cell["emulated"], foreign, "{cell}");
        cells.insert((text(&cell["component"]), text(&cell["platform"])));
    }
    let wanted: BTreeSet<(String, String)> = expected
        .components
        .iter()
        .flat_map(|component| expected.platforms.iter().map(|platform| (component.clone(), platform.clone())))
        .collect();
    assert_eq!(cells, wanted);
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn host() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

#[test]
fn d13_each_component_has_one_index_with_exactly_its_platforms() {
    let (fleet, expected) = (Fleet::shared(), expected());
    let indexes = fleet.document()["indexes"].as_array().expect("indexes").clone();
    assert_eq!(indexes.len(), expected.indexes);
    for index in &indexes {
        let reference = format!("127.0.0.1:5000/fleet/{}:{}", text(&index["component"]), expected.tag);
        assert_eq!(index["reference"], reference.as_str());
        assert_eq!(index["platforms"], serde_json::json!(expected.platforms));
    }
    let file = std::fs::read(fleet.path(".catamaran/layout/index.json")).expect("index.json");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    let named: Vec<String> = file["manifests"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| text(&entry["annotations"]["org.opencontainers.image.ref.name"]))
        .collect();
    let wanted: Vec<String> = indexes.iter().map(|index| text(&index["reference"])).collect();
    assert_eq!(named, wanted);
}

#[test]
fn d8_no_cell_starts_before_what_it_needs() {
    let fleet = Fleet::shared();
    drop(fleet.document());
    let lines: Vec<&str> = fleet.stderr().lines().collect();
    let line_of = |cell: &str, text: &str| {
        let found = lines.iter().position(|line| {
            line.split_once('|').is_some_and(|(who, said)| who.trim() == cell && said.trim().starts_with(text))
        });
        found.unwrap_or_else(|| panic!("{cell} never says {text}"))
    };
    for platform in ["amd64", "arm64"] {
        for (needed, by) in
            [("base", "nginx"), ("nginx", "frontend"), ("prometheus", "nightingale"), ("apphub", "backend")]
        {
            let done = line_of(&format!("{needed}/{platform}"), "built");
            let begun = line_of(&format!("{by}/{platform}"), "builder");
            assert!(done < begun, "{by}/{platform} starts before {needed}/{platform} is done");
        }
    }
}

#[test]
fn status_and_verify_agree_and_need_no_builder() {
    let (fleet, expected) = (Fleet::shared(), expected());
    let built = fleet.document();
    let status = fleet.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["schema"], "catamaran/status/v1");
    assert_eq!(status["complete"], true);
    assert_eq!(status["present"], expected.cells);
    assert_eq!(status["indexes"], built["indexes"]);
    let pairs = |document: &Value| -> Vec<(Value, Value, Value)> {
        let cells = document["cells"].as_array().expect("cells");
        cells.iter().map(|cell| (cell["component"].clone(), cell["platform"].clone(), cell["digest"].clone())).collect()
    };
    assert_eq!(pairs(&status), pairs(&built));
    let verified = fleet.run(&["verify", "--json"]).exits(0).json();
    assert_eq!(verified["whole"], true);
    assert_eq!(verified["images"], expected.cells);
}

#[test]
fn a_second_build_changes_nothing_and_moves_no_layer() {
    let fleet = Fleet::shared();
    let first = fleet.document();
    let again = fleet.run(&["build", "--json"]).exits(0).json();
    assert_eq!(again["indexes"], first["indexes"]);
    // Configs and manifests are metadata: the smallest layer of the fleet alone is larger than what may move.
    let received = again["received_bytes"].as_u64().expect("a number");
    assert!(received < 100_000, "{received} bytes came again");
    assert!(first["received_bytes"].as_u64().expect("a number") > 500_000, "the first build brought the layers");
}

#[test]
fn a_part_of_the_fleet_is_called_a_subset() {
    let fleet = Fleet::shared();
    drop(fleet.document());
    let part = fleet.run(&["status", "--json", "--platform", "arm64", "nginx", "b*"]).exits(0).json();
    assert_eq!(part["subset"], true);
    assert_eq!(part["expected"], 3);
    let plan = fleet.run(&["plan", "--json"]).exits(0).json();
    assert_eq!(plan["subset"], false);
    assert_eq!(plan["cells"].as_array().map(Vec::len), Some(26));
    assert!(plan["cells"][0]["state"].is_null() && plan["cells"][0]["log"].is_null());
}
