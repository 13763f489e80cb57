//! A token server behind TLS, as the token specification of distribution has it: it knows one account, and signs what that asks for.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use url::Url;

/// Who it is, and whom its tokens are for.
pub(crate) const ISSUER: &str = "test-tokens";
pub(crate) const SERVICE: &str = "test-registry";

/// How long a connection may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server. Ends with this value.
pub(crate) struct Tokens {
    address: String,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Arc<ServerConfig>,
    key: EcdsaKeyPair,
    /// The certificate that the registry's `rootcertbundle` has signed.
    certificate: CertificateDer<'static>,
    /// `Basic …` of the one account.
    account: String,
    over: AtomicBool,
    granted: AtomicUsize,
    refused: AtomicUsize,
    /// Scopes that tokens were given for.
    scopes: Mutex<Vec<String>>,
}

impl Tokens {
    /// Starts on `listener` with `server.pem` and `server.key` of `folder`.
    pub(crate) fn start(listener: TcpListener, folder: &Path, user: &str, password: &str) -> Self {
        let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der(), &SystemRandom::new());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("they belong together");
        let shared = Arc::new(Shared {
            tls: Arc::new(tls),
            key: pair.expect("a P-256 key"),
            certificate,
            account: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
            over: AtomicBool::new(false),
            granted: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            scopes: Mutex::default(),
        });
        let address = listener.local_addr().expect("an address").to_string();
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&accepting)) else { continue };
                // Whoever goes away in the middle is none of our business.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared }
    }

    /// What a registry names in its challenge.
    pub(crate) fn realm(address: &str) -> String {
        format!("https://{address}/token")
    }

    /// Tokens that were given to the account, and requests that were refused.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.shared.granted.load(Ordering::Relaxed), self.shared.refused.load(Ordering::Relaxed))
    }

    /// The scopes of the tokens that were given.
    pub(crate) fn scopes(&self) -> Vec<String> {
        self.shared.scopes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(&self.address));
    }
}

impl Shared {
    /// One request, one answer.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let connection = ServerConnection::new(Arc::clone(&self.tls)).map_err(std::io::Error::other)?;
        let mut stream = BufReader::new(StreamOwned::new(connection, stream).take(64 << 10));
        let (mut first, mut account) = (String::new(), String::new());
        stream.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("authorization")
            {
                value.trim().clone_into(&mut account);
            }
        }
        let (status, body) = self.answer(&first, &account);
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
        let stream = stream.get_mut().get_mut();
        stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn answer(&self, request: &str, account: &str) -> (&'static str, String) {
        let target = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        if !target.starts_with("/token") {
            // The other form, by POST, is optional: clients come back with this one.
            return ("404 Not Found", "{}".to_owned());
        }
        if account != self.account {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return ("401 Unauthorized", r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#.to_owned());
        }
        let url = Url::parse(&format!("https://server{target}")).expect("a path that is one");
        let asked = |name: &str| {
            let pairs = url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            pairs.collect::<Vec<String>>()
        };
        if asked("service") != [SERVICE] {
            return ("400 Bad Request", r#"{"errors":[{"code":"UNSUPPORTED"}]}"#.to_owned());
        }
        let scopes: Vec<String> =
            asked("scope").iter().flat_map(|scopes| scopes.split(' ')).map(str::to_owned).collect();
        self.granted.fetch_add(1, Ordering::Relaxed);
        let token = self.token(&scopes);
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner).extend(scopes);
        ("200 OK", serde_json::json!({"token": token, "expires_in": 300}).to_string())
    }

    /// A token for `TYPE:NAME:ACTION,ACTION` each, signed (JWS, ES256).
    fn token(&self, scopes: &[String]) -> String {
        let access = scopes.iter().filter_map(|scope| {
            let (kind, rest) = scope.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            Some(serde_json::json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
        });
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let header =
            serde_json::json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(self.certificate.as_ref())]});
        let claims = serde_json::json!({
            "iss": ISSUER, "sub": "test", "aud": SERVICE, "jti": now.to_string(),
            "nbf": now - 10, "iat": now, "exp": now + 300, "access": access.collect::<Vec<_>>(),
        });
        let mut text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
        let _infallible = write!(text, ".{}", URL_SAFE_NO_PAD.encode(signature));
        text
    }
}

/// What makes a registry ask this server, below `auth:` in its configuration.
pub(crate) fn configuration(address: &str, folder: &Path) -> String {
    let realm = Tokens::realm(address);
    let roots = folder.join("ca.pem");
    assert!(fs::exists(&roots).is_ok_and(|there| there), "the authority is made first");
    let roots = roots.display();
    format!("  token: {{realm: \"{realm}\", service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {roots}}}\n")
}
