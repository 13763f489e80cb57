use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{HeaderValue, RANGE};
use tokio::sync::mpsc;
use url::Url;

use super::auth::Scopes;
use super::call::Call;
use super::client::Target;
use super::pace::Tries;
use super::rate::Rate;
use super::response::Response;
use super::trouble::Trouble;
use super::{Meter, RegistryClient, RegistryError};
use crate::base::{Descriptor, Repository};
use crate::store::{BlobWriter, Layout, StoreError};

/// What a registry made of a wish to mount.
#[derive(Debug)]
pub(super) enum Mount {
    /// The blob is in the repository now.
    Done,
    /// It began an upload instead (distribution-spec, "Mounting a blob": 202); this is where to send the blob.
    Session(Url),
    /// It does not mount, or not from there.
    Impossible,
}

/// What a registry says that it holds of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// It is there, in its right size where the registry names one.
    Whole,
    /// It is not there.
    Missing,
    /// It is there with so many bytes, which are not those of the descriptor.
    OtherSize(u64),
    /// It does not say, neither to HEAD nor to GET.
    Unknown,
}

impl RegistryClient {
    /// Whether the repository has the blob, in its right size. What cannot be found out counts as no: sending a blob
    /// twice is a waste, leaving it out a broken image.
    pub(super) async fn has_blob(
        &self,
        target: &Target,
        descriptor: &Descriptor,
        scopes: &Scopes,
    ) -> Result<bool, RegistryError> {
        Ok(self.look_at_blob(target, descriptor, scopes).await? == Held::Whole)
    }

    /// One HEAD: distribution-spec, "Checking if content exists in the registry". Where that says nothing (some registries
    /// know no HEAD: 400, 405, 501; some fail at it) the first byte is read instead.
    pub(super) async fn look_at_blob(
        &self,
        target: &Target,
        descriptor: &Descriptor,
        scopes: &Scopes,
    ) -> Result<Held, RegistryError> {
        let action = format!("look for a blob in {}", target.path);
        let url = self.url(&target.host, &target.api(&format!("blobs/{}", descriptor.digest))).await?;
        let response = match self.ask(&target.host, &Call::new(Method::HEAD, url), scopes, &action).await {
            Ok(response) => response,
            Err(RegistryError::Refused { .. }) => return self.look_by_reading(target, descriptor, scopes).await,
            Err(error) => return Err(error),
        };
        match response.status().as_u16() {
            200 => Ok(held(response.content_length(), descriptor)),
            403 => Err(response.refused().await),
            404 => Ok(Held::Missing),
            _ => {
                // Its permit is needed for what follows.
                response.finish().await;
                self.look_by_reading(target, descriptor, scopes).await
            }
        }
    }

    /// What GET says of a blob: its first byte, or only the head of the answer where a registry sends the whole.
    pub(super) async fn look_by_reading(
        &self,
        target: &Target,
        descriptor: &Descriptor,
        scopes: &Scopes,
    ) -> Result<Held, RegistryError> {
        let action = format!("look into a blob in {}", target.path);
        let url = self.url(&target.host, &target.api(&format!("blobs/{}", descriptor.digest))).await?;
        let mut call = Call::new(Method::GET, url);
        call.headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let response = match self.ask(&target.host, &call, scopes, &action).await {
            Ok(response) => response,
            Err(RegistryError::Refused { .. }) => return Ok(Held::Unknown),
            Err(error) => return Err(error),
        };
        Ok(match response.status().as_u16() {
            // The connection is given up with what it would still bring.
            200 => held(response.content_length(), descriptor),
            206 => {
                let found = held(total(&response), descriptor);
                response.finish().await;
                found
            }
            404 => Held::Missing,
            // Of nothing there is no first byte.
            416 if descriptor.size == 0 => Held::Whole,
            _ => Held::Unknown,
        })
    }

    /// Asks the registry to take the blob from `source`, a repository of the same registry.
    ///
    /// distribution-spec, "Mounting a blob from another repository". One token must allow pushing here and pulling there.
    pub(super) async fn mount_blob(
        &self,
        target: &Target,
        source: &str,
        descriptor: &Descriptor,
    ) -> Result<Mount, RegistryError> {
        let action = format!("mount a blob of {source} in {}", target.path);
        let mut url = self.url(&target.host, &target.api("blobs/uploads/")).await?;
        url.query_pairs_mut().append_pair("mount", &descriptor.digest.to_string()).append_pair("from", source);
        let scopes = Scopes::push(&target.path).and_pull(source);
        let response = match self.ask(&target.host, &Call::new(Method::POST, url), &scopes, &action).await {
            Ok(response) => response,
            // The source may be private to us, or the token server may not give both at once: the blob can still be sent.
            Err(RegistryError::Auth { .. } | RegistryError::Denied { .. } | RegistryError::Refused { .. }) => {
                return Ok(Mount::Impossible);
            }
            Err(error) => return Err(error),
        };
        match response.status().as_u16() {
            201 => Ok(Mount::Done),
            202 => {
                target.host.learn_least_piece(&response);
                Ok(self.location(&response).map_or(Mount::Impossible, Mount::Session))
            }
            _ => {
                response.finish().await;
                Ok(Mount::Impossible)
            }
        }
    }

    /// Where a response says to go on: relative or absolute, with or without a query (RFC 3986, section 5).
    pub(super) fn location(&self, response: &Response) -> Result<Url, RegistryError> {
        let Some(location) = response.header("location") else {
            return Err(response.wrong(format!("status {} without a Location", response.status().as_u16())));
        };
        let url = response.url().join(location).map_err(|error| response.wrong(format!("its Location: {error}")))?;
        self.check_downgrade(response.url(), &url).map_err(|reason| response.wrong(reason))?;
        Ok(url)
    }

    /// Brings a blob into the layout, verified while it streams; nothing moves if it is there.
    ///
    /// A connection that breaks is continued at the byte that was reached, also by a later run: what arrived of a large blob
    /// stays under a temporary name. The blob is visible and durable when this returns, and not there at all before.
    pub async fn fetch_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        layout: &Layout,
    ) -> Result<(), RegistryError> {
        self.fetch_blob_metered(repository, descriptor, layout, None).await
    }

    /// As [`RegistryClient::fetch_blob`], counting on `meter`; bytes that are there already count as arrived.
    pub async fn fetch_blob_metered(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        layout: &Layout,
        meter: Option<&Meter>,
    ) -> Result<(), RegistryError> {
        let count = |bytes: u64| {
            if let Some(meter) = meter {
                meter.add(bytes);
            }
        };
        let (digest, size) = (descriptor.digest, descriptor.size);
        let begin = {
            let (layout, descriptor) = (layout.clone(), descriptor.clone());
            move || if layout.has(&descriptor)? { Ok(None) } else { layout.resume(&descriptor.digest).map(Some) }
        };
        let Some(mut writer) = on_disk(begin).await? else {
            count(size);
            return Ok(());
        };
        let mut resumed = writer.written() > 0;
        count(writer.written().min(size));
        let mut targets = self.pull_targets(repository, true)?.into_iter();
        let mut target = targets.next().unwrap_or_else(|| self.target(repository));
        loop {
            let got = match self.fetch_to_end(&target, descriptor, writer, meter).await {
                Ok(whole) => on_disk(move || whole.commit(Some(digest), Some(size))).await,
                Err(error) => Err(error),
            };
            let error = match got {
                Ok(_) => return Ok(()),
                // What an earlier run left may be what is wrong; what came in this run is not.
                Err(RegistryError::Store(StoreError::Corrupt { .. } | StoreError::WrongSize { .. })) if resumed => {
                    resumed = false;
                    if let Some(meter) = meter {
                        meter.take_back(size);
                    }
                    writer = layout.resume(&digest)?;
                    writer.restart()?;
                    continue;
                }
                Err(RegistryError::Store(StoreError::Corrupt { found, .. })) => RegistryError::Unsound {
                    what: format!("blob `{digest}` of `{}`", target.shown()),
                    reason: format!("its bytes hash to `{found}`"),
                },
                Err(error) => error,
            };
            self.next_source(&target, targets.len(), error)?;
            target = targets.next().unwrap_or(target);
            // What one source began another can finish: the bytes are the same.
            writer = layout.resume(&digest)?;
        }
    }

    /// Reads a blob to its end, through as many connections as it takes.
    async fn fetch_to_end(
        &self,
        target: &Target,
        descriptor: &Descriptor,
        mut writer: BlobWriter,
        meter: Option<&Meter>,
    ) -> Result<BlobWriter, RegistryError> {
        let mut tries = Tries::new(self.options().retry);
        loop {
            let before = writer.written();
            let (back, result) = self.fetch_rest(target, descriptor, writer, meter).await?;
            writer = back;
            let Err(trouble) = result else { return Ok(writer) };
            // Each piece that arrived is progress: a way that breaks every few seconds still leads to the end.
            if writer.written() > before {
                tries = Tries::new(self.options().retry);
            }
            writer.keep_partial(writer.written() >= WORTH_KEEPING);
            if let Err(error) = self.pause(&target.host.name, &target.host.pace, &mut tries, trouble).await {
                // What a registry sends that is wrong is nothing to go on with.
                if matches!(error, RegistryError::Unsound { .. }) {
                    writer.keep_partial(false);
                }
                return Err(error);
            }
        }
    }

    /// Reads from where `writer` stands to the end, and gives the writer back with what came of it. The outer error is the
    /// disk's.
    async fn fetch_rest(
        &self,
        target: &Target,
        descriptor: &Descriptor,
        mut writer: BlobWriter,
        meter: Option<&Meter>,
    ) -> Result<(BlobWriter, Result<(), Trouble>), RegistryError> {
        let mut start = writer.written();
        if start >= descriptor.size && descriptor.size > 0 {
            return Ok((writer, Ok(())));
        }
        // Also what a caller that gives up in the middle leaves is worth going on with.
        writer.keep_partial(descriptor.size >= WORTH_KEEPING);
        let mut answer = self.ask_for_rest(target, descriptor, start).await;
        if start > 0 && answer.as_ref().is_err_and(|trouble| refuses(&trouble.error)) {
            // Some answer 416 or 403 to each range, for ever. What is kept goes only when the whole is on its way.
            answer = self.ask_for_rest(target, descriptor, 0).await;
        }
        let response = match answer {
            Ok(response) => response,
            Err(trouble) => return Ok((writer, Err(trouble))),
        };
        match response.status().as_u16() {
            // The answer to a range must begin where it was asked to (RFC 9110, section 15.3.7): nothing else is appended.
            206 if start > 0 && starts_at(&response) == Some(start) => {}
            200 => {
                writer.restart()?;
                if let Some(meter) = meter {
                    meter.take_back(start);
                }
                start = 0;
            }
            _ => {
                writer.restart()?;
                if let Some(meter) = meter {
                    meter.take_back(start);
                }
                let wrong = response.wrong("it sent another part than the one asked for");
                return Ok((writer, Err(Trouble::passing(wrong))));
            }
        }
        let (sender, mut pieces) = mpsc::channel::<Bytes>(AHEAD);
        let writing = tokio::task::spawn_blocking(move || {
            let mut result = Ok(());
            while let Some(piece) = pieces.blocking_recv() {
                result = writer.append(&piece);
                if result.is_err() {
                    break;
                }
            }
            (writer, result)
        });
        let received = receive(response, &sender, descriptor, (start, meter, target.host.rate.as_deref())).await;
        drop(sender);
        let (writer, written) = writing.await.map_err(|error| RegistryError::Setup { reason: error.to_string() })?;
        written?;
        Ok((writer, received))
    }

    pub(super) async fn ask_for_rest(
        &self,
        target: &Target,
        descriptor: &Descriptor,
        start: u64,
    ) -> Result<Response, Trouble> {
        let action = format!("read a blob of {}", target.path);
        let path = target.api(&format!("blobs/{}", descriptor.digest));
        let mut call = Call::new(Method::GET, self.url(&target.host, &path).await.map_err(Trouble::last)?);
        if start > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={start}-{}", descriptor.size - 1))
        {
            call.headers.insert(RANGE, range);
        }
        let response = self.ask_once(&target.host, &call, &Scopes::pull(&target.path), &action).await?;
        match response.status().as_u16() {
            200 | 206 => Ok(response),
            404 => {
                let what = format!("blob `{}` in {}", descriptor.digest, target.path);
                Err(Trouble::last(RegistryError::NotFound { host: target.host.name.clone(), what }))
            }
            _ => Err(Trouble::last(response.refused().await)),
        }
    }
}

/// Whether a registry said no to what it was asked, so that it may say yes to something else.
fn refuses(error: &RegistryError) -> bool {
    match error {
        RegistryError::Refused { status, .. } => (400..500).contains(status),
        RegistryError::Denied { .. } => true,
        _ => false,
    }
}

/// A blob whose beginning is worth keeping for another run, in bytes: a smaller one comes again sooner than it is found.
const WORTH_KEEPING: u64 = 1 << 20;

/// Pieces between the connection and the disk.
const AHEAD: usize = 4;

/// Passes a body on to the writer, up to the size that the descriptor says.
async fn receive(
    mut response: Response,
    sender: &mpsc::Sender<Bytes>,
    descriptor: &Descriptor,
    (start, meter, rate): (u64, Option<&Meter>, Option<&Rate>),
) -> Result<(), Trouble> {
    let mut seen = start;
    while let Some(chunk) = response.chunk().await? {
        seen += chunk.len() as u64;
        if seen > descriptor.size {
            return Err(Trouble::last(RegistryError::Unsound {
                what: format!("blob `{}`", descriptor.digest),
                reason: format!("the registry sends more than the {} bytes of its descriptor", descriptor.size),
            }));
        }
        if let Some(rate) = rate {
            rate.pass(chunk.len() as u64).await;
        }
        if let Some(meter) = meter {
            meter.add(chunk.len() as u64);
        }
        if sender.send(chunk).await.is_err() {
            // The disk failed: its error is told by the writer.
            return Ok(());
        }
    }
    if seen < descriptor.size {
        let reason = format!("the blob ended after {seen} of {} bytes", descriptor.size);
        return Err(Trouble::passing(response.wrong(reason)));
    }
    Ok(())
}

/// What it means that a blob of this size is there.
fn held(size: Option<u64>, descriptor: &Descriptor) -> Held {
    match size {
        Some(size) if size != descriptor.size => Held::OtherSize(size),
        _ => Held::Whole,
    }
}

/// The size of the whole in a `Content-Range: bytes 5-9/10`.
fn total(response: &Response) -> Option<u64> {
    response.header("content-range")?.rsplit_once('/')?.1.trim().parse().ok()
}

/// The first byte of a `Content-Range: bytes 5-9/10`.
fn starts_at(response: &Response) -> Option<u64> {
    response.header("content-range")?.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// Runs file work on a thread that may block.
pub(super) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, RegistryError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(RegistryError::Store),
        Err(error) => Err(RegistryError::Setup { reason: format!("a file task ended early: {error}") }),
    }
}
