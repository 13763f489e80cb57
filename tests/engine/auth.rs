use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use catamaran::base::{
    CredentialFuture, CredentialSource, Credentials, Digest, ErrorClass, Failure, Secret, media_type,
};
use catamaran::engine::buildkit::{BuildKitEngine, ConnectOptions};
use catamaran::engine::{BuiltImage, Engine, EngineError};
use catamaran::store::Layout;

use super::bench::{Bench, options};
use crate::support::daemon::Daemon;

/// A registry that gives its one image to whoever brings a token, and a token to whoever knows the password.
#[derive(Clone)]
struct Registry {
    host: String,
    layout: Layout,
    image: Digest,
    /// What reached it: method, path and the kind of authorization.
    seen: Arc<Mutex<Vec<String>>>,
}

const PASSWORD: &str = "hunter2hunter2";

impl Registry {
    async fn start(bench: &Bench, image: &BuiltImage) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self {
            host: listener.local_addr().unwrap().to_string(),
            layout: bench.layout.clone(),
            image: image.manifest.digest,
            seen: Arc::default(),
        };
        let router = Router::new().fallback(serve).with_state(registry.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        registry
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn token(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
        let text = format!("{} {}", uri.query().unwrap_or_default(), String::from_utf8_lossy(body));
        let scoped =
            text.contains("scope=repository%3Ateam%2Fbase%3Apull") || text.contains("scope=repository:team/base:pull");
        assert!(scoped && text.contains("service=registry.test"), "{text}");
        let basic = headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Basic bWU6aHVudGVyMmh1bnRlcjI=");
        let grant = method == Method::POST
            && text.contains("grant_type=password")
            && text.contains("username=me")
            && text.contains(&format!("password={PASSWORD}"));
        if basic || grant {
            return (StatusCode::OK, r#"{"token":"the-token","expires_in":300}"#).into_response();
        }
        (StatusCode::UNAUTHORIZED, "no").into_response()
    }

    fn blob(&self, digest: Digest, kind: &'static str) -> Response {
        let mut bytes = Vec::new();
        match self.layout.open_raw(&digest) {
            Ok(mut blob) => std::io::Read::read_to_end(&mut blob.file, &mut bytes).unwrap(),
            Err(_) => return StatusCode::NOT_FOUND.into_response(),
        };
        let headers = [(header::CONTENT_TYPE.as_str(), kind.to_owned()), ("docker-content-digest", digest.to_string())];
        (headers, bytes).into_response()
    }
}

async fn serve(
    State(registry): State<Registry>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = authorization.split(' ').next().unwrap_or_default();
    registry.seen.lock().unwrap().push(format!("{method} {} {kind}", uri.path()));
    if uri.path() == "/token" {
        return Registry::token(&method, &uri, &headers, &body);
    }
    if authorization != "Bearer the-token" {
        let challenge = format!(
            "Bearer realm=\"http://{}/token\",service=\"registry.test\",scope=\"repository:team/base:pull\"",
            registry.host
        );
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    }
    match uri.path().rsplit_once('/') {
        Some((path, "1")) if path.ends_with("/manifests") => registry.blob(registry.image, media_type::MANIFEST),
        Some((path, digest)) => {
            let kind = if path.ends_with("/manifests") { media_type::MANIFEST } else { "application/octet-stream" };
            digest.parse().map_or(StatusCode::NOT_FOUND.into_response(), |digest| registry.blob(digest, kind))
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

struct Known {
    host: String,
    password: &'static str,
}

impl CredentialSource for Known {
    fn credentials<'a>(&'a self, host: &'a str, _repository: Option<&'a str>) -> CredentialFuture<'a> {
        let known = (host == self.host)
            .then(|| Credentials::Basic { username: "me".to_owned(), password: Secret::new(self.password) });
        Box::pin(async move { Ok(known) })
    }
}

/// A client for plain HTTP that trusts nobody.
fn client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}

async fn build(
    bench: &Bench,
    registry: &Registry,
    password: &'static str,
    fetch: bool,
) -> Result<BuiltImage, EngineError> {
    let options = ConnectOptions {
        credentials: Arc::new(Known { host: registry.host.clone(), password }),
        token_client: fetch.then(client),
        ..options(Daemon::shared().address(), &bench.layout)
    };
    let engine = BuildKitEngine::connect(options).await.unwrap();
    bench.write("Dockerfile", format!("FROM {}/team/base:1\nCOPY Dockerfile /second\n", registry.host));
    engine.build(bench.request("linux/amd64")).await
}

/// A base that only this test has, so that no cache of the daemon holds it.
async fn base(bench: &Bench) -> BuiltImage {
    bench.write("Dockerfile", format!("FROM scratch\n# {}\nCOPY Dockerfile /first\n", bench.context().display()));
    bench.build("linux/amd64").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_here_and_passwords_stay() {
    let bench = Bench::new().await;
    let registry = Registry::start(&bench, &base(&bench).await).await;
    let image = build(&bench, &registry, PASSWORD, true).await.unwrap();
    assert!(bench.file(&image, "first").is_some() && bench.file(&image, "second").is_some());
    let seen = registry.seen();
    let tokens: Vec<_> = seen.iter().filter(|line| line.contains("/token")).collect();
    assert_eq!(tokens, ["POST /token "], "one, by this program's way: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_the_daemon_gets_the_credentials() {
    let bench = Bench::new().await;
    let registry = Registry::start(&bench, &base(&bench).await).await;
    build(&bench, &registry, PASSWORD, false).await.unwrap();
    assert!(registry.seen().iter().any(|line| line.contains("/token")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_base_names_the_registry_and_no_password() {
    let bench = Bench::new().await;
    let registry = Registry::start(&bench, &base(&bench).await).await;
    for fetch in [true, false] {
        let error = build(&bench, &registry, "wrong-password", fetch).await.unwrap_err();
        let EngineError::Base { image, message, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*image, format!("{}/team/base:1", registry.host));
        assert!(message.contains("401"), "{message}");
        assert!(!format!("{error:?}").contains("wrong-password"));
        assert_eq!(error.class(), ErrorClass::Refused);
    }
}
