use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::auth::Scopes;
use super::call::{Call, Payload};
use super::client::Target;
use super::response::Response;
use super::{Answer, RegistryClient, RegistryError};
use crate::base::{Descriptor, Digest, ErrorClass, Failure as _, MediaKind, Reference, Repository, Tag, media_type};

/// A manifest or index as a registry served it, its digest checked.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The bytes, never re-serialised.
    pub bytes: Bytes,
}

/// What became of a manifest that was sent.
#[derive(Debug)]
pub(super) enum Put {
    /// It is there.
    Stored,
    /// The registry misses something that it refers to.
    Incomplete(Answer),
}

/// [`crate::image::MANIFEST_LIMIT`] as the length of a buffer.
#[expect(clippy::cast_possible_truncation, reason = "a few MiB fit into every usize")]
pub(super) const MANIFEST_LIMIT: usize = crate::image::MANIFEST_LIMIT as usize;

/// What we understand when a manifest is asked for. Registries answer 404 to those who do not name the type that is there
/// (docker-registry 2.8), so every one is named.
pub(super) const ACCEPTED: [&str; 4] =
    [media_type::INDEX, media_type::MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST];

/// The members that tell what a document is. Duplicate ones are an error of the parser: consumers disagree which counts.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u32>,
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
}

impl RegistryClient {
    /// The digest that `reference` shows now (`latest` where it says neither tag nor digest), or `None` if the registry
    /// does not have it.
    pub async fn digest_of(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        let target = self.target(reference.repository());
        self.head_manifest(&target, &name_of(reference), &Scopes::pull(&target.path)).await
    }

    /// The manifest or index that `reference` points to (`latest` where it says neither tag nor digest).
    ///
    /// Its digest is the reference's, where that has one, and the one the registry announced; its media type is the one
    /// announced and the one within.
    pub async fn fetch_manifest(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        self.pull_manifest(reference.repository(), &name_of(reference), reference.digest().copied()).await
    }

    /// The manifest called `name`, from the first source that has it.
    pub(super) async fn pull_manifest(
        &self,
        repository: &Repository,
        name: &str,
        expected: Option<Digest>,
    ) -> Result<Fetched, RegistryError> {
        let mut targets = self.pull_targets(repository, expected.is_some())?.into_iter();
        loop {
            let Some(target) = targets.next() else {
                let reason = "there is nowhere to pull it from".to_owned();
                return Err(RegistryError::Name { name: repository.to_string(), reason });
            };
            let got = self.get_manifest(&target, name, expected, &Scopes::pull(&target.path)).await;
            match got {
                Ok(fetched) => return Ok(fetched),
                Err(error) => self.next_source(&target, targets.len(), error)?,
            }
        }
    }

    /// The digest of the manifest called `name` (a tag or digest).
    pub(super) async fn head_manifest(
        &self,
        target: &Target,
        name: &str,
        scopes: &Scopes,
    ) -> Result<Option<Digest>, RegistryError> {
        let action = format!("look at {}", shown(&target.path, name));
        let url = self.url(&target.host, &target.api(&format!("manifests/{name}"))).await?;
        let mut call = Call::new(Method::HEAD, url);
        accept(&mut call);
        let response = self.ask(&target.host, &call, scopes, &action).await?;
        match (response.status().as_u16(), response.digest()) {
            (200, Some(digest)) => return Ok(Some(digest)),
            (404, _) => return Ok(None),
            // Older registries leave the header out, and HEAD is not taken by everything that calls itself a registry.
            (200 | 400 | 405 | 501, _) => {}
            _ => return Err(response.refused().await),
        }
        // Its permit is needed for what follows.
        response.finish().await;
        self.digest_by_reading(target, name, scopes).await
    }

    /// The `Content-Type` that the manifest called `name` is served with; empty where there is none.
    ///
    /// As HEAD has it, and where that is not `expected`, as GET does: that one counts, for it is what others read.
    pub(super) async fn served_type(
        &self,
        target: &Target,
        name: &str,
        expected: &str,
        scopes: &Scopes,
    ) -> Result<String, RegistryError> {
        let action = format!("look at {}", shown(&target.path, name));
        let url = self.url(&target.host, &target.api(&format!("manifests/{name}"))).await?;
        let mut served = String::new();
        for method in [Method::HEAD, Method::GET] {
            let mut call = Call::new(method.clone(), url.clone());
            accept(&mut call);
            let response = match self.ask(&target.host, &call, scopes, &action).await {
                Ok(response) => response,
                Err(RegistryError::Refused { .. }) if method == Method::HEAD => continue,
                Err(error) => return Err(error),
            };
            let known = response.status().as_u16() == 200;
            if !known && method == Method::GET {
                return Err(response.refused().await);
            }
            served = response.header("content-type").map(essence).unwrap_or_default().to_owned();
            if known && served == expected {
                break;
            }
            response.finish().await;
        }
        Ok(served)
    }

    async fn digest_by_reading(
        &self,
        target: &Target,
        name: &str,
        scopes: &Scopes,
    ) -> Result<Option<Digest>, RegistryError> {
        match self.get_manifest(target, name, name.parse().ok(), scopes).await {
            Ok(fetched) => Ok(Some(fetched.descriptor.digest)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The manifest called `name`, which must have the digest `expected` where one is given.
    pub(super) async fn get_manifest(
        &self,
        target: &Target,
        name: &str,
        expected: Option<Digest>,
        scopes: &Scopes,
    ) -> Result<Fetched, RegistryError> {
        let action = format!("read {}", shown(&target.path, name));
        let url = self.url(&target.host, &target.api(&format!("manifests/{name}"))).await?;
        let mut call = Call::new(Method::GET, url);
        accept(&mut call);
        let mut tries = super::pace::Tries::new(self.options().retry);
        loop {
            let got = match self.ask_once(&target.host, &call, scopes, &action).await {
                Ok(response) if response.status().as_u16() == 200 => {
                    if response.header("content-type").is_some_and(|value| value.trim_start().starts_with("text/html"))
                    {
                        let reason =
                            "it answers with a web page: a portal or a proxy stands before it, or it is no registry";
                        return Err(response.wrong(reason));
                    }
                    let announced = (response.digest(), response.header("content-type").map(str::to_owned));
                    response.bytes(MANIFEST_LIMIT).await.map(|bytes| (bytes, announced))
                }
                Ok(response) if response.status().as_u16() == 404 => {
                    let what = format!("manifest {}", shown(&target.path, name));
                    return Err(RegistryError::NotFound { host: target.host.name.clone(), what });
                }
                Ok(response) => return Err(response.refused().await),
                Err(trouble) => Err(trouble),
            };
            match got {
                Ok((bytes, (digest, content_type))) => {
                    let what = || format!("manifest {} at `{}`", shown(&target.path, name), target.host.name);
                    return checked(bytes, expected, digest, content_type.as_deref())
                        .map_err(|reason| RegistryError::Unsound { what: what(), reason });
                }
                Err(trouble) => self.pause(&target.host.name, &target.host.pace, &mut tries, trouble).await?,
            }
        }
    }

    /// Stores a manifest under `name`, a tag or its own digest. Idempotent.
    ///
    /// distribution-spec, "Pushing manifests": the registry stores the bytes as they are; one that answers with another
    /// digest did not.
    pub(super) async fn put_manifest(
        &self,
        target: &Target,
        name: &str,
        manifest: &Fetched,
        scopes: &Scopes,
    ) -> Result<Put, RegistryError> {
        let action = format!("store {}", shown(&target.path, name));
        let url = self.url(&target.host, &target.api(&format!("manifests/{name}"))).await?;
        let mut call = Call::new(Method::PUT, url);
        let media_type =
            HeaderValue::from_str(&manifest.descriptor.media_type).map_err(|_| RegistryError::Integrity {
                what: format!("manifest `{}`", manifest.descriptor.digest),
                reason: "its media type is no header value".to_owned(),
            })?;
        call.headers.insert(CONTENT_TYPE, media_type);
        call.payload = Payload::Bytes(manifest.bytes.clone());
        let response = match self.ask(&target.host, &call, scopes, &action).await {
            Ok(response) => response,
            Err(error) => {
                // An answer that was lost does not mean that the manifest was: look before failing.
                let there = self.head_manifest(target, name, scopes).await;
                return match there {
                    Ok(Some(digest)) if digest == manifest.descriptor.digest => Ok(Put::Stored),
                    _ => Err(error),
                };
            }
        };
        target.host.learn_subject(&response);
        put_outcome(manifest, response).await
    }

    /// Takes a tag away that this very push has made for `digest`, which it brought to the repository: nothing else hangs on it.
    ///
    /// distribution-spec, "Deleting tags": a DELETE of the tag. Many registries do not allow it, some forget the manifest with
    /// it. Whatever it answers, what counts is that the tag is gone: an error says that it is not.
    pub(super) async fn delete_tag(&self, target: &Target, tag: &Tag, digest: &Digest) -> Result<(), RegistryError> {
        let scopes = Scopes::push(&target.path);
        match self.head_manifest(target, tag.as_str(), &scopes).await? {
            None => return Ok(()),
            Some(shown) if shown == *digest => {}
            Some(_) => return Err(not_taken_back(target, tag, Answer::default())),
        }
        let action = format!("take back the tag {}", shown(&target.path, tag.as_str()));
        let url = self.url(&target.host, &target.api(&format!("manifests/{tag}"))).await?;
        let call = Call::new(Method::DELETE, url);
        let asked = self.ask(&target.host, &call, &Scopes::delete(&target.path), &action).await;
        let answer = match asked {
            Ok(response) => response.answer().await,
            Err(error) if error.passes() && error.class() != ErrorClass::Auth => return Err(error),
            // Whoever may publish need not be allowed to delete: that is no reason to think that they may not publish.
            Err(_) => Answer::default(),
        };
        match self.head_manifest(target, tag.as_str(), &scopes).await? {
            None => Ok(()),
            Some(_) => Err(not_taken_back(target, tag, answer)),
        }
    }
}

/// A tag that did not exist before a release and cannot be taken away again.
fn not_taken_back(target: &Target, tag: &Tag, answer: Answer) -> RegistryError {
    RegistryError::Refused {
        host: target.host.name.clone(),
        action: format!("take back the tag {}", shown(&target.path, tag.as_str())),
        status: 400,
        answer,
    }
}

/// What the answer to a manifest means.
async fn put_outcome(manifest: &Fetched, response: Response) -> Result<Put, RegistryError> {
    let status = response.status().as_u16();
    if (200..300).contains(&status) {
        let expected = manifest.descriptor.digest;
        return match response.digest() {
            Some(found) if found != expected => Err(response
                .wrong(format!("it changed the manifest: `{expected}` was sent, it says that it stored `{found}`"))),
            _ => Ok(Put::Stored),
        };
    }
    let (host, action, _) = response.refusal_parts();
    let answer = response.answer().await;
    // Nexus and Quay answer 404 here, the others 400.
    let incomplete = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];
    if matches!(status, 400 | 404) && incomplete.iter().any(|code| answer.has(code)) {
        return Ok(Put::Incomplete(answer));
    }
    if status == 403 {
        return Err(RegistryError::Denied { host, action, answer });
    }
    Err(RegistryError::Refused { host, action, status, answer })
}

/// The tag or digest that a reference is asked for by; the digest decides where both are written.
pub(super) fn name_of(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_string(),
        (None, None) => "latest".to_owned(),
    }
}

/// `fleet/nginx:1.0`, `fleet/nginx@sha256:…`
pub(super) fn shown(path: &str, name: &str) -> String {
    let separator = if name.contains(':') { '@' } else { ':' };
    format!("`{path}{separator}{name}`")
}

fn accept(call: &mut Call) {
    if let Ok(value) = HeaderValue::from_str(&ACCEPTED.join(", ")) {
        call.headers.insert(ACCEPT, value);
    }
}

/// A media type without its parameters (RFC 9110, section 8.3.1).
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// A manifest whose bytes, digests and types agree with each other and with what was asked for.
fn checked(
    bytes: Bytes,
    expected: Option<Digest>,
    announced: Option<Digest>,
    content_type: Option<&str>,
) -> Result<Fetched, String> {
    let found = Digest::of(&bytes);
    match (expected, announced) {
        (Some(expected), _) if expected != found => return Err(format!("its bytes hash to `{found}`")),
        // Asked by tag, the header is all there is to compare with; asked by digest, right bytes settle it.
        (None, Some(announced)) if announced != found => {
            return Err(format!("`{announced}` was announced, its bytes hash to `{found}`"));
        }
        _ => {}
    }
    let shape: Shape = serde_json::from_slice(&bytes).map_err(|error| format!("it is not a manifest: {error}"))?;
    if shape.schema_version != Some(2) {
        return Err(format!("its schema version is {}, only 2 is supported", shape.schema_version.unwrap_or(0)));
    }
    // CVE-2021-41190: one document, read as an index by one program and as a manifest by another.
    let is_index = shape.manifests.is_some();
    if is_index && (shape.layers.is_some() || shape.config.is_some()) {
        return Err("it claims to be an index and a manifest at once".to_owned());
    }
    let announced = content_type.map(essence);
    let media_type = match (shape.media_type.as_deref(), announced) {
        (Some(within), Some(announced)) if within != announced && MediaKind::of(announced) != MediaKind::Blob => {
            return Err(format!("it is announced as `{announced}` and says of itself that it is `{within}`"));
        }
        (Some(within), _) => within,
        (None, Some(announced)) if MediaKind::of(announced) != MediaKind::Blob => announced,
        (None, _) if is_index => media_type::INDEX,
        (None, _) => media_type::MANIFEST,
    };
    let fits = match MediaKind::of(media_type) {
        MediaKind::Index => is_index,
        MediaKind::Manifest => !is_index,
        MediaKind::Config | MediaKind::Blob => false,
    };
    if !fits {
        return Err(format!("its content is not of its type `{media_type}`"));
    }
    Ok(Fetched { descriptor: Descriptor::of(media_type, &bytes), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(body: &str, content_type: Option<&str>) -> String {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        match checked(bytes, None, None, content_type) {
            Ok(fetched) => fetched.descriptor.media_type,
            Err(reason) => reason,
        }
    }

    #[test]
    fn type_inside_and_outside_must_agree() {
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::INDEX);
        assert_eq!(verdict(&index, Some(media_type::INDEX)), media_type::INDEX);
        assert_eq!(verdict(&index, Some("application/vnd.oci.image.index.v1+json; charset=utf-8")), media_type::INDEX);
        assert_eq!(verdict(&index, Some("application/json")), media_type::INDEX);
        assert!(verdict(&index, Some(media_type::MANIFEST)).contains("is announced as"));
        let bare = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        assert_eq!(verdict(bare, None), media_type::MANIFEST);
        assert!(verdict(bare, Some(media_type::INDEX)).contains("is not of its type"));
        let both = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(verdict(both, None).contains("at once"));
        assert!(verdict(r#"{"schemaVersion":1}"#, None).contains("schema version is 1"));
        assert!(verdict(r#"{"schemaVersion":2,"layers":[],"layers":[]}"#, None).contains("duplicate"));
        assert!(verdict("<html>", None).contains("is not a manifest"));
        assert!(verdict(&"[".repeat(100_000), None).contains("is not a manifest"));
    }

    #[test]
    fn digests_must_agree() {
        let bytes = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
        let (right, wrong) = (Digest::of(&bytes), Digest::of("x"));
        assert!(checked(bytes.clone(), Some(right), Some(wrong), None).is_ok(), "right bytes settle it");
        assert!(checked(bytes.clone(), Some(wrong), Some(wrong), None).is_err());
        assert!(checked(bytes.clone(), None, Some(wrong), None).is_err());
        assert!(checked(bytes, None, Some(right), None).is_ok());
    }
}
