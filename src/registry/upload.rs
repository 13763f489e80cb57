use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use url::Url;

use super::auth::Scopes;
use super::blob::on_disk;
use super::call::{BlobPayload, Call, Gauge, Payload};
use super::client::{Target, with_digest};
use super::pace::Tries;
use super::push::at_once;
use super::response::Response;
use super::trouble::Trouble;
use super::{RegistryClient, RegistryError};
use crate::base::Descriptor;
use crate::store::{BlobSource as _, Layout};

/// A blob on its way into one repository.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    pub(super) target: &'a Target,
    pub(super) layout: &'a Layout,
    pub(super) descriptor: &'a Descriptor,
    pub(super) sessions: &'a Sessions,
    /// Told of every byte handed to the connection.
    pub(super) gauge: Gauge,
}

/// Upload sessions that are open at registries, or were left behind broken, so that they can be closed in the end: a
/// registry keeps their bytes for days otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<Vec<(Target, Url)>>>);

/// Blobs up to this size are sent from memory: most are configs of a few kilobytes.
const SMALL: u64 = 256 << 10;
/// How long closing the sessions of a cancelled push may take in all.
const FAREWELL: Duration = Duration::from_secs(2);

/// What one attempt came to.
enum Step {
    Done,
    /// The session is of no use any more; begin another.
    Anew(Trouble),
    /// It is too much for one request.
    InChunks,
}

impl RegistryClient {
    /// Sends a blob, in the session that a mount left behind or in a new one.
    ///
    /// distribution-spec, "Pushing a blob monolithically": POST for a session, then one PUT with the digest. Whenever an
    /// answer is missing or failing, the registry is asked whether the blob arrived all the same before it is sent again.
    pub(super) async fn upload(&self, upload: &Upload<'_>, mut session: Option<Url>) -> Result<(), RegistryError> {
        let Upload { target, descriptor, .. } = upload;
        let scopes = Scopes::push(&target.path);
        let mut tries = Tries::new(self.options().retry);
        let mut judged_wrong = false;
        loop {
            let url = match session.take() {
                Some(url) => url,
                None => self.begin_upload(target, &scopes).await?.0,
            };
            upload.sessions.open(target, &url);
            let sent_before = upload.gauge.get();
            let step = match self.put_blob(upload, url.clone(), &scopes).await {
                Ok(response) => self.judge_put(upload, response, &mut judged_wrong).await?,
                Err(trouble) if !trouble.transient => return Err(trouble.into_error()),
                Err(trouble) => Step::Anew(trouble),
            };
            match step {
                Step::Done => {
                    upload.sessions.close(&url);
                    return Ok(());
                }
                Step::InChunks => {
                    upload.gauge.take_back(upload.gauge.get() - sent_before);
                    return Box::pin(self.upload_in_chunks(upload)).await;
                }
                Step::Anew(trouble) => {
                    // Nothing was taken by a registry that only asked to wait: the session is as it was.
                    session = trouble.limited.then_some(url);
                    upload.gauge.take_back(upload.gauge.get() - sent_before);
                    self.pause(&target.host.name, &target.host.pace, &mut tries, trouble).await?;
                    if self.has_blob(target, descriptor, &scopes).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Opens a session: where to send to, and the smallest chunk that is taken there.
    pub(super) async fn begin_upload(&self, target: &Target, scopes: &Scopes) -> Result<(Url, u64), RegistryError> {
        let action = format!("begin an upload to {}", target.path);
        let url = self.url(&target.host, &target.api("blobs/uploads/")).await?;
        let response = self.ask(&target.host, &Call::new(Method::POST, url), scopes, &action).await?;
        match response.status().as_u16() {
            200..=299 => {
                let least = response.header("oci-chunk-min-length").and_then(|text| text.trim().parse().ok());
                Ok((self.location(&response)?, least.unwrap_or(0)))
            }
            404 => {
                let what = format!("repository {} to push to", target.path);
                Err(RegistryError::NotFound { host: target.host.name.clone(), what })
            }
            _ => Err(response.refused().await),
        }
    }

    async fn put_blob(&self, upload: &Upload<'_>, session: Url, scopes: &Scopes) -> Result<Response, Trouble> {
        let Upload { target, layout, descriptor, gauge, .. } = upload;
        let action = format!("send a blob to {}", target.path);
        let mut call = Call::new(Method::PUT, with_digest(session, &descriptor.digest));
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        call.payload = if descriptor.size <= SMALL {
            let (layout, wanted) = ((*layout).clone(), (*descriptor).clone());
            let bytes = on_disk(move || layout.read(&wanted, SMALL)).await.map_err(Trouble::last)?;
            gauge.add(bytes.len() as u64);
            Payload::Bytes(Bytes::from(bytes))
        } else {
            Payload::Blob(Box::new(BlobPayload::new(layout, descriptor, gauge.clone())))
        };
        self.ask_once(&target.host, &call, scopes, &action).await
    }

    /// What the answer to the closing PUT means.
    async fn judge_put(
        &self,
        upload: &Upload<'_>,
        response: Response,
        judged_wrong: &mut bool,
    ) -> Result<Step, RegistryError> {
        let (host, action, status) = response.refusal_parts();
        let expected = upload.descriptor.digest;
        if matches!(status, 200 | 201 | 204) {
            return match response.digest() {
                Some(found) if found != expected => {
                    Err(response.wrong(format!("it stored the blob `{expected}` as `{found}`")))
                }
                _ => Ok(Step::Done),
            };
        }
        if (200..300).contains(&status) {
            return Err(response.wrong(format!("status {status} to a whole blob")));
        }
        let answer = response.answer().await;
        let refused =
            RegistryError::Refused { host: host.clone(), action: action.clone(), status, answer: answer.clone() };
        match status {
            403 => Err(RegistryError::Denied { host, action, answer }),
            // The bytes were hashed while they were sent, so they were right when they left. Once they may have been
            // damaged on the way, or met a session that was not empty.
            400 if answer.has("DIGEST_INVALID") && !*judged_wrong => {
                *judged_wrong = true;
                Ok(Step::Anew(Trouble::passing(refused)))
            }
            413 if upload.descriptor.size > 1 => Ok(Step::InChunks),
            // The session is gone: it timed out, or another process of the registry has no part in it.
            404 | 416 => Ok(Step::Anew(Trouble::passing(refused))),
            400 if answer.has("BLOB_UPLOAD_UNKNOWN") || answer.has("BLOB_UPLOAD_INVALID") => {
                Ok(Step::Anew(Trouble::passing(refused)))
            }
            _ => Err(refused),
        }
    }

    /// Tells registries that uploads which are open will not be finished. Best effort: their answers change nothing.
    pub(super) async fn abandon(&self, sessions: &Sessions) {
        let open = std::mem::take(&mut *sessions.0.lock().unwrap_or_else(PoisonError::into_inner));
        let deletions = at_once(open, |(target, url)| async move {
            self.close_session(&target, url).await;
            Ok(())
        });
        drop(tokio::time::timeout(FAREWELL, deletions).await);
    }

    /// distribution-spec, "Canceling an upload": DELETE to the location.
    pub(super) async fn close_session(&self, target: &Target, session: Url) {
        let call = Call::new(Method::DELETE, session);
        drop(self.ask_once(&target.host, &call, &Scopes::push(&target.path), "close an upload").await);
    }
}

impl Sessions {
    pub(super) fn open(&self, target: &Target, url: &Url) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((target.clone(), url.clone()));
    }

    pub(super) fn close(&self, url: &Url) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, open)| open != url);
    }
}
