use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::BufReader;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::SystemTime;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{NOBODY, builder};
use crate::support::project::{Project, Ran, SHELL};

const TWO: &str = "platforms = [\"linux/amd64\"]\n[component.base]\ndockerfile = \"base/Dockerfile\"\n\
                   [component.web]\ndockerfile = \"web/Dockerfile\"\ncontexts = { base = \"component:base\" }\n";

fn two() -> Project {
    Project::with_shell(
        TWO,
        &[("base/Dockerfile", SHELL), ("web/Dockerfile", "FROM base\nCOPY web/page /\n"), ("web/page", "hello")],
    )
}

/// `base built, web reused`
fn states(ran: &Ran) -> String {
    let cells = ran.json()["cells"].as_array().expect("a list").clone();
    let word = |cell: &Value, key: &str| cell[key].as_str().unwrap_or_default().to_owned();
    cells
        .iter()
        .map(|cell| format!("{} {}", word(cell, "component"), word(cell, "state")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn built(project: &Project, more: &[&str]) -> String {
    let arguments = [&["build", "--json", "--builder", builder()], more].concat();
    states(&project.run(&arguments).exits(0))
}

#[test]
fn d25_what_is_unchanged_is_reused_and_no_builder_is_asked() {
    let project = two();
    let first = project.run(&["build", "--json", "--builder", builder()]).exits(0).json();
    let again = project.run(&["build", "--json", "--builder", NOBODY, "--progress", "plain"]).exits(0);
    assert_eq!(states(&again), "base reused, web reused");
    assert!(again.stderr.contains("nothing to do: 2 reused"), "{}", again.stderr);
    let again = again.json();
    for at in 0..2 {
        assert_eq!(again["cells"][at]["digest"], first["cells"][at]["digest"]);
        assert_eq!(again["cells"][at]["builder"], builder());
        assert_eq!(again["cells"][at]["log"], first["cells"][at]["log"]);
        assert!(again["cells"][at]["seconds"].is_number());
    }
    assert_eq!(again["indexes"], first["indexes"]);
    assert_eq!(again["complete"], true);
    // A log tells of the build, not of the run that had nothing to do.
    let log = fs::read_to_string(project.path(".catamaran/logs/web/linux-amd64.log")).expect("a log");
    assert!(log.contains("COPY web/page"), "{log}");
    // Times of files are no inputs: a fresh clone has others.
    let now = SystemTime::now();
    fs::File::options().write(true).open(project.path("web/page")).expect("a file").set_modified(now).expect("ours");
    assert_eq!(states(&project.run(&["build", "--json", "--builder", NOBODY]).exits(0)), "base reused, web reused");
    project.write("web/page", "other");
    project.run(&["build", "--builder", NOBODY]).exits(8);
    assert_eq!(built(&project, &[]), "base reused, web built");
}

#[test]
fn d24_force_builds_what_it_names_and_what_follows_from_it() {
    let project = two();
    let command = |more: &[&str]| {
        let arguments = [&["build", "--json", "--builder", builder()], more].concat();
        let mut command = project.command(&arguments);
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        project.ran(&command.output().expect("it runs"))
    };
    command(&[]).exits(0);
    // Made anew to the same image, so that what is made from it stays.
    assert_eq!(states(&command(&["--force=base"]).exits(0)), "base built, web reused");
    assert_eq!(states(&command(&["--force=w*/amd64"]).exits(0)), "base reused, web built");
    assert_eq!(states(&command(&["--force"]).exits(0)), "base built, web built");
    assert_eq!(states(&command(&["web", "--force"]).exits(0)), "base reused, web built");
    let refused = command(&["base", "--force=web"]).exits(2);
    assert!(refused.stderr.contains("`--force=web` means nothing that this command would build"), "{}", refused.stderr);
    command(&["--force=nobody"]).exits(2);
    let record = fs::read_to_string(project.path(".catamaran/cells/web/linux-amd64.json")).expect("a record");
    assert!(record.contains("\"forced\":true"), "{record}");
}

#[test]
fn what_is_not_whole_in_the_layout_is_built_again() {
    let project = two();
    built(&project, &[]);
    let first = project.run(&["build", "--json", "--builder", NOBODY]).exits(0).json();
    let digest = first["cells"][1]["digest"].as_str().expect("a digest").replace("sha256:", "");
    fs::remove_file(project.path(&format!(".catamaran/layout/blobs/sha256/{digest}"))).expect("it was there");
    assert!(project.run(&["why"]).exits(0).stdout.contains("web/amd64   build     its image is not whole"));
    assert_eq!(built(&project, &[]), "base reused, web built");
}

#[test]
fn what_is_damaged_in_the_layout_is_built_again() {
    let project = two();
    let first = project.run(&["build", "--json", "--builder", builder()]).exits(0).json();
    let blobs = project.path(".catamaran/layout/blobs/sha256");
    let all: BTreeSet<_> =
        fs::read_dir(&blobs).expect("a folder").map(|entry| entry.expect("a name").file_name()).collect();
    for name in &all {
        let path = blobs.join(name);
        let mut bytes = fs::read(&path).expect("it is there");
        let last = bytes.len() - 1;
        bytes[last] ^= 0x10;
        fs::write(&path, bytes).expect("ours");
        let again = project.run(&["build", "--json", "--builder", builder()]).exits(0);
        assert!(again.stderr.contains("was corrupt and is made again"), "{}", again.stderr);
        assert_eq!(again.json()["indexes"].as_array().map(Vec::len), first["indexes"].as_array().map(Vec::len));
        project.run(&["verify"]).exits(0);
    }
    // Nothing but that is done again.
    assert_eq!(states(&project.run(&["build", "--json", "--builder", NOBODY]).exits(0)), "base reused, web reused");
}

#[test]
fn only_what_the_builder_reads_is_an_input() {
    let dockerfile =
        format!("{SHELL}COPY src/*.txt current/page /\nRUN --mount=type=bind,source=tool,target=/t cat /t/x\n");
    let project = Project::with_shell(
        "platforms = [\"linux/amd64\"]\n[component.web]\n",
        &[
            ("Dockerfile", &dockerfile),
            (".dockerignore", "**/*.tmp\nsrc/no.txt\n"),
            ("src/a.txt", "a"),
            ("src/b.c", "b"),
        ],
    );
    project.write("v1/page", "one");
    project.write("v2/page", "two");
    project.write("tool/x", "x");
    symlink("v1", project.path("current")).expect("a link");
    built(&project, &[]);
    // Nothing of this is asked for by the Dockerfile.
    for path in ["readme", "src/c.c", "src/no.txt", "tool/scratch.tmp", "v2/page", "rootfs/arm64/x"] {
        project.write(path, "new");
    }
    let mut ignore = fs::read_to_string(project.path(".dockerignore")).expect("text");
    ignore.push_str("# a comment, and what hides nothing that counts\nreadme\n");
    project.write(".dockerignore", &ignore);
    project.run(&["build", "--builder", NOBODY]).exits(0);
    let edits: [&dyn Fn(); 8] = [
        &|| project.write("src/d.txt", "d"),
        &|| fs::remove_file(project.path("src/a.txt")).expect("it was there"),
        &|| fs::rename(project.path("src/d.txt"), project.path("src/e.txt")).expect("it was there"),
        &|| project.write("v1/page", "eno"),
        &|| {
            fs::remove_file(project.path("current")).expect("it was there");
            symlink("v2", project.path("current")).expect("a link");
        },
        &|| fs::set_permissions(project.path("tool/x"), fs::Permissions::from_mode(0o700)).expect("ours"),
        &|| project.write(".dockerignore", "**/*.tmp\n"),
        &|| project.write("Dockerfile", &format!("{dockerfile}ENV A=b\n")),
    ];
    for (at, edit) in edits.iter().enumerate() {
        edit();
        project.run(&["build", "--builder", NOBODY]).exits(8);
        assert_eq!(built(&project, &[]), "web built", "edit {at}");
        project.run(&["build", "--builder", NOBODY]).exits(0);
    }
}

/// A line of the step's own output, not of its heading.
fn only_builds(project: &Project, stale: &[&str], what: &str) {
    let why = project.run(&["why", "--json"]).exits(0).json();
    let cells = why["cells"].as_array().expect("a list");
    let built: BTreeSet<&str> =
        cells.iter().filter(|cell| cell["verdict"] != "reused").filter_map(|cell| cell["component"].as_str()).collect();
    assert_eq!(built, stale.iter().copied().collect(), "{what}: {why:#}");
}

#[test]
fn an_ignore_file_counts_by_what_it_lets_through() {
    let mut config = "platforms = [\"linux/amd64\"]\ncontext = \"files\"\n".to_owned();
    for name in ["base", "none", "folder", "all", "text"] {
        let _ = writeln!(config, "[component.{name}]\ndockerfile = \"{name}/Dockerfile\"");
    }
    config = config.replace("none/Dockerfile\"\n", "none/Dockerfile\"\ncontexts = { base = \"component:base\" }\n");
    let project = Project::with(
        &config,
        &[
            ("base/Dockerfile", "FROM scratch\nCOPY page /\n"),
            ("none/Dockerfile", "FROM base\nENV A=b\n"),
            ("folder/Dockerfile", "FROM scratch\nCOPY folder /folder\n"),
            ("all/Dockerfile", "FROM scratch\nCOPY . /\n"),
            // Read as a file, whatever is in it.
            ("text/Dockerfile", "FROM scratch\nCOPY .dockerignore /\n"),
            ("files/page", "hello"),
            ("files/folder/one", "1"),
            ("files/folder/two", "2"),
            ("files/.dockerignore", ""),
        ],
    );
    built(&project, &[]);
    let ignore = |text: &str| project.write("files/.dockerignore", text);
    for text in ["# a comment\n", "\n \n", "# another\n/nothing/of/this\n", "# no more\n"] {
        ignore(text);
        only_builds(&project, &["all", "text"], text);
        built(&project, &[]);
    }
    ignore("folder/two\n");
    only_builds(&project, &["all", "folder", "text"], "a pattern that hits");
    built(&project, &[]);
    ignore("folder/t*\n.dockerignore\n!.dockerignore\n");
    only_builds(&project, &["all", "text"], "the same in other words");
    built(&project, &[]);
    fs::remove_file(project.path("files/.dockerignore")).expect("it is there");
    only_builds(&project, &["all", "folder", "text"], "no ignore file any more");
    project.run(&["build", "base", "none", "folder", "--builder", builder()]).exits(0);
    ignore("# back again\n");
    let names = ["base", "none", "folder"];
    let ran = project.run(&[&["build", "--json", "--builder", NOBODY], &names[..]].concat()).exits(0);
    assert!(!states(&ran).contains("built"), "{}", states(&ran));
}

fn wait_for_step(stderr: &mut impl std::io::BufRead) {
    let mut line = String::new();
    while !line.contains("it sleeps") || !line.contains("| #") || line.contains("RUN") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).expect("text"), 0, "it ended by itself");
    }
}

#[test]
fn a_file_that_changes_while_it_is_built_is_no_known_input() {
    let dockerfile = format!("{SHELL}COPY page /\nRUN echo it sleeps; sleep 2\n");
    let config = "platforms = [\"linux/amd64\"]\n[component.web]\n";
    let project = Project::with_shell(config, &[("Dockerfile", &dockerfile), ("page", "one")]);
    let mut child = project.spawn(&["build", "--progress", "plain", "--builder", builder()]);
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    wait_for_step(&mut stderr);
    project.write("page", "two");
    let rest = std::thread::spawn(move || std::io::read_to_string(stderr));
    project.ran(&child.wait_with_output().expect("it ends")).exits(0);
    rest.join().expect("no panic").expect("text");
    // What is in the image is `one`: whoever looked at the file only afterwards would reuse it for ever.
    let why = project.run(&["why"]).exits(0);
    assert!(why.stdout.contains("files of `page` changed while it was built"), "{}", why.stdout);
    assert_eq!(built(&project, &[]), "web built");
    project.run(&["build", "--builder", NOBODY]).exits(0);
}

/// An image of sources as they never were is no release, and what is made from it is none either.
#[test]
fn what_changed_while_it_was_built_is_not_published() {
    let base = format!("{SHELL}COPY page /\nRUN echo it sleeps, and is pushed; sleep 2\n");
    let files = [("base/Dockerfile", base.as_str()), ("web/Dockerfile", "FROM base\nENV A=one\n"), ("page", "one")];
    let project = Project::with_shell(TWO, &files);
    let to = ["--to", "127.0.0.1:1/x"];
    let build = ["build", "--progress", "plain", "--push", "--export", "x.tar", "--builder", builder()];
    let mut child = project.spawn(&[&build[..], &to].concat());
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    wait_for_step(&mut stderr);
    project.write("page", "two");
    let rest = std::thread::spawn(move || std::io::read_to_string(stderr));
    // Nobody listens at the registry: who asks it for anything ends with 6.
    let ran = project.ran(&child.wait_with_output().expect("it ends")).exits(4);
    let told = rest.join().expect("no panic").expect("text");
    assert!(told.contains("what base/amd64, web/amd64 holds is not known"), "{told}");
    assert!(told.contains("files of `page` changed while it was built"), "{told}");
    assert!(ran.stdout.contains("Nothing was pushed.") && !project.path("x.tar").exists(), "{}", ran.stdout);
    project.run(&["export", "x.tar"]).exits(4);
    assert!(!project.path("x.tar").exists());
    for names in [&[][..], &["web"]] {
        let push = [&["push"][..], names, &to].concat();
        let told = project.run(&push).exits(4).stderr;
        assert!(told.contains("web/amd64") && told.contains("page` changed while"), "{told}");
    }
    project.run(&["build", "--builder", builder()]).exits(0);
    project.run(&["export", "x.tar"]).exits(0);
}

/// Each image is one of sources as they were, and both together are a release that never was.
#[test]
fn images_from_before_and_after_a_change_are_not_published_together() {
    let config = "platforms = [\"linux/amd64\"]\n[component.one]\ncontext = \".\"\ndockerfile = \"Dockerfile\"\n[component.two]\ncontext = \".\"\ndockerfile = \"Dockerfile\"\n";
    let dockerfile = format!("{SHELL}COPY page /\n");
    let project = Project::with_shell(config, &[("Dockerfile", &dockerfile), ("page", "one")]);
    project.run(&["build", "--builder", builder()]).exits(0);
    project.run(&["export", "whole.tar"]).exits(0);
    let record = project.path(".catamaran/cells/one/linux-amd64.json");
    let before = fs::read(&record).expect("a record");
    project.write("page", "two");
    project.run(&["build", "--builder", builder()]).exits(0);
    // As if the change had come between the two cells of one run.
    fs::write(&record, before).expect("written");
    let told = project.run(&["export", "mixed.tar"]).exits(4).stderr;
    assert!(told.contains("`page` changed between this and"), "{told}");
    assert!(!project.path("mixed.tar").exists());
    project.run(&["build", "--builder", builder()]).exits(0);
    project.run(&["export", "mixed.tar"]).exits(0);
}

#[test]
fn a_dockerfile_that_changes_before_its_turn_is_no_known_input() {
    let base = format!("{SHELL}RUN echo it sleeps; sleep 2\n");
    let files = [("base/Dockerfile", base.as_str()), ("web/Dockerfile", "FROM base\nENV A=one\n")];
    let project = Project::with_shell(TWO, &files);
    let mut child = project.spawn(&["build", "--progress", "plain", "--builder", builder()]);
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    wait_for_step(&mut stderr);
    project.write("web/Dockerfile", "FROM base\nENV A=two\n");
    let rest = std::thread::spawn(move || std::io::read_to_string(stderr));
    project.ran(&child.wait_with_output().expect("it ends")).exits(0);
    rest.join().expect("no panic").expect("text");
    let why = project.run(&["why"]).exits(0);
    assert!(why.stdout.contains("web/Dockerfile` changed before it was built"), "{}", why.stdout);
    // The image has `two`, and the run had looked at `one`.
    project.write("web/Dockerfile", "FROM base\nENV A=one\n");
    assert_eq!(built(&project, &[]), "base reused, web built");
}

#[test]
fn what_was_made_from_an_older_image_is_a_hole() {
    let project = two();
    built(&project, &[]);
    // The same image again changes nothing.
    built(&project, &["base"]);
    project.run(&["status"]).exits(0);
    project.write("base/Dockerfile", &format!("{SHELL}ENV A=b\n"));
    assert_eq!(built(&project, &["base"]), "base built");
    let status = project.run(&["status"]).exits(4);
    assert!(status.stdout.contains("was built anew"), "{}", status.stdout);
    assert_eq!(built(&project, &[]), "base reused, web built");
    project.run(&["status"]).exits(0);
}

#[test]
fn a_run_that_is_stopped_leaves_holes_not_a_mix() {
    let project = two();
    built(&project, &[]);
    project.write("base/Dockerfile", &format!("{SHELL}RUN echo it sleeps; sleep 600\n"));
    let mut child = project.spawn(&["build", "--progress", "plain", "--builder", builder()]);
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    wait_for_step(&mut stderr);
    // From here on `web` may be one that the new `base` does not fit, whatever happens to this run.
    let status = project.run(&["status"]).exits(4);
    assert!(status.stdout.contains("0 of 2 cells"), "{}", status.stdout);
    kill_process(Pid::from_child(&child), Signal::INT).expect("it lives");
    let rest = std::thread::spawn(move || std::io::read_to_string(stderr));
    project.ran(&child.wait_with_output().expect("it ends")).exits(130);
    rest.join().expect("no panic").expect("text");
    project.run(&["status"]).exits(4);
    project.write("base/Dockerfile", SHELL);
    assert_eq!(built(&project, &[]), "base built, web built");
}

#[test]
fn secrets_count_by_their_names_alone() {
    let dockerfile = format!("{SHELL}RUN --mount=type=secret,id=key cat /run/secrets/key >/key\n");
    let config = "platforms = [\"linux/amd64\"]\n[component.web]\nsecrets = { key = { file = \"key\" } }\n";
    let project = Project::with_shell(config, &[("Dockerfile", &dockerfile), ("key", "one")]);
    built(&project, &[]);
    project.write("key", "two");
    project.run(&["build", "--builder", NOBODY]).exits(0);
    fs::remove_file(project.path("key")).expect("it was there");
    project.run(&["build", "--builder", NOBODY]).exits(0);
    let record = fs::read_to_string(project.path(".catamaran/cells/web/linux-amd64.json")).expect("a record");
    assert!(record.contains("\"kind\":\"secret\",\"name\":\"key\""), "{record}");
}
