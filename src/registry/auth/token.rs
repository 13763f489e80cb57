use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::Scopes;
use super::challenge::{Challenge, challenge_in};
use super::realm::{self, RealmRules};
use crate::base::{CredentialError, Credentials, Secret};
use crate::registry::call::{Call, Payload};
use crate::registry::host::{Host, authority_of};
use crate::registry::pace::Tries;
use crate::registry::response::Response;
use crate::registry::transport::plain_for_pulls_only;
use crate::registry::trouble::Trouble;
use crate::registry::{RegistryClient, RegistryError};

/// What is known about authentication at one host.
#[derive(Debug, Default)]
pub(in crate::registry) struct HostAuth {
    challenge: Mutex<Option<Challenge>>,
    slots: Mutex<Vec<Arc<Slot>>>,
    /// Looked up once per repository: a helper may ask a person or a far service.
    known: tokio::sync::Mutex<HashMap<Option<String>, Looked>>,
}

/// What a look-up came to; a helper that fails is not asked by every worker in turn.
type Looked = Result<Option<Credentials>, String>;

/// The place for one token. Its lock is held while the token is fetched: everybody else who needs it waits for that one
/// request instead of making their own.
#[derive(Debug)]
struct Slot {
    scopes: Scopes,
    token: tokio::sync::Mutex<Option<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    header: HeaderValue,
    born: Instant,
    until: Instant,
}

/// What goes into a request's `Authorization`.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Grant {
    /// The header's value, marked sensitive.
    pub(in crate::registry) header: HeaderValue,
    /// Whether it is a token that was fetched for this, and can be fetched again.
    fetched: bool,
    /// When it was given. If the registry refuses it, it may have forgotten every token that is older than that.
    given: Instant,
}

/// The token specification's default and lower bound: "if omitted, this defaults to 60 seconds".
const DEFAULT_LIFE: f64 = 60.0;
/// Nothing is kept longer, whatever a server promises.
const LONGEST_LIFE: f64 = 86_400.0;
/// A token answer over this size is no token answer.
const ANSWER_LIMIT: usize = 1 << 20;

#[derive(Deserialize)]
struct TokenAnswer {
    /// Both names are in use; `token` is the older one.
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    /// Seconds. The specification wants a number; a text with one in it is understood too.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl TokenAnswer {
    fn seconds(&self) -> f64 {
        let text = self.expires_in.as_str().and_then(|text| text.trim().parse().ok());
        self.expires_in.as_f64().or(text).unwrap_or(0.0)
    }
}

impl HostAuth {
    /// Whether the host has refused anything for lack of a login so far.
    pub(in crate::registry) fn was_asked_for(&self) -> bool {
        locked(&self.challenge).is_some()
    }
}

impl RegistryClient {
    /// What to send with a request, as far as the host's challenge is known; `None` before it ever sent one.
    pub(in crate::registry) async fn grant(
        &self,
        host: &Host,
        scopes: &Scopes,
        action: &str,
    ) -> Result<Option<Grant>, Trouble> {
        let challenge = locked(&host.auth.challenge).clone();
        match challenge {
            None => Ok(None),
            Some(challenge) => self.authorize(host, &challenge, scopes, action, None).await.map(Some),
        }
    }

    /// What to send instead, after the host answered 401 to `refused`.
    pub(in crate::registry) async fn answer_challenge(
        &self,
        host: &Host,
        scopes: &Scopes,
        action: &str,
        response: Response,
        refused: Option<&Grant>,
    ) -> Result<Grant, Trouble> {
        let challenge = challenge_in(response.headers());
        response.finish().await;
        let Some(challenge) = challenge else {
            let reason = "it asks for authentication in no way that we know (no usable WWW-Authenticate)";
            return Err(self.auth_error(host, action, reason));
        };
        // What was refused was made for the very challenge it is refused with: basic credentials do not get better.
        if challenge == Challenge::Basic && refused.is_some() {
            return Err(self.auth_error(host, action, "it refuses the credentials"));
        }
        *locked(&host.auth.challenge) = Some(challenge.clone());
        self.authorize(host, &challenge, scopes, action, refused.map(|grant| grant.given)).await
    }

    /// The error for a 401 that new credentials did not help against.
    pub(in crate::registry) async fn unauthorized(
        &self,
        host: &Host,
        scopes: &Scopes,
        action: &str,
        grant: Option<&Grant>,
    ) -> RegistryError {
        let anonymous = matches!(self.credentials(host, scopes).await, Ok(None));
        let reason = match grant {
            Some(Grant { fetched: true, .. }) if anonymous => {
                "it allows this to nobody unnamed, and no credentials were found"
            }
            Some(Grant { fetched: true, .. }) => "its token server's token is not good for this",
            _ => "it refuses the credentials",
        };
        self.auth_error(host, action, &format!("{reason} ({})", scopes.texts().join(" "))).into_error()
    }

    async fn authorize(
        &self,
        host: &Host,
        challenge: &Challenge,
        scopes: &Scopes,
        action: &str,
        refused: Option<Instant>,
    ) -> Result<Grant, Trouble> {
        let credentials = self.credentials(host, scopes).await.map_err(Trouble::last)?;
        if credentials.is_some() && host.is_plain_for_pulls_only() {
            return Err(plain_for_pulls_only(host, action));
        }
        match (challenge, credentials) {
            (_, Some(Credentials::RegistryToken(token))) => {
                let header = header(&format!("Bearer {}", token.reveal()));
                let header = header.ok_or_else(|| self.auth_error(host, action, "its registry token is no header"))?;
                Ok(Grant { header, fetched: false, given: Instant::now() })
            }
            (Challenge::Basic, Some(Credentials::Basic { username, password })) => {
                Ok(Grant { header: basic(&username, &password), fetched: false, given: Instant::now() })
            }
            (Challenge::Basic, Some(_)) => {
                Err(self.auth_error(host, action, "it wants a password, and what was found is an identity token"))
            }
            (Challenge::Basic, None) => Err(self.auth_error(host, action, "it wants a password, and none was found")),
            (Challenge::Bearer { realm, service, scope }, credentials) => {
                let request = TokenRequest {
                    realm,
                    service: service.as_deref(),
                    scopes: all_scopes(scopes, scope.as_deref()),
                    credentials,
                };
                self.token(host, scopes, action, request, refused).await
            }
        }
    }

    /// The token for these scopes: one that covers them and still lives, or a new one that everybody waits for.
    async fn token(
        &self,
        host: &Host,
        scopes: &Scopes,
        action: &str,
        request: TokenRequest<'_>,
        refused: Option<Instant>,
    ) -> Result<Grant, Trouble> {
        if let Some(grant) = wider(&host.auth, scopes, refused) {
            return Ok(grant);
        }
        let slot = slot_for(&host.auth, scopes);
        let mut current = slot.token.lock().await;
        if let Some(grant) = current.as_ref().and_then(|token| token.grant(refused)) {
            return Ok(grant);
        }
        let (secret, life) = self.fetch_token(host, action, &request).await.map_err(Trouble::last)?;
        // Some seconds before its end a token may expire on the way.
        let margin = (life / 4).min(Duration::from_secs(10));
        let header = header(&format!("Bearer {}", secret.reveal()))
            .ok_or_else(|| self.auth_error(host, action, "its token server gave a token that is no header"))?;
        let born = Instant::now();
        let token = Token { header, born, until: born + life.saturating_sub(margin) };
        *current = Some(token.clone());
        Ok(Grant { header: token.header, fetched: true, given: born })
    }

    /// Asks the token server, with patience; never goes on without a token.
    async fn fetch_token(
        &self,
        host: &Host,
        action: &str,
        request: &TokenRequest<'_>,
    ) -> Result<(Secret, Duration), RegistryError> {
        let registry = self.url(host, "").await?;
        let may_be_plain = |authority: &str| self.may_be_plain(authority);
        let rules =
            RealmRules { registry: &registry, may_be_plain: &may_be_plain, trusted: &self.options().trusted_realms };
        let realm = realm::check(request.realm, &rules, request.credentials.is_some())
            .map_err(|reason| self.auth_error(host, action, &reason).into_error())?;
        let authority = authority_of(&realm);
        let pace = self.pace_of(&authority);
        let (call, authorization) = request.call(realm);
        let mut tries = Tries::new(self.options().retry);
        loop {
            let gate = pace.wait().await;
            let got = self.exchange(&authority, &call, authorization.as_ref(), "get a token").await;
            let got = match got {
                Ok(response) => self.read_token(host, action, request, response).await,
                Err(trouble) => Err(trouble),
            };
            drop(gate);
            match got {
                Ok(token) => {
                    pace.succeeded();
                    return Ok(token);
                }
                Err(trouble) => self.pause(&authority, &pace, &mut tries, trouble).await?,
            }
        }
    }

    async fn read_token(
        &self,
        host: &Host,
        action: &str,
        request: &TokenRequest<'_>,
        response: Response,
    ) -> Result<(Secret, Duration), Trouble> {
        let status = response.status().as_u16();
        let who = if request.credentials.is_some() { "the credentials" } else { "to give a token without credentials" };
        match status {
            200..=299 => {}
            // What a refresh token that is not good any more gets is 400 (RFC 6749, section 5.2).
            400 | 401 | 403 => {
                let (realm, ..) = response.refusal_parts();
                let answer = response.answer().await;
                let reason =
                    format!("its token server `{realm}` refuses {who} for {}{answer}", request.scopes.join(" "));
                return Err(self.auth_error(host, action, &reason));
            }
            429 => {
                let refused = response.refused().await;
                return Err(Trouble { limited: true, ..Trouble::passing(refused) });
            }
            500..=599 => return Err(Trouble::passing(response.refused().await)),
            _ => return Err(Trouble::last(response.refused().await)),
        }
        let (realm, asked, _) = response.refusal_parts();
        let bytes = response.bytes(ANSWER_LIMIT).await?;
        let answer = serde_json::from_slice::<TokenAnswer>(&bytes).ok();
        let token = answer.as_ref().and_then(|answer| answer.token.as_ref().or(answer.access_token.as_ref()));
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            // A proxy's page in between may be gone at the next try. The answer itself might hold the token: not shown.
            return Err(Trouble::passing(RegistryError::Network {
                host: realm,
                action: asked,
                reason: "its answer holds no token".to_owned(),
                help: Some("ask who runs the registry: its token server answers, and with something else".to_owned()),
            }));
        };
        let life = answer.as_ref().map_or(0.0, TokenAnswer::seconds);
        let life = if life.is_finite() && life >= 1.0 { life.min(LONGEST_LIFE) } else { DEFAULT_LIFE };
        Ok((Secret::new(token.as_str()), Duration::from_secs_f64(life)))
    }

    /// Credentials for what a request does, looked up once.
    pub(in crate::registry) async fn credentials(
        &self,
        host: &Host,
        scopes: &Scopes,
    ) -> Result<Option<Credentials>, RegistryError> {
        let repository = scopes.repository().map(str::to_owned);
        let mut known = host.auth.known.lock().await;
        if !known.contains_key(&repository) {
            let found = self.options().credentials.credentials(&host.name, repository.as_deref()).await;
            known.insert(repository.clone(), found.map_err(|error| error.reason));
        }
        let looked = known.get(&repository).cloned().unwrap_or(Ok(None));
        looked.map_err(|reason| CredentialError { host: host.name.clone(), reason }.into())
    }

    fn auth_error(&self, host: &Host, action: &str, reason: &str) -> Trouble {
        Trouble::last(RegistryError::Auth {
            host: host.name.clone(),
            action: action.to_owned(),
            reason: reason.to_owned(),
            looked: self.options().credentials.places(),
        })
    }
}

/// Everything a token request says.
struct TokenRequest<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scopes: Vec<String>,
    credentials: Option<Credentials>,
}

impl TokenRequest<'_> {
    /// The request: a GET with basic credentials or none, or for an identity token a POST (the distribution project's
    /// "token" and "oauth" documents).
    fn call(&self, realm: Url) -> (Call, Option<HeaderValue>) {
        let mut pairs: Vec<(&str, &str)> = self.service.iter().map(|service| ("service", *service)).collect();
        if let Some(Credentials::IdentityToken(token)) = &self.credentials {
            let scope = self.scopes.join(" ");
            pairs.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "catamaran"),
                ("refresh_token", token.reveal()),
                ("scope", &scope),
            ]);
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            let mut call = Call::new(Method::POST, realm);
            call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            call.payload = Payload::Bytes(body.into());
            return (call, None);
        }
        pairs.extend(self.scopes.iter().map(|scope| ("scope", scope.as_str())));
        let authorization = match &self.credentials {
            Some(Credentials::Basic { username, password }) => {
                pairs.push(("account", username));
                Some(basic(username, password))
            }
            _ => None,
        };
        let mut url = realm;
        url.query_pairs_mut().extend_pairs(pairs);
        let mut call = Call::new(Method::GET, url);
        call.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        (call, authorization)
    }
}

/// Our scopes, and what the challenge adds for the same repositories: registries know actions that we do not.
fn all_scopes(scopes: &Scopes, challenged: Option<&str>) -> Vec<String> {
    let mut all = scopes.texts();
    let own: Vec<String> = all.iter().filter_map(|scope| scope.split(':').nth(1).map(str::to_owned)).collect();
    for scope in challenged.unwrap_or_default().split_ascii_whitespace().take(8) {
        let extra = scope.split(':').nth(1).is_some_and(|name| own.iter().any(|own| own == name));
        let actions = |scope: &str| scope.rsplit(':').next().unwrap_or_default().to_owned();
        let known = all.iter().any(|known| {
            known.split(':').nth(1) == scope.split(':').nth(1)
                && actions(scope).split(',').all(|action| actions(known).split(',').any(|have| have == action))
        });
        if extra && !known {
            all.push(scope.to_owned());
        }
    }
    all
}

impl Token {
    /// Itself, if it still lives and came after whatever was refused was given out.
    fn grant(&self, refused: Option<Instant>) -> Option<Grant> {
        let given = Instant::now();
        let good = self.until > given && refused.is_none_or(|refused| self.born > refused);
        good.then(|| Grant { header: self.header.clone(), fetched: true, given })
    }
}

/// A token that was fetched for more than these scopes and is there at once.
fn wider(auth: &HostAuth, scopes: &Scopes, refused: Option<Instant>) -> Option<Grant> {
    let slots = locked(&auth.slots);
    let mut wider = slots.iter().filter(|slot| slot.scopes != *scopes && slot.scopes.covers(scopes));
    wider.find_map(|slot| slot.token.try_lock().ok()?.as_ref()?.grant(refused))
}

/// The slot for exactly these scopes.
fn slot_for(auth: &HostAuth, scopes: &Scopes) -> Arc<Slot> {
    let mut slots = locked(&auth.slots);
    if let Some(slot) = slots.iter().find(|slot| slot.scopes == *scopes) {
        return Arc::clone(slot);
    }
    let slot = Arc::new(Slot { scopes: scopes.clone(), token: tokio::sync::Mutex::default() });
    slots.push(Arc::clone(&slot));
    slot
}

fn basic(username: &str, password: &Secret) -> HeaderValue {
    let pair = format!("{username}:{}", password.reveal());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    header(&format!("Basic {encoded}")).expect("base64 is always a header value")
}

fn header(value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(value).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{CredentialFuture, CredentialSource};
    use crate::registry::host::{Scheme, Speech};
    use crate::registry::{NoCredentials, RegistryOptions};

    #[test]
    fn a_challenge_adds_only_actions_on_our_own_repositories() {
        let ours = Scopes::push("a/b").and_pull("c");
        let plain = ["repository:a/b:pull,push", "repository:c:pull"];
        for same in [None, Some(""), Some("repository:a/b:pull"), Some("repository:evil:pull,push registry:catalog:*")]
        {
            assert_eq!(all_scopes(&ours, same), plain, "{same:?}");
        }
        assert_eq!(all_scopes(&ours, Some("repository:a/b:pull,push,delete")).len(), 3);
    }

    #[test]
    fn identity_tokens_go_into_the_body_and_nowhere_else() {
        let request = TokenRequest {
            realm: "",
            service: Some("reg"),
            scopes: vec!["repository:a:pull".to_owned(), "repository:b:pull".to_owned()],
            credentials: Some(Credentials::IdentityToken(Secret::new("t&ken"))),
        };
        let (call, authorization) = request.call(Url::parse("https://a.example/t?x=1").expect("a URL"));
        assert_eq!((call.method.as_str(), call.url.as_str()), ("POST", "https://a.example/t?x=1"));
        assert!(authorization.is_none());
        let Payload::Bytes(body) = call.payload else { panic!("no body") };
        assert_eq!(
            body,
            "service=reg&grant_type=refresh_token&client_id=catamaran&refresh_token=t%26ken&scope=repository%3Aa%3Apull+repository%3Ab%3Apull"
        );
    }

    const INSECURE: &str = "[[registry]]\nlocation = \"mirror.example\"\ninsecure = true\n";

    struct Login;

    impl CredentialSource for Login {
        fn credentials<'a>(&'a self, _host: &'a str, _repository: Option<&'a str>) -> CredentialFuture<'a> {
            let login = Credentials::Basic { username: "me".to_owned(), password: Secret::new("secret") };
            Box::pin(async { Ok(Some(login)) })
        }

        fn places(&self) -> Vec<String> {
            Vec::new()
        }
    }

    fn client(credentials: Arc<dyn CredentialSource>, plain_http: &[&str]) -> RegistryClient {
        drop(rustls::crypto::ring::default_provider().install_default());
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), INSECURE).expect("written");
        let mut options = RegistryOptions::new(credentials);
        options.sources = crate::registry::PullSources::read(&[file.path().to_owned()]).expect("understood");
        options.plain_http = plain_http.iter().map(|&host| host.to_owned()).collect();
        RegistryClient::new(options).expect("a client")
    }

    #[tokio::test]
    async fn a_host_that_is_insecure_for_pulls_gets_neither_a_push_nor_a_login() {
        let client = client(Arc::new(Login), &[]);
        let host = client.host("mirror.example");
        assert_eq!(host.speech, Speech::PullsAsItSpeaks);
        host.found.set(Scheme::Http).expect("not known yet");
        assert!(!client.may_be_plain("mirror.example"), "no token server, no redirect from TLS");
        let call = Call::new(Method::GET, client.url(&host, "a/manifests/1").await.expect("a URL"));
        let pushed = client.ask_once(&host, &call, &Scopes::push("a"), "push").await;
        let error = pushed.expect_err("a push").into_error().to_string();
        assert!(error.contains("for pulls without a login only"), "{error}");
        // As if a request had been answered with a challenge.
        let refused =
            client.authorize(&host, &Challenge::Basic, &Scopes::pull("a"), "pull", None).await.expect_err("a login");
        assert!(refused.into_error().to_string().contains("for pulls without a login only"));
    }

    #[test]
    fn the_users_word_allows_plain_http_for_everything() {
        let client = client(Arc::new(NoCredentials), &["mirror.example"]);
        assert_eq!(client.host("mirror.example").speech, Speech::Plain);
        assert!(client.may_be_plain("mirror.example"));
    }
}
