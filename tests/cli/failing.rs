use std::io::{BufRead as _, BufReader};

use rustix::process::{Pid, Signal, kill_process};
use snapbox::{assert_data_eq, str};

use crate::support::daemon::Daemon;
use crate::support::project::{Project, SHELL};

const PLATFORMS: &str = "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n";

fn builder() -> &'static str {
    Daemon::shared().address()
}

#[test]
fn d26_a_failing_step_is_on_the_first_screen() {
    let failing = format!("{SHELL}# Nobody can install this.\nRUN for n in 1 2 3; do echo \"line $n\"; done; exit 7\n");
    let config = format!(
        "{PLATFORMS}[component.good]\ndockerfile = \"good/Dockerfile\"\n[component.bad]\n\
                          dockerfile = \"bad/Dockerfile\"\nplatforms = [\"linux/amd64\"]\n[component.after]\n\
                          dockerfile = \"good/Dockerfile\"\nneeds = [\"bad\"]\nplatforms = [\"linux/amd64\"]\n"
    );
    let project = Project::with_shell(&config, &[("bad/Dockerfile", &failing), ("good/Dockerfile", SHELL)]);
    let ran = project.run(&["build", "--builder", builder(), "--push", "--to", "127.0.0.1:1"]).exits(3);
    assert_data_eq!(
        ran.stdout.clone(),
        str![[r"
       amd64[..]
after  blocked bad/amd64                    -
bad    FAILED  step 3 of 3: RUN for n in ~  -
good   built[..]
e = emulated

2 of 4 cells: 1 failed, 1 blocked. 1 index.                               exit 3
Nothing was pushed.

"]]
    );
    let error = ran.stderr.split("\nerror: ").nth(1).expect("an error");
    assert_data_eq!(
        error.to_owned(),
        str![[r#"
bad/amd64 failed at step 3 of 3: RUN for n in 1 2 3; do echo "line $n"; done; exit 7
  cause   [..]exit code: 7
  where   bad/Dockerfile:6
            4 | RUN ["/bin/busybox", "--install", "-s", "/bin"]
            5 | # Nobody can install this.
          > 6 | RUN for n in 1 2 3; do echo "line $n"; done; exit 7
  output  line 1
          line 2
          line 3
  fix     see all of it with `catamaran logs bad/amd64`, mend it, build again:
          finished cells are kept
  log     .catamaran/logs/bad/linux-amd64.log

"#]]
    );
    let log = std::fs::read_to_string(project.path(".catamaran/logs/bad/linux-amd64.log")).expect("a log");
    assert!(log.contains("line 2") && log.contains("ERROR"), "{log}");
    let shown = project.run(&["logs", "bad/amd64"]).exits(0);
    assert!(shown.stdout.contains("line 2"), "{}", shown.stdout);

    // What failed does not count any more, and what was built does.
    let status = project.run(&["status"]).exits(4);
    assert_data_eq!(
        status.stdout,
        str![[r"
       amd64[..]
after  MISSING waited for bad/amd64 in[..]
bad    MISSING failed in the last run:[..]
good   built[..]
e = emulated

2 of 4 cells. missing: after/amd64, bad/amd64                             exit 4

"]]
    );
    project.run(&["export", "x.tar"]).exits(4);
    for pattern in [&["*/linux/amd64"][..], &["after", "b*/amd64"]] {
        let mut arguments = vec!["export", "part.tar"];
        arguments.extend(pattern.iter().flat_map(|pattern| ["--allow-missing", *pattern]));
        let ran = project.run(&arguments).exits(0);
        assert!(ran.stdout.contains("INCOMPLETE: lacks 2 cells"), "{}", ran.stdout);
    }
    let idle = project.run(&["export", "no.tar", "--allow-missing", "*/amd64", "--allow-missing", "good"]).exits(2);
    assert!(idle.stderr.contains("`--allow-missing good`: none of these cells is missing"), "{}", idle.stderr);
    let document = project.run(&["build", "--json", "--builder", builder()]).exits(3).json();
    let state = |name: &str| {
        let cells = document["cells"].as_array().expect("cells");
        cells.iter().find(|cell| cell["component"] == name).map(|cell| cell["state"].clone())
    };
    assert_eq!(state("bad"), Some("failed".into()));
    assert_eq!(state("after"), Some("blocked".into()));
    assert_eq!(document["errors"][0]["component"], "bad");
    assert_eq!(document["errors"][0]["line"], 6);
    assert!(document["errors"][0]["path"].as_str().is_some_and(|path| path.ends_with("bad/Dockerfile")));
    assert!(document["errors"][0]["help"].as_str().is_some_and(|help| help.contains("catamaran logs bad/amd64")));

    // The cause removed, the same command completes it.
    project.write("bad/Dockerfile", SHELL);
    project.run(&["build", "--builder", builder()]).exits(0);
    let status = project.run(&["status"]).exits(0);
    assert!(status.stdout.ends_with("\n\n4 of 4 cells: 4 built. 3 indexes.\n"), "{}", status.stdout);
    project.run(&["verify"]).exits(0);
    // What names and platforms narrow is called a subset.
    for arguments in [&["good"][..], &["--platform", "amd64"], &["good/arm64"]] {
        let run = |first: &[&str]| project.run(&[first, arguments].concat()).exits(0);
        assert!(run(&["export", "some.tar"]).stdout.contains("A subset, just what was named: "), "{arguments:?}");
        assert_eq!(run(&["export", "some.tar", "--json"]).json()["subset"], true, "{arguments:?}");
        assert!(run(&["verify"]).stdout.starts_with("a subset, "), "{arguments:?}");
        assert_eq!(run(&["verify", "--json"]).json()["subset"], true, "{arguments:?}");
        let bundle = project.run(&["verify", "some.tar"]).exits(0);
        assert!(bundle.stdout.starts_with("a subset, "), "{arguments:?}: {}", bundle.stdout);
    }
    assert_eq!(project.run(&["verify", "--json"]).exits(0).json()["subset"], false);
}

#[test]
fn fail_fast_cancels_the_rest() {
    let config = "platforms = [\"linux/amd64\"]\n[component.bad]\ndockerfile = \"bad/Dockerfile\"\n[component.slow]\n\
                  dockerfile = \"slow/Dockerfile\"\n";
    let slow = format!("{SHELL}RUN sleep 600\n");
    let bad = format!("{SHELL}RUN sleep 1; false\n");
    let project = Project::with_shell(config, &[("bad/Dockerfile", SHELL), ("slow/Dockerfile", SHELL)]);
    project.run(&["build", "--builder", builder()]).exits(0);
    project.write("bad/Dockerfile", &bad);
    project.write("slow/Dockerfile", &slow);
    let document = project.run(&["build", "--json", "--fail-fast", "--builder", builder()]).exits(3).json();
    let states: Vec<&serde_json::Value> =
        document["cells"].as_array().expect("cells").iter().map(|cell| &cell["state"]).collect();
    assert_eq!(states, ["failed", "cancelled"]);
    // What a run did not get to is a hole, not an older image beside newer ones.
    let status = project.run(&["status"]).exits(4);
    assert!(status.stdout.contains("\n0 of 2 cells."), "{}", status.stdout);
    assert!(status.stdout.contains("MISSING cancelled in the last run"), "{}", status.stdout);
}

#[test]
fn an_interrupt_ends_the_run_in_order() {
    let config = "platforms = [\"linux/amd64\"]\n[component.quick]\ndockerfile = \"quick/Dockerfile\"\n\
                  [component.slow]\ndockerfile = \"slow/Dockerfile\"\nneeds = [\"quick\"]\n";
    let slow = format!("{SHELL}RUN echo it sleeps; sleep 600\n");
    let project = Project::with_shell(config, &[("quick/Dockerfile", SHELL), ("slow/Dockerfile", &slow)]);
    for (signal, quick) in [(Signal::INT, "built"), (Signal::TERM, "reused")] {
        let mut child = project.spawn(&["build", "--json", "--progress", "plain", "--builder", builder()]);
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("it sleeps") || !line.contains("| #") || line.contains("RUN") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).expect("text"), 0, "it ended by itself");
        }
        let pid = Pid::from_child(&child);
        kill_process(pid, signal).expect("it lives");
        // The pipe must stay open and be read, or the program would wait for it.
        let rest = std::thread::spawn(move || std::io::read_to_string(stderr));
        let ran = project.ran(&child.wait_with_output().expect("it ends")).exits(130);
        let rest = rest.join().expect("no panic").expect("text");
        assert!(rest.contains("interrupted"), "{rest}");
        let document = ran.json();
        assert_eq!(document["exit"], 130);
        assert_eq!(document["cells"][0]["state"], quick);
        assert_eq!(document["cells"][1]["state"], "cancelled");
    }
    // What was finished before is kept.
    project.run(&["status", "quick"]).exits(0);
}

#[test]
fn a_lost_builder_is_no_failed_step() {
    let slow = format!("{SHELL}RUN echo it sleeps; sleep 600\n");
    let project = Project::with_shell("platforms = [\"linux/amd64\"]\n[component.slow]\n", &[("Dockerfile", &slow)]);
    let mut daemon = Daemon::start();
    let mut child = project.spawn(&["build", "--progress", "plain", "--builder", daemon.address()]);
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("it sleeps") || !line.contains("| #") || line.contains("RUN") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).expect("text"), 0, "it ended by itself");
    }
    daemon.kill();
    let rest = std::thread::spawn(move || std::io::read_to_string(stderr));
    project.ran(&child.wait_with_output().expect("it ends")).exits(8);
    let rest = rest.join().expect("no panic").expect("text");
    assert!(rest.contains("slow/amd64 failed: the builder at"), "{rest}");
}

#[test]
fn two_runs_take_turns_and_the_second_says_for_whom_it_waits() {
    let slow = format!("{SHELL}RUN echo it sleeps; sleep 600\n");
    let project = Project::with_shell("platforms = [\"linux/amd64\"]\n[component.slow]\n", &[("Dockerfile", &slow)]);
    let mut first = project.spawn(&["build", "--progress", "plain", "--builder", builder()]);
    let mut lines = BufReader::new(first.stderr.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("text").contains("it sleeps")));
    let mut second = project.spawn(&["build", "--progress", "plain", "--builder", builder()]);
    let mut waiting = BufReader::new(second.stderr.take().expect("a pipe")).lines();
    let told = waiting.find(|line| line.as_ref().is_ok_and(|line| line.contains("waiting for"))).expect("it says so");
    assert!(told.expect("text").contains(&format!("pid {}", first.id())));
    for child in [&mut second, &mut first] {
        kill_process(Pid::from_child(child), Signal::INT).expect("it lives");
    }
    let drain = std::thread::spawn(move || (lines.count(), waiting.count()));
    assert_eq!(second.wait().expect("it ends").code(), Some(130));
    assert_eq!(first.wait().expect("it ends").code(), Some(130));
    drop(drain.join());
}

#[test]
fn templates_secrets_and_the_state_directory_are_no_part_of_the_image() {
    let template = format!(
        "{SHELL}COPY . /context\nRUN --mount=type=secret,id=key test \"$(cat /run/secrets/key | wc -c)\" \
                            = 11 && cat /run/secrets/key && echo {{{{GREETING}}}} >/greeting && test ! -e /context/.catamaran\n"
    );
    let config = "platforms = [\"linux/amd64\"]\n[vars]\nset = { GREETING = \"hello\" }\n[component.web]\n\
                  dockerfile = \"Dockerfile.tpl\"\nsecrets = { key = { env = \"KEY\" } }\n\
                  foreign = [\"context/rootfs/*\"]\n";
    let project = Project::with_shell(config, &[("Dockerfile.tpl", &template)]);
    let ran = project.run(&["build", "--builder", builder()]).exits(2);
    assert!(ran.stderr.contains("`KEY`, which is not set"), "{}", ran.stderr);
    for _ in 0..2 {
        let mut command = project.command(&["build", "--builder", builder()]);
        command.env("KEY", "sesame-open");
        project.ran(&command.output().expect("it runs")).exits(0);
    }
    let log = std::fs::read_to_string(project.path(".catamaran/logs/web/linux-amd64.log")).expect("a log");
    assert!(!log.contains("sesame-open"), "{log}");
}
