//! Ways to a registry: certificates of single hosts, proxies, IPv6, and the files that hold logins.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use catamaran::base::{ErrorClass, Failure as _};
use catamaran::bundle::write_bundle;
use catamaran::event::NoEvents;
use catamaran::registry::{
    Confirmation, CredentialFiles, HostCertificates, PushReceipt, RegistryClient, RegistryError, RegistryOptions, push,
};
use tokio_util::sync::CancellationToken;

use crate::support::images::Fleet;
use crate::support::project::{Project, Ran};
use crate::support::registry::{Make, PASSWORD, Registry, Setup, USER};
use crate::support::release::{Images, options};
use crate::support::scripted::{Login, Scripted};
use crate::support::tools;

async fn pushed(options: &RegistryOptions, address: &str, names: &[&str]) -> Result<PushReceipt, RegistryError> {
    let images = Images::new();
    let release = images.release(&format!("{address}/fleet"), names, "1.0", &[]);
    let client = RegistryClient::new(options.clone()).expect("a client");
    push(&client, &images.layout, release, Arc::new(NoEvents), &CancellationToken::new()).await
}

/// `certs.d` with the authority of a registry and, where that is asked for, the certificate of a client.
fn certificates_of(folder: &Path, registry: &Registry, client: bool) -> HostCertificates {
    let own = folder.join(&registry.address);
    fs::create_dir_all(&own).expect("a folder");
    fs::copy(registry.authority(), own.join("ca.crt")).expect("copied");
    if client {
        let [certificate, key] = registry.client_certificate();
        fs::copy(certificate, own.join("client.cert")).expect("copied");
        fs::copy(key, own.join("client.key")).expect("copied");
    }
    HostCertificates::new(vec![folder.join("none"), folder.to_owned()])
}

#[tokio::test]
async fn an_authority_of_one_host_is_trusted_for_that_host() {
    let registry = Registry::start(Make::Debian, &Setup { tls: true, ..Setup::default() });
    let other = Registry::start(Make::Reference, &Setup { tls: true, ..Setup::default() });
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = options();
    options.host_certificates = certificates_of(folder.path(), &registry, false);
    let receipt = pushed(&options, &registry.address, &["nginx"]).await.expect("pushed");
    // The independent reader is given the authority too.
    assert_eq!(receipt.repositories[0].tags[0].confirmed, Confirmation::IndependentReader);
    // What offers HTTP/2 gets it, with every request of ours; the log has each with its protocol and who asked.
    let log = registry.log();
    let ours = |line: &&str| line.contains("/v2/") && line.contains("\"catamaran/");
    let (second, other_versions): (Vec<&str>, Vec<&str>) =
        log.lines().filter(ours).partition(|line| line.contains(" HTTP/2.0\""));
    assert!(second.len() > 10 && other_versions.is_empty(), "{second:?} {other_versions:?}");
    let error = pushed(&options, &other.address, &["nginx"]).await.expect_err("nobody said anything of this one");
    assert_eq!(error.class(), ErrorClass::Network, "{error}");
}

#[tokio::test]
async fn a_registry_that_asks_for_a_certificate_gets_that_of_its_folder() {
    let registry = Registry::start(Make::Debian, &Setup { tls: true, clients: true, ..Setup::default() });
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = options();
    options.host_certificates = certificates_of(folder.path(), &registry, false);
    let error = pushed(&options, &registry.address, &["nginx"]).await.expect_err("no certificate");
    assert_eq!(error.class(), ErrorClass::Network, "{error}");
    let help = error.help().unwrap_or_default();
    assert!(help.contains("certs.d"), "{error}: {help}");

    options.host_certificates = certificates_of(folder.path(), &registry, true);
    let receipt = pushed(&options, &registry.address, &["nginx"]).await.expect("pushed");
    let Confirmation::OwnReader(reason) = &receipt.repositories[0].tags[0].confirmed else { panic!("{receipt:?}") };
    assert!(reason.contains("client certificate"), "{reason}");

    fs::remove_file(folder.path().join(&registry.address).join("client.key")).expect("removed");
    let error = pushed(&options, &registry.address, &["nginx"]).await.expect_err("half a certificate");
    assert!(matches!(error, RegistryError::Ca { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_on_ipv6_takes_a_release() {
    let registry = Registry::start(Make::Debian, &Setup { v6: true, ..Setup::default() });
    let receipt = pushed(&options(), &registry.address, &["nginx", "gitea"]).await.expect("pushed");
    let Confirmation::OwnReader(reason) = &receipt.repositories[0].tags[0].confirmed else { panic!("{receipt:?}") };
    assert!(reason.contains("IPv6"), "{reason}");
    assert!(registry.tag_on_disk("fleet/gitea", "1.0").is_some());
}

#[tokio::test]
async fn a_rate_holds_for_all_uploads_to_a_host_together_and_for_pulls() {
    let registry = Registry::start(Make::Reference, &Setup::default());
    let images = Images::new();
    let layer = images.layer("large", 1 << 20);
    let release =
        images.release(&format!("{}/fleet", registry.address), &["nginx"], "1.0", std::slice::from_ref(&layer));
    let repository = release.items[0].repository.clone();
    let mut options = options();
    options.rate = Some(1 << 20);
    let client = RegistryClient::new(options.clone()).expect("a client");
    let begun = Instant::now();
    let cancel = CancellationToken::new();
    push(&client, &images.layout, release, Arc::new(NoEvents), &cancel).await.expect("pushed");
    // A second for the layer alone. It can take longer on a busy machine, and not less on any.
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    let client = RegistryClient::new(options).expect("a client");
    let begun = Instant::now();
    client.fetch_blob(&repository, &layer, &Images::new().layout).await.expect("pulled");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// A login of the user, who is called something else in each repository's entry.
fn auth(user: &str, password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

/// The user that a request's login names.
fn user_of(header: &str) -> String {
    use base64::Engine as _;
    let decoded = header.strip_prefix("Basic ").map(|text| base64::engine::general_purpose::STANDARD.decode(text));
    let text = String::from_utf8(decoded.expect("a login").expect("base64")).expect("text");
    text.split_once(':').expect("user and password").0.to_owned()
}

#[tokio::test]
async fn each_repository_is_asked_for_with_the_login_of_its_path() {
    let registry = Scripted::start(Login::Token).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("auth.json");
    let address = &registry.address;
    // The longest path wins; the one for the whole host is wrong, so that nothing goes well by accident.
    let text = serde_json::json!({"auths": {
        address: {"auth": auth("whole-host", "wrong")},
        format!("{address}/fleet"): {"auth": auth("wrong", "wrong")},
        format!("{address}/fleet/nginx"): {"auth": auth(USER, PASSWORD)},
    }});
    fs::write(&file, text.to_string()).expect("written");
    let mut options = options();
    options.credentials = Arc::new(CredentialFiles::new(vec![file]));
    pushed(&options, address, &["nginx"]).await.expect("pushed with the login of its path");
    let tokens = registry.seen().into_iter().filter(|seen| seen.target.starts_with("/token"));
    let users: Vec<String> =
        tokens.map(|seen| user_of(seen.headers["authorization"].to_str().expect("text"))).collect();
    assert!(!users.is_empty() && users.iter().all(|user| user == USER), "{users:?}");
    let error = pushed(&options, address, &["gitea"]).await.expect_err("its login is the one of `fleet`");
    assert_eq!(error.class(), ErrorClass::Auth, "{error}");
}

#[tokio::test]
async fn a_helper_is_asked_and_its_identity_token_exchanged() {
    let registry = Scripted::start(Login::IdentityToken).await;
    let folder = tempfile::tempdir().expect("a folder");
    let helper = folder.path().join("docker-credential-test");
    let script = "#!/bin/sh\nread -r server\necho \"$server\" >>\"$(dirname \"$0\")/asked\"\n\
                  echo '{\"ServerURL\":\"x\",\"Username\":\"<token>\",\"Secret\":\"refresh-me\"}'\n";
    fs::write(&helper, script).expect("written");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("its mode");
    let file = folder.path().join("config.json");
    let text = serde_json::json!({"credHelpers": {registry.address.clone(): "test"}});
    fs::write(&file, text.to_string()).expect("written");
    let mut options = options();
    let files = CredentialFiles::new(vec![file]).with_helpers_in(vec![folder.path().to_owned()]);
    options.credentials = Arc::new(files);
    pushed(&options, &registry.address, &["nginx", "gitea"]).await.expect("pushed");
    assert!(registry.count("POST", "/token") >= 1);
    let asked = fs::read_to_string(folder.path().join("asked")).expect("it was asked");
    // Once for each repository, whatever the number of requests; the login of no other server.
    assert_eq!(asked.lines().collect::<Vec<_>>(), vec![registry.address.as_str(); 2]);
}

/// A bundle of one image, for the program itself.
struct Work(Project);

impl Work {
    fn new() -> Self {
        let fleet = Fleet::small(&["web"], &["linux/amd64"]);
        let folder = Project::new();
        let target = folder.path("release.tar");
        write_bundle(&fleet.layout, &fleet.contents(), &target, &NoEvents, &CancellationToken::new()).expect("written");
        Self(folder)
    }

    /// Copies the image to `registry.example`, which no name server knows.
    fn copies(&self, more: &[&str], variables: &[(&str, &str)]) -> Ran {
        let all = [&["copy", "release.tar", "registry.example/team/web:1.0", "--state", "state"], more].concat();
        let mut command = self.0.command(&all);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.envs(variables.iter().copied());
        self.0.ran(&command.output().expect("the program starts"))
    }
}

#[test]
fn http_goes_through_the_proxy_and_no_proxy_goes_past_it() {
    // A server that takes absolute forms of its requests (RFC 9112, section 3.2.2) is a proxy as far as clients can tell.
    let registry = Registry::start(Make::Debian, &Setup::default());
    let work = Work::new();
    let proxy = format!("http://{}", registry.address);
    let plain = ["--plain-http", "registry.example"];
    for name in ["HTTP_PROXY", "http_proxy"] {
        work.copies(&plain, &[(name, &proxy)]).exits(0);
    }
    assert!(registry.tag_on_disk("team/web", "1.0").is_some());
    assert!(registry.log().contains("http.request.host=registry.example "), "{}", registry.log());
    let past = work.copies(&plain, &[("HTTP_PROXY", &proxy), ("NO_PROXY", "localhost,registry.example")]).exits(6);
    assert!(past.stderr.contains("registry.example"), "{}", past.stderr);
}

#[test]
fn a_proxy_that_is_not_there_is_named_and_one_that_is_none_is_refused() {
    let work = Work::new();
    let gone = work.copies(&[], &[("HTTPS_PROXY", "http://user:open-sesame@127.0.0.1:1")]).exits(6);
    assert!(gone.stderr.contains("on the way through the proxy `127.0.0.1:1`"), "{}", gone.stderr);
    assert!(gone.stderr.contains("HTTPS_PROXY") && !gone.stderr.contains("open-sesame"), "{}", gone.stderr);
    let none = work.copies(&[], &[("HTTPS_PROXY", "::::open-sesame")]).exits(2);
    assert!(none.stderr.contains("`HTTPS_PROXY` names no proxy"), "{}", none.stderr);
    assert!(!none.stderr.contains("open-sesame"), "{}", none.stderr);
}

/// A proxy for TLS: answers `CONNECT` and carries bytes to `to`, wherever they want to go.
fn tunnel(to: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (to, log) = (to.to_owned(), Arc::clone(&asked));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (to, log) = (to.clone(), Arc::clone(&log));
            thread::spawn(move || carry(stream, &to, &log));
        }
    });
    (address, asked)
}

fn carry(mut client: TcpStream, to: &str, log: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_exact(&mut byte).is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    log.lock().expect("the log").push(head.lines().next().unwrap_or_default().to_owned());
    let mut server = TcpStream::connect(to).expect("the registry");
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("answered");
    let (mut up, mut server_too) = (client.try_clone().expect("a stream"), server.try_clone().expect("a stream"));
    thread::spawn(move || {
        drop(std::io::copy(&mut up, &mut server_too));
        drop(server_too.shutdown(Shutdown::Write));
    });
    drop(std::io::copy(&mut server, &mut client));
    drop(client.shutdown(Shutdown::Both));
}

#[test]
fn tls_goes_through_a_tunnel_of_the_proxy_and_certs_d_is_read() {
    let registry = Registry::start(Make::Debian, &Setup { tls: true, clients: true, ..Setup::default() });
    let work = Work::new();
    let (proxy, asked) = tunnel(&registry.address);
    // As podman has it in the user's folder.
    let certificates = work.0.path("home/.config/containers/certs.d/registry.example");
    fs::create_dir_all(&certificates).expect("a folder");
    fs::copy(registry.authority(), certificates.join("ca.crt")).expect("copied");
    let [certificate, key] = registry.client_certificate();
    fs::copy(certificate, certificates.join("me.cert")).expect("copied");
    fs::copy(key, certificates.join("me.key")).expect("copied");
    let home = work.0.path("home").display().to_string();
    let variables = [("HTTPS_PROXY", format!("http://{proxy}")), ("HOME", home), ("XDG_CONFIG_HOME", String::new())];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let document = work.copies(&["--json"], &variables).exits(0).json();
    let confirmed = document["repositories"][0]["tags"][0]["confirmed"].to_string();
    assert!(confirmed.contains("client certificate"), "{confirmed}");
    assert!(registry.tag_on_disk("team/web", "1.0").is_some());
    let asked = asked.lock().expect("the log").clone();
    assert!(
        !asked.is_empty() && asked.iter().all(|line| line.starts_with("CONNECT registry.example:443 ")),
        "{asked:?}"
    );
}

#[test]
fn a_builder_that_is_started_shows_the_certificate_of_certs_d() {
    let registry = Registry::start(Make::Debian, &Setup { tls: true, clients: true, ..Setup::default() });
    let work = Work::new();
    let certificates = work.0.path("home/.config/containers/certs.d");
    drop(certificates_of(&certificates, &registry, true));
    let base = registry.reference("base:1");
    let config = "name = \"certified\"\nplatforms = [\"linux/amd64\"]\n[component.web]\n";
    let project = Project::with(config, &[("Dockerfile", &format!("FROM {base}\nCOPY Dockerfile /\n"))]);
    let search = std::env::join_paths(
        std::iter::once(tools::folder().join("bin"))
            .chain(std::env::split_paths(&std::env::var_os("PATH").expect("a path"))),
    );
    let run = |folder: &Project, arguments: &[&str]| {
        let mut command = folder.command(arguments);
        command
            .env("HOME", work.0.path("home"))
            .env("XDG_CONFIG_HOME", "")
            .env("PATH", search.as_ref().expect("a path"));
        folder.ran(&command.output().expect("the program starts"))
    };
    run(&work.0, &["copy", "release.tar", &base, "--state", "state"]).exits(0);
    run(&project, &["build"]).exits(0);
    let log = registry.log();
    let builders = |line: &str| line.contains("buildkit/") && line.contains(" 200 ") && line.contains("/blobs/sha256:");
    assert!(log.lines().any(builders), "the builder pulled the base: {log}");
}
