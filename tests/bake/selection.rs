//! What of a bake file is in the matrix: `default`, and what is named beside it.

use catamaran::plan::{Plan, PlanOptions, Selection, Selector};

use crate::plan::Folder;
use crate::support::project::Project;

const FILE: &str = r#"
group "default" { targets = ["app"] }
group "tools" { targets = ["lint", "Doc_s"] }
group "db" { targets = ["db", "lint"] }
target "base" {}
target "app" {
  contexts = { base = "target:base" }
  tags = ["app:1"]
}
target "db" { tags = ["db:1"] }
target "lint" { tags = ["lint:1"] }
target "Doc_s" { tags = ["docs:1"] }
target "broken" { tags = ["BROKEN:1"] }
"#;

fn planned(names: &[&str]) -> Result<Plan, String> {
    let folder = Folder::new(&[("docker-bake.hcl", FILE), ("Dockerfile", "FROM scratch\nCOPY x /x\n"), ("x", "x")]);
    let mut request = folder.request();
    request.files.push(folder.path().join("docker-bake.hcl"));
    request.names = names.iter().map(|name| (*name).to_owned()).collect();
    let names = names.iter().map(|name| Selector::of(name)).collect();
    folder.plan(&request, &PlanOptions { names, ..PlanOptions::default() })
}

fn selected(plan: &Plan) -> Vec<String> {
    let cells = plan.cells.iter().filter(|cell| cell.selection == Selection::Selected);
    let mut names: Vec<String> = cells.map(|cell| cell.id.component.to_string()).collect();
    names.sort();
    names
}

fn unselected(plan: &Plan) -> Vec<&str> {
    plan.unselected.iter().map(|one| one.name.as_str()).collect()
}

#[test]
fn default_is_the_matrix_and_other_targets_can_be_named() {
    let plan = planned(&[]).expect("a plan");
    let names: Vec<&str> = plan.components.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["app", "base"]);
    assert_eq!(unselected(&plan), ["db", "lint", "doc_s", "broken"]);

    let plan = planned(&["lint"]).expect("a plan");
    assert_eq!(selected(&plan), ["lint"], "what `default` reaches is in the matrix, and not asked for");
    assert_eq!(plan.components.len(), 3);
    assert_eq!(selected(&planned(&["tools"]).expect("a plan")), ["doc_s", "lint"], "a group");
    assert_eq!(selected(&planned(&["doc_s", "l*"]).expect("a plan")), ["doc_s", "lint"]);
    assert_eq!(selected(&planned(&["Doc_s"]).unwrap_or_else(|text| panic!("{text}"))), ["doc_s"], "as the file has it");
    assert_eq!(selected(&planned(&["db"]).expect("a plan")), ["db", "lint"], "a group hides a target of its name");
    let refused = planned(&["broken"]).expect_err("its tag is no reference");
    assert!(refused.contains("BROKEN"), "{refused}");
    let refused = planned(&["lnt"]).expect_err("there is no such target");
    assert!(refused.contains("did you mean `lint`?"), "{refused}");
}

#[test]
fn timestamps_are_of_now_unless_they_are_settled() {
    let project = Project::new();
    project.write("Dockerfile", "FROM scratch\nCOPY x /x\n");
    project.write(
        "docker-bake.hcl",
        "target \"default\" {\n  labels = { year = formattimestamp(\"YYYY\", timestamp()) }\n  platforms = [\"linux/amd64\"]\n}\n",
    );
    let year = |epoch: Option<&str>| {
        let mut command = project.command(&["-f", "docker-bake.hcl", "plan", "--print", "bake"]);
        if let Some(epoch) = epoch {
            command.env("SOURCE_DATE_EPOCH", epoch);
        }
        let printed = project.ran(&command.output().expect("it runs")).exits(0).json();
        printed["target"]["default"]["labels"]["year"].as_str().map(str::to_owned).expect("a year")
    };
    assert!(*year(None) > *"2025", "the clock of the machine");
    assert_eq!(year(Some("86400")), "1970");
    let told = |epoch: &[(&str, &str)]| {
        let mut command = project.command(&["-f", "docker-bake.hcl", "plan"]);
        command.envs(epoch.iter().copied());
        project.ran(&command.output().expect("it runs")).exits(0).stderr.contains("`timestamp()` says something else")
    };
    assert!(told(&[]), "what is built now is not found by the next command");
    assert!(!told(&[("SOURCE_DATE_EPOCH", "86400")]));
}

#[test]
fn a_named_target_stays_in_the_layout() {
    let project = Project::new();
    project.write("docker-bake.hcl", FILE);
    project.write("Dockerfile", "FROM scratch\nCOPY x /x\n");
    project.write("x", "x");
    project.run(&["-f", "docker-bake.hcl", "build", "lint"]).exits(0);
    let named =
        |project: &Project| std::fs::read_to_string(project.path(".catamaran/layout/index.json")).expect("a layout");
    assert!(named(&project).contains("lint:1") && !named(&project).contains("app:1"));
    project.run(&["-f", "docker-bake.hcl", "build"]).exits(0);
    assert!(named(&project).contains("lint:1") && named(&project).contains("app:1"), "{}", named(&project));
    project.run(&["-f", "docker-bake.hcl", "status", "lint"]).exits(0);
    project.run(&["-f", "docker-bake.hcl", "logs", "lint"]).exits(0);
    let plan = project.run(&["-f", "docker-bake.hcl", "plan"]).exits(0);
    assert!(plan.stdout.contains("only by name  db, lint, doc_s, broken"), "{}", plan.stdout);
}
