use std::fmt::Write as _;

use catamaran::config::{DiskFiles, load};
use catamaran::plan::{PlanOptions, explain, plan};
use catamaran::report::{Style, explain_table, plan_dot, plan_mermaid, vars_table};

use super::{Folder, project};

fn folder() -> Folder {
    let folder = project(
        "tag = \"${IMAGE_TAG:-v1}\"\n[vars]\nfiles = [\"deps.yaml\"]\nset = { MIRROR = \"m.example.com\", UNUSED = \"x\", DB_PASSWORD = \"hunter2\" }\n\
         [component.app]\nneeds = [\"hub\"]\ncontexts = { base = \"component:base\" }\nargs = { A = \"${MIRROR}\" }\n\
         [component.app.platform.arm64]\ntarget = \"arm\"\n[service.hub]\n[external.redis]\nimage = \"redis:7\"\n\
         [component.old]\nexclude = \"retired\"\n",
        &["app", "base", "hub", "old"],
    );
    folder.write("deps.yaml", "golang: 1.25\n");
    folder.write("src/app/Dockerfile", "FROM base AS arm\nFROM base\nARG MIRROR\nRUN x\n");
    folder
}

#[test]
fn views_of_a_plan_read_well() {
    let folder = folder();
    let mut request = folder.request();
    request.sets.push(("EXTRA".to_owned(), "given".to_owned()));
    let project = load(&request).expect("loads");
    let planned = plan(&project, &PlanOptions::default(), &DiskFiles).expect("plans");
    let style = Style::plain(folder.path());
    let mut out = String::new();
    let _ = writeln!(out, "## vars\n{}", vars_table(&planned));
    let app = explain(&project, &"app".parse().expect("a name"));
    let root = folder.path().to_string_lossy().into_owned();
    let _ = writeln!(out, "## explain app\n{}", explain_table(&app, &style).replace(&root, "DIR"));
    let redis = explain(&project, &"redis".parse().expect("a name"));
    let _ = writeln!(out, "## explain redis\n{}", explain_table(&redis, &style));
    let _ = writeln!(out, "## dot\n{}", plan_dot(&planned));
    let _ = writeln!(out, "## mermaid\n{}", plan_mermaid(&planned));
    assert!(!out.contains("hunter2"), "values that look like secrets are not shown");
    snapbox::assert_data_eq!(out, snapbox::file!["views.txt"].raw());
}

#[test]
fn hostile_files_are_refused_clearly_and_at_once() {
    for (title, text) in [
        ("nested lists", format!("x = {}{}", "[".repeat(10_000), "]".repeat(10_000))),
        ("nested tables", format!("x = {}1{}", "{ a = ".repeat(10_000), " }".repeat(10_000))),
        ("nested keys", format!("{} = 1", vec!["a"; 10_000].join("."))),
        ("nested defaults", format!("tag = \"{}{}\"", "${A:-".repeat(10_000), "}".repeat(10_000))),
        ("large", format!("name = \"{}\"", "x".repeat(17 * 1024 * 1024))),
        ("not UTF-8", "\u{0}".repeat(10)),
    ] {
        let folder = Folder::new(&[]);
        folder.write("catamaran.toml", &text);
        let refused = folder.plan(&folder.request(), &PlanOptions::default());
        assert!(refused.is_err(), "{title}");
    }
    let deep = format!("FROM a{}\n", "${B:-".repeat(10_000));
    let folder = project("", &["a"]);
    folder.write("src/a/Dockerfile", &deep);
    assert!(folder.plan(&folder.request(), &PlanOptions::default()).is_err());
    folder.write("src/a/Dockerfile", &"FROM a AS b\nCOPY --from=b x y\n".repeat(20_000));
    folder.planned();
}
