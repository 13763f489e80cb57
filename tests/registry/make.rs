//! Whom a registry is taken for: certificates, passwords, and nobody. What all makes do is in `suite`.

use std::process::Stdio;
use std::sync::Arc;

use catamaran::base::{ErrorClass, Failure as _};
use catamaran::event::NoEvents;
use catamaran::registry::{Confirmation, PushReceipt, RegistryClient, RegistryError, Release, push};
use tokio_util::sync::CancellationToken;

use crate::support::registry::{Make, PASSWORD, Registry, Setup, USER};
use crate::support::release::{Account, Images, client, options};

async fn pushed(client: &RegistryClient, images: &Images, release: Release) -> Result<PushReceipt, RegistryError> {
    push(client, &images.layout, release, Arc::new(NoEvents), &CancellationToken::new()).await
}

const NAMES: [&str; 4] = ["base", "nginx", "gitea", "slurm-master"];

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
