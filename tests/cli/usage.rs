use std::fmt::Write as _;
use std::io::Read as _;
use std::process::Stdio;

use snapbox::{assert_data_eq, str};

use crate::support::project::Project;

#[test]
fn flags_and_commands_that_do_not_exist_are_usage_errors() {
    let project = Project::new();
    for arguments in [
        &["build", "--force"][..],
        &["build", "--force=web"],
        &["build", "--offline"],
        &["build", "--engine", "embedded"],
        &["build", "--jobs", "0"],
        &["build", "--jobs", "many"],
        &["build", "--progress", "loud"],
        &["plan", "--graph", "dot"],
        &["init"],
        &["serve"],
        &["gc"],
        &["export"],
        &["push", "--to"],
        &["push", "--to", "https://registry.example.com"],
        &["export", "x.tar", "--allow-missing"],
    ] {
        let ran = project.run(arguments).exits(2);
        assert!(ran.stdout.is_empty(), "{arguments:?} printed {}", ran.stdout);
        assert!(ran.stderr.starts_with("error: "), "{arguments:?} said {}", ran.stderr);
    }
    assert!(!project.path(".catamaran").exists(), "a usage error leaves nothing behind");
}

#[test]
fn what_is_promised_for_later_is_no_typing_error() {
    let project = Project::new();
    for (arguments, name) in [(&["serve"][..], "serve"), (&["build", "--engine=embedded"], "--engine")] {
        let ran = project.run(arguments).exits(2);
        assert_eq!(ran.stderr, format!("error: `{name}` is not available in this version\n"));
    }
    // A flag is never meant as a name.
    let ran = project.run(&["build", "--forse"]).exits(2);
    assert!(ran.stderr.contains("--forse") && !ran.stderr.contains("as a value"), "{}", ran.stderr);
}

#[test]
fn help_teaches_and_version_is_one_line() {
    let project = Project::new();
    let help = project.run(&["--help"]).exits(0);
    assert!(help.stderr.is_empty());
    for word in ["build", "status", "verify", "push", "export", "130  interrupted", "Examples:", "--plain-http"] {
        assert!(help.stdout.contains(word), "{word} is not in {}", help.stdout);
    }
    for command in ["build", "plan", "check", "status", "verify", "push", "export", "logs"] {
        let ran = project.run(&[command, "--help"]).exits(0);
        assert!(ran.stdout.contains("Usage: catamaran"), "{}", ran.stdout);
    }
    assert_data_eq!(
        project.run(&["--version"]).shown(),
        str![[r"
exit 0
--- stdout
catamaran [..]

"]]
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut config = String::from("platforms = [\"amd64\"]\n");
    let project = Project::new();
    project.write("Dockerfile", "FROM scratch\n");
    // More than a pipe holds, so that the program is still writing when nobody reads any more.
    for number in 0..3000 {
        let _ = writeln!(config, "[component.component-with-a-long-name-{number}]\ndockerfile = \"Dockerfile\"");
    }
    project.write("catamaran.toml", &config);
    let mut child = project.spawn(&["plan"]);
    let mut first = [0; 10];
    let mut stdout = child.stdout.take().expect("a pipe");
    stdout.read_exact(&mut first).expect("the plan begins");
    drop(stdout);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn streams_that_are_closed_change_nothing() {
    let project = Project::with("platforms = [\"amd64\"]\n[component.a]\n", &[("Dockerfile", "FROM scratch\n")]);
    let mut command = project.command(&["status"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(command.status().expect("it runs").code(), Some(4));
}
