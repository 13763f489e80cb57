use std::sync::Arc;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use tonic::{Code, Request, Response, Status};

use super::token::{self, TokenRequest};
use crate::base::{CredentialSource, Credentials};
use crate::engine::buildkit::proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse, auth_server,
};

/// Docker Hub is asked under this name, and known by people and credential files under another.
const HUB_REGISTRY: &str = "registry-1.docker.io";
const HUB: &str = "docker.io";

/// Proves who we are to registries that the daemon pulls base images from (`moby.filesync.v1.Auth`).
///
/// With a client for tokens the passwords stay here: the daemon asks for a token of one repository. To share a token among
/// sessions it wants proof that they belong to the same identity, which is a signature by a key that only this engine can
/// make.
#[derive(Clone)]
pub(crate) struct Auth {
    credentials: Arc<dyn CredentialSource>,
    client: Option<reqwest::Client>,
    seed: Seed,
}

/// What makes the keys of this engine its own.
#[derive(Clone)]
pub(crate) struct Seed([u8; 16]);

impl Seed {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).expect("the kernel's random source does not fail once it is seeded");
        Self(bytes)
    }
}

impl Auth {
    pub(crate) fn new(credentials: Arc<dyn CredentialSource>, client: Option<reqwest::Client>, seed: Seed) -> Self {
        Self { credentials, client, seed }
    }

    async fn lookup(&self, host: &str, repository: Option<&str>) -> Result<Option<Credentials>, Status> {
        let host = if host == HUB_REGISTRY { HUB } else { host };
        self.credentials
            .credentials(host, repository)
            .await
            .map_err(|error| Status::failed_precondition(error.to_string()))
    }

    /// The key of this engine for a host; `salt` is the daemon's, new with each start of it.
    fn key(&self, host: &str, salt: &[u8]) -> Result<Ed25519KeyPair, Status> {
        let mut message = self.seed.0.to_vec();
        message.extend_from_slice(host.as_bytes());
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), &message);
        Ed25519KeyPair::from_seed_unchecked(mac.as_ref()).map_err(|_| Status::internal("no key"))
    }

    /// `Unimplemented` makes the daemon ask for credentials instead; any other refusal would fail the pull.
    fn client(&self) -> Result<&reqwest::Client, Status> {
        self.client.as_ref().ok_or_else(|| Status::unimplemented("tokens are not fetched here"))
    }
}

#[tonic::async_trait]
impl auth_server::Auth for Auth {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let answer = match self.lookup(&request.get_ref().host, None).await? {
            Some(Credentials::Basic { username, password }) => {
                CredentialsResponse { username, secret: password.reveal().to_owned() }
            }
            // A secret without a name is an identity token.
            Some(Credentials::IdentityToken(token)) => {
                CredentialsResponse { username: String::new(), secret: token.reveal().to_owned() }
            }
            // There is no place for a registry token here; and having nothing is no error, or public images could not be
            // pulled.
            Some(Credentials::RegistryToken(_)) | None => CredentialsResponse::default(),
        };
        Ok(Response::new(answer))
    }

    async fn fetch_token(&self, request: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        let client = self.client()?;
        let FetchTokenRequest { client_id, host, realm, service, scopes } = request.into_inner();
        let repository = scopes.iter().find_map(|scope| repository(scope));
        let credentials = self.lookup(&host, repository).await?;
        let request = TokenRequest { client_id, host: host.clone(), realm, service, scopes };
        let token = token::fetch(client, request, credentials)
            .await
            .map_err(|reason| Status::new(Code::PermissionDenied, format!("no token for `{host}`: {reason}")))?;
        Ok(Response::new(token))
    }

    async fn get_token_authority(
        &self,
        request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        self.client()?;
        let request = request.get_ref();
        let key = self.key(&request.host, &request.salt)?;
        let public_key = key.public_key().as_ref().to_vec().into();
        Ok(Response::new(GetTokenAuthorityResponse { public_key }))
    }

    async fn verify_token_authority(
        &self,
        request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        self.client()?;
        let request = request.get_ref();
        let key = self.key(&request.host, &request.salt)?;
        // NaCl's order: the signature, then what was signed.
        let mut signed = key.sign(&request.payload).as_ref().to_vec();
        signed.extend_from_slice(&request.payload);
        Ok(Response::new(VerifyTokenAuthorityResponse { signed: signed.into() }))
    }
}

/// The repository of `repository:library/alpine:pull`.
fn repository(scope: &str) -> Option<&str> {
    let (name, _actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::auth_server::Auth as _;
    use super::*;
    use crate::base::{CredentialError, CredentialFuture, Secret};

    struct Known;

    impl CredentialSource for Known {
        fn credentials<'a>(&'a self, host: &'a str, _repository: Option<&'a str>) -> CredentialFuture<'a> {
            Box::pin(async move {
                match host {
                    "docker.io" => Ok(Some(Credentials::Basic { username: "me".into(), password: Secret::new("pw") })),
                    "token.example" => Ok(Some(Credentials::IdentityToken(Secret::new("refresh")))),
                    "broken.example" => {
                        Err(CredentialError { host: host.to_owned(), reason: "the helper failed".to_owned() })
                    }
                    _ => Ok(None),
                }
            })
        }
    }

    fn auth(client: bool) -> Auth {
        // A client that is never used needs no TLS.
        let client = client.then(|| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let tls = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
        });
        Auth::new(Arc::new(Known), client, Seed::random())
    }

    async fn ask(host: &str) -> Result<(String, String), Status> {
        let request = CredentialsRequest { host: host.to_owned() };
        let answer = auth(false).credentials(Request::new(request)).await?.into_inner();
        Ok((answer.username, answer.secret))
    }

    #[tokio::test]
    async fn credentials_are_those_of_the_host() {
        assert_eq!(ask("registry-1.docker.io").await.unwrap(), ("me".to_owned(), "pw".to_owned()));
        assert_eq!(ask("token.example").await.unwrap(), (String::new(), "refresh".to_owned()));
        assert_eq!(
            ask("docker.io.example").await.unwrap(),
            (String::new(), String::new()),
            "no credentials is no error"
        );
        let status = ask("broken.example").await.unwrap_err();
        assert!(status.message().contains("the helper failed"), "{status}");
    }

    #[tokio::test]
    async fn without_a_client_the_daemon_fetches_tokens_itself() {
        let request = GetTokenAuthorityRequest { host: "docker.io".into(), salt: vec![1; 32].into() };
        let status = auth(false).get_token_authority(Request::new(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    }

    #[tokio::test]
    async fn the_authority_signs_with_the_key_it_names() {
        let auth = auth(true);
        let salt = bytes::Bytes::from_static(&[7; 32]);
        let request = GetTokenAuthorityRequest { host: "a.example".into(), salt: salt.clone() };
        let key = auth.get_token_authority(Request::new(request)).await.unwrap().into_inner().public_key;
        assert_eq!(key.len(), 32);
        let request =
            VerifyTokenAuthorityRequest { host: "a.example".into(), payload: vec![9; 50].into(), salt: salt.clone() };
        let signed = auth.verify_token_authority(Request::new(request)).await.unwrap().into_inner().signed;
        let (signature, payload) = signed.split_at(64);
        assert_eq!(payload, [9; 50]);
        UnparsedPublicKey::new(&ED25519, &key).verify(payload, signature).unwrap();

        let request = GetTokenAuthorityRequest { host: "b.example".into(), salt };
        let other = auth.get_token_authority(Request::new(request)).await.unwrap().into_inner().public_key;
        assert_ne!(key, other, "each host has its own key");
    }

    #[test]
    fn scopes_name_repositories() {
        assert_eq!(repository("repository:library/alpine:pull"), Some("library/alpine"));
        assert_eq!(repository("repository:host:5000/a:pull,push"), Some("host:5000/a"));
        assert_eq!(repository("registry:catalog:*"), None);
        assert_eq!(repository("repository::pull"), None);
    }
}
