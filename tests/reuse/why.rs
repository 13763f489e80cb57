use std::fs;

use serde_json::Value;

use super::{NOBODY, builder};
use crate::support::project::{Project, SHELL};

const CONFIG: &str = "platforms = [\"linux/amd64\"]\n[vars]\nset = { GREETING = \"hello\" }\n\
                      [component.base]\ndockerfile = \"base/Dockerfile\"\n\
                      [component.web]\ndockerfile = \"web/Dockerfile.tpl\"\ntarget = \"last\"\n\
                      args = { VERSION = \"1\" }\nlabels = { a = \"b\" }\n\
                      contexts = { base = \"component:base\", extra = \"extra\" }\n";

fn project() -> Project {
    Project::with_shell(
        CONFIG,
        &[
            ("base/Dockerfile", SHELL),
            (
                "web/Dockerfile.tpl",
                "FROM base AS last\nARG VERSION\nCOPY src /src\nCOPY --from=extra x /\nENV G={{GREETING}} V=$VERSION\n",
            ),
            ("src/main", "main"),
            ("extra/x", "x"),
        ],
    )
}

/// Something that is done to the project.
type Edit<'a> = &'a dyn Fn();

/// `kind name change` of each reason of `web`, sorted.
fn reasons(project: &Project) -> Vec<String> {
    let document = project.run(&["why", "web", "--json"]).exits(0).json();
    assert_eq!(document["schema"], "catamaran/why/v1");
    let cells = document["cells"].as_array().expect("a list");
    let web = cells.iter().find(|cell| cell["component"] == "web").expect("it is there");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let reason =
        |reason: &Value| format!("{} {} {}", text(&reason["kind"]), text(&reason["name"]), text(&reason["change"]));
    let mut all: Vec<String> = web["reasons"].as_array().expect("a list").iter().map(reason).collect();
    all.sort();
    all
}

#[test]
fn it_names_the_input_that_changed() {
    let project = project();
    let never = project.run(&["why"]).exits(0).stdout;
    assert!(never.contains("web/amd64   build     never built"), "{never}");
    assert!(!project.path(".catamaran").exists(), "it writes nothing");
    project.run(&["build", "--builder", builder()]).exits(0);
    assert_eq!(project.run(&["why"]).exits(0).stdout, "0 cells would be built, 2 reused.\n");
    let config = |from: &str, to: &str| project.write("catamaran.toml", &CONFIG.replace(from, to));
    let cases: [(Edit<'_>, Edit<'_>, &[&str]); 8] = [
        (
            &|| project.write("src/new", "new"),
            &|| fs::remove_file(project.path("src/new")).expect("it was there"),
            &["file src/new added"],
        ),
        (&|| project.write("src/main", "niam"), &|| project.write("src/main", "main"), &["file src/main changed"]),
        (&|| project.write("extra/x", "y"), &|| project.write("extra/x", "x"), &["file extra: x changed"]),
        (&|| config("\"1\"", "\"2\""), &|| config("", ""), &["arg VERSION changed"]),
        (&|| config("hello", "good day"), &|| config("", ""), &["dockerfile web/Dockerfile.tpl changed"]),
        (&|| config("labels = { a = \"b\" }\n", ""), &|| config("", ""), &["label a removed"]),
        (&|| config("VERSION = \"1\" }", "VERSION = \"1\", MORE = \"x\" }"), &|| config("", ""), &["arg MORE added"]),
        // It would take the place of a stage of its name, whether a file of it is read or not.
        (
            &|| config("extra = \"extra\"", "extra = \"extra\", last = \"extra\""),
            &|| config("", ""),
            &["context last added"],
        ),
    ];
    for (edit, undo, expected) in cases {
        edit();
        assert_eq!(reasons(&project), expected);
        undo();
        assert_eq!(reasons(&project), [""; 0], "undone");
    }
    // The same bytes as before, whenever they were written.
    project.run(&["build", "--builder", NOBODY]).exits(0);
    project.write("base/Dockerfile", &format!("{SHELL}ENV A=b\n"));
    let why = project.run(&["why"]).exits(0).stdout;
    assert!(why.contains("base/amd64  build     dockerfile `base/Dockerfile` changed"), "{why}");
    assert!(why.contains("web/amd64   waits     for base/amd64"), "{why}");
    let forced = project.run(&["why", "--force=web"]).exits(0).stdout;
    assert!(forced.contains("web/amd64   build     forced"), "{forced}");
}

#[test]
fn what_is_remembered_may_be_lost_or_torn() {
    let project = project();
    project.run(&["build", "--builder", builder()]).exits(0);
    for file in ["hashes", "inputs"] {
        let path = project.path(&format!(".catamaran/{file}"));
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::write(path, "nonsense") }.expect("ours");
        project.run(&["build", "--builder", NOBODY]).exits(0);
    }
    // Without the list of what was there the part is named.
    project.write("src/new", "new");
    assert_eq!(reasons(&project), ["file src changed"]);
    let path = project.path(".catamaran/cells/web/linux-amd64.json");
    let record = fs::read_to_string(&path).expect("a record");
    fs::write(&path, record.replace("\"kind\":\"arg\"", "\"kind\":\"of a later version\"")).expect("ours");
    let why = project.run(&["why"]).exits(0).stdout;
    assert!(why.contains("it is not known what it was made from"), "{why}");
    project.run(&["status"]).exits(0);
}
