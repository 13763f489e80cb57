use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue};

use super::auth::Scopes;
use super::call::{BlobPayload, Call, Payload};
use super::response::Response;
use super::trouble::Trouble;
use super::upload::{Standing, Step, Upload, broken};
use super::{RegistryClient, RegistryError};

/// Pieces of an upload, for registries behind a proxy that limits the size of one request (status 413), and for what is
/// left after a broken connection.
///
/// distribution-spec, "Pushing a blob in chunks": PATCH after PATCH, in order and without gaps, each to the latest
/// `Location`; a closing PUT with the digest of the whole. The bytes are not hashed again here: the registry does that for
/// the whole, and docker-registry 2.8 takes a gap in silence, so it is the digest alone that tells whether all went well.
impl RegistryClient {
    /// Sends the next piece, of at most `piece` bytes.
    pub(super) async fn send_piece(
        &self,
        upload: &Upload<'_>,
        current: &mut Standing,
        piece: u64,
        scopes: &Scopes,
    ) -> Result<Step, RegistryError> {
        let piece = piece.max(upload.target.host.least_piece()).max(1);
        let (start, end) = (current.held, current.held.saturating_add(piece).min(upload.descriptor.size));
        let mut call = Call::new(Method::PATCH, current.session.clone());
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        // Inclusive, without unit and total: not the syntax of RFC 9110 but that of the distribution-spec.
        if let Ok(range) = HeaderValue::from_str(&format!("{start}-{}", end - 1)) {
            call.headers.insert(CONTENT_RANGE, range);
        }
        let payload = BlobPayload::part(upload.source, upload.descriptor, start..end, upload.gauge.clone());
        call.payload = Payload::Blob(Box::new(payload));
        let action = format!("send a part of a blob to {}", upload.target.path);
        let response = match self.ask_once(&upload.target.host, &call, scopes, &action).await {
            Ok(response) => response,
            Err(trouble) => return broken(trouble),
        };
        match response.status().as_u16() {
            202 | 201 | 204 => {}
            413 => return Ok(Step::TooMuch(response.refused().await)),
            // Out of step, or the session is gone: whichever, the registry is asked where it stands.
            400 | 404 | 416 => return Ok(Step::Broken(Trouble::passing(response.refused().await))),
            _ => return Err(response.refused().await),
        }
        let held = range_end(&response).unwrap_or(end);
        if held <= start || held > end {
            let wrong = response.wrong(format!("it holds {held} bytes after {end} were sent"));
            return Ok(Step::Broken(Trouble::passing(wrong)));
        }
        if let Ok(session) = self.location(&response)
            && session != current.session
        {
            upload.sessions.close(upload.target, upload.descriptor, &current.session)?;
            upload.sessions.open(upload.target, upload.descriptor, &session)?;
            current.session = session;
        }
        current.held = held;
        Ok(Step::Further)
    }

    /// Where the registry stands with a session that something went wrong with; `None` means to begin anew.
    ///
    /// GET at the location (distribution-spec, "Getting upload status"): 204 with a `Range`. docker-registry 2.8 answers
    /// 404 here after a cut and deletes the upload, crane's registry answers 400. The reference registry v3 gives the bytes
    /// that arrived even of a request that was cut, whole uploads included.
    pub(super) async fn where_it_stands(
        &self,
        upload: &Upload<'_>,
        current: &Standing,
        scopes: &Scopes,
    ) -> Option<Standing> {
        let call = Call::new(Method::GET, current.session.clone());
        let mut tries = super::pace::Tries::new(self.options().retry);
        let host = &upload.target.host;
        let response = loop {
            // A question that gets lost on the same bad way must not cost what has arrived.
            match self.ask_once(host, &call, scopes, "ask for an upload").await {
                Ok(response) => break response,
                Err(trouble) => self.pause(&host.name, &host.pace, &mut tries, trouble).await.ok()?,
            }
        };
        if response.status().as_u16() != 204 {
            return None;
        }
        // `0-0` is one byte or none, nobody can tell: more than none is only believed from two bytes on.
        let held = range_end(&response).filter(|held| *held > 1).unwrap_or(0);
        let session = self.location(&response).unwrap_or_else(|_| current.session.clone());
        if held > upload.descriptor.size {
            return None;
        }
        if session != current.session {
            upload.sessions.close(upload.target, upload.descriptor, &current.session).ok()?;
            upload.sessions.open(upload.target, upload.descriptor, &session).ok()?;
        }
        Some(Standing { session, held })
    }
}

/// How many bytes a `Range: 0-99` (or `bytes=0-99`) says are held.
fn range_end(response: &Response) -> Option<u64> {
    let range = response.header("range")?.trim();
    let end = range.strip_prefix("bytes=").unwrap_or(range).strip_prefix("0-")?;
    end.trim().parse::<u64>().ok()?.checked_add(1)
}
