use std::fmt::Write as _;
use std::time::Instant;

use catamaran::config::{LoadRequest, load};
use catamaran::plan::{CellWork, PlanOptions};

use super::{Folder, project};

#[test]
fn a_matrix_is_a_component_per_combination_and_a_group() {
    let folder = project(
        "[component.php]\nimage = \"php-{flavour}\"\ntag = \"{version}\"\ntags = [\"{version}-${EXTRA:-x}\"]\nargs = { V = \"{version}\", S = \"${S:-{flavour}}\" }\n\
         [component.php.matrix]\naxes = { version = [\"8.1\", \"8.2\"], flavour = [\"fpm\", \"cli\"] }\n\
         exclude = [{ version = \"8.1\", flavour = \"cli\" }]\ninclude = [{ version = 9, flavour = \"fpm\" }]\n\
         [component.app]\nneeds = [\"php\"]\n",
        &["php", "app"],
    );
    folder.write("src/php/Dockerfile", "FROM scratch\nARG V\nARG S\nCOPY x /\n");
    let planned = folder.planned();
    let shown: Vec<String> = planned
        .components
        .iter()
        .map(|component| {
            let names: Vec<String> = component.references.iter().map(ToString::to_string).collect();
            format!("{} {}", component.name, names.join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "php-8.1-fpm php-fpm:8.1 php-fpm:8.1-x",
            "php-8.2-fpm php-fpm:8.2 php-fpm:8.2-x",
            "php-8.2-cli php-cli:8.2 php-cli:8.2-x",
            "php-9-fpm php-fpm:9 php-fpm:9-x",
            "app app:latest",
        ]
    );
    let build = planned.cells[0].build().expect("is built");
    assert_eq!(build.args.values().map(String::as_str).collect::<Vec<_>>(), ["fpm", "8.1"]);
    assert_eq!(planned.cells.last().expect("cells").needs.len(), 4);
    let names = vec!["php".parse().expect("any text")];
    let only = folder.plan(&folder.request(), &PlanOptions { names, ..PlanOptions::default() }).expect("plans");
    assert_eq!(only.cells.iter().filter(|cell| cell.selection == catamaran::plan::Selection::Selected).count(), 8);
}

#[test]
fn settings_are_inherited_and_overlaid() {
    let folder = project(
        "[settings.go]\ntarget = \"final\"\nargs = { GO = \"1.25\", A = \"go\" }\n[settings.slow]\nno-cache = true\nargs = { A = \"slow\" }\n\
         [component.a]\ninherits = [\"go\", \"slow\"]\nargs = { B = \"own\" }\n[component.b]\ninherits = [\"a\"]\ntarget = \"other\"\n",
        &["a", "b"],
    );
    for name in ["a", "b"] {
        folder.write(&format!("src/{name}/Dockerfile"), "FROM scratch AS other\nFROM scratch AS final\nCOPY x /\n");
    }
    let planned = folder.planned();
    let build = |at: usize| planned.cells[at].build().expect("is built");
    let args: Vec<String> = build(0).args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!((args, build(0).no_cache), (vec!["A=slow".to_owned(), "B=own".to_owned(), "GO=1.25".to_owned()], true));
    assert_eq!((build(0).target.as_deref(), build(2).target.as_deref()), (Some("final"), Some("other")));
}

#[test]
fn single_platforms_differ() {
    let folder = project(
        "[component.a]\nargs = { X = \"all\" }\n[component.a.platform.arm64]\nargs = { X = \"arm\" }\ntarget = \"arm\"\n\
         [component.b.platform.\"linux/amd64\"]\nexclude = \"no licence\"\n[component.c]\nneeds = [\"b\"]\n[component.b]\n",
        &["a", "b", "c"],
    );
    folder.write("src/a/Dockerfile", "FROM scratch AS arm\nARG X\nFROM scratch\nARG X\nCOPY x /\n");
    let planned = folder.planned();
    let arm = planned
        .cells
        .iter()
        .find(|cell| cell.id.to_string() == "a/arm64")
        .and_then(|cell| cell.build())
        .expect("built");
    assert_eq!((arm.target.as_deref(), arm.args["X"].as_str()), (Some("arm"), "arm"));
    let excluded: Vec<_> = planned
        .cells
        .iter()
        .filter(|cell| matches!(&cell.work, CellWork::Excluded(why) if why == "no licence"))
        .collect();
    assert_eq!(excluded.len(), 1);
    assert_eq!(planned.expected().count(), 5);
}

#[test]
fn variations_are_refused_in_these_words() {
    let mut out = String::new();
    for (title, toml) in [
        ("unknown settings", "[settings.go]\n[component.a]\ninherits = [\"og\"]\n"),
        (
            "circle",
            "[settings.x]\ninherits = [\"y\"]\n[settings.y]\ninherits = [\"x\"]\n[component.a]\ninherits = [\"x\"]\n",
        ),
        ("empty axis", "[component.a]\n[component.a.matrix]\naxes = { v = [] }\n"),
        ("same name", "[component.a]\n[component.a.matrix]\naxes = { v = [1, 2], w = [3] }\nname = \"a-{w}\"\n"),
        ("impossible exclusion", "[component.a]\n[component.a.matrix]\naxes = { v = [1, 2] }\nexclude = [{ v = 3 }]\n"),
        (
            "half a combination",
            "[component.a]\n[component.a.matrix]\naxes = { v = [1], w = [2] }\ninclude = [{ v = 3 }]\n",
        ),
        ("same reference", "[component.a]\nimage = \"a\"\n[component.a.matrix]\naxes = { v = [1, 2] }\n"),
        ("platform that it is not for", "[component.a]\n[component.a.platform.s390x]\ntarget = \"x\"\n"),
        ("platform that there is not", "[component.a]\n[component.a.platform.arm65]\ntarget = \"x\"\n"),
        ("axis name", "[component.a]\n[component.a.matrix]\naxes = { git = [1] }\n"),
    ] {
        let folder = project(toml, &["a"]);
        let text = folder.plan(&folder.request(), &PlanOptions::default()).expect_err(title);
        let _ = writeln!(out, "## {title}\n{text}");
    }
    snapbox::assert_data_eq!(out, snapbox::file!["refused_variations.txt"].raw());
}

#[test]
fn a_thousand_components_are_planned_at_once() {
    let mut toml = "platforms = [\"amd64\", \"arm64\"]\ntag = \"v1\"\n".to_owned();
    let folder = Folder::new(&[]);
    for number in 0..1_000 {
        let _ = write!(toml, "[component.c{number}]\ndockerfile = \"c{number}/Dockerfile\"\n");
        let base = if number == 0 { "scratch".to_owned() } else { format!("c{}:v1", number / 2) };
        folder.write(&format!("c{number}/Dockerfile"), &format!("FROM {base}\nRUN make\nCOPY x /\n"));
    }
    folder.write("catamaran.toml", &toml);
    let began = Instant::now();
    let planned = folder.planned();
    // Shown, not asserted: tests of a busy machine say nothing about time.
    eprintln!("2,000 cells in {:?}", began.elapsed());
    assert_eq!(planned.cells.len(), 2_000);
    assert_eq!(planned.components.iter().map(|component| component.phase).max(), Some(11));
    assert!(load(&LoadRequest { directory: folder.path().into(), ..LoadRequest::default() }).is_ok());
}
