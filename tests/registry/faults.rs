//! One test per quirk, named after it, against a registry that does what the test says.
//!
//! Every one of these was seen at a registry in use, or is what a hostile one would do. Where the protocol leaves a way to
//! go on the release must arrive whole; where it does not, the error must say what is wrong and no tag may have moved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use catamaran::base::{Digest, ErrorClass, Failure as _, media_type};
use catamaran::event::NoEvents;
use catamaran::registry::{
    Confirmation, Journal, PushOptions, PushReceipt, RegistryClient, RegistryError, RegistryOptions, Release,
    TagChange, push, push_with,
};
use tokio_util::sync::CancellationToken;

use crate::support::registry::{PASSWORD, USER};
use crate::support::release::{Account, Images, options};
use crate::support::scripted::{Act, Login, Scripted, error_body};

/// A registry, a release of two images that share a layer of 2 MiB, and a client.
struct Case {
    registry: Scripted,
    images: Images,
    release: Release,
    shared: Digest,
    options: RegistryOptions,
}

impl Case {
    async fn new() -> Self {
        Self::with(Login::None).await
    }

    async fn with(login: Login) -> Self {
        let registry = Scripted::start(login).await;
        let images = Images::new();
        let shared = images.raw("shared", 2 << 20);
        let prefix = format!("{}/fleet", registry.address);
        let release = images.release(&prefix, &["base", "nginx"], "1.0", std::slice::from_ref(&shared));
        let mut options = options();
        if login != Login::None {
            options.credentials = Account::basic(USER, PASSWORD);
        }
        Self { registry, images, release, shared: shared.digest, options }
    }

    async fn push(&self) -> Result<PushReceipt, RegistryError> {
        let client = RegistryClient::new(self.options.clone()).expect("a client");
        push(&client, &self.images.layout, self.release.clone(), Arc::new(NoEvents), &CancellationToken::new()).await
    }

    /// Pushes, and checks that everything arrived.
    async fn arrives(&self) -> PushReceipt {
        let receipt = self.push().await.expect("pushed in spite of it");
        assert!(self.is_published());
        assert_eq!(self.registry.open_uploads(), 0, "no session is left open");
        receipt
    }

    fn is_published(&self) -> bool {
        self.release.items.iter().all(|item| {
            let path = item.repository.path();
            self.registry.tag(path, "1.0") == Some(item.index.digest) && self.registry.has_blob(path, &self.shared)
        })
    }

    /// Pushes, and checks that it failed, how, and that no tag moved.
    async fn fails(&self, class: ErrorClass, words: &str) -> RegistryError {
        let error = self.push().await.expect_err("must not be taken for success");
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        for item in &self.release.items {
            assert_eq!(self.registry.tag(item.repository.path(), "1.0"), None, "no tag may have moved");
        }
        error
    }

    fn blob_puts(&self) -> usize {
        self.registry.count("PUT", "/blobs/uploads/")
    }
}

fn plain(status: u16) -> Act {
    Act::Answer(status, Vec::new(), Vec::new())
}

fn coded(status: u16, code: &str) -> Act {
    Act::Answer(status, Vec::new(), error_body(code))
}

#[tokio::test]
async fn without_faults_nothing_is_sent_twice() {
    let case = Case::new().await;
    let receipt = case.arrives().await;
    assert_eq!(case.blob_puts(), 9, "one shared layer, and of each image two layers and two configs");
    assert_eq!((receipt.uploaded, receipt.mounted), (9, 1));
    assert_eq!(receipt.tag_window_ms, receipt.tag_window_ms.min(1000));
    let last_blob = case.registry.seen().iter().rposition(|seen| seen.target.contains("/blobs/uploads/"));
    let first_tag = case.registry.seen().iter().position(|seen| seen.method == "PUT" && seen.target.ends_with("/1.0"));
    assert!(last_blob < first_tag, "tags are last");
}

#[tokio::test]
async fn status_429_with_retry_after_is_obeyed() {
    let case = Case::new().await;
    case.registry.next("POST", "/blobs/uploads/", Act::Answer(429, vec![("retry-after", "1".to_owned())], Vec::new()));
    let before = Instant::now();
    case.arrives().await;
    assert!(before.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn status_429_with_a_date_is_obeyed() {
    let case = Case::new().await;
    let past = "Tue, 24 Nov 2020 08:00:00 GMT".to_owned();
    case.registry.next("PUT", "/manifests/", Act::Answer(429, vec![("retry-after", past)], Vec::new()));
    case.arrives().await;
}

#[tokio::test]
async fn status_429_without_retry_after_is_tried_again() {
    let case = Case::new().await;
    case.registry.script("PUT", "", 1, 3, coded(429, "TOOMANYREQUESTS"));
    case.arrives().await;
}

#[tokio::test]
async fn status_429_for_ever_ends() {
    let case = Case::new().await;
    case.registry.always("POST", "/blobs/uploads/", coded(429, "TOOMANYREQUESTS"));
    case.fails(ErrorClass::RateLimited, "limits our requests").await;
    let tries = case.registry.count("POST", "/blobs/uploads/");
    assert!(tries < 40, "the host's tries are shared, not multiplied: {tries}");
}

#[tokio::test]
async fn status_403_with_retry_after_is_a_limit() {
    let case = Case::new().await;
    let headers = vec![("retry-after", "0".to_owned())];
    case.registry.next("PUT", "/manifests/", Act::Answer(403, headers, Vec::new()));
    case.arrives().await;
}

#[tokio::test]
async fn status_403_that_says_too_many_requests_is_a_limit() {
    let case = Case::new().await;
    case.registry.script("PUT", "/manifests/", 0, 2, Act::Answer(403, Vec::new(), error_body("TOOMANYREQUESTS")));
    case.arrives().await;
    // And for ever: an end that says so.
    let case = Case::new().await;
    case.registry.always("PUT", "/manifests/", Act::Answer(403, Vec::new(), error_body("TOOMANYREQUESTS")));
    assert_eq!(case.push().await.expect_err("limited").class(), ErrorClass::RateLimited);
}

#[tokio::test]
async fn a_web_page_is_no_registry() {
    let case = Case::new().await;
    let page = || {
        Act::Answer(
            200,
            vec![("content-type", "text/html; charset=utf-8".to_owned())],
            b"<html>Log in to the WiFi".to_vec(),
        )
    };
    case.registry.always("HEAD", "/", page());
    case.registry.always("GET", "/", page());
    let error = case.push().await.expect_err("a portal");
    assert_eq!(error.class(), ErrorClass::Refused, "{error}");
    assert!(error.to_string().contains("it answers with a web page") && error.help().is_some(), "{error}");
}

#[tokio::test]
async fn status_500_on_head_is_tried_again() {
    let case = Case::new().await;
    case.registry.script("HEAD", "/manifests/1.0", 0, 2, plain(500));
    case.registry.script("HEAD", "/blobs/", 0, 2, plain(502));
    case.arrives().await;
}

#[tokio::test]
async fn status_500_on_head_of_a_blob_for_ever_means_send_it() {
    let case = Case::new().await;
    case.registry.always("HEAD", &format!("/blobs/{}", case.shared), plain(500));
    // The lie detector after a mount cannot look either: the blob is sent instead.
    case.arrives().await;
}

#[tokio::test]
async fn status_500_on_post_begins_anew() {
    let case = Case::new().await;
    case.registry.script("POST", "/blobs/uploads/", 0, 3, plain(500));
    case.arrives().await;
}

#[tokio::test]
async fn status_500_on_the_closing_put_looks_first() {
    let case = Case::new().await;
    // The blob arrived, the answer says otherwise: it must not be sent again.
    case.registry.next("PUT", "/blobs/uploads/", Act::DoneBut(500));
    case.arrives().await;
    assert_eq!(case.blob_puts(), 9);
}

#[tokio::test]
async fn status_500_on_the_closing_put_sends_again() {
    let case = Case::new().await;
    case.registry.script("PUT", "/blobs/uploads/", 0, 2, plain(503));
    case.push().await.expect("pushed");
    assert!(case.is_published());
    assert_eq!(case.blob_puts(), 11);
}

#[tokio::test]
async fn status_500_on_a_manifest_that_arrived() {
    let case = Case::new().await;
    case.registry.script("PUT", "/manifests/sha256", 0, 6, Act::DoneBut(500));
    case.arrives().await;
}

#[tokio::test]
async fn status_500_for_ever_ends_and_names_what_was_said() {
    let case = Case::new().await;
    case.registry.always("PUT", "/manifests/sha256", Act::Answer(500, Vec::new(), b"\n<h1>out of disk</h1>".to_vec()));
    case.fails(ErrorClass::Refused, "status 500 (<h1>out of disk</h1>)").await;
}

#[tokio::test]
async fn a_missing_location_is_an_error() {
    let case = Case::new().await;
    case.registry.always("POST", "/blobs/uploads/", Act::Header("location", String::new()));
    case.fails(ErrorClass::Refused, "without a Location").await;
}

#[tokio::test]
async fn a_relative_location_is_followed() {
    let case = Case::new().await;
    case.registry.always("POST", "/blobs/uploads/", Act::RelativeLocation);
    case.arrives().await;
}

#[tokio::test]
async fn the_query_of_a_location_is_kept() {
    let case = Case::new().await;
    case.arrives().await;
    let puts = case.registry.seen();
    let put = puts.iter().find(|seen| seen.method == "PUT" && seen.target.contains("/blobs/uploads/")).expect("a PUT");
    assert!(put.target.contains("?_state=a%2Fb%3D&digest=sha256%3A"), "{}", put.target);
}

#[tokio::test]
async fn a_location_on_another_host_gets_no_credentials() {
    let case = Case::with(Login::Basic).await;
    let store = Scripted::start(Login::None).await;
    store.always("PUT", "/elsewhere", plain(201));
    let location = format!("http://{}/elsewhere?signature=s3cret", store.address);
    case.registry.next("POST", "/blobs/uploads/", Act::Answer(202, vec![("location", location)], Vec::new()));
    // The scripted registry does not know what went to the store: it says so, and gets the blob itself.
    let receipt = case.push().await.expect("pushed");
    assert!(case.is_published(), "{receipt:?}");
    assert_eq!(store.count("PUT", "signature=s3cret&digest=sha256"), 1);
    assert!(store.seen().iter().all(|seen| seen.headers.get("authorization").is_none()));
    assert!(case.registry.seen().iter().any(|seen| seen.headers.get("authorization").is_some()));
}

#[tokio::test]
async fn a_location_without_tls_after_tls_is_refused() {
    // The rule itself: a scripted registry with TLS would show no more.
    let case = Case::new().await;
    let location = "http://registry.example.com/upload".to_owned();
    case.registry.always("POST", "/blobs/uploads/", Act::Answer(202, vec![("location", location)], Vec::new()));
    case.fails(ErrorClass::Refused, "points to `registry.example.com` without TLS").await;
}

#[tokio::test]
async fn a_mount_that_is_an_upload_goes_on_in_that_session() {
    let case = Case::new().await;
    let session = format!("http://{}/v2/fleet/nginx/blobs/uploads/given", case.registry.address);
    let mount = format!("/fleet/nginx/blobs/uploads/?mount=sha256%3A{}", case.shared.hex());
    case.registry.next("POST", &mount, Act::Answer(202, vec![("location", session)], Vec::new()));
    // The session of the script is not one that the registry knows: a stale session must not be the end either.
    case.push().await.expect("pushed");
    assert!(case.is_published());
    assert_eq!(case.registry.count("PUT", "/uploads/given"), 1, "the session that the mount gave was used");
}

#[tokio::test]
async fn a_mount_that_is_a_lie_is_seen_through() {
    let case = Case::new().await;
    case.registry.always("POST", "mount=", Act::LieAboutMount);
    let receipt = case.arrives().await;
    assert_eq!(receipt.mounted, 0);
    assert_eq!(receipt.uploaded, 10);
    assert_eq!(receipt.warnings.len(), 1, "{:?}", receipt.warnings);
}

#[tokio::test]
async fn a_mount_that_is_refused_becomes_an_upload() {
    for status in [400, 403, 404, 405] {
        let case = Case::new().await;
        case.registry.always("POST", "mount=", plain(status));
        let receipt = case.arrives().await;
        assert_eq!((receipt.mounted, receipt.uploaded), (0, 10));
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_credentials() {
    let case = Case::with(Login::Basic).await;
    let other = Scripted::start(Login::None).await;
    other.always("HEAD", "", plain(404));
    // By the time that it looks for blobs the client knows that it has to log in, and does so with each request.
    let location = format!("http://{}/elsewhere", other.address);
    case.registry.next("HEAD", "/blobs/", Act::Answer(307, vec![("location", location)], Vec::new()));
    case.arrives().await;
    assert_eq!(other.seen().len(), 1);
    assert!(other.seen()[0].headers.get("authorization").is_none());
    let redirected = case.registry.seen().into_iter().find(|seen| seen.status == 307).expect("redirected");
    assert!(redirected.headers.get("authorization").is_some());
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let case = Case::new().await;
    let here = format!("http://{}/v2/fleet/base/manifests/1.0", case.registry.address);
    case.registry.always("HEAD", "/fleet/base/manifests/1.0", Act::Answer(302, vec![("location", here)], Vec::new()));
    case.fails(ErrorClass::Network, "redirects more than 10 times").await;
}

#[tokio::test]
async fn a_redirected_upload_is_followed_only_with_its_body() {
    let case = Case::new().await;
    let here = format!("http://{}/v2/fleet/base/blobs/uploads/", case.registry.address);
    case.registry.next("POST", "/fleet/base/blobs/uploads/", Act::Answer(307, vec![("location", here)], Vec::new()));
    case.arrives().await;

    let case = Case::new().await;
    let elsewhere = format!("http://{}/v2/", case.registry.address);
    case.registry.always("PUT", "/manifests/sha256", Act::Answer(302, vec![("location", elsewhere)], Vec::new()));
    case.fails(ErrorClass::Refused, "redirects an upload with status 302").await;
}

#[tokio::test]
async fn a_manifest_whose_blob_was_lost_is_mended() {
    let case = Case::new().await;
    // The registry collects garbage between our blobs and our manifests.
    case.registry.next("PUT", "/fleet/nginx/manifests/sha256", coded(400, "MANIFEST_BLOB_UNKNOWN"));
    case.arrives().await;
}

#[tokio::test]
async fn a_manifest_that_never_fits_ends() {
    let case = Case::new().await;
    case.registry.always("PUT", "/fleet/nginx/manifests/sha256", coded(400, "MANIFEST_BLOB_UNKNOWN"));
    case.fails(ErrorClass::Refused, "MANIFEST_BLOB_UNKNOWN").await;
}

#[tokio::test]
async fn an_index_whose_child_was_lost_is_mended() {
    let case = Case::new().await;
    let index = format!("/fleet/base/manifests/{}", case.release.items[0].index.digest);
    let index: &'static str = index.leak();
    case.registry.next("PUT", index, coded(404, "MANIFEST_UNKNOWN"));
    case.arrives().await;
    assert_eq!(
        case.registry.count("PUT", "/fleet/base/manifests/sha256"),
        2 + 1 + 2 + 1,
        "children, index, both again"
    );
}

#[tokio::test]
async fn a_manifest_that_is_invalid_is_not_tried_again() {
    let case = Case::new().await;
    case.registry.always("PUT", "/fleet/base/manifests/sha256", coded(400, "MANIFEST_INVALID"));
    case.fails(ErrorClass::Refused, "MANIFEST_INVALID").await;
    assert_eq!(case.registry.count("PUT", "/fleet/base/manifests/"), 1);
    assert_eq!(case.registry.count("PUT", "/fleet/nginx/manifests/sha256"), 3, "the other repository is finished");
}

#[tokio::test]
async fn a_wrong_digest_header_is_an_error() {
    let case = Case::new().await;
    let other = Digest::of("something else").to_string();
    case.registry.always("PUT", "/manifests/sha256", Act::Header("docker-content-digest", other.clone()));
    case.fails(ErrorClass::Refused, "it changed the manifest").await;

    let case = Case::new().await;
    case.registry.always("PUT", "/blobs/uploads/", Act::Header("docker-content-digest", other));
    case.fails(ErrorClass::Refused, "it stored the blob").await;
}

#[tokio::test]
async fn a_missing_digest_header_is_made_up_for_by_reading() {
    let case = Case::new().await;
    for method in ["HEAD", "PUT"] {
        case.registry.always(method, "", Act::Header("docker-content-digest", String::new()));
    }
    case.arrives().await;
    let again = case.push().await.expect("pushed again");
    assert_eq!(again.bytes_sent, 0);
}

#[tokio::test]
async fn a_registry_that_knows_no_head() {
    let case = Case::new().await;
    case.registry.always("HEAD", "", plain(405));
    case.arrives().await;
    let again = case.push().await.expect("pushed again");
    assert_eq!(again.bytes_sent, 0, "the first byte of a blob proves that it is there: {again:?}");
}

#[tokio::test]
async fn what_head_does_not_show_a_first_byte_proves() {
    for status in [404, 405] {
        let case = Case::new().await;
        case.registry.always("HEAD", "/blobs/", plain(status));
        case.arrives().await;
        let reads =
            case.registry.seen().into_iter().filter(|seen| seen.method == "GET" && seen.target.contains(&sent(&case)));
        let ranges: Vec<bool> =
            reads.map(|seen| seen.headers.get("range").is_some_and(|range| range == "bytes=0-0")).collect();
        assert!(ranges.contains(&true) && !ranges.contains(&false), "{status}: {ranges:?}");
    }
}

#[tokio::test]
async fn a_layer_that_neither_head_nor_get_shows_is_not_believed() {
    for (get, words) in [(404, "it took it twice and does not hold it"), (501, "neither HEAD nor GET")] {
        let case = Case::new().await;
        case.registry.always("HEAD", "/blobs/", plain(405));
        case.registry.always("GET", &sent(&case), plain(get));
        case.fails(ErrorClass::Refused, words).await;
    }
}

#[tokio::test]
async fn one_request_at_a_time_is_enough() {
    let mut case = Case::with(Login::Token).await;
    case.options.concurrency = 1;
    case.registry.always("HEAD", "", Act::Header("docker-content-digest", String::new()));
    case.registry.script("PUT", "", 1, 2, coded(429, "TOOMANYREQUESTS"));
    case.registry.script("GET", "/token", 0, 1, coded(429, "TOOMANYREQUESTS"));
    case.registry.script("PUT", "", 4, 1, Act::ForgetTokens);
    case.arrives().await;
}

#[tokio::test]
async fn status_401_from_elsewhere_gets_no_credentials() {
    let case = Case::with(Login::Token).await;
    let store = Scripted::start(Login::None).await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", store.address);
    store.always("PUT", "/elsewhere", Act::Answer(401, vec![("www-authenticate", challenge)], Vec::new()));
    let location = format!("http://{}/elsewhere", store.address);
    case.registry.next("POST", "/blobs/uploads/", Act::Answer(202, vec![("location", location)], Vec::new()));
    drop(case.push().await);
    assert_eq!(store.count("GET", "/token"), 0);
    assert!(store.seen().iter().all(|seen| seen.headers.get("authorization").is_none()));
}

#[tokio::test]
async fn digest_invalid_gets_one_clean_try() {
    let case = Case::new().await;
    case.registry.next("PUT", "/blobs/uploads/", coded(400, "DIGEST_INVALID"));
    case.push().await.expect("pushed");
    assert!(case.is_published());

    let case = Case::new().await;
    case.registry.always("PUT", "/fleet/nginx/blobs/uploads/", coded(400, "DIGEST_INVALID"));
    case.fails(ErrorClass::Refused, "DIGEST_INVALID").await;
}

#[tokio::test]
async fn a_stale_session_begins_anew() {
    let case = Case::new().await;
    case.registry.script("PUT", "/blobs/uploads/", 0, 2, coded(404, "BLOB_UPLOAD_UNKNOWN"));
    case.push().await.expect("pushed");
    assert!(case.is_published());
}

#[tokio::test]
async fn a_connection_cut_within_a_blob() {
    for bytes in [0, 1, 65_536, 1 << 20] {
        let case = Case::new().await;
        case.registry.script("PUT", "/blobs/uploads/", 0, 2, Act::CutAfter(bytes));
        case.arrives().await;
    }
}

#[tokio::test]
async fn a_connection_cut_after_the_last_byte() {
    let case = Case::new().await;
    case.registry.script("PUT", "/blobs/uploads/", 0, 4, Act::DoneThenCut);
    case.registry.script("PUT", "/manifests/", 2, 3, Act::DoneThenCut);
    case.arrives().await;
    assert_eq!(case.blob_puts(), 9, "what arrived is not sent again");
}

#[tokio::test]
async fn a_blob_that_is_always_cut_ends() {
    let case = Case::new().await;
    case.registry.always("PUT", "/blobs/uploads/", Act::CutAfter(1000));
    case.fails(ErrorClass::Network, "send a blob to fleet/").await;
    assert!(case.blob_puts() <= 60, "six tries for each blob");
}

/// A proxy that lets no more than 1 MiB through in one request, before a registry that takes chunks.
fn limit_size(case: &Case) {
    case.registry.always("PUT", "/fleet/base/blobs/uploads/", Act::TooLargeOver(1 << 20));
    case.registry.always("PATCH", "", Act::TooLargeOver(1 << 20));
}

#[tokio::test]
async fn status_413_sends_in_chunks() {
    let case = Case::new().await;
    limit_size(&case);
    case.arrives().await;
    let patches = case.registry.seen().into_iter().filter(|seen| seen.method == "PATCH" && seen.status == 202);
    let ranges: Vec<String> =
        patches.map(|seen| seen.headers["content-range"].to_str().expect("text").to_owned()).collect();
    assert_eq!(ranges, ["0-1048575", "1048576-2097151"]);
}

#[tokio::test]
async fn the_least_size_of_a_chunk_is_kept_to_whoever_opened_the_session() {
    let case = Case::new().await;
    case.registry.always("PUT", "/fleet/base/blobs/uploads/", Act::TooLargeOver(1_600_000));
    case.registry.always("PATCH", "", Act::TooLargeOver(1_600_000));
    // The session is opened by the look for permissions, before anybody knows which blob goes there.
    case.registry.next("POST", "/blobs/uploads/", Act::Header("oci-chunk-min-length", "1500000".to_owned()));
    case.arrives().await;
    let patches = case.registry.seen().into_iter().filter(|seen| seen.method == "PATCH" && seen.status == 202);
    let ranges: Vec<String> =
        patches.map(|seen| seen.headers["content-range"].to_str().expect("text").to_owned()).collect();
    assert_eq!(ranges, ["0-1499999", "1500000-2097151"], "half of it would be less than the registry takes");
}

#[tokio::test]
async fn a_blob_above_the_limit_of_one_request_is_sent_in_chunks() {
    for (limit, least, expected) in [
        (1 << 20, None, &["0-1048575", "1048576-2097151"][..]),
        (1_500_000, None, &["0-1499999", "1500000-2097151"]),
        // The registry wants larger ones.
        (1 << 20, Some("1200000"), &["0-1199999", "1200000-2097151"]),
        (2 << 20, None, &[]),
    ] {
        let mut case = Case::new().await;
        case.options.one_request = limit;
        if let Some(least) = least {
            case.registry.always("POST", "/blobs/uploads/", Act::Header("oci-chunk-min-length", least.to_owned()));
        }
        case.arrives().await;
        let patches = case.registry.seen().into_iter().filter(|seen| seen.method == "PATCH" && seen.status == 202);
        let ranges: Vec<String> =
            patches.map(|seen| seen.headers["content-range"].to_str().expect("text").to_owned()).collect();
        assert_eq!(ranges, expected, "{limit} {least:?}");
    }
}

#[tokio::test]
async fn status_413_for_everything_ends() {
    let case = Case::new().await;
    case.registry.always("PUT", "/fleet/base/blobs/uploads/", plain(413));
    case.registry.always("PATCH", "", plain(413));
    let error = case.fails(ErrorClass::Refused, "status 413").await;
    assert!(error.help().is_some_and(|help| help.contains("size limit")));
}

#[tokio::test]
async fn status_500_on_patch_goes_on_where_the_registry_stands() {
    let case = Case::new().await;
    limit_size(&case);
    case.registry.first("PATCH", "", Act::DoneBut(500));
    case.arrives().await;
    assert_eq!(case.registry.count("GET", "/blobs/uploads/"), 1);
    assert_eq!(case.registry.count("PATCH", ""), 2, "the chunk that arrived is not sent again");
}

#[tokio::test]
async fn status_500_on_patch_without_upload_status_begins_anew() {
    let case = Case::new().await;
    limit_size(&case);
    case.registry.always("GET", "/blobs/uploads/", plain(404));
    case.registry.first("PATCH", "", plain(500));
    case.arrives().await;
    assert_eq!(case.registry.count("PATCH", ""), 3);
}

#[tokio::test]
async fn a_range_lower_than_sent_is_continued_from() {
    let case = Case::new().await;
    limit_size(&case);
    case.registry.first("PATCH", "", Act::KeepsOnly(1000));
    case.arrives().await;
    let seen = case.registry.seen();
    let second = seen.iter().filter(|seen| seen.method == "PATCH").nth(1).expect("a second chunk");
    assert_eq!(second.headers["content-range"], "1000-1049575");
}

#[tokio::test]
async fn a_connection_cut_within_a_chunk() {
    let case = Case::new().await;
    limit_size(&case);
    case.registry.first("PATCH", "", Act::CutAfter(100_000));
    case.arrives().await;
}

#[tokio::test]
async fn status_416_on_patch_asks_and_goes_on() {
    let case = Case::new().await;
    limit_size(&case);
    case.registry.first("PATCH", "", coded(416, "BLOB_UPLOAD_INVALID"));
    case.arrives().await;
}

#[tokio::test]
async fn an_answer_that_trickles_is_a_stall() {
    let mut case = Case::new().await;
    // Long enough for a busy machine, where the other requests must not seem to stall.
    case.options.timeouts.progress = Duration::from_secs(2);
    case.registry.next("GET", "/manifests/1.0", Act::Trickle);
    case.registry.next("HEAD", "/manifests/1.0", Act::Header("docker-content-digest", String::new()));
    case.push().await.expect("a stall is tried again");
}

#[tokio::test]
async fn an_answer_that_trickles_for_ever_ends() {
    let mut case = Case::new().await;
    case.push().await.expect("pushed");
    case.options.timeouts.progress = Duration::from_millis(100);
    case.options.retry.tries = 2;
    case.registry.always("HEAD", "/manifests/1.0", Act::Header("docker-content-digest", String::new()));
    case.registry.always("GET", "/manifests/1.0", Act::Trickle);
    let error = case.push().await.expect_err("it never ends");
    assert_eq!(error.class(), ErrorClass::Network);
    assert!(error.to_string().contains("no progress for"), "{error}");
}

#[tokio::test]
async fn a_registry_that_stops_reading_is_a_stall() {
    let mut case = Case::new().await;
    case.options.timeouts.progress = Duration::from_secs(2);
    case.registry.next("PUT", "/blobs/uploads/", Act::Stall);
    case.push().await.expect("a stall is tried again");
    assert!(case.is_published());

    let mut case = Case::new().await;
    case.options.timeouts.progress = Duration::from_millis(100);
    case.options.retry.tries = 2;
    case.registry.always("PUT", "/blobs/uploads/", Act::Stall);
    case.fails(ErrorClass::Network, "no progress for").await;
}

#[tokio::test]
async fn hostile_error_bodies_are_bounded_and_printable() {
    let mut huge = b"<html>\x1b]0;owned\x07 \xff\xfe\n".to_vec();
    huge.resize(10 << 20, b'A');
    for body in [Vec::new(), huge, "\u{202e}gpj".as_bytes().to_vec(), vec![b'['; 200_000]] {
        let case = Case::new().await;
        case.registry.always("PUT", "/manifests/sha256", Act::Answer(400, Vec::new(), body));
        let error = case.fails(ErrorClass::Refused, "status 400").await.to_string();
        assert!(error.len() < 5000 && !error.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{error}");
    }
}

#[tokio::test]
async fn a_denied_repository_does_not_stop_the_others_and_moves_no_tag() {
    let case = Case::new().await;
    // Uploads may begin there, which is all that can be known before.
    case.registry.always("PUT", "/fleet/base/", coded(403, "DENIED"));
    let error = case.fails(ErrorClass::Auth, "denies").await;
    assert!(error.help().is_some());
    assert!(case.registry.has_blob("fleet/nginx", &case.shared), "the other repository has what it needs");
}

#[tokio::test]
async fn a_corrupt_blob_in_the_layout_is_never_offered_as_whole() {
    let case = Case::new().await;
    let path = case.images.layout.root().join("blobs/sha256").join(case.shared.hex());
    let mut bytes = std::fs::read(&path).expect("the blob");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let error = case.fails(ErrorClass::Integrity, "layout").await;
    let source = std::error::Error::source(&error).expect("the layout's own words").to_string();
    assert!(source.contains("is corrupt: its bytes hash to"), "{source}");
    assert!(!case.registry.has_blob("fleet/base", &case.shared));
}

#[tokio::test]
async fn a_blob_that_is_missing_in_the_layout_is_found_before_the_first_request() {
    let case = Case::new().await;
    std::fs::remove_file(case.images.layout.root().join("blobs/sha256").join(case.shared.hex())).expect("removed");
    case.fails(ErrorClass::Incomplete, "layout").await;
    assert_eq!(case.registry.seen().len(), 0);
}

#[tokio::test]
async fn a_size_that_differs_is_not_there() {
    let case = Case::new().await;
    case.arrives().await;
    case.registry.calm_down();
    let mut changed = Case { release: case.release.clone(), ..case };
    changed.release.items[0].index = changed.images.image("base", "2", &[changed.images.raw("shared", 2 << 20)], 10);
    changed.registry.always("HEAD", "/blobs/", Act::Header("content-length", "5".to_owned()));
    let error = changed.push().await.expect_err("what is sent does not replace it");
    assert_eq!(error.class(), ErrorClass::Integrity, "{error}");
    assert_ne!(changed.registry.tag("fleet/base", "1.0"), Some(changed.release.items[0].index.digest));
}

/// The shared blob in the repository that it is sent to.
fn sent(case: &Case) -> String {
    format!("/fleet/base/blobs/{}", case.shared)
}

#[tokio::test]
async fn a_blob_that_is_taken_and_not_held_is_an_error() {
    let case = Case::new().await;
    case.registry.always("", &sent(&case), coded(404, "BLOB_UNKNOWN"));
    let error = case.fails(ErrorClass::Refused, "it took it twice and does not hold it").await;
    for part in [case.registry.address.as_str(), "fleet/base", &case.shared.to_string(), "2097152 bytes"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(case.blob_puts(), 10, "sent once more, and not for ever");
}

#[tokio::test]
async fn a_blob_that_is_held_too_short_is_sent_once_more() {
    let case = Case::new().await;
    // The first look is before it is sent.
    case.registry.script("HEAD", &sent(&case), 1, 2, Act::Header("content-length", "5".to_owned()));
    case.arrives().await;
    assert_eq!(case.blob_puts(), 10);
}

#[tokio::test]
async fn a_blob_that_stays_too_short_behind_an_unchanged_tag_is_not_called_mended() {
    let case = Case::new().await;
    case.arrives().await;
    case.registry.calm_down();
    case.registry.always("HEAD", &sent(&case), Act::Header("content-length", "5".to_owned()));
    let error = case.push().await.expect_err("it is still too short");
    assert_eq!(error.class(), ErrorClass::Integrity, "{error}");
    assert!(error.to_string().contains("holds 5 bytes of 2097152"), "{error}");
    assert_eq!(case.blob_puts(), 2);
}

/// Path of the first image of the first item.
fn image_of(case: &Case) -> &'static str {
    let index: serde_json::Value =
        serde_json::from_slice(&case.images.read(&case.release.items[0].index)).expect("an index");
    format!("/fleet/base/manifests/{}", index["manifests"][0]["digest"].as_str().expect("a digest")).leak()
}

#[tokio::test]
async fn a_registry_that_takes_manifests_and_does_not_serve_them() {
    let case = Case::new().await;
    case.registry.always("GET", image_of(&case), coded(404, "MANIFEST_UNKNOWN"));
    case.fails(ErrorClass::Integrity, "the registry took it and does not serve it").await;
}

#[tokio::test]
async fn a_registry_that_serves_something_else() {
    let case = Case::new().await;
    let other =
        format!("{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"layers\":[],\"config\":{{}}}}", media_type::MANIFEST);
    let headers = vec![("content-type", media_type::MANIFEST.to_owned())];
    case.registry.always("GET", image_of(&case), Act::Answer(200, headers, other.into_bytes()));
    case.fails(ErrorClass::Integrity, "is not what was published").await;
}

#[tokio::test]
async fn a_registry_that_serves_manifests_as_something_else() {
    for (served, told) in [("text/plain", "its Content-Type is `text/plain`"), ("", "its Content-Type is missing")] {
        let case = Case::new().await;
        for method in ["HEAD", "GET"] {
            case.registry.always(method, "/manifests/", Act::Header("content-type", served.to_owned()));
        }
        let error = case.fails(ErrorClass::Integrity, told).await;
        assert!(error.to_string().contains("is not served as what was published"), "{error}");
        assert!(error.help().is_some_and(|help| help.contains("Content-Type")), "{error}");
    }
    // Parameters change no type, and what HEAD says is of no matter to who reads.
    let case = Case::new().await;
    case.registry.always("HEAD", "/manifests/", Act::Header("content-type", "text/plain".to_owned()));
    let with = format!("{}; charset=utf-8", media_type::MANIFEST);
    case.registry.always("GET", "/manifests/sha256", Act::Header("content-type", with));
    case.arrives().await;
}

#[tokio::test]
async fn a_registry_that_shows_its_manifests_late() {
    let case = Case::new().await;
    case.registry.script("GET", image_of(&case), 0, 3, coded(404, "MANIFEST_UNKNOWN"));
    case.registry.script("GET", "/fleet/base/manifests/1.0", 0, 2, coded(404, "MANIFEST_UNKNOWN"));
    case.arrives().await;
}

#[tokio::test]
async fn an_independent_reader_that_stumbles_is_helped_out_and_it_is_said() {
    let case = Case::new().await;
    // It tries nothing twice; ours does.
    case.registry.script("GET", image_of(&case), 0, 1, plain(503));
    let receipt = case.arrives().await;
    let confirmed = |item: usize| receipt.repositories[item].tags[0].confirmed.clone();
    assert_eq!(confirmed(0), Confirmation::OwnReader("it got status 503".to_owned()));
    assert_eq!(confirmed(1), Confirmation::IndependentReader);
}

#[tokio::test]
async fn a_cut_upload_goes_on_at_the_byte_that_the_registry_holds() {
    let case = Case::new().await;
    case.registry.next("PUT", "/fleet/base/blobs/uploads/", Act::CutKeeping(700_000));
    case.registry.next("PATCH", "", Act::CutKeeping(500_000));
    let receipt = case.arrives().await;
    let ranges: Vec<String> = case
        .registry
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.headers["content-range"].to_str().expect("text").to_owned())
        .collect();
    assert_eq!(ranges, ["700000-2097151", "1200000-2097151"]);
    assert!(receipt.bytes_sent < 2 * (2 << 20) + 300_000, "what was held is not sent again: {}", receipt.bytes_sent);
}

#[tokio::test]
async fn cuts_without_end_are_survived_as_long_as_bytes_arrive() {
    let case = Case::new().await;
    case.registry.next("PUT", "/fleet/base/blobs/uploads/", Act::CutKeeping(100_000));
    // More cuts than there are tries.
    case.registry.script("PATCH", "", 0, 19, Act::CutKeeping(100_000));
    case.arrives().await;
    assert_eq!(case.registry.count("PATCH", ""), 20);
}

#[tokio::test]
async fn a_registry_that_forgets_cut_uploads_is_asked_once_and_then_named() {
    let case = Case::new().await;
    case.registry.always("GET", "/blobs/uploads/", coded(404, "BLOB_UPLOAD_INVALID"));
    case.registry.always("PUT", "/fleet/base/blobs/uploads/", Act::CutAfter(100_000));
    let error = case.fails(ErrorClass::Network, "this registry forgets an upload when its connection breaks").await;
    assert!(error.help().is_some_and(|help| help.contains("steadier way")), "{:?}", error.help());
    assert!(case.registry.count("GET", "/blobs/uploads/") <= 8, "asking is what makes it forget");
}

#[tokio::test]
async fn wrong_bytes_in_pieces_get_one_clean_try_too() {
    let case = Case::new().await;
    limit_size(&case);
    let closing: &'static str = format!("digest=sha256%3A{}", case.shared.hex()).leak();
    // The whole is too much; the end of the pieces is answered as if they had been damaged.
    case.registry.first("PUT", closing, coded(400, "DIGEST_INVALID"));
    case.registry.first("PUT", closing, plain(413));
    case.arrives().await;
    assert_eq!(case.registry.count("PATCH", ""), 4, "all of it twice");
}

#[tokio::test]
async fn a_corrupt_blob_in_pieces_is_found_out() {
    let case = Case::new().await;
    limit_size(&case);
    let path = case.images.layout.root().join("blobs/sha256").join(case.shared.hex());
    let mut bytes = std::fs::read(&path).expect("the blob");
    bytes[5] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let error = case.fails(ErrorClass::Integrity, "layout").await;
    let source = std::error::Error::source(&error).expect("the layout's own words").to_string();
    assert!(source.contains("is corrupt: its bytes hash to"), "{source}");
}

#[tokio::test]
async fn a_closing_answer_with_another_digest_is_an_error_after_pieces_too() {
    let case = Case::new().await;
    limit_size(&case);
    let other = Digest::of("something else").to_string();
    case.registry.always("PUT", "/blobs/uploads/", Act::Header("docker-content-digest", other));
    case.fails(ErrorClass::Refused, "it stored the blob").await;
}

/// Everything behind the tag of the first item.
fn behind(case: &Case) -> Vec<Digest> {
    let parse = |bytes: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON");
    let digest =
        |value: &serde_json::Value| value["digest"].as_str().expect("a digest").parse::<Digest>().expect("one");
    let index = parse(case.images.read(&case.release.items[0].index));
    let mut all = Vec::new();
    for entry in index["manifests"].as_array().expect("entries") {
        all.push(digest(entry));
        let descriptor = serde_json::from_value(entry.clone()).expect("a descriptor");
        let manifest = parse(case.images.read(&descriptor));
        all.push(digest(&manifest["config"]));
        all.extend(manifest["layers"].as_array().expect("layers").iter().map(digest));
    }
    all
}

#[tokio::test]
async fn what_was_lost_behind_an_unchanged_tag_is_brought_again() {
    let case = Case::new().await;
    case.arrives().await;
    for lost in behind(&case) {
        case.registry.lose("fleet/base", &lost);
        let receipt = case.arrives().await;
        let tags: Vec<TagChange> = receipt.repositories.iter().map(|repository| repository.tags[0].change).collect();
        assert_eq!(tags, [TagChange::Mended, TagChange::Unchanged], "{lost}");
        let again = case.arrives().await;
        assert_eq!(again.bytes_sent, 0, "{lost} is there");
    }
}

#[tokio::test]
async fn a_journal_saves_the_look_behind_tags_and_verify_asks_for_it() {
    let case = Case::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let push = async |verify: bool| {
        let client = RegistryClient::new(case.options.clone()).expect("a client");
        let options = PushOptions {
            journal: Some(Journal::open(folder.path()).expect("a journal")),
            verify,
            ..PushOptions::default()
        };
        let cancel = CancellationToken::new();
        push_with(&client, &case.images.layout, case.release.clone(), &options, Arc::new(NoEvents), &cancel)
            .await
            .expect("pushed")
    };
    push(false).await;
    case.registry.calm_down();
    assert_eq!(push(false).await.requests, 2, "one for each tag");
    case.registry.lose("fleet/base", &behind(&case)[0]);
    assert_eq!(push(true).await.repositories[0].tags[0].change, TagChange::Mended);
}

#[tokio::test]
async fn a_repository_that_may_not_be_written_is_found_before_the_first_byte() {
    let case = Case::new().await;
    case.registry.always("POST", "/fleet/nginx/", coded(403, "DENIED"));
    case.fails(ErrorClass::Auth, "denies to begin an upload to fleet/nginx").await;
    assert!(case.registry.seen().iter().all(|seen| !matches!(&*seen.method, "PUT" | "PATCH")), "not one byte was sent");
    assert_eq!(case.registry.open_uploads(), 0);
}
