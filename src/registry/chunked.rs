use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use url::Url;

use super::auth::Scopes;
use super::call::{BlobPayload, Call, Payload};
use super::client::with_digest;
use super::pace::Tries;
use super::response::Response;
use super::trouble::Trouble;
use super::upload::Upload;
use super::{RegistryClient, RegistryError};

/// An upload in pieces, for registries behind a proxy that limits the size of one request (status 413).
///
/// distribution-spec, "Pushing a blob in chunks": PATCH after PATCH, in order and without gaps, each to the latest
/// `Location`; a closing PUT with the digest of the whole. The bytes are not hashed again here: the registry does that for
/// the whole, and docker-registry 2.8 takes a gap in silence, so it is the digest alone that tells whether all went well.
struct Chunks {
    session: Url,
    /// Bytes that the registry holds.
    held: u64,
    /// Bytes per request.
    piece: u64,
    /// The smallest piece that the registry takes, the last one excepted (`OCI-Chunk-Min-Length`).
    least: u64,
}

/// The largest piece: what the proxies of public registries let through.
const LARGEST: u64 = 64 << 20;
/// A proxy that refuses this too is not meant to let blobs through.
const SMALLEST: u64 = 64 << 10;

impl RegistryClient {
    /// Sends a blob in pieces. Broken pieces are continued where the registry says that it stands, as long as it does.
    pub(super) async fn upload_in_chunks(&self, upload: &Upload<'_>) -> Result<(), RegistryError> {
        let size = upload.descriptor.size;
        let scopes = Scopes::push(&upload.target.path);
        let mut tries = Tries::new(self.options().retry);
        let mut piece = LARGEST.min(size.div_ceil(2)).max(1);
        let mut chunks = None;
        loop {
            let mut current = match chunks.take() {
                Some(chunks) => chunks,
                None => self.begin_chunks(upload, piece, &scopes).await?,
            };
            let step = if current.held < size {
                self.send_piece(upload, &mut current, &scopes).await
            } else {
                match self.close_chunks(upload, &current, &scopes).await {
                    Ok(()) => return Ok(()),
                    Err(trouble) => Err(trouble),
                }
            };
            let Err(trouble) = step else {
                // Every piece that arrived is progress.
                tries = Tries::new(self.options().retry);
                chunks = Some(current);
                continue;
            };
            if matches!(*trouble.error, RegistryError::Refused { status: 413, .. })
                && piece / 2 >= current.least.max(SMALLEST)
            {
                piece /= 2;
                chunks = Some(Chunks { piece, ..current });
                continue;
            }
            self.pause(&upload.target.host.name, &upload.target.host.pace, &mut tries, trouble).await?;
            if self.has_blob(upload.target, upload.descriptor, &scopes).await? {
                return Ok(());
            }
            chunks = self.where_it_stands(upload, current, &scopes).await;
        }
    }

    async fn begin_chunks(&self, upload: &Upload<'_>, piece: u64, scopes: &Scopes) -> Result<Chunks, RegistryError> {
        let (session, least) = self.begin_upload(upload.target, scopes).await?;
        upload.sessions.open(upload.target, &session);
        Ok(Chunks { session, held: 0, piece: piece.max(least), least })
    }

    async fn send_piece(&self, upload: &Upload<'_>, chunks: &mut Chunks, scopes: &Scopes) -> Result<(), Trouble> {
        let (start, end) = (chunks.held, (chunks.held + chunks.piece).min(upload.descriptor.size));
        let mut call = Call::new(Method::PATCH, chunks.session.clone());
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        // Inclusive, without unit and total: not the syntax of RFC 9110 but that of the distribution-spec.
        if let Ok(range) = HeaderValue::from_str(&format!("{start}-{}", end - 1)) {
            call.headers.insert(CONTENT_RANGE, range);
        }
        let payload = BlobPayload::part(upload.layout, upload.descriptor, start..end, upload.gauge.clone());
        call.payload = Payload::Blob(Box::new(payload));
        let action = format!("send a part of a blob to {}", upload.target.path);
        let response = self.ask_once(&upload.target.host, &call, scopes, &action).await?;
        match response.status().as_u16() {
            202 | 201 | 204 => {}
            // Out of step, or the session is gone: whichever, the registry is asked where it stands.
            400 | 404 | 416 => return Err(Trouble::passing(response.refused().await)),
            _ => return Err(Trouble::last(response.refused().await)),
        }
        let held = range_end(&response).unwrap_or(end);
        if held < start || held > end {
            return Err(Trouble::passing(response.wrong(format!("it holds {held} bytes after {end} were sent"))));
        }
        if let Ok(session) = self.location(&response) {
            upload.sessions.close(&chunks.session);
            upload.sessions.open(upload.target, &session);
            chunks.session = session;
        }
        chunks.held = held;
        Ok(())
    }

    async fn close_chunks(&self, upload: &Upload<'_>, chunks: &Chunks, scopes: &Scopes) -> Result<(), Trouble> {
        let call = Call::new(Method::PUT, with_digest(chunks.session.clone(), &upload.descriptor.digest));
        let action = format!("close an upload to {}", upload.target.path);
        let response = self.ask_once(&upload.target.host, &call, scopes, &action).await?;
        match response.status().as_u16() {
            200 | 201 | 204 => {
                upload.sessions.close(&chunks.session);
                Ok(())
            }
            400 | 404 | 416 => Err(Trouble::passing(response.refused().await)),
            _ => Err(Trouble::last(response.refused().await)),
        }
    }

    /// Where the registry stands with a session that something went wrong with; `None` means to begin anew.
    ///
    /// GET at the location (distribution-spec, "Getting upload status"): 204 with a `Range`. docker-registry 2.8 answers
    /// 404 here and deletes the upload, crane's registry answers 400.
    async fn where_it_stands(&self, upload: &Upload<'_>, chunks: Chunks, scopes: &Scopes) -> Option<Chunks> {
        let call = Call::new(Method::GET, chunks.session.clone());
        let response = self.ask_once(&upload.target.host, &call, scopes, "ask for an upload").await.ok()?;
        if response.status().as_u16() != 204 {
            return None;
        }
        // `0-0` is one byte or none, nobody can tell: more than none is only believed from two bytes on.
        let held = range_end(&response).filter(|held| *held > 1).unwrap_or(0);
        let session = self.location(&response).unwrap_or(chunks.session);
        (held <= upload.descriptor.size).then_some(Chunks { session, held, ..chunks })
    }
}

/// How many bytes a `Range: 0-99` (or `bytes=0-99`) says are held.
fn range_end(response: &Response) -> Option<u64> {
    let range = response.header("range")?.trim();
    let end = range.strip_prefix("bytes=").unwrap_or(range).strip_prefix("0-")?;
    end.trim().parse::<u64>().ok()?.checked_add(1)
}
