//! `check`: every finding in one run, each made for real.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::project::{PROGRAM, Project, Ran, SHELL};
use crate::support::registry::{Make, Registry, Setup};
use crate::support::scripted::{Act, Login, Scripted};

const NOBODY: [&str; 2] = ["--builder", "unix:///nonexistent/buildkitd.sock"];

/// The findings of this verdict about this subject, as `text | fix | cells`.
fn told(document: &Value, verdict: &str, subject: &str) -> Vec<String> {
    let items = document["items"].as_array().expect("items");
    let ours = items.iter().filter(|item| item["verdict"] == verdict && item["subject"] == subject);
    let line = |item: &Value| {
        let cells = item["cells"].as_array().expect("cells").iter().filter_map(Value::as_str).collect::<Vec<_>>();
        let fix = item["fix"].as_str().unwrap_or_default();
        format!("{} | {fix} | {}", item["text"].as_str().unwrap_or_default(), cells.join(" "))
    };
    ours.map(line).collect()
}

#[track_caller]
fn says(document: &Value, verdict: &str, subject: &str, parts: &[&str]) {
    let found = told(document, verdict, subject);
    let fits = |text: &String| parts.iter().all(|part| text.contains(part));
    assert!(found.iter().any(fits), "no {verdict} of {subject} with {parts:?} in\n{document:#}");
}

fn json(ran: Ran, code: i32) -> Value {
    let document = ran.exits(code).json();
    assert_eq!((&document["schema"], &document["exit"]), (&"catamaran/check/v1".into(), &code.into()));
    document
}

#[test]
fn everything_is_told_at_once() {
    let open = Registry::start(Make::Debian, &Setup::default());
    let closed = Registry::start(Make::Debian, &Setup { password: true, ..Setup::default() });
    let secret = Registry::start(Make::Debian, &Setup { tls: true, ..Setup::default() });
    let config = format!(
        "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[component.api]\ndockerfile = \"api/Dockerfile\"\n\
         [component.web]\ndockerfile = \"web/Dockerfile\"\n[external.proxy]\nimage = \"{}/upstream/proxy:1\"\n",
        open.address
    );
    let api = "FROM scratch AS unused\nCOPY nothing /\nFROM scratch\nCOPY main.go kept/ /\nCOPY go.mood /\n";
    let web = format!("FROM {}/no/base:1\nCOPY web/a /\n", open.address);
    let files = [
        ("api/Dockerfile", api),
        ("api/Dockerfile.dockerignore", "main.go\nkept\n!kept/x\n"),
        ("main.go", ""),
        ("go.mod", ""),
        ("kept/x", ""),
        ("web/Dockerfile", &web),
        ("web/a", ""),
        ("web/A", ""),
    ];
    let project = Project::with(&config, &files);
    let mut command = project.command(&["check", "--json"]);
    command.args(NOBODY);
    for registry in [&closed, &secret] {
        command.args(["--to", &registry.reference("fleet")]);
    }
    command.args(["--to", "127.0.0.1:1/fleet"]);
    let document = json(project.ran(&command.output().expect("it runs")), 8);
    let both = |name: &str| format!("{name}/linux/amd64 {name}/linux/arm64");
    says(&document, "fail", "builder", &["no builder answers", &both("api"), "web/linux/arm64"]);
    says(&document, "fail", "api", &["Dockerfile:4: `main.go` is there", "`!main.go`", &both("api")]);
    says(&document, "fail", "api", &["Dockerfile:5: there is no `go.mood`", "did you mean `go.mod`?", &both("api")]);
    assert_eq!(told(&document, "fail", "api").len(), 2, "{document:#}");
    says(&document, "note", "names", &["`web/A` and `web/a` in the context differ only in case", &both("web")]);
    says(&document, "fail", "bases", &["no/base:1", &both("web")]);
    says(&document, "fail", "bases", &["upstream/proxy:1", &both("proxy")]);
    says(&document, "fail", &closed.address, &["login", &both("api")]);
    says(&document, "fail", &secret.address, &["--ca FILE", &both("web")]);
    says(&document, "fail", "127.0.0.1:1", &[&both("proxy")]);
    for item in document["items"].as_array().expect("items") {
        let told = item["verdict"] == "ok" || item["verdict"] == "note" || item["fix"].is_string();
        assert!(told, "a finding without a fix: {item:#}");
    }
    // The cause first, then what the reader does: the same for people.
    let text = project.run(&["check", NOBODY[0], NOBODY[1], "--to", &closed.reference("fleet")]).exits(8).stdout;
    assert!(text.contains("FAIL  api") && text.contains("cells: api/amd64, api/arm64\n"), "{text}");
    assert!(text.contains("fix: did you mean `go.mod`?") && text.ends_with("Nothing was built.  exit 8\n"), "{text}");
}

#[test]
fn what_is_well_is_told_too_and_nothing_is_left_behind() {
    let registry = Registry::start(Make::Debian, &Setup::default());
    let config = "name = \"demo\"\nplatforms = [\"linux/amd64\"]\n[component.web]\n";
    let project = Project::with_shell(config, &[("Dockerfile", SHELL)]);
    let to = registry.reference("fleet");
    let check = ["check", "--json", "--builder", Daemon::shared().address(), "--to", &to];
    let document = json(project.run(&check), 0);
    says(&document, "ok", "builder", &["buildkit", "takes amd64"]);
    says(&document, "ok", "amd64", &["native, 1 cell"]);
    says(&document, "ok", &registry.address, &["takes pushes to 1 repository", "web/linux/amd64"]);
    assert_eq!(told(&document, "note", &registry.address), Vec::<String>::new());
    project.run(&["build", "--builder", Daemon::shared().address(), "--push", "--to", &to]).exits(0);
    says(&json(project.run(&check), 0), "note", &registry.address, &["a push would move 1 tag", "fleet/web:latest"]);
}

#[test]
fn secrets_that_have_no_value_are_told_with_their_cells() {
    let config = "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[component.web]\n\
        secrets = { token = { env = \"NOBODY_SETS_THIS\" }, key = { file = \"no-such-key\" } }\n";
    let dockerfile = "FROM scratch\nCOPY Dockerfile /\n";
    let project = Project::with(config, &[("Dockerfile", dockerfile)]);
    let document = json(project.run(&["check", "--json", "--builder", Daemon::shared().address()]), 5);
    let both = "web/linux/amd64 web/linux/arm64";
    says(&document, "fail", "secrets", &["NOBODY_SETS_THIS of secret `token` is not set", both]);
    says(&document, "fail", "secrets", &["no-such-key", "secret `key`", both]);
}

#[test]
fn what_steps_take_and_nobody_gives_is_told_wherever_the_dockerfile_is() {
    let config = "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n\
        [component.copies]\ncontext = \"ctx\"\ndockerfile-inline = \"FROM scratch\\nCOPY main.go /\\nCOPY missing.txt /\"\n\
        [component.mounts]\ncontext = \"ctx\"\ndockerfile = \"mounts\"\n\
        [component.wants]\ncontext = \"ctx\"\ndockerfile = \"wants\"\n\
        [component.has]\ncontext = \"ctx\"\ndockerfile = \"wants\"\nssh = [\"default\"]\n\
        secrets = { token = { file = \"value\" }, key = { file = \"value\" } }\n";
    let mounts = "FROM scratch\nRUN --mount=type=bind,source=sub,target=/m [\"/x\"]\n\
        RUN --mount=source=gone,target=/m --mount=type=bind,from=copies,source=any,target=/n [\"/x\"]\n\
        RUN --mount=target=/all --mount=type=bind,source=there,target=/m [\"/x\"]\n";
    let wants = "FROM scratch\nRUN --mount=type=secret,id=token,required=true [\"/x\"]\n\
        RUN --mount=type=secret,target=/run/key,required --mount=type=secret,id=other [\"/x\"]\n\
        RUN --mount=type=ssh,required=true [\"/x\"]\n";
    let files = [
        ("ctx/.dockerignore", "main.go\nsub\n"),
        ("ctx/main.go", ""),
        ("ctx/sub/s", ""),
        ("ctx/there/s", ""),
        ("mounts", mounts),
        ("wants", wants),
        ("value", "1"),
    ];
    let project = Project::with(config, &files);
    let check = |agent: Option<&str>| {
        let mut command = project.command(&["check", "--json"]);
        command.args(["--builder", Daemon::shared().address()]).env_remove("SSH_AUTH_SOCK");
        command.envs(agent.map(|agent| ("SSH_AUTH_SOCK", agent)));
        json(project.ran(&command.output().expect("it runs")), 5)
    };
    let document = check(None);
    let both = |name: &str| format!("{name}/linux/amd64 {name}/linux/arm64");
    let inline = "dockerfile-inline:2: `main.go` is there";
    says(&document, "fail", "copies", &[inline, "`!main.go`", &both("copies")]);
    says(&document, "fail", "copies", &["dockerfile-inline:3: there is no `missing.txt`", "look at the path"]);
    says(&document, "fail", "mounts", &["mounts:2: `sub` is there", "`!sub`", &both("mounts")]);
    says(&document, "fail", "mounts", &["mounts:3: there is no `gone`"]);
    assert_eq!(told(&document, "fail", "mounts").len(), 2, "{document:#}");
    says(&document, "fail", "wants", &["wants:2: the step requires the secret `token`", "secrets = ", &both("wants")]);
    says(&document, "fail", "wants", &["wants:3: the step requires the secret `key`"]);
    says(&document, "fail", "wants", &["wants:4: the step requires the ssh agent `default`", "ssh = [\"default\"]"]);
    assert_eq!(told(&document, "fail", "wants").len(), 3, "{document:#}");
    assert_eq!(told(&document, "fail", "has"), Vec::<String>::new());
    says(&document, "fail", "ssh", &["SSH_AUTH_SOCK names none", "ssh-agent", &both("has")]);
    says(&check(Some("/nonexistent/agent")), "fail", "ssh", &["there is none at `/nonexistent/agent`"]);
    let there = project.path("value").display().to_string();
    assert_eq!(told(&check(Some(&there)), "fail", "ssh"), Vec::<String>::new());
}

#[test]
fn a_port_and_a_limit_of_this_machine_are_looked_at() {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let config = format!(
        "name = \"demo\"\nplatforms = [\"linux/amd64\"]\n[component.repo]\n[component.web]\nneeds = [\"repo\"]\n\
         [service.repo]\nport = {port}\n"
    );
    let project = Project::with(&config, &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")]);
    // No builder is named, so that one of this machine would be started; there is none to start.
    let run = || {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -n 200; exec \"$0\" check --json", PROGRAM]).current_dir(project.root());
        command.env_remove("BUILDKIT_HOST").env("PATH", "/nonexistent").env("XDG_CACHE_HOME", project.root());
        command.env("DOCKER_CONFIG", "/nonexistent");
        json(project.ran(&command.output().expect("it runs")), 8)
    };
    let document = run();
    says(
        &document,
        "fail",
        "repo",
        &[&format!("port {port} of service `repo` is taken"), "\"auto\"", "web/linux/amd64"],
    );
    says(&document, "warn", "files", &["only 200 files", "nofile"]);
    drop(listener);
    assert_eq!(told(&run(), "fail", "repo"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_and_a_refused_push_are_told() {
    let registry = Scripted::start(Login::None).await;
    registry.always("GET", "/v2/", Act::Header("date", "Tue, 24 Nov 2020 08:00:00 GMT".to_owned()));
    registry.always("POST", "/v2/fleet/web/", Act::Answer(403, Vec::new(), Vec::new()));
    let config = "name = \"demo\"\nplatforms = [\"linux/amd64\"]\n[component.web]\n[component.api]\n";
    let copy = "FROM scratch\nCOPY Dockerfile /\n";
    let project = Project::with(config, &[("Dockerfile", copy)]);
    let to = format!("{}/fleet", registry.address);
    let builder = Daemon::shared().address();
    let ran = tokio::task::spawn_blocking(move || project.run(&["check", "--json", "--builder", builder, "--to", &to]));
    let document = json(ran.await.expect("it ran"), 5);
    says(&document, "warn", &registry.address, &["ahead of the registry's", "timedatectl"]);
    says(&document, "fail", &registry.address, &["denies to begin an upload to fleet/web", "web/linux/amd64"]);
    says(&document, "ok", &registry.address, &["takes pushes to 1 repository", "api/linux/amd64"]);
    assert_eq!(registry.count("DELETE", "/blobs/uploads/"), 1, "the upload is ended");
}

/// Longer than anything here may take by far. Not a measure of speed: whoever takes as long hangs.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn whoever_accepts_and_never_answers_is_named_and_nothing_hangs() {
    // Nobody ever takes these connections; the system accepts them all the same.
    let port = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let (upstream, target, tokens) = (port(), port(), port());
    let service = TcpListener::bind("0.0.0.0:0").expect("a port");
    let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
    let registry = Scripted::start(Login::Token).await;
    registry.tokens_from(&address(&tokens));
    let config = format!(
        "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[component.repo]\n\
         [component.web]\ndockerfile = \"web.Dockerfile\"\nneeds = [\"repo\"]\n[service.repo]\nport = {}\n\
         [external.proxy]\nimage = \"{}/proxy:1\"\n",
        service.local_addr().expect("bound").port(),
        address(&upstream),
    );
    let web = format!("FROM {}/base:1\nCOPY Dockerfile /\n", address(&upstream));
    let project =
        Project::with(&config, &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n"), ("web.Dockerfile", &web)]);
    let socket = project.path("builder.sock");
    let builder = UnixListener::bind(&socket).expect("a socket");
    // One registry's login comes from a program that does not end.
    let helper = project.path("bin/docker-credential-slow");
    project.write("bin/docker-credential-slow", "#!/bin/sh\nexec sleep 1000\n");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let asking = Scripted::start(Login::Basic).await;
    project.write("docker/config.json", &format!("{{\"credHelpers\": {{\"{}\": \"slow\"}}}}", asking.address));

    let mut command = project.command(&["check", "--json"]);
    command.args(["--builder", &format!("unix://{}", socket.display())]).env("DOCKER_CONFIG", project.path("docker"));
    for host in [&address(&target), &registry.address, &asking.address] {
        command.args(["--to", &format!("{host}/fleet")]);
    }
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", project.path("bin").display()));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let (pid, (sender, receiver)) = (rustix::process::Pid::from_child(&child), channel());
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = tokio::task::spawn_blocking(move || receiver.recv_timeout(PATIENCE)).await.expect("it waits");
    let output = output.unwrap_or_else(|_| {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
        panic!("check hangs");
    });
    let document = json(project.ran(&output.expect("it ran")), 8);
    let (web, all) = ("web/linux/amd64 web/linux/arm64", ["repo/linux/arm64", "web/linux/amd64", "proxy/linux/arm64"]);
    says(&document, "fail", "builder", &["no answer within", "builder.sock", "repo/linux/amd64", web]);
    says(&document, "warn", "repo", &["of service `repo` is taken", "\"auto\"", web]);
    says(&document, "warn", "bases", &["/base:1`", "no progress for 5 s", web]);
    says(&document, "fail", "bases", &["/proxy:1`", "no progress for 5 s", "proxy/linux/amd64 proxy/linux/arm64"]);
    for host in [&address(&target), &registry.address, &asking.address] {
        says(&document, "fail", host, &[&["no progress for 5 s"][..], &all[..]].concat());
    }
    drop((builder, target, upstream, tokens, service));
}
