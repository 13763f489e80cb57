use serde::Deserialize;
use url::{Host, Url};

use crate::base::{Credentials, Secret, is_token_server_of};
use crate::engine::buildkit::proto::moby::filesync::v1::FetchTokenResponse;

/// The largest answer of a token server that is read.
const ANSWER_LIMIT: usize = 1 << 20;

/// How long a token that does not say so may be used; the specification's default.
const DEFAULT_LIFETIME: i64 = 60;

/// What the daemon wants a token for, from the challenge of a registry.
pub(super) struct TokenRequest {
    /// The registry's host, with its port.
    pub(super) host: String,
    pub(super) client_id: String,
    pub(super) realm: String,
    pub(super) service: String,
    pub(super) scopes: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<i64>,
    #[serde(default)]
    issued_at: Option<String>,
}

/// Gets a token for a pull; `Err` is the reason in words, without anything secret.
///
/// With credentials by OAuth2's POST first, then, where the server does not know that, by the older GET with basic
/// authentication (distribution's token specifications, "jwt" and "oauth").
pub(super) async fn fetch(
    client: &reqwest::Client,
    request: TokenRequest,
    credentials: Option<Credentials>,
) -> Result<FetchTokenResponse, String> {
    if let Some(Credentials::RegistryToken(token)) = &credentials {
        return Ok(FetchTokenResponse { token: token.reveal().to_owned(), ..FetchTokenResponse::default() });
    }
    let realm = realm(&request.realm, &request.host, credentials.is_some())?;
    let mut response = match &credentials {
        Some(Credentials::Basic { username, password }) => {
            let grant = [("grant_type", "password"), ("username", username), ("password", password.reveal())];
            let response = post(client, &realm, &request, &grant).await?;
            if matches!(response.status().as_u16(), 400 | 401 | 404 | 405) {
                get(client, realm, &request, Some((username, password))).await?
            } else {
                response
            }
        }
        Some(Credentials::IdentityToken(token)) => {
            let grant = [("grant_type", "refresh_token"), ("refresh_token", token.reveal())];
            post(client, &realm, &request, &grant).await?
        }
        Some(Credentials::RegistryToken(_)) | None => get(client, realm, &request, None).await?,
    };
    if !response.status().is_success() {
        return Err(format!("the token server answered {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(words)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_LIMIT {
            return Err("the token server's answer is too large".to_owned());
        }
    }
    parse(&body)
}

/// The registry chooses who gets the credentials: only a server that belongs to it by name, and not in clear over a network.
fn realm(text: &str, registry: &str, secret: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("its realm is no URL: {error}"))?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let registry = registry.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map_or(registry, |(host, _)| host);
    let local = loopback && (registry == "localhost" || registry.starts_with("127.") || registry.starts_with("[::1"));
    if secret && !local && !url.host_str().is_some_and(|host| is_token_server_of(host, registry)) {
        return Err("its token server has nothing to do with it by its name, and would get the credentials".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback || !secret => Ok(url),
        "http" => Err("its token server would get the credentials over plain HTTP".to_owned()),
        other => Err(format!("its realm has the scheme `{other}`")),
    }
}

async fn post(
    client: &reqwest::Client,
    realm: &Url,
    request: &TokenRequest,
    grant: &[(&str, &str)],
) -> Result<reqwest::Response, String> {
    let scope = request.scopes.join(" ");
    let mut form = vec![("service", request.service.as_str()), ("client_id", &request.client_id), ("scope", &scope)];
    form.extend_from_slice(grant);
    client.post(realm.clone()).form(&form).send().await.map_err(words)
}

async fn get(
    client: &reqwest::Client,
    mut realm: Url,
    request: &TokenRequest,
    login: Option<(&str, &Secret)>,
) -> Result<reqwest::Response, String> {
    {
        let mut query = realm.query_pairs_mut();
        if !request.service.is_empty() {
            query.append_pair("service", &request.service);
        }
        for scope in &request.scopes {
            query.append_pair("scope", scope);
        }
    }
    let mut call = client.get(realm);
    if let Some((username, password)) = login {
        call = call.basic_auth(username, Some(password.reveal()));
    }
    call.send().await.map_err(words)
}

/// A transport error without the URL, whose query is nobody's business.
fn words(error: reqwest::Error) -> String {
    crate::engine::buildkit::words::chain(&error.without_url())
}

fn parse(body: &[u8]) -> Result<FetchTokenResponse, String> {
    // The parser's message could quote the token.
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "the token server's answer is no JSON".to_owned())?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err("the token server's answer has no token".to_owned());
    }
    let issued_at =
        answer.issued_at.and_then(|time| time.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_second);
    Ok(FetchTokenResponse {
        token,
        expires_in: answer.expires_in.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_LIFETIME),
        issued_at: issued_at.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_both_dialects_are_read() {
        let token = parse(br#"{"token":"t","expires_in":300,"issued_at":"2026-01-02T03:04:05Z"}"#).unwrap();
        assert_eq!((token.token.as_str(), token.expires_in, token.issued_at), ("t", 300, 1_767_323_045));
        let token = parse(br#"{"access_token":"a"}"#).unwrap();
        assert_eq!((token.token.as_str(), token.expires_in, token.issued_at), ("a", 60, 0));
        assert!(parse(b"{}").is_err());
        assert!(!parse(br#"{"token":"secret"#).unwrap_err().contains("secret"));
    }

    #[test]
    fn credentials_do_not_go_over_plain_http() {
        assert!(realm("http://evil.example/token", "r.example", true).is_err());
        assert!(realm("http://evil.example/token", "r.example", false).is_ok());
        assert!(realm("http://127.0.0.1:5001/token", "127.0.0.1:5000", true).is_ok());
        assert!(realm("https://auth.example.com/token", "r.example.com:5000", true).is_ok());
        assert!(realm("https://evil.test/token", "r.example.com", true).is_err());
        assert!(realm("file:///etc/passwd", "r.example", false).is_err());
    }
}
