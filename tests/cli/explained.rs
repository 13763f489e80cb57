use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::support::daemon::Daemon;
use crate::support::files::serve;
use crate::support::project::{Project, SHELL};

#[test]
fn the_errors_page_is_current() {
    snapbox::assert_data_eq!(catamaran::catalogue::page(), snapbox::file!["../../docs/errors.md"].raw());
}

/// Component, what its Dockerfile holds after a shell, and the entry that explains how it fails.
const FAILURES: &[(&str, &str, &str)] = &[
    ("not-there", "COPY nothere.txt /\n", "C403"),
    ("no-command", "RUN nosuchcommand --now\n", "C502"),
    ("no-x-bit", "RUN touch /x; /x\n", "C504"),
    ("crlf", "COPY crlf.sh /crlf.sh\nRUN chmod +x /crlf.sh\nRUN [\"/crlf.sh\"]\n", "C503"),
    ("garbage", "RUN echo '#' >/x; head -c 99 /dev/zero >>/x; chmod +x /x\nRUN [\"/x\"]\n", "C101"),
    ("killed", "RUN sh -c 'kill -9 $$'; exit $?\n", "C107"),
    ("crashed", "RUN sh -c 'kill -11 $$'; exit $?\n", "C122"),
    ("ended", "RUN sh -c 'kill -15 $$'; exit $?\n", "C123"),
    ("aborted", "RUN sh -c 'kill -6 $$'; exit $?\n", "C124"),
    ("full", "RUN --mount=type=tmpfs,target=/t,size=1048576 dd if=/dev/zero of=/t/x bs=64k count=99\n", "C113"),
    ("read-only", "RUN --mount=type=bind,target=/src touch /src/x\n", "C115"),
    ("secret", "RUN --mount=type=secret,id=key,required=true true\n", "C409"),
    ("agent", "RUN --mount=type=ssh,required=true true\n", "C410"),
    ("refused", "RUN wget -O- http://127.0.0.1:1/\n", "C316"),
    ("no-user", "USER nobodyhere\nRUN true\n", "C421"),
    ("list", "RUN ['npm', 'ci']\n", "C526"),
    ("circle", "RUN ln -s a a; cat a\n", "C127"),
    ("long-name", "RUN touch $(seq 300 | tr -d '\\n')\n", "C121"),
    ("checksum", "RUN echo x >/x; echo \"$(sha256sum /x | tr 0-9a-f 1-9a-f0)\" >/s; sha256sum -c /s\n", "C522"),
    ("mount", "RUN mkdir /m; mount -t tmpfs x /m\n", "C511"),
    ("onto-file", "RUN touch /d\nCOPY folder /d/\n", "C425"),
    ("lint", "ENTRYPOINT echo x\n", "C429"),
    ("no-shell", "FROM scratch\nRUN true\n", "C431"),
    (
        "other-sum",
        "ADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 http://HOST/crlf.sh /\n",
        "C428",
    ),
    ("no-file", "ADD http://HOST/nope /\n", "C434"),
    ("no-registry", "FROM 127.0.0.1:1/base:v1\n", "C316"),
];

#[test]
fn d26_failures_of_a_real_builder_are_explained() {
    let mut config = "platforms = [\"linux/amd64\"]\n".to_owned();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("crlf.sh"), "x").expect("a file");
    let host = serve(folder.path());
    let mut files =
        vec![("crlf.sh".to_owned(), "#!/bin/sh\r\ntrue\r\n".to_owned()), ("folder/x".to_owned(), String::new())];
    for (name, rest, _) in FAILURES {
        let _ = writeln!(config, "[component.{name}]\ndockerfile = \"{name}/Dockerfile\"");
        let text = match *name {
            "lint" => format!("# check=error=true\n{SHELL}{rest}"),
            "no-registry" => (*rest).to_owned(),
            _ => format!("{SHELL}{}", rest.replace("HOST", &host)),
        };
        files.push((format!("{name}/Dockerfile"), text));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let project = Project::with_shell(&config, &files);
    let ran = project.run(&["build", "--json", "--builder", Daemon::shared().address()]);
    let document = ran.json();
    let errors = document["errors"].as_array().expect("errors");
    let of = |member: &str| -> BTreeMap<&str, String> {
        errors.iter().map(|error| (error["component"].as_str().unwrap_or("?"), error[member].to_string())).collect()
    };
    let wanted: BTreeMap<&str, String> = FAILURES.iter().map(|(name, _, id)| (*name, format!("\"{id}\""))).collect();
    assert_eq!(of("id"), wanted, "{}", ran.stderr);
    assert!(errors.iter().all(|error| error["help"].is_string() && error["why"].is_string()), "{}", ran.stdout);
    // The builder's typed details name the line, whatever its words are.
    let lines = of("line");
    assert_eq!((lines["no-command"].as_str(), lines["read-only"].as_str()), ("5", "5"));
    assert!(ran.stderr.contains("(C5"), "{}", ran.stderr);
}

#[test]
fn an_entry_is_explained_without_a_project() {
    let project = Project::new();
    let one = project.run(&["explain", "c101"]).exits(0);
    assert!(one.stdout.starts_with("C101  a program of another processor\n"), "{}", one.stdout);
    assert!(one.stdout.contains("  fix   "), "{}", one.stdout);
    let all = project.run(&["explain", "--json"]).exits(0).json();
    assert!(all["entries"].as_array().is_some_and(|entries| entries.len() >= 80));
    let unknown = project.run(&["explain", "C999"]).exits(2);
    assert!(unknown.stderr.contains("there is no known failure `C999`"), "{}", unknown.stderr);
}

/// Three megabytes in lines, which is more than a daemon keeps by itself.
const CHATTY: &str = "RUN seq 450000; echo the last line\n";

#[test]
fn logs_are_whole_or_it_is_said_that_they_are_not() {
    let dockerfile = format!("{SHELL}{CHATTY}");
    let project =
        Project::with_shell("platforms = [\"linux/amd64\"]\n[component.web]\n", &[("Dockerfile", &dockerfile)]);
    // The builder that is started for the run keeps everything.
    let ran = project.run(&["build"]).exits(0);
    assert!(!ran.stderr.contains("left output of a step out"), "{}", ran.stderr);
    let log = std::fs::read_to_string(project.path(".catamaran/logs/web/linux-amd64.log")).expect("a log");
    assert!(log.contains(" 1\n") && log.contains(" 449999\n") && log.contains(" the last line\n"));
    assert!(log.lines().count() > 450_000);
    // One with its own limits is found out.
    project.write("Dockerfile", &format!("{SHELL}{CHATTY}# again\nRUN echo other; seq 450001\n"));
    let ran = project.run(&["build", "--builder", Daemon::shared().address()]).exits(0);
    assert!(ran.stderr.contains("BUILDKIT_STEP_LOG_MAX_SIZE=-1"), "it was not said");
}
