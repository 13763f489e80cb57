//! Services that run while cells that need them are built: the whole way, through the program.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod caching;
mod failing;
mod kills;
mod network;
mod running;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::project::{Project, SHELL};

/// A hub that serves its `/www` on the port it is told, and says so.
pub(super) const HUB: &str =
    "COPY www/ /www/\nCMD [\"/bin/sh\", \"-c\", \"echo serving on $PORT; exec httpd -f -vv -p $PORT -h /www\"]\n";

/// A project with a hub and components that need it; `service` is the rest of `[service.hub]`, `apps` are names with the
/// steps of their Dockerfiles.
pub(super) fn project(service: &str, apps: &[(&str, &str)]) -> Project {
    let mut config = format!(
        "name = \"served\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[service.hub]\n{service}\n\
         [component.hub]\ndockerfile = \"hub.Dockerfile\"\n"
    );
    for (name, _) in apps {
        let _infallible = write!(config, "[component.{name}]\ndockerfile = \"{name}.Dockerfile\"\nneeds = [\"hub\"]\n");
    }
    let project = Project::with_shell(&config, &[("www/list", "packages\n")]);
    project.write("hub.Dockerfile", &format!("{SHELL}{HUB}"));
    for (name, steps) in apps {
        project.write(&format!("{name}.Dockerfile"), &format!("{SHELL}{steps}"));
    }
    project
}

/// Arguments of a build on the builder that tests share.
pub(super) fn build() -> [&'static str; 3] {
    ["build", "--builder", Daemon::shared().address()]
}

/// A file of a component's image, out of the layout.
pub(super) fn file(project: &Project, component: &str, architecture: &str, path: &str) -> String {
    let status: Value = project.run(&["status", "--json"]).json();
    let cells = status["cells"].as_array().unwrap();
    let platform = format!("linux/{architecture}");
    let cell =
        cells.iter().find(|cell| cell["component"] == component && cell["platform"] == platform.as_str()).unwrap();
    let manifest: Value = serde_json::from_slice(&fs::read(blob(project, &cell["digest"])).unwrap()).unwrap();
    for layer in manifest["layers"].as_array().unwrap().iter().rev() {
        let output = Command::new("tar").arg("-xzOf").arg(blob(project, &layer["digest"])).arg(path).output().unwrap();
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap().trim().to_owned();
        }
    }
    panic!("{component}/{architecture} has no {path}");
}

fn blob(project: &Project, digest: &Value) -> PathBuf {
    project.path(".catamaran/layout/blobs/sha256").join(digest.as_str().unwrap().trim_start_matches("sha256:"))
}

/// Nobody listens on `port` of this machine.
pub(super) fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind(("0.0.0.0", port)).is_ok()
}

/// A port that nobody uses, and that no other test is given: below those that kernels and services choose from.
pub(super) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 12_000 + u16::try_from(std::process::id() % 60).unwrap() * 100;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        if is_free(port) {
            return port;
        }
    }
}
