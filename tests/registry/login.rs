//! Tokens: how many are asked for, what they are for, and where credentials never go.

use std::sync::Arc;

use catamaran::base::{Credentials, ErrorClass, Failure as _, Secret};
use catamaran::event::NoEvents;
use catamaran::registry::{Confirmation, PushReceipt, RegistryClient, RegistryError, RegistryOptions, Release, push};
use tokio_util::sync::CancellationToken;

use crate::support::registry::{PASSWORD, USER};
use crate::support::release::{Account, Images, options};
use crate::support::scripted::{Act, Login, Scripted};

const NAMES: [&str; 3] = ["base", "nginx", "gitea"];

struct Case {
    registry: Scripted,
    images: Images,
    release: Release,
    options: RegistryOptions,
}

impl Case {
    async fn new(login: Login) -> Self {
        let registry = Scripted::start(login).await;
        let images = Images::new();
        let shared = images.layer("shared", 200_000);
        let release = images.release(&format!("{}/fleet", registry.address), &NAMES, "1.0", &[shared]);
        let mut options = options();
        options.credentials = Account::basic(USER, PASSWORD);
        Self { registry, images, release, options }
    }

    async fn push(&self) -> Result<PushReceipt, RegistryError> {
        let client = RegistryClient::new(self.options.clone()).expect("a client");
        push(&client, &self.images.layout, self.release.clone(), Arc::new(NoEvents), &CancellationToken::new()).await
    }

    /// Scopes that tokens were asked for by our client, each request's joined.
    fn scopes(&self) -> Vec<String> {
        let tokens = self.registry.seen().into_iter().filter(|seen| seen.target.starts_with("/token"));
        tokens
            .filter(|seen| seen.headers["user-agent"].to_str().is_ok_and(|agent| agent.starts_with("catamaran/")))
            .map(|seen| {
                let url = url::Url::parse(&format!("http://x{}", seen.target)).expect("a URL");
                let scopes: Vec<String> =
                    url.query_pairs().filter(|(key, _)| key == "scope").map(|(_, value)| value.into_owned()).collect();
                scopes.join(" ")
            })
            .collect()
    }
}

#[tokio::test]
async fn one_token_per_scope_however_many_workers() {
    let case = Case::new(Login::Token).await;
    let receipt = case.push().await.expect("pushed");
    assert_eq!(receipt.repositories[2].tags[0].confirmed, Confirmation::IndependentReader);
    assert_eq!(receipt.mounted, 2);
    let mut scopes = case.scopes();
    let all = scopes.len();
    scopes.sort();
    scopes.dedup();
    assert_eq!(scopes.len(), all, "no scope twice: {scopes:?}");
    let mount = "repository:fleet/base:pull repository:fleet/nginx:pull,push".to_owned();
    assert!(scopes.contains(&mount), "a mount needs both in one token: {scopes:?}");
    assert!(all <= 2 * NAMES.len(), "{scopes:?}");

    case.registry.calm_down();
    let again = case.push().await.expect("pushed again");
    assert_eq!(again.bytes_sent, 0);
    // A tag and what is behind it, eight requests each. The first one of a run learns the challenge; everybody else comes
    // with a token.
    assert!(again.requests <= 8 * NAMES.len() as u64 + 2 * NAMES.len() as u64, "{again:?}");
}

#[tokio::test]
async fn status_401_mid_way_gets_a_new_token() {
    let case = Case::new(Login::Token).await;
    case.registry.next("PUT", "/blobs/uploads/", Act::ForgetTokens);
    case.registry.script("PUT", "/manifests/", 3, 1, Act::ForgetTokens);
    case.push().await.expect("pushed with new tokens");
    for (item, name) in case.release.items.iter().zip(NAMES) {
        assert_eq!(case.registry.tag(&format!("fleet/{name}"), "1.0"), Some(item.index.digest));
    }
}

#[tokio::test]
async fn a_token_that_is_never_good_ends() {
    let case = Case::new(Login::Token).await;
    case.registry.always("POST", "/blobs/uploads/", Act::ForgetTokens);
    let error = case.push().await.expect_err("no token is ever good");
    assert_eq!(error.class(), ErrorClass::Auth);
    assert!(error.to_string().contains("token is not good for this (repository:fleet/"), "{error}");
}

#[tokio::test]
async fn a_token_server_that_stumbles_is_asked_again() {
    let case = Case::new(Login::Token).await;
    case.registry.script("GET", "/token", 0, 2, Act::Answer(503, Vec::new(), Vec::new()));
    case.registry.script("GET", "/token", 1, 1, Act::Answer(200, Vec::new(), b"<html>wait".to_vec()));
    case.push().await.expect("pushed");
}

#[tokio::test]
async fn a_token_server_that_fails_is_not_the_same_as_anonymous() {
    for (act, words) in [
        (Act::Answer(500, Vec::new(), Vec::new()), "status 500"),
        (Act::Answer(200, Vec::new(), b"{}".to_vec()), "holds no token"),
        (Act::Answer(200, Vec::new(), b"{\"token\":\"a\\nb\"}".to_vec()), "is no header"),
        (Act::CutAfter(0), "get a token"),
    ] {
        let case = Case::new(Login::Token).await;
        case.registry.always("GET", "/token", act);
        let error = case.push().await.expect_err("no token");
        assert!(error.to_string().contains(words), "{error}");
        let anonymous = case.registry.seen().into_iter().filter(|seen| seen.method != "GET" && seen.status != 401);
        assert_eq!(anonymous.count(), 0, "nothing was tried without a token");
        assert!(case.registry.count("GET", "/token") < 30, "tries are shared");
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_repeated() {
    let mut case = Case::new(Login::Token).await;
    case.options.credentials = Account::basic(USER, "s3cret-but-wrong");
    let error = case.push().await.expect_err("a wrong password");
    assert_eq!(error.class(), ErrorClass::Auth);
    let text = format!("{error} {:?}", error.help());
    assert!(text.contains("refuses the credentials") && text.contains("the test's pocket"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_in_a_post() {
    let mut case = Case::new(Login::IdentityToken).await;
    case.options.credentials = Arc::new(Account(Credentials::IdentityToken(Secret::new("refresh-me"))));
    let receipt = case.push().await.expect("pushed");
    // The other implementation knows no identity tokens: ours reads back, and the receipt says so.
    assert!(matches!(receipt.repositories[0].tags[0].confirmed, Confirmation::OwnReader(_)));
    assert!(case.registry.count("POST", "/token") >= 1);
    assert_eq!(case.registry.count("GET", "/token"), 0);
}

#[tokio::test]
async fn a_realm_that_belongs_to_somebody_else_gets_no_credentials() {
    let case = Case::new(Login::Token).await;
    case.registry.tokens_from("tokens.example.com");
    let error = case.push().await.expect_err("plain HTTP to a stranger");
    assert_eq!(error.class(), ErrorClass::Auth);
    assert!(error.to_string().contains("`tokens.example.com` is not spoken to over TLS"), "{error}");
    let case = Case::new(Login::None).await;
    let challenge = "Bearer realm=\"https://tokens.example.com/token\"".to_owned();
    case.registry.always("HEAD", "", Act::Answer(401, vec![("www-authenticate", challenge)], Vec::new()));
    let error = case.push().await.expect_err("a stranger");
    assert!(error.to_string().contains("has nothing to do with it"), "{error}");
}

#[tokio::test]
async fn a_challenge_that_nobody_understands() {
    let case = Case::new(Login::None).await;
    let challenge = vec![("www-authenticate", "Negotiate".to_owned())];
    case.registry.always("HEAD", "", Act::Answer(401, challenge, Vec::new()));
    let error = case.push().await.expect_err("no way to log in");
    assert_eq!(error.class(), ErrorClass::Auth);
    assert!(error.to_string().contains("in no way that we know"), "{error}");
}

#[tokio::test]
async fn a_mount_without_the_right_to_read_the_source_becomes_an_upload() {
    let case = Case::new(Login::Token).await;
    let challenge = "Bearer realm=\"x\"".to_owned();
    case.registry.always("POST", "mount=", Act::Answer(401, vec![("www-authenticate", challenge)], Vec::new()));
    let receipt = case.push().await.expect("pushed");
    assert_eq!(receipt.mounted, 0);
    assert_eq!(receipt.uploaded, 3 + 4 * NAMES.len());
}
