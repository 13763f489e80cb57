//! Template files of a context: what the builder gets, what is noticed, and what stays as it was.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{NOBODY, builder};
use crate::support::project::{Project, SHELL};

const CONFIG: &str = "platforms = [\"linux/amd64\"]\ntemplates = [\"conf/**/*.tpl\"]\n[vars]\nset = { GREETING = \"hello\", PORT = \"80\" }\n\
                      [component.web]\ndockerfile = \"web/Dockerfile\"\ntemplates = [\"extra/start.sh.tpl\"]\n\
                      contexts = { extra = \"extra\" }\n\
                      [component.other]\ndockerfile = \"other/Dockerfile\"\n";

fn project() -> Project {
    let dockerfile = format!(
        "{SHELL}COPY conf /conf\nCOPY --from=extra start.sh /start.sh\n\
         RUN [\"/bin/sh\", \"-c\", \"/start.sh; echo found $(find /conf -type f | sort)\"]\n"
    );
    let project = Project::with_shell(
        CONFIG,
        &[
            ("web/Dockerfile", &dockerfile),
            ("other/Dockerfile", &format!("{SHELL}COPY plain /plain\n")),
            ("plain", "plain"),
            ("conf/app.conf.tpl", "says {{GREETING}} and {{.Other}}\n"),
            ("conf/deep/port.tpl", "{{PORT}}\n"),
            ("conf/deep/port", "stale, and longer than the other\n"),
            ("conf/left/out.tpl", "{{PORT}}\n"),
            ("extra/start.sh.tpl", "#!/bin/sh\necho {{GREETING}} on $(cat /conf/deep/port): $(cat /conf/app.conf)\n"),
            (".dockerignore", "conf/left\nconf/deep/*.tpl\n"),
        ],
    );
    let script = project.path("extra/start.sh.tpl");
    fs::set_permissions(script, Permissions::from_mode(0o755)).expect("ours");
    project
}

fn log(project: &Project) -> String {
    fs::read_to_string(project.path(".catamaran/logs/web/linux-amd64.log")).expect("a log")
}

/// `path content` of every file of the project itself, sorted.
fn sources(project: &Project) -> Vec<(String, Vec<u8>)> {
    let mut waiting = vec![project.root().to_owned()];
    let mut all = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).expect("it is there") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(project.root()).expect("below").display().to_string();
            match path.is_dir() {
                true if name == ".catamaran" || name == "rootfs" => {}
                true => waiting.push(path),
                false => all.push((name, fs::read(path).expect("a file"))),
            }
        }
    }
    all.sort();
    all
}

#[test]
fn the_builder_gets_them_rendered_and_the_sources_stay_as_they_are() {
    let project = project();
    let before = sources(&project);
    project.run(&["build", "--builder", builder()]).exits(0);
    let first = log(&project);
    assert!(first.contains("hello on 80: says hello and {{.Other}}"), "{first}");
    assert!(first.contains("found /conf/app.conf /conf/app.conf.tpl /conf/deep/port\n"), "{first}");
    assert_eq!(sources(&project), before, "nothing is written among the sources");
    project.run(&["build", "--builder", NOBODY]).exits(0);

    // As long as before, so that only its time tells the builder that it is another one.
    project.write("catamaran.toml", &CONFIG.replace("hello", "jello"));
    let why = project.run(&["why"]).exits(0).stdout;
    assert!(why.contains("conf/app.conf") && why.contains("start.sh") && !why.contains("deep/port"), "{why}");
    assert!(!why.contains("other/amd64"), "it copies none of them: {why}");
    project.run(&["build", "--builder", builder()]).exits(0);
    assert!(log(&project).contains("jello on 80: says jello and"), "{}", log(&project));
    project.write("catamaran.toml", CONFIG);
    project.run(&["build", "--builder", builder()]).exits(0);
    project.run(&["build", "--builder", builder(), "--force=web"]).exits(0);
    assert_eq!(project.run(&["why"]).exits(0).stdout, "0 cells would be built, 2 reused.\n");

    // What is rendered may be lost like everything else there.
    fs::remove_dir_all(project.path(".catamaran/rendered")).expect("it was there");
    project.run(&["build", "--builder", NOBODY]).exits(0);
    // A file that no variable is in is a file like any other.
    project.write("conf/deep/port.tpl", "{{PORT}}{{PORT}}\n");
    assert!(project.run(&["why"]).exits(0).stdout.contains("conf/deep/port"));
}

/// Path, times, size and content of everything below `directory`, sorted.
fn untouched(directory: &Path) -> Vec<String> {
    let mut waiting = vec![directory.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = waiting.pop() {
        let found = fs::symlink_metadata(&path).expect("it is there");
        if found.is_dir() {
            waiting.extend(fs::read_dir(&path).expect("it is there").map(|entry| entry.expect("an entry").path()));
        }
        let bytes = if found.is_file() { Some(fs::read(&path).expect("a file")) } else { None };
        all.push(format!(
            "{} {:o} {}.{} {}.{} {bytes:?}",
            path.display(),
            found.mode(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec()
        ));
    }
    all.sort();
    all
}

#[test]
fn questions_write_nothing_below_the_state_directory() {
    let project = project();
    project.write("catamaran.toml", &CONFIG.replace("hello", "good evening"));
    project.run(&["build", "--builder", builder()]).exits(0);
    // What a build would have to render, read and hash.
    project.write("catamaran.toml", &CONFIG.replace("hello", "good morning"));
    project.write("plain", "other");
    project.write("scratch/.keep", "");
    let state = project.path(".catamaran");
    let before = untouched(&state);
    for arguments in [
        &["why"][..],
        &["why", "web", "--json"],
        &["why", "--force"],
        &["plan"],
        &["plan", "--json"],
        &["plan", "--vars"],
        &["plan", "--graph", "dot"],
        &["status"],
        &["status", "--json"],
        &["metadata"],
        &["logs", "web"],
    ] {
        let mut command = project.command(arguments);
        command.env("TMPDIR", project.path("scratch"));
        let ran = project.ran(&command.output().expect("it runs"));
        assert!([0, 4].contains(&ran.code), "{arguments:?}: {}", ran.stderr);
        assert!(arguments != ["why"] || ran.stdout.contains("conf/app.conf"), "{}", ran.stdout);
        assert_eq!(untouched(&state), before, "{arguments:?}");
    }
    assert_eq!(fs::read_dir(project.path("scratch")).expect("it is there").count(), 1, "what was rendered is gone");
    fs::remove_dir_all(&state).expect("ours");
    project.run(&["why"]).exits(0);
    assert!(!state.exists());
}

#[test]
fn their_variables_are_shown_and_missing_ones_told_all_at_once() {
    let project = project();
    let vars = project.run(&["plan", "--vars"]).exits(0).stdout;
    let line = vars.lines().find(|line| line.starts_with("PORT")).expect("it is there");
    assert!(line.contains("other, web"), "{vars}");
    let explained = project.run(&["plan", "--explain", "web"]).exits(0).stdout;
    assert!(explained.contains("extra/start.sh.tpl") && explained.contains("conf/deep/port.tpl"), "{explained}");

    project.write("conf/app.conf.tpl", "a\n{{GREETNG}}\n{{NOBODY}}\n");
    project.write("extra/start.sh.tpl", "{{NOWHERE}}\n");
    let refused = project.run(&["plan"]).exits(2).stderr;
    for place in ["conf/app.conf.tpl:2", "conf/app.conf.tpl:3", "extra/start.sh.tpl:1", "did you mean `GREETING`?"] {
        assert_eq!(refused.matches(place).count(), 1, "{place}: {refused}");
    }
    let wrong = CONFIG.replace("conf/**/*.tpl", "conf/*.conf\", \"none/*.tpl\", \"conf/.dockerignore.tpl");
    project.write("catamaran.toml", &wrong);
    let refused = project.run(&["plan"]).exits(2).stderr;
    for message in [
        "`conf/*.conf` lists no templates",
        "no file matches the template `none/*.tpl`",
        "ignore files are read as they",
    ] {
        assert!(refused.contains(message), "{message}: {refused}");
    }
}

/// What fails in a rendered Dockerfile is mended in its template, so that is the file that is named.
#[test]
fn a_failing_line_is_shown_in_the_template_that_has_it() {
    let config = "platforms = [\"linux/amd64\"]\n[vars]\nset = { NAME = \"nothere\", TWO = \"one\\n# two\" }\n\
                  [component.web]\ndockerfile = \"web/Dockerfile.tpl\"\n";
    let project = Project::with(config, &[("web/Dockerfile.tpl", "FROM scratch\nCOPY {{NAME}} /x\n")]);
    let told = project.run(&["build", "--builder", builder()]).exits(3).stderr;
    assert!(told.contains("where   web/Dockerfile.tpl:2\n") && told.contains("> 2 | COPY nothere /x"), "{told}");
    assert!(!told.contains("rendered/"), "{told}");
    // A value of two lines moves what is behind it: then the line is one of the rendered file.
    project.write("web/Dockerfile.tpl", "FROM scratch\n# {{TWO}}\nCOPY {{NAME}} /x\n");
    let told = project.run(&["build", "--builder", builder()]).exits(3).stderr;
    assert!(told.contains("Dockerfile:4\n") && !told.contains(".tpl:"), "{told}");
}
