use std::time::{Duration, Instant};

use super::{build, free_port, is_free, project};
use crate::support::daemon::Daemon;

const READ: &str = "ARG HUB_URL\nRUN wget -q -O /got $HUB_URL/list\n";

#[test]
fn a_service_that_ends_early_is_the_one_cause_of_all_its_dependents() {
    let project =
        project("port = \"auto\"\ncommand = \"echo no licence found; exit 3\"", &[("one", READ), ("two", READ)]);
    project.write(
        "catamaran.toml",
        &format!(
            "{}[component.apart]\ndockerfile = \"apart.Dockerfile\"\n",
            std::fs::read_to_string(project.path("catamaran.toml")).unwrap()
        ),
    );
    project.write("apart.Dockerfile", "FROM scratch\nCOPY www/list /\n");
    let ran = project.run(&build()).exits(3);
    assert_eq!(ran.stderr.matches("error: ").count(), 1, "{}", ran.stderr);
    for text in [
        "service `hub` is not up: it ended before it was ready: exit code 3",
        "no licence found",
        "logs/hub/service.log",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    let status = project.run(&["status", "--json"]).exits(4).json();
    let state = |component: &str| {
        let cells = status["cells"].as_array().unwrap();
        cells.iter().filter(|cell| cell["component"] == component).map(|cell| cell["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(state("apart"), ["built", "built"], "what does not need it finishes");
    assert_eq!(state("hub"), ["built", "built"]);
    assert_eq!(state("one"), ["missing", "missing"]);
}

#[test]
fn a_service_that_is_not_ready_in_time_fails_its_dependents() {
    let project = project("port = \"auto\"\nready = \"http://hub/nothing\"\ntimeout = \"1s\"", &[("app", READ)]);
    let ran = project.run(&build()).exits(3);
    assert!(ran.stderr.contains("service `hub` is not up: it was not ready within 1 s"), "{}", ran.stderr);
    assert!(ran.stderr.contains("404"), "{}", ran.stderr);
}

#[test]
fn d9_a_service_that_crashes_in_mid_build_fails_the_cell_even_where_the_step_shrugs_it_off() {
    let port = free_port();
    let crash = format!(
        "port = {port}\ncommand = \"httpd -f -p $PORT -h /www & sleep 2; echo out of luck; kill -9 $!; exit 9\""
    );
    for step in [
        "RUN sleep 4; wget -q -O /got http://hub:PORT/list\n",
        "RUN sleep 4; wget -q -O /got http://hub:PORT/list || true\n",
    ] {
        let project = project(&crash, &[("app", &step.replace("PORT", &port.to_string()))]);
        let ran = project.run(&[&build()[..], &["--jobs", "8"]].concat()).exits(3);
        assert!(ran.stderr.contains("service `hub` ended while cells still needed it: exit code 9"), "{}", ran.stderr);
        assert!(ran.stderr.contains("out of luck"), "{}", ran.stderr);
        project.run(&["status"]).exits(4);
    }
}

#[test]
fn a_port_that_somebody_uses_is_told_and_its_answer_is_not_taken_for_the_service() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let project = project(&format!("port = {port}"), &[("app", READ)]);
    let ran = project.run(&build()).exits(3);
    assert!(ran.stderr.contains(&format!("port {port} is taken")), "{}", ran.stderr);
    assert!(ran.stderr.contains("port = \"auto\""), "{}", ran.stderr);
}

#[test]
fn d9_nothing_is_left_running_after_a_kill_or_an_interrupt_and_a_rerun_completes() {
    let port = free_port();
    let ready = format!("port = {port}\nready = \"http://hub:{port}/list\"");
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::INT] {
        let project = project(&ready, &[("app", &format!("RUN sleep 3; wget -q -O /got http://hub:{port}/list\n"))]);
        let mut child = project.spawn(&build());
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "the service comes up");
            assert!(child.try_wait().unwrap().is_none(), "the run goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        child.wait().unwrap();
        let begin = Instant::now();
        while !is_free(port) {
            assert!(begin.elapsed() < Duration::from_secs(20), "the service ends");
            std::thread::sleep(Duration::from_millis(20));
        }
        project.run(&["status"]).exits(4);
        project.run(&build()).exits(0);
    }
    assert!(!Daemon::shared().log().contains("panic"), "the builder is well");
}
