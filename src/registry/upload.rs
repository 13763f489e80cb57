use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use url::Url;

use super::auth::Scopes;
use super::blob::on_disk;
use super::call::{BlobPayload, Call, Gauge, Payload};
use super::client::{Target, with_digest};
use super::pace::Tries;
use super::response::Response;
use super::sessions::Sessions;
use super::trouble::Trouble;
use super::{PushSource, RegistryClient, RegistryError};
use crate::base::{ByteSize, Descriptor};

/// A blob on its way into one repository.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    pub(super) target: &'a Target,
    pub(super) source: &'a PushSource,
    pub(super) descriptor: &'a Descriptor,
    pub(super) sessions: &'a Sessions,
    /// Told of every byte handed to the connection.
    pub(super) gauge: Gauge,
}

/// Where an upload stands.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// Where to send to: the latest `Location`.
    pub(super) session: Url,
    /// Bytes that the registry holds.
    pub(super) held: u64,
}

/// How an upload has gone so far.
struct Course {
    tries: Tries,
    /// Bytes per request, where the whole is too much for one: by its size, or as it turned out.
    piece: Option<u64>,
    /// The registry said once that the bytes were wrong.
    judged_wrong: bool,
    /// The most that the registry held before it forgot.
    farthest: u64,
}

/// What one request came to.
pub(super) enum Step {
    Done,
    /// The registry holds more than before.
    Further,
    /// It is too much for one request.
    TooMuch(RegistryError),
    /// The registry hashed other bytes than were meant.
    Wrong(RegistryError),
    /// The session is gone: it timed out, or another process of the registry has no part in it.
    Gone(Trouble),
    /// It is not known what arrived.
    Broken(Trouble),
}

/// Blobs up to this size are sent from memory: most are configs of a few kilobytes.
const SMALL: u64 = 256 << 10;
/// The largest piece: what the proxies of public registries let through.
pub(super) const LARGEST: u64 = 64 << 20;
/// A proxy that refuses this too is not meant to let blobs through.
const SMALLEST: u64 = 64 << 10;

impl RegistryClient {
    /// Sends a blob, in the session that a mount or an earlier process left behind, or in a new one.
    ///
    /// distribution-spec, "Pushing a blob monolithically": POST for a session, then one PUT with the digest. If that breaks,
    /// the registry is asked whether the blob arrived all the same, then where it stands ("Getting upload status"), and the
    /// rest goes out in pieces from that byte; from the beginning only where it has forgotten. Pieces are also what is used
    /// where one request is too much: for [`super::RegistryOptions::one_request`], or for the registry (413). Each byte that arrives is progress, so a way that breaks every few seconds
    /// still leads to the end; a registry that forgets an upload with its connection gets a bounded number of tries.
    pub(super) async fn upload(&self, upload: &Upload<'_>, session: Option<Url>) -> Result<(), RegistryError> {
        let scopes = Scopes::push(&upload.target.path);
        let tries = Tries::new(self.options().retry);
        let most = self.options().one_request;
        let piece = (upload.descriptor.size > most).then_some(most.clamp(1, LARGEST));
        let mut course = Course { tries, piece, judged_wrong: false, farthest: 0 };
        let mut standing = self.where_to_begin(upload, session, &scopes).await?;
        if let Some(current) = &standing {
            upload.sessions.open(upload.target, upload.descriptor, &current.session)?;
        }
        loop {
            let mut current = match standing.take() {
                Some(current) => current,
                None => self.begin(upload, &scopes).await?,
            };
            let handed = upload.gauge.get();
            let step = self.step(upload, &mut current, course.piece, &scopes).await?;
            let handed = upload.gauge.get() - handed;
            standing = match step {
                Step::Done => return upload.sessions.close(upload.target, upload.descriptor, &current.session),
                Step::Further => {
                    course.tries = Tries::new(self.options().retry);
                    Some(current)
                }
                Step::TooMuch(error) => {
                    upload.gauge.take_back(handed);
                    let (least, size) = (upload.target.host.least_piece(), upload.descriptor.size);
                    let smaller = smaller(course.piece, size).map(|piece| piece.max(least));
                    course.piece = Some(smaller.filter(|piece| *piece < course.piece.unwrap_or(size)).ok_or(error)?);
                    Some(current)
                }
                Step::Wrong(error) => {
                    upload.gauge.take_back(current.held + handed);
                    self.after_wrong_bytes(upload, &mut course, &current, error).await?;
                    None
                }
                Step::Gone(trouble) => {
                    upload.gauge.take_back(current.held + handed);
                    upload.sessions.give_up(upload.target, upload.descriptor, &current.session)?;
                    self.pause_upload(upload, &mut course, trouble).await?;
                    if self.has_blob(upload.target, upload.descriptor, &scopes).await? {
                        return Ok(());
                    }
                    None
                }
                Step::Broken(trouble) => {
                    let limited = trouble.limited;
                    let cut = matches!(*trouble.error, RegistryError::Network { .. } | RegistryError::Stalled { .. });
                    self.pause_upload(upload, &mut course, trouble).await?;
                    if self.has_blob(upload.target, upload.descriptor, &scopes).await? {
                        return upload.sessions.close(upload.target, upload.descriptor, &current.session);
                    }
                    // Nothing was taken by a registry that only asked to wait: the session is as it was.
                    let found =
                        if limited { Some(current.clone()) } else { self.ask_again(upload, &current, cut).await? };
                    let now = found.as_ref().map_or(0, |found| found.held);
                    upload.gauge.take_back((current.held + handed).saturating_sub(now));
                    course.farthest = course.farthest.max(current.held + handed);
                    if now > current.held {
                        course.tries = Tries::new(self.options().retry);
                    }
                    found
                }
            };
        }
    }

    /// Where an upload can go on: in what an earlier process left behind, if that still stands, or in a session that is new.
    async fn where_to_begin(
        &self,
        upload: &Upload<'_>,
        session: Option<Url>,
        scopes: &Scopes,
    ) -> Result<Option<Standing>, RegistryError> {
        let fresh = session.map(|session| Standing { session, held: 0 });
        let Some(left) = upload.sessions.left_behind(upload.target, upload.descriptor) else { return Ok(fresh) };
        let left = Standing { session: left, held: 0 };
        let Some(found) = self.where_it_stands(upload, &left, scopes).await.filter(|found| found.held > 0) else {
            upload.sessions.close(upload.target, upload.descriptor, &left.session)?;
            return Ok(fresh);
        };
        if let Some(unused) = fresh {
            self.close_session(upload.target, unused.session).await;
        }
        upload.gauge.add(found.held);
        Ok(Some(found))
    }

    /// Where the registry stands after something broke; `None` if it has forgotten.
    async fn ask_again(
        &self,
        upload: &Upload<'_>,
        current: &Standing,
        cut: bool,
    ) -> Result<Option<Standing>, RegistryError> {
        let host = &upload.target.host;
        if !host.forgets_uploads() {
            let found = self.where_it_stands(upload, current, &Scopes::push(&upload.target.path)).await;
            if found.is_some() {
                return Ok(found);
            }
            if cut {
                // Learnt for the whole run. From now on the way is for one upload at a time: what fits between two cuts
                // alone may not fit beside others.
                host.will_forget_uploads();
                host.pace.narrow();
            }
        }
        upload.sessions.give_up(upload.target, upload.descriptor, &current.session)?;
        Ok(None)
    }

    /// Waits before the next try, or says why there is none: where a registry forgets uploads, that is why.
    async fn pause_upload(
        &self,
        upload: &Upload<'_>,
        course: &mut Course,
        trouble: Trouble,
    ) -> Result<(), RegistryError> {
        let host = &upload.target.host;
        let paused = self.pause(&host.name, &host.pace, &mut course.tries, trouble).await;
        paused.map_err(|error| match error {
            RegistryError::Network { host: name, action, reason, help } if host.forgets_uploads() => {
                let (most, size) = (ByteSize(course.farthest), ByteSize(upload.descriptor.size));
                let reason = format!(
                    "{reason}; this registry forgets an upload when its connection breaks, and none of the tries got \
                     through: at most {most} of {size} went out in one"
                );
                let own = "use a registry that lets uploads go on (the reference registry v3 does), or a steadier way \
                           to this one";
                RegistryError::Network { host: name, action, reason, help: help.or_else(|| Some(own.to_owned())) }
            }
            error => error,
        })
    }

    /// The registry hashed something else than what was meant. That may have been damaged on the way, or met a session
    /// that was not empty: one more try, if our own bytes are right.
    async fn after_wrong_bytes(
        &self,
        upload: &Upload<'_>,
        course: &mut Course,
        current: &Standing,
        error: RegistryError,
    ) -> Result<(), RegistryError> {
        // Pieces are not hashed while they go out.
        let (source, blob) = (upload.source.clone(), upload.descriptor.clone());
        on_disk(move || BlobPayload::new(&source, &blob, Gauge::default()).check()).await?;
        if course.judged_wrong {
            return Err(error);
        }
        course.judged_wrong = true;
        upload.sessions.close(upload.target, upload.descriptor, &current.session)?;
        self.close_session(upload.target, current.session.clone()).await;
        self.pause_upload(upload, course, Trouble::passing(error)).await
    }

    /// One request: the whole, a piece, or the end.
    async fn step(
        &self,
        upload: &Upload<'_>,
        current: &mut Standing,
        piece: Option<u64>,
        scopes: &Scopes,
    ) -> Result<Step, RegistryError> {
        let size = upload.descriptor.size;
        if current.held == 0 && (piece.is_none() || size == 0) {
            return match self.put_whole(upload, current.session.clone(), scopes).await {
                Ok(response) => judge_close(upload, response).await,
                Err(trouble) => broken(trouble),
            };
        }
        if current.held < size {
            return self.send_piece(upload, current, piece.unwrap_or(LARGEST), scopes).await;
        }
        let call = Call::new(Method::PUT, with_digest(current.session.clone(), &upload.descriptor.digest));
        let action = format!("close an upload to {}", upload.target.path);
        match self.ask_once(&upload.target.host, &call, scopes, &action).await {
            Ok(response) => judge_close(upload, response).await,
            Err(trouble) => broken(trouble),
        }
    }

    async fn begin(&self, upload: &Upload<'_>, scopes: &Scopes) -> Result<Standing, RegistryError> {
        let session = self.begin_upload(upload.target, scopes).await?;
        upload.sessions.open(upload.target, upload.descriptor, &session)?;
        Ok(Standing { session, held: 0 })
    }

    /// Opens a session: where to send to.
    pub(super) async fn begin_upload(&self, target: &Target, scopes: &Scopes) -> Result<Url, RegistryError> {
        let action = format!("begin an upload to {}", target.path);
        let url = self.url(&target.host, &target.api("blobs/uploads/")).await?;
        let response = self.ask(&target.host, &Call::new(Method::POST, url), scopes, &action).await?;
        match response.status().as_u16() {
            200..=299 => {
                target.host.learn_least_piece(&response);
                self.location(&response)
            }
            404 => {
                let what = format!("repository {} to push to", target.path);
                Err(RegistryError::NotFound { host: target.host.name.clone(), what })
            }
            _ => Err(response.refused().await),
        }
    }

    async fn put_whole(&self, upload: &Upload<'_>, session: Url, scopes: &Scopes) -> Result<Response, Trouble> {
        let Upload { target, source, descriptor, gauge, .. } = upload;
        let action = format!("send a blob to {}", target.path);
        let mut call = Call::new(Method::PUT, with_digest(session, &descriptor.digest));
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        call.payload = if descriptor.size <= SMALL {
            let (source, wanted) = ((*source).clone(), (*descriptor).clone());
            let bytes = on_disk(move || source.blobs().read(&wanted, SMALL)).await.map_err(Trouble::last)?;
            gauge.pass(bytes.len() as u64).await;
            gauge.add(bytes.len() as u64);
            Payload::Bytes(Bytes::from(bytes))
        } else {
            Payload::Blob(Box::new(BlobPayload::new(source, descriptor, gauge.clone())))
        };
        self.ask_once(&target.host, &call, scopes, &action).await
    }
}

/// The next size to try after the whole (`None`) or pieces of this size were too much.
fn smaller(piece: Option<u64>, size: u64) -> Option<u64> {
    match piece {
        None if size > 1 => Some(LARGEST.min(size.div_ceil(2))),
        None => None,
        Some(piece) => Some(piece / 2).filter(|half| *half >= SMALLEST),
    }
}

/// What it means that a request was not answered.
pub(super) fn broken(trouble: Trouble) -> Result<Step, RegistryError> {
    if trouble.transient { Ok(Step::Broken(trouble)) } else { Err(trouble.into_error()) }
}

/// What the answer to a closing PUT means. The registry vouches for the digest of the whole with it, however many
/// requests brought the bytes.
async fn judge_close(upload: &Upload<'_>, response: Response) -> Result<Step, RegistryError> {
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
    let refused = RegistryError::Refused { host: host.clone(), action: action.clone(), status, answer: answer.clone() };
    match status {
        403 => Err(RegistryError::Denied { host, action, answer }),
        400 if answer.has("DIGEST_INVALID") => Ok(Step::Wrong(refused)),
        413 => Ok(Step::TooMuch(refused)),
        404 => Ok(Step::Gone(Trouble::passing(refused))),
        400 if answer.has("BLOB_UPLOAD_UNKNOWN") || answer.has("BLOB_UPLOAD_INVALID") => {
            Ok(Step::Gone(Trouble::passing(refused)))
        }
        // Out of step: the registry is asked where it stands.
        416 => Ok(Step::Broken(Trouble::passing(refused))),
        _ => Err(refused),
    }
}
