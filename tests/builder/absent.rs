//! Builders that do not answer when a run begins: who takes their cells, and what is told.

use serde_json::Value;

use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::project::{Project, SHELL};

const NOBODY: &str = "tcp://127.0.0.1:1";
const COPY: &str = "FROM scratch\nCOPY Dockerfile /\n";

fn builder(name: &str, address: &str, rest: &str) -> String {
    format!("[builder.{name}]\naddress = \"{address}\"\n{rest}\n")
}

fn only(platform: &str) -> String {
    format!("platforms = [\"{platform}\"]")
}

/// `api` and `web`, which only copy, for two platforms.
fn project(builders: &[String]) -> Project {
    let config = "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[component.api]\n[component.web]\n";
    Project::with(&format!("{config}{}", builders.concat()), &[("Dockerfile", COPY)])
}

/// `NAME/ARCH STATE BUILDER` of each cell.
fn cells(document: &Value) -> Vec<String> {
    let text = |cell: &Value, key: &str| cell[key].as_str().unwrap_or_default().to_owned();
    let line = |cell: &Value| {
        let platform = text(cell, "platform").replace("linux/", "");
        format!("{}/{platform} {} {}", text(cell, "component"), text(cell, "state"), text(cell, "builder"))
    };
    document["cells"].as_array().expect("cells").iter().map(line).collect()
}

/// `VERDICT TEXT | FIX | CELLS` of everything about builders and platforms.
fn findings(document: &Value) -> Vec<String> {
    let items = document["items"].as_array().expect("items").iter();
    let ours = items
        .filter(|item| ["builder", "amd64", "arm64", "mipsle"].contains(&item["subject"].as_str().expect("a subject")));
    let line = |item: &Value| {
        let cells: Vec<&str> = item["cells"].as_array().expect("cells").iter().filter_map(Value::as_str).collect();
        let text = |key: &str| item[key].as_str().unwrap_or_default();
        format!("{} {} {} | {} | {}", text("verdict"), text("subject"), text("text"), text("fix"), cells.join(" "))
    };
    ours.map(line).collect()
}

#[track_caller]
fn has(all: &[String], parts: &[&str]) {
    assert!(all.iter().any(|line| parts.iter().all(|part| line.contains(part))), "no {parts:?} in {all:#?}");
}

#[test]
fn every_builder_is_told_with_its_cells_and_those_that_answer_are_judged() {
    let (one, other) = (Certificates::make(), Certificates::make());
    let daemon = Daemon::start_tcp(&one.flags(false));
    let ca = other.path("ca.pem").display().to_string();
    let wrong = builder("x", daemon.address(), &format!("{}\nca = \"{ca}\"", only("linux/amd64")));
    let down = builder("y", NOBODY, &only("linux/arm64"));
    let both = |platform: &str| format!("| api/linux/{platform} web/linux/{platform}");
    let (amd64, arm64) = (both("amd64"), both("arm64"));

    let broken = project(&[wrong.clone(), down.clone()]);
    let found = findings(&broken.run(&["check", "--json"]).exits(8).json());
    has(&found, &["fail builder", "([builder.x])", "certificate", "into [builder.x]: `ca = ", &ca, &amd64]);
    has(&found, &["fail builder", "([builder.y])", NOBODY, "`address` in [builder.y]", &arm64]);
    let ran = broken.run(&["build"]).exits(8);
    assert!(ran.stderr.contains("([builder.x])") && ran.stderr.contains("([builder.y])"), "{}", ran.stderr);

    // Each once, also whoever would have stood in.
    let nowhere = builder("z", "unix:///nonexistent/buildkitd.sock", "");
    let ran = project(&[wrong.clone(), down.clone(), nowhere]).run(&["build"]).exits(8);
    assert_eq!(ran.stderr.matches("([builder.z])").count(), 1, "{}", ran.stderr);

    // One that answers is judged although another does not, and its cells are built.
    let answers = builder("z", Daemon::shared().address(), &only("linux/amd64"));
    let half = project(&[answers, down.clone()]);
    let found = findings(&half.run(&["check", "--json"]).exits(8).json());
    has(&found, &["ok builder", Daemon::shared().address(), "takes amd64", &amd64]);
    has(&found, &["ok amd64", "native, 2 cells"]);
    has(&found, &["fail builder", "([builder.y])", &arm64]);
    let ran = half.run(&["build", "--json"]).exits(8);
    let document = ran.json();
    let expected = ["api/amd64 built", "api/arm64 failed", "web/amd64 built", "web/arm64 failed"];
    assert!(cells(&document).iter().zip(expected).all(|(cell, state)| cell.starts_with(state)), "{document:#}");
    assert_eq!(document["errors"].as_array().map(Vec::len), Some(1), "one cause for all cells: {document:#}");
    assert!(document["cells"][1]["reason"].as_str().is_some_and(|why| why.contains(NOBODY)), "{document:#}");

    // One that lists no platforms takes the cells of both, as it does when they are lost in the middle.
    let address = Daemon::shared().address();
    let whole = project(&[wrong, down, builder("z", address, "")]);
    let found = findings(&whole.run(&["check", "--json"]).exits(0).json());
    has(&found, &["warn builder", "([builder.x])", &format!("its cells go to `{address}`"), &amd64]);
    has(&found, &["warn builder", "([builder.y])", &format!("its cells go to `{address}`"), &arm64]);
    has(&found, &["ok builder", address, "takes amd64, arm64"]);
    let ran = whole.run(&["build", "--json"]).exits(0);
    assert!(cells(&ran.json()).iter().all(|cell| cell.ends_with(&format!("built {address}"))), "{}", ran.stdout);
    assert_eq!(ran.stderr.matches("its cells go to").count(), 2, "{}", ran.stderr);
}

#[test]
fn who_cannot_run_a_cell_does_not_take_it_and_the_others_are_built() {
    let down = builder("far", NOBODY, &only("linux/mipsle"));
    let address = Daemon::shared().address();
    let config = format!(
        "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/mipsle\"]\n[component.copies]\n\
         [component.runs]\ndockerfile = \"runs.Dockerfile\"\n{down}{}",
        builder("near", address, "")
    );
    let runs = format!("{SHELL}RUN true\n");
    let project = Project::with_shell(&config, &[("Dockerfile", COPY), ("runs.Dockerfile", &runs)]);
    let found = findings(&project.run(&["check", "--json"]).exits(8).json());
    has(&found, &["fail builder", "([builder.far])", "runs/linux/mipsle"]);
    has(&found, &["ok amd64", "native, 2 cells"]);
    let document = project.run(&["build", "--json"]).exits(8).json();
    let expected = ["copies/amd64 built", "copies/mipsle built", "runs/amd64 built", "runs/mipsle failed"];
    assert!(cells(&document).iter().zip(expected).all(|(cell, state)| cell.starts_with(state)), "{document:#}");
}

#[test]
fn externals_come_without_a_builder_and_old_images_are_kept() {
    let config = "name = \"demo\"\nplatforms = [\"linux/amd64\"]\n[component.web]\n[external.away]\n\
                  image = \"127.0.0.1:1/away:1\"\n";
    let project = Project::with(config, &[("Dockerfile", COPY)]);
    project.run(&["build", "web", "--builder", Daemon::shared().address()]).exits(0);
    let document = project.run(&["build", "--json", "--force", "--builder", NOBODY]).exits(8).json();
    assert!(cells(&document)[0].starts_with("away/amd64 failed"), "it was tried: {document:#}");
    assert!(cells(&document)[1].starts_with("web/amd64 failed"), "{document:#}");
    assert!(document["cells"][1]["log"].is_null(), "that is an earlier run's: {document:#}");
    assert!(document["indexes"].as_array().expect("indexes").is_empty(), "{document:#}");
    assert_eq!(project.run(&["status", "web", "--json"]).exits(0).json()["cells"][0]["state"], "built");
}
