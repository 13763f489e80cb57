//! What a build leaves for people and programs that were not there: logs, metadata, summary, annotations, events.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::project::{Project, Ran, SHELL};

const CONFIG: &str = "name = \"demo\"\nplatforms = [\"linux/amd64\"]\nregistry = [\"registry.example.com/x\"]\n\
    [component.base]\ndockerfile = \"base/Dockerfile\"\n[component.web]\ndockerfile = \"web/Dockerfile\"\n\
    [component.bad]\ndockerfile = \"bad/Dockerfile\"\n";

/// `web` stands on `base`; `bad` copies a file whose name is misspelt.
fn project() -> Project {
    let web = "FROM base\nRUN echo it is web\n";
    let bad = format!("{SHELL}# <b>&amp;\nCOPY requirments.txt /\n");
    let config =
        CONFIG.replace("\"web/Dockerfile\"\n", "\"web/Dockerfile\"\ncontexts = { base = \"component:base\" }\n");
    Project::with_shell(
        &config,
        &[("base/Dockerfile", SHELL), ("web/Dockerfile", web), ("bad/Dockerfile", &bad), ("requirements.txt", "x\n")],
    )
}

#[test]
fn logs_take_globs_and_know_what_failed() {
    let project = project();
    project.run(&["logs", "web"]).exits(4);
    project.run(&["build", "--builder", Daemon::shared().address()]).exits(3);
    let one = project.run(&["logs", "web/amd64"]).exits(0);
    assert!(one.stdout.contains("it is web") && !one.stdout.contains("==>"), "{}", one.stdout);
    let several = project.run(&["logs", "*"]).exits(0).stdout;
    for name in ["bad", "base", "web"] {
        assert!(several.contains(&format!("==> {name}/amd64 <==\n")), "{several}");
    }
    let failed = project.run(&["logs", "--failed"]).exits(0).stdout;
    assert!(failed.contains("requirments.txt") && !failed.contains("it is web"), "{failed}");
    project.run(&["logs"]).exits(2);
    project.run(&["logs", "nothing"]).exits(2);
    let none = project.run(&["logs", "--failed", "web"]).exits(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "none of these cells failed in the last build\n"));
}

#[test]
fn github_shows_groups_annotations_and_a_summary() {
    let project = project();
    let mut command = project.command(&["build", "--builder", Daemon::shared().address()]);
    let summary = project.path("summary.md");
    command.env("GITHUB_ACTIONS", "true").env("CI", "true").env("GITHUB_WORKSPACE", project.root());
    command.env("GITHUB_STEP_SUMMARY", &summary);
    let ran = project.ran(&command.output().expect("it runs")).exits(3);
    let opened = ran.stderr.lines().filter(|line| line.starts_with("::group::")).count();
    assert_eq!(opened, 2, "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().filter(|line| *line == "::endgroup::").count(), opened);
    let error = ran.stderr.lines().find(|line| line.starts_with("::error ")).expect("an annotation");
    assert!(error.starts_with("::error file=bad/Dockerfile,line=6,endLine=6,title=bad/amd64 failed"), "{error}");
    assert!(error.contains("did you mean `requirements.txt`?"), "{error}");
    let summary = std::fs::read_to_string(summary).expect("a summary");
    assert!(summary.starts_with("### ❌ demo"), "{summary}");
    assert!(summary.contains("| bad | **failed** |") && summary.contains("> 6 | COPY requirments.txt /"), "{summary}");
}

/// The lines of `--progress json`: each an object, the head first and once, every kind of event documented.
fn stream(ran: &Ran) -> Vec<Value> {
    let parsed = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let lines: Vec<Value> = ran.stderr.lines().map(parsed).collect();
    let heads = lines.iter().filter(|line| line["event"] == "stream").count();
    assert_eq!((heads, &lines[0]), (1, &json!({"event": "stream", "schema": "catamaran/progress/v1"})));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/progress.md")).expect("the page");
    for line in &lines {
        let event = line["event"].as_str().expect("an event");
        assert!(page.contains(&format!("`{event}`")), "{event} is not in docs/progress.md");
    }
    lines
}

/// No builder is there.
const NOWHERE: &str = "unix:///nowhere.sock";

/// The program as [`Project::command`] has it, with a limit of open files that is worth a word.
fn with_few_files(project: &Project, arguments: &[&str]) -> Command {
    let program = project.command(arguments);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 512 && exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    command.current_dir(project.root());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn texts<'a>(lines: &'a [Value], event: &str) -> Vec<&'a str> {
    let these = lines.iter().filter(|line| line["event"] == event);
    these.filter_map(|line| line["text"].as_str().or(line["message"].as_str())).collect()
}

#[test]
fn progress_json_tells_as_an_event_why_a_command_did_not_start() {
    let project = project();
    let told = |arguments: &[&str], code: i32, class: &str| {
        let ran = project.run(arguments).exits(code);
        let lines = stream(&ran);
        let last = lines.last().expect("a line").clone();
        assert_eq!((last["event"].as_str(), last["class"].as_str()), (Some("error"), Some(class)), "{last}");
        last
    };
    let unknown = told(&["build", "nothing", "--progress", "json"], 2, "config");
    assert!(unknown["message"].as_str().is_some_and(|text| text.contains("`nothing`")), "{unknown}");
    told(&["build", "--json", "nothing", "--progress", "json"], 2, "config");
    told(&["push", "--progress", "json"], 4, "incomplete");
    told(&["push", "--dry-run", "--progress", "json"], 4, "incomplete");
    told(&["export", "x.tar", "--progress", "json"], 4, "incomplete");
    told(&["copy", "oci:nowhere", "oci:elsewhere", "--progress", "json"], 4, "incomplete");
    told(&["import", "none.tar", "--to", "127.0.0.1:1/x", "--progress", "json"], 1, "disk");
    project.write("catamaran.toml", "name = \"demo\"\nplatform = 3\n");
    let wrong = told(&["build", "--progress", "json"], 2, "config");
    assert_eq!(wrong["line"], 2, "{wrong}");
    told(&["prefetch", "--progress", "json"], 2, "config");
}

#[test]
fn progress_json_has_the_warnings_before_and_after_a_run_as_events() {
    // The tag is not the one that the project gives: told before anything starts.
    let project = Project::with_shell(
        &CONFIG.replace("[component.bad]\ndockerfile = \"bad/Dockerfile\"\n", ""),
        &[("base/Dockerfile", SHELL), ("web/Dockerfile", "FROM registry.example.com/x/base:other\n")],
    );
    // Neither the record of the run nor the summary of the job can be written.
    project.write(".catamaran/runs", "in the way");
    let mut command = with_few_files(&project, &["build", "--progress", "json", "--builder", NOWHERE]);
    command.env("GITHUB_STEP_SUMMARY", project.path("none/summary.md")).env("GITHUB_WORKSPACE", project.root());
    let ran = project.ran(&command.output().expect("it runs")).exits(8);
    let lines = stream(&ran);
    let warnings = texts(&lines, "warning");
    for part in ["registry.example.com/x/base:other", "files: only 512 files", "runs", "cannot write the job's summary"]
    {
        assert!(warnings.iter().any(|text| text.contains(part)), "{part}: {warnings:#?}");
    }
    let files = lines.iter().find(|line| line["text"].as_str().is_some_and(|text| text.starts_with("files: ")));
    assert!(files.is_some_and(|line| line["help"].is_string() && line["seconds"].is_f64()), "{files:?}");
    assert!(texts(&lines, "error").iter().any(|text| text.contains("nowhere.sock")), "{lines:#?}");

    // The same for people: the finding as `check` shows it.
    let mut command = with_few_files(&project, &["build", "--builder", NOWHERE]);
    let ran = project.ran(&command.output().expect("it runs")).exits(8);
    assert!(ran.stderr.contains("\nwarn  files    only 512 files may be open at once"), "{}", ran.stderr);
}

#[test]
fn progress_json_is_one_object_a_line_to_the_end() {
    let project = project();
    let ran = project.run(&["build", "--progress", "json", "--builder", Daemon::shared().address()]).exits(3);
    let lines = stream(&ran);
    let last = lines.last().expect("a line");
    assert_eq!((last["event"].as_str(), last["component"].as_str()), (Some("error"), Some("bad")));
    assert_eq!((last["id"].as_str(), last["line"].as_u64()), (Some("C403"), Some(6)));

    // The second run knows how long cells took.
    project.write("base/Dockerfile", &format!("{SHELL}# changed\n"));
    let ran = project.run(&["build", "--progress", "json", "--builder", Daemon::shared().address()]).exits(3);
    let expected = stream(&ran).into_iter().find(|line| line["event"] == "expected").expect("an estimate");
    let named: BTreeSet<&str> =
        expected["cells"].as_array().expect("cells").iter().filter_map(|cell| cell["component"].as_str()).collect();
    assert_eq!(named, BTreeSet::from(["base", "web"]));
}

#[test]
fn metadata_tells_other_programs_what_is_there() {
    let project = project();
    let ran = project.run(&["build", "--metadata-file", "m.json", "--builder", Daemon::shared().address()]).exits(3);
    // The advice is wrapped at 80 columns.
    let words: Vec<&str> = ran.stderr.split_whitespace().collect();
    assert!(words.join(" ").contains("did you mean `requirements.txt`?"), "{}", ran.stderr);
    let document = project.run(&["metadata"]).exits(0).json();
    assert_eq!(document["schema"], "catamaran/metadata/v1");
    assert_eq!(document["complete"], false);
    let of = |name: &str| {
        let components = document["components"].as_array().expect("components");
        components.iter().find(|one| one["name"] == name).expect("it is there").clone()
    };
    let web = of("web");
    assert_eq!(web["sources"]["dockerfile"], "web/Dockerfile");
    let cell = &web["platforms"][0];
    assert!(cell["size"].as_u64().is_some_and(|bytes| bytes > 0) && cell["seconds"].is_f64(), "{cell}");
    assert!(cell["layers"].as_array().is_some_and(|layers| layers.len() > 1), "{cell}");
    assert_eq!(cell["needs"][0]["component"], "base");
    assert!(of("bad")["platforms"][0]["digest"].is_null());

    // The names and their order are those of `docker buildx bake --metadata-file`, without its own bookkeeping.
    let file: Value =
        serde_json::from_str(&std::fs::read_to_string(project.path("m.json")).expect("a file")).expect("JSON");
    let keys: Vec<&String> = file["web"].as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["containerimage.descriptor", "containerimage.digest", "image.name"]);
    assert_eq!(file["web"]["image.name"], "registry.example.com/x/web:latest");
    assert_eq!(file["web"]["containerimage.digest"], web["digest"]);
    assert_eq!(file["web"]["containerimage.descriptor"]["digest"], web["digest"]);
    assert_eq!(file["web"]["containerimage.descriptor"]["size"], web["size"]);
    assert!(file.get("bad").is_none());
}
