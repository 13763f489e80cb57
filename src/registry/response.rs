use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use url::Url;

use super::trouble::Trouble;
use super::{Answer, RegistryError};
use crate::base::{Digest, Printable};

/// An answer whose body has not been read. Holds the host's permit until it is dropped.
#[derive(Debug)]
pub(super) struct Response {
    inner: reqwest::Response,
    host: String,
    action: String,
    /// Within each span of this length 1 KiB must come.
    limit: Duration,
    window: Option<(Instant, u64)>,
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// What it says, where that was read before anybody asked.
    said: Option<Answer>,
}

/// How much of an error's body is read at all, and how much of it is kept.
const ERROR_BODY: usize = 64 << 10;
const ERROR_SHOWN: usize = 4 << 10;
/// Bytes that must arrive within each time-out; less is a stalled or malicious connection.
pub(super) const CRAWL: u64 = 1024;

impl Response {
    pub(super) const fn new(inner: reqwest::Response, host: String, action: String, limit: Duration) -> Self {
        Self { inner, host, action, limit, window: None, permit: None, said: None }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.inner.status()
    }

    pub(super) fn url(&self) -> &Url {
        self.inner.url()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// A header's value, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// The digest that the registry says the thing has. Absent from older registries; an unknown algorithm counts as absent.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.header("docker-content-digest")?.trim().parse().ok()
    }

    pub(super) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The next bytes of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            let (end, seen) = *self.window.get_or_insert((Instant::now() + self.limit, 0));
            match tokio::time::timeout_at(end, self.inner.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.window = Some((end, seen + bytes.len() as u64));
                    if Instant::now() < end {
                        return Ok(Some(bytes));
                    }
                    // The window is over: this chunk still counts for it, and is judged with it.
                    self.close_window(seen + bytes.len() as u64)?;
                    return Ok(Some(bytes));
                }
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => return Err(Trouble::of_reqwest(&self.host, &self.action, error)),
                Err(_elapsed) => self.close_window(seen)?,
            }
        }
    }

    fn close_window(&mut self, seen: u64) -> Result<(), Trouble> {
        self.window = None;
        if seen >= CRAWL {
            return Ok(());
        }
        Err(Trouble::passing(RegistryError::Stalled {
            host: self.host.clone(),
            action: self.action.clone(),
            limit: self.limit,
        }))
    }

    /// The whole body, refused if it is over `limit` bytes.
    pub(super) async fn bytes(mut self, limit: usize) -> Result<Bytes, Trouble> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Err(Trouble::last(RegistryError::Protocol {
                    host: self.host.clone(),
                    action: self.action.clone(),
                    reason: format!("its answer is over the limit of {limit} bytes"),
                }));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Reads what an error says; never fails, reads a bounded part of anything that is sent.
    pub(super) async fn answer(mut self) -> Answer {
        self.say().await
    }

    /// The same, kept for whoever asks again. Only for refusals: nothing is left of the body.
    pub(super) async fn say(&mut self) -> Answer {
        if let Some(said) = &self.said {
            return said.clone();
        }
        let mut all = Vec::new();
        while all.len() < ERROR_BODY {
            match self.chunk().await {
                Ok(Some(chunk)) => all.extend_from_slice(&chunk[..chunk.len().min(ERROR_BODY - all.len())]),
                // What came before a broken end is still worth showing.
                Ok(None) | Err(_) => break,
            }
        }
        self.said.insert(answer_of(&all)).clone()
    }

    /// Lets the connection be used again by reading the little that may be left.
    pub(super) async fn finish(mut self) {
        let mut left = 4 * CRAWL;
        while let Ok(Some(chunk)) = self.chunk().await {
            match left.checked_sub(chunk.len() as u64) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }

    /// Host, action and status, for an error that is made after the body was read.
    pub(super) fn refusal_parts(&self) -> (String, String, u16) {
        (self.host.clone(), self.action.clone(), self.status().as_u16())
    }

    /// The error that a status which fits nothing becomes.
    pub(super) async fn refused(self) -> RegistryError {
        let (host, action, status) = self.refusal_parts();
        let answer = self.answer().await;
        match status {
            403 => RegistryError::Denied { host, action, answer },
            _ => RegistryError::Refused { host, action, status, answer },
        }
    }

    /// The error for an answer that breaks the protocol.
    pub(super) fn wrong(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Protocol { host: self.host.clone(), action: self.action.clone(), reason: reason.into() }
    }
}

/// distribution-spec, "Error Codes": `{"errors":[{"code","message","detail"}]}`. Proxies answer with anything.
#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
    #[serde(default)]
    detail: serde_json::Value,
}

fn answer_of(body: &[u8]) -> Answer {
    let Ok(parsed) = serde_json::from_slice::<ErrorBody>(body) else {
        return Answer { codes: Vec::new(), text: shown(&first_line(&String::from_utf8_lossy(body))) };
    };
    let mut codes = Vec::new();
    let mut parts = Vec::new();
    for entry in parsed.errors.into_iter().take(16) {
        let code: String = entry.code.as_str().unwrap_or_default().chars().take(64).collect();
        let message = entry.message.as_str().unwrap_or_default().to_owned();
        let detail = match entry.detail {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => format!(": {text}"),
            other => format!(": {other}"),
        };
        parts.push(format!("{code} {message}{detail}").trim().to_owned());
        codes.push(code);
    }
    Answer { codes, text: shown(&parts.join("; ")) }
}

/// HTML pages and stack traces: their first line that says something.
fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

fn shown(text: &str) -> String {
    let mut text = Printable(text).to_string();
    if text.len() > ERROR_SHOWN {
        let mut end = ERROR_SHOWN;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_from_json_and_from_anything_else() {
        let answer = answer_of(
            br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m","detail":{"a":1}},{"code":"X","message":""}]}"#,
        );
        assert_eq!(answer.codes, ["DENIED", "X"]);
        assert_eq!(answer.text, r#"DENIED no\u{1b}[31m: {"a":1}; X"#);
        assert_eq!(answer_of(b"").text, "");
        assert_eq!(answer_of(b"\n\n <html>502\x07</html>\nmore").text, "<html>502\\u{7}</html>");
        assert_eq!(answer_of(b"\xff\xfe").text, "\u{fffd}\u{fffd}");
        let long = answer_of("ä".repeat(10_000).as_bytes()).text;
        assert!(long.len() <= ERROR_SHOWN + 4 && long.ends_with('…'));
    }
}
