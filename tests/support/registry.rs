//! Real registries on a port of their own: Debian's, the reference implementation, crane's.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tokens::{self, Tokens};
use super::tools;

/// Whose registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    /// `docker-registry` 2.8 as Debian packages it.
    Debian,
    /// The reference implementation, v3.
    Reference,
    /// `crane registry serve`.
    Crane,
}

/// The account of registries that want one.
pub(crate) const USER: &str = "catamaran-test";
pub(crate) const PASSWORD: &str = "sesame-open";
/// bcrypt of [`PASSWORD`]: the only hash that registries take.
const HTPASSWD: &str = "$2b$04$F8Se.Cz105gdHuk65oSCYOD.zfiocf1b/HJZv1dwqnwK5Vd71xvk.";

/// How a registry is set up.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, named where it is set")]
pub(crate) struct Setup {
    /// Basic authentication with [`USER`] and [`PASSWORD`].
    pub(crate) password: bool,
    /// TLS with a certificate of an authority of its own.
    pub(crate) tls: bool,
    /// Tokens of a server of its own, which wants [`USER`] and [`PASSWORD`]; with TLS only, and in place of `password`.
    pub(crate) tokens: bool,
    /// With TLS: only clients that show a certificate of the same authority, as [`Registry::client_certificate`] is.
    pub(crate) clients: bool,
    /// On `[::1]`.
    pub(crate) v6: bool,
}

/// A registry that ends with this value.
pub(crate) struct Registry {
    child: Child,
    folder: TempDir,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    /// Where it has its tokens from.
    pub(crate) tokens: Option<Tokens>,
}

impl Registry {
    /// Starts one and waits until it listens.
    pub(crate) fn start(make: Make, setup: &Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("registry").tempdir().expect("a folder");
        let address = if setup.v6 { free_address_on("[::1]") } else { free_address() };
        let tokens = setup.tokens.then(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let mut command = match make {
            Make::Crane => {
                assert!(!setup.password && !setup.tls && !setup.tokens, "crane's registry knows none of it");
                let mut command = Command::new(tools::tool("bin/crane"));
                command.args(["registry", "serve", "--address", &address]);
                command
            }
            Make::Debian | Make::Reference => {
                let config = folder.path().join("config.yml");
                fs::write(&config, configuration(folder.path(), &address, setup, tokens.as_ref())).expect("a file");
                let program = match make {
                    Make::Debian => system_program("docker-registry"),
                    _ => tools::tool("bin/registry"),
                };
                let mut command = Command::new(program);
                command.arg("serve").arg(config);
                command
            }
        };
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            // What the developer has set for registries of their own is not ours.
            .env_remove("REGISTRY_HTTP_ADDR")
            .env("OTEL_TRACES_EXPORTER", "none")
            .spawn()
            .expect("the registry starts");
        let tokens = tokens.map(|listener| Tokens::start(listener, folder.path(), USER, PASSWORD));
        let mut registry = Self { child, folder, address, tokens };
        registry.wait();
        registry
    }

    fn wait(&mut self) {
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&self.address).is_err() {
            let gone = self.child.try_wait().expect("a child");
            assert!(gone.is_none() && Instant::now() < end, "the registry does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What its disk says that a tag shows.
    pub(crate) fn tag_on_disk(&self, repository: &str, tag: &str) -> Option<String> {
        let path = format!("storage/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link");
        fs::read_to_string(self.folder.path().join(path)).ok()
    }

    /// Where its disk has a blob.
    pub(crate) fn blob_on_disk(&self, hex: &str) -> PathBuf {
        self.folder.path().join(format!("storage/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The certificate authority of one with TLS.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The certificate and key of a client of one that asks for them.
    pub(crate) fn client_certificate(&self) -> [PathBuf; 2] {
        ["client.pem", "client.key"].map(|name| self.folder.path().join(name))
    }

    /// `NAME[:TAG]` here, for programs that take references.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that nobody uses now.
pub(crate) fn free_address() -> String {
    free_address_on("127.0.0.1")
}

fn free_address_on(host: &str) -> String {
    let listener = TcpListener::bind(format!("{host}:0")).expect("a port");
    listener.local_addr().expect("an address").to_string()
}

fn configuration(folder: &Path, address: &str, setup: &Setup, listener: Option<&TcpListener>) -> String {
    let mut text = format!(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: false}}}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n",
        folder.join("storage").display()
    );
    if setup.password {
        let file = folder.join("htpasswd");
        fs::write(&file, format!("{USER}:{HTPASSWD}\n")).expect("a file");
        let _ = write!(text, "auth:\n  htpasswd: {{realm: test, path: {}}}\n", file.display());
    }
    if setup.tls {
        certificates(folder);
    }
    if let Some(listener) = listener {
        let address = listener.local_addr().expect("an address").to_string();
        text.push_str("auth:\n");
        text.push_str(&tokens::configuration(&address, folder));
    }
    let _ = write!(text, "http:\n  addr: '{address}'\n");
    if setup.tls {
        let path = |name: &str| folder.join(name).display().to_string();
        let clients = if setup.clients { format!(", clientcas: [{}]", path("ca.pem")) } else { String::new() };
        let _ = writeln!(text, "  tls: {{certificate: {}, key: {}{clients}}}", path("server.pem"), path("server.key"));
    }
    text
}

/// An authority, and a certificate of it for this machine, made by `openssl`.
fn certificates(folder: &Path) {
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.example\n")
        .expect("a file");
    for arguments in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-authority -keyout ca.key -out ca.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=client -keyout client.key -out client.csr",
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out client.pem",
    ] {
        let output = Command::new(system_program("openssl"))
            .args(arguments.split(' '))
            .current_dir(folder)
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A program that a package of the system brings. A missing one fails the test.
pub(crate) fn system_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("`{name}` is missing: run scripts/setup test"))
}

/// Runs skopeo and gives what it prints.
pub(crate) fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new(system_program("skopeo")).args(arguments).output().expect("skopeo runs");
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
