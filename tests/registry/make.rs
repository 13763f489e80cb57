//! The same release through registries of three makes, read back by programs that share no code with ours.

use std::process::Stdio;
use std::sync::Arc;

use catamaran::base::{ErrorClass, Failure as _};
use catamaran::event::NoEvents;
use catamaran::registry::{
    Confirmation, Journal, PushOptions, PushReceipt, RegistryClient, RegistryError, Release, TagChange, push, push_with,
};
use tokio_util::sync::CancellationToken;

use crate::support::registry::{Make, PASSWORD, Registry, Setup, USER, skopeo};
use crate::support::release::{Account, Images, client, options};

async fn pushed(client: &RegistryClient, images: &Images, release: Release) -> Result<PushReceipt, RegistryError> {
    push(client, &images.layout, release, Arc::new(NoEvents), &CancellationToken::new()).await
}

const NAMES: [&str; 4] = ["base", "nginx", "gitea", "slurm-master"];

/// What every make must do: take the release whole, the shared layer once, and a second push without a byte.
async fn takes_a_release(make: Make) {
    let registry = Registry::start(make, &Setup::default());
    let images = Images::new();
    let shared = images.layer("shared", 5 << 20);
    let prefix = registry.reference("fleet");
    let release = images.release(&prefix, &NAMES, "1.0", std::slice::from_ref(&shared));
    let client = client();

    let first = pushed(&client, &images, release.clone()).await.expect("pushed");
    // 5 MiB once, two layers of 3000 bytes and two configs for each image, and manifests, three times (twice an index).
    assert!(first.bytes_sent > shared.size && first.bytes_sent < shared.size + 100_000, "{first:?}");
    for (repository, item) in first.repositories.iter().zip(&release.items) {
        assert_eq!(repository.index, item.index.digest);
        assert_eq!(repository.tags[0].change, TagChange::Created);
        assert_eq!(repository.tags[0].confirmed, Confirmation::IndependentReader);
    }

    // Again: one request per tag, and for everything behind it: two manifests, two layers, two configs and the shared layer.
    let again = pushed(&client, &images, release.clone()).await.expect("pushed again");
    assert_eq!((again.requests, again.bytes_sent, again.uploaded), (8 * NAMES.len() as u64, 0, 0), "{again:?}");
    assert_eq!(again.repositories[0].tags[0].change, TagChange::Unchanged);
    assert_eq!(again.repositories[0].tags[0].confirmed, Confirmation::Present);
    // With a journal that knows of it, one request per tag.
    let journal = tempfile::tempdir().expect("a folder");
    for (requests, confirmed) in [(8, Confirmation::Present), (1, Confirmation::Earlier)] {
        let options = PushOptions { journal: Some(Journal::open(journal.path()).expect("a journal")), verify: false };
        let cancel = CancellationToken::new();
        let layout = &images.layout;
        let again = push_with(&client, layout, release.clone(), &options, Arc::new(NoEvents), &cancel).await;
        let again = again.expect("pushed again");
        assert_eq!(again.requests, requests * NAMES.len() as u64, "{again:?}");
        assert_eq!(again.repositories[0].tags[0].confirmed, confirmed);
    }

    // Other configs over the same layers, as after a changed label: only configs are sent.
    let mut relabelled = release.clone();
    for (item, name) in relabelled.items.iter_mut().zip(NAMES) {
        item.tags = vec!["1.1".parse().expect("a tag")];
        let manifests: Vec<_> = ["linux/amd64", "linux/arm64"]
            .map(|platform| {
                let own = images.layer(&format!("{name} 1.0 {platform}"), 3000);
                images.manifest(&format!("{name} relabelled"), platform, &[shared.clone(), own])
            })
            .to_vec();
        item.index = images.index(&manifests);
    }
    let third = pushed(&client, &images, relabelled.clone()).await.expect("pushed");
    assert_eq!(third.uploaded, 2 * NAMES.len(), "no layer is sent that is there: {third:?}");

    for item in &release.items {
        let reference = format!("docker://{}:1.0", item.repository);
        let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &reference]);
        assert_eq!(raw.as_bytes(), images.read(&item.index), "the bytes are as they were made");
        for architecture in ["amd64", "arm64"] {
            let read = skopeo(&["--override-arch", architecture, "inspect", "--tls-verify=false", &reference]);
            assert!(read.contains(&format!("\"Architecture\": \"{architecture}\"")), "{read}");
        }
    }
    let whole = format!("dir:{}", images.path().join("copy").display());
    skopeo(&["copy", "-q", "--all", "--src-tls-verify=false", &format!("docker://{prefix}/nginx:1.0"), &whole]);
}

#[tokio::test]
async fn debians_registry_takes_a_release() {
    takes_a_release(Make::Debian).await;
}

#[tokio::test]
async fn the_reference_registry_takes_a_release() {
    takes_a_release(Make::Reference).await;
}

#[tokio::test]
async fn cranes_registry_takes_a_release() {
    takes_a_release(Make::Crane).await;
}

#[tokio::test]
async fn a_shared_layer_is_sent_once_and_mounted() {
    let registry = Registry::start(Make::Debian, &Setup::default());
    let images = Images::new();
    let shared = images.layer("shared", 1 << 20);
    let release = images.release(&registry.reference("fleet"), &NAMES, "1.0", std::slice::from_ref(&shared));
    let receipt = pushed(&client(), &images, release).await.expect("pushed");
    assert_eq!((receipt.mounted, receipt.bytes_mounted), (3, 3 * shared.size));
    // Of each image two layers and two configs are its own.
    assert_eq!(receipt.uploaded, 1 + 4 * NAMES.len());
    assert_eq!(receipt.warnings, [""; 0]);
}

#[tokio::test]
async fn a_changed_image_sends_what_changed() {
    let registry = Registry::start(Make::Debian, &Setup::default());
    let images = Images::new();
    let shared = images.layer("shared", 1 << 20);
    let prefix = registry.reference("fleet");
    let client = client();
    let old = images.release(&prefix, &NAMES, "1.0", std::slice::from_ref(&shared));
    pushed(&client, &images, old.clone()).await.expect("pushed");

    let mut new = old;
    new.items[1].index = images.image("nginx", "1.0, mended", std::slice::from_ref(&shared), 3000);
    let receipt = pushed(&client, &images, new.clone()).await.expect("pushed");
    let changes: Vec<TagChange> = receipt.repositories.iter().map(|repository| repository.tags[0].change).collect();
    assert_eq!(changes, [TagChange::Unchanged, TagChange::Moved, TagChange::Unchanged, TagChange::Unchanged]);
    assert_eq!(receipt.uploaded, 4, "two layers and two configs");
    assert!(receipt.bytes_sent < 20_000, "{receipt:?}");
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{prefix}/nginx:1.0")]);
    assert_eq!(raw.as_bytes(), images.read(&new.items[1].index));
}

#[tokio::test]
async fn a_private_authority_and_a_password() {
    let registry = Registry::start(Make::Debian, &Setup { password: true, tls: true, ..Setup::default() });
    let images = Images::new();
    let release = images.release(&registry.reference("fleet"), &NAMES[..2], "1.0", &[images.layer("shared", 300_000)]);

    let mut trusting = options();
    trusting.extra_ca = vec![registry.authority()];
    trusting.credentials = Account::basic(USER, PASSWORD);
    let good = RegistryClient::new(trusting.clone()).expect("a client");
    let receipt = pushed(&good, &images, release.clone()).await.expect("pushed");
    assert_eq!(receipt.repositories[1].tags[0].confirmed, Confirmation::IndependentReader);

    // Loopback is spoken to as it speaks, and it speaks TLS: a certificate that cannot be trusted is no reason for less.
    let mut doubting = options();
    doubting.credentials = Account::basic(USER, PASSWORD);
    let error = pushed(&RegistryClient::new(doubting).expect("a client"), &images, release.clone()).await;
    let error = error.expect_err("an authority that nobody trusts");
    assert_eq!(error.class(), ErrorClass::Network, "{error}");
    assert!(error.help().is_some_and(|help| help.contains("--ca FILE")), "{error}: {:?}", error.help());

    for (credentials, words) in
        [(Account::basic(USER, "wrong"), "refuses the credentials"), (Account::basic("nobody", PASSWORD), "refuses")]
    {
        let wrong = RegistryClient::new(catamaran::registry::RegistryOptions { credentials, ..trusting.clone() });
        let error = pushed(&wrong.expect("a client"), &images, release.clone()).await.expect_err("a wrong password");
        assert_eq!(error.class(), ErrorClass::Auth);
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.help().is_some_and(|help| help.contains("the test's pocket")), "{:?}", error.help());
    }
    let anonymous = RegistryClient::new(catamaran::registry::RegistryOptions {
        credentials: Arc::new(catamaran::registry::NoCredentials),
        ..trusting
    });
    let error = pushed(&anonymous.expect("a client"), &images, release).await.expect_err("no password");
    assert!(error.to_string().contains("wants a password, and none was found"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_explained() {
    let images = Images::new();
    let folder = tempfile::tempdir().expect("a folder");
    let openssl = |arguments: &str| {
        let mut command = std::process::Command::new(crate::support::registry::system_program("openssl"));
        command.args(arguments.split(' ')).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=self-made-for-a-test \
                -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out";
    let authority = "as-authority.pem";
    let server = "as-server.pem -addext basicConstraints=CA:FALSE";
    // What openssl makes by default is an authority, which no server can be; the other one is only unknown.
    for (certificate, words) in [(authority, "signed itself as an authority"), (server, "trust its authority")] {
        assert!(openssl(&format!("{make} {certificate}")).status().expect("openssl runs").success());
        let address = crate::support::registry::free_address();
        let name = certificate.split(' ').next().expect("a name");
        let mut running = openssl(&format!("s_server -quiet -accept {address} -cert {name} -key key.pem"))
            .spawn()
            .expect("openssl runs");
        while std::net::TcpStream::connect(&address).is_err() {
            tokio::task::yield_now().await;
        }
        let release = images.release(&format!("{address}/fleet"), &["nginx"], "1.0", &[]);
        let error = pushed(&client(), &images, release).await.expect_err("nobody can trust that");
        running.kill().and_then(|()| running.wait()).expect("it ends");
        assert_eq!(error.class(), ErrorClass::Network, "{error}");
        let help = error.help().expect("what to do");
        assert!(help.contains(words) && help.contains("--ca FILE"), "{error}: {help}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let images = Images::new();
    let address = crate::support::registry::free_address();
    let release = images.release(&format!("{address}/fleet"), &["nginx"], "1.0", &[]);
    let error = pushed(&client(), &images, release).await.expect_err("nobody is there");
    assert_eq!(error.class(), ErrorClass::Network);
    assert!(error.to_string().contains("refused") && error.to_string().contains(&address), "{error}");
}
