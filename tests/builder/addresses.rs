//! Builders that somebody named, through the program: which one takes what, and how it is spoken to.

use serde_json::Value;

use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::project::{Project, Ran};

const CONFIG: &str = "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[component.web]\n";
const DOCKERFILE: (&str, &str) = ("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");

fn project(builders: &str) -> Project {
    Project::with(&format!("{CONFIG}{builders}"), &[DOCKERFILE])
}

fn builder(name: &str, address: &str, rest: &str) -> String {
    format!("[builder.{name}]\naddress = \"{address}\"\n{rest}\n")
}

/// The builder of each cell, in the order of the platforms.
#[track_caller]
fn builders(ran: &Ran) -> Vec<String> {
    let document = ran.json();
    let cells = document["cells"].as_array().expect("cells").iter();
    cells.map(|cell| cell["builder"].as_str().unwrap_or_default().to_owned()).collect()
}

/// What was written to stderr, in one line.
fn shown(ran: &Ran) -> String {
    ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn an_address_that_is_none_is_a_mistake_of_the_user() {
    let project = project("");
    for address in
        ["nonsense", "http://127.0.0.1:1", "tcp://127.0.0.1", "tcp://:1", "tcp://a b:1", "unix://relative", ""]
    {
        let ran = project.run(&["build", "--builder", address]).exits(2);
        assert!(ran.stderr.contains("tcp://host:port"), "{address}: {}", ran.stderr);
        let mut command = project.command(&["build"]);
        command.env("BUILDKIT_HOST", address);
        if !address.is_empty() {
            project.ran(&command.output().expect("it runs")).exits(2);
        }
    }
}

#[test]
fn each_builder_takes_the_platform_that_it_lists() {
    let (first, second) = (Daemon::start(), Daemon::shared());
    let project = project(&format!(
        "{}{}",
        builder("amd", first.address(), "platforms = [\"linux/amd64\"]"),
        builder("arm", second.address(), "platforms = [\"linux/arm64\"]")
    ));
    let ran = project.run(&["build", "--json"]).exits(0);
    assert_eq!(builders(&ran), [first.address(), second.address()]);
    for address in [first.address(), second.address()] {
        assert!(ran.stderr.contains(&format!("builder  {address}")), "{}", ran.stderr);
    }
    assert_eq!(builders(&project.run(&["status", "--json"]).exits(0)), [first.address(), second.address()]);
}

#[test]
fn the_first_builder_that_lists_a_platform_gets_it_and_one_without_a_list_the_rest() {
    let (first, second) = (Daemon::start(), Daemon::shared());
    let project = project(&format!(
        "{}{}",
        builder("any", first.address(), ""),
        builder("arm", second.address(), "platforms = [\"linux/arm64\"]")
    ));
    assert_eq!(builders(&project.run(&["build", "--json"]).exits(0)), [first.address(), second.address()]);
    let both = "platforms = [\"linux/amd64\", \"linux/arm64\"]";
    // The second one is not there: it is not asked for anything.
    let nowhere = builder("second", "unix:///nonexistent/buildkitd.sock", both);
    let project = self::project(&format!("{}{nowhere}", builder("first", first.address(), both)));
    assert_eq!(builders(&project.run(&["build", "--json"]).exits(0)), [first.address(), first.address()]);
}

#[test]
fn a_builder_that_knows_its_clients_is_shown_a_certificate() {
    let certificates = Certificates::make();
    let daemon = Daemon::start_tcp(&certificates.flags(true));
    let path = |name: &str| certificates.path(name).display().to_string();
    let identity = format!("cert = \"{}\"\nkey = \"{}\"", path("client.pem"), path("client.key"));
    let whole = format!("ca = \"{}\"\n{identity}", path("ca.pem"));
    project(&builder("far", daemon.address(), &whole)).run(&["build"]).exits(0);
    let without = project(&builder("far", daemon.address(), &format!("ca = \"{}\"", path("ca.pem"))));
    let ran = without.run(&["build"]).exits(8);
    assert!(ran.stderr.contains("it may want a certificate of the client"), "{}", ran.stderr);
    assert!(shown(&ran).contains("into [builder.far]: `cert"), "{}", ran.stderr);
    // What does not belong together is named by its files.
    let mixed =
        format!("ca = \"{}\"\ncert = \"{}\"\nkey = \"{}\"", path("ca.pem"), path("client.pem"), path("daemon.key"));
    let ran = project(&builder("far", daemon.address(), &mixed)).run(&["build"]).exits(8);
    let words = ["client.pem` and key `", "daemon.key` do not belong together", "`key` that belongs to `cert`"];
    assert!(words.iter().all(|word| shown(&ran).contains(word)), "{}", ran.stderr);
    // Spoken to in plain, and by who trusts another authority.
    let ran = project(&builder("far", daemon.address(), "")).run(&["build"]).exits(8);
    assert!(shown(&ran).contains("write its authority into [builder.far]"), "{}", ran.stderr);
    let other = Certificates::make().path("ca.pem").display().to_string();
    let ran = project(&builder("far", daemon.address(), &format!("ca = \"{other}\"\n{identity}"))).run(&["build"]);
    // The folder of that authority is gone.
    assert!(shown(&ran.exits(8)).contains("files in PEM form that can be read into [builder.far]"));
    // Half of what is needed is never taken for nothing: that would be a connection in plain.
    let half = project(&builder("far", daemon.address(), &identity));
    let ran = half.run(&["build"]).exits(2);
    assert!(ran.stderr.contains("no authority for the other"), "{}", ran.stderr);
    half.run(&["--ca", &path("ca.pem"), "build"]).exits(0);
}

#[test]
fn an_authority_on_the_command_line_makes_it_tls() {
    let certificates = Certificates::make();
    let ca = certificates.path("ca.pem").display().to_string();
    let daemon = Daemon::start_tcp(&certificates.flags(false));
    let project = project("");
    project.run(&["build", "--builder", daemon.address(), "--ca", &ca]).exits(0);
    let ran = project.run(&["build", "--force", "--builder", daemon.address()]).exits(8);
    assert!(ran.stderr.contains("it may want TLS"), "{}", ran.stderr);
    let other = Certificates::make();
    let other = other.path("ca.pem").display().to_string();
    let ran = project.run(&["build", "--force", "--builder", daemon.address(), "--ca", &other]);
    let text = shown(&ran.exits(8));
    assert!(text.contains("signed the builder's certificate with `--ca FILE`"), "{text}");
    // The authority may be a registry's; a builder on this machine may be plain all the same.
    let plain = Daemon::start_tcp(&[]);
    project.run(&["build", "--force", "--builder", plain.address(), "--ca", &ca]).exits(0);
    let far = self::project(&builder("far", plain.address(), &format!("ca = \"{ca}\"")));
    let ran = far.run(&["build"]).exits(8);
    assert!(shown(&ran).contains("leave out `ca`, `cert` and `key` in [builder.far]"), "{}", ran.stderr);
}

#[test]
fn a_connection_that_others_can_read_is_warned_about() {
    let daemon = Daemon::start_tcp(&[]);
    let project = project("");
    let warned = |ran: &Ran| ran.stderr.contains("is not encrypted");
    assert!(!warned(&project.run(&["build", "--builder", daemon.address()]).exits(0)));
    // Reaches this machine, and does not say so.
    let port = daemon.address().rsplit_once(':').expect("a port").1;
    let address = format!("tcp://0.0.0.0:{port}");
    assert!(warned(&project.run(&["build", "--force", "--builder", &address]).exits(0)));
    assert!(!warned(&project.run(&["build", "--force", "--builder", &address, "--plain-http", "0.0.0.0"]).exits(0)));
    let cell: Value = project.run(&["status", "--json"]).exits(0).json()["cells"][0].clone();
    assert_eq!(cell["builder"], address);
}
