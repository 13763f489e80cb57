use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::Deserialize;
use tonic::{Code, Status};

use super::proto::google::rpc;
use super::status::{Progress, Step, is_cancellation};
use super::words;
use crate::base::SourceText;
use crate::engine::{BuildRequest, EngineError};

/// The largest cause that is kept; a message can hold a whole definition.
const MESSAGE_LIMIT: usize = 4 << 10;

/// What the daemon says about an error beside its message (moby/buildkit util/grpcerrors, solver/errdefs).
#[derive(Debug, Default)]
pub(super) struct Details {
    /// Digest of the step that failed.
    vertex: Option<String>,
    /// Files and lines that it came from. There may be several, in no order that means anything.
    sources: Vec<Source>,
    /// Exit code of the process that failed.
    exit_code: Option<i32>,
}

#[derive(Debug, Deserialize)]
struct Source {
    info: SourceInfo,
    #[serde(default)]
    ranges: Vec<Range>,
}

#[derive(Debug, Deserialize)]
struct SourceInfo {
    #[serde(default)]
    filename: String,
    #[serde(default)]
    data: String,
}

#[derive(Debug, Deserialize)]
struct Range {
    #[serde(default)]
    start: Position,
    #[serde(default)]
    end: Position,
}

/// Zero values are left out.
#[derive(Debug, Default, Deserialize)]
struct Position {
    #[serde(default)]
    line: usize,
}

#[derive(Debug, Deserialize)]
struct VertexDetail {
    digest: String,
}

#[derive(Debug, Deserialize)]
struct ExitMessage {
    #[serde(rename = "Code", default)]
    code: Option<u32>,
}

impl Details {
    /// Reads the details of a status. Each is an `Any` whose type ends in `+json` and whose value is JSON, not protobuf;
    /// what is unknown or broken is left out, since an error must never be lost over its ornaments.
    pub(super) fn of(status: &Status) -> Self {
        let mut details = Self::default();
        let Ok(envelope) = rpc::Status::decode(status.details()) else { return details };
        for any in envelope.details {
            match any.type_url.rsplit('/').next().unwrap_or_default() {
                "errdefs.Vertex+json" => {
                    details.vertex = json::<VertexDetail>(&any.value).map(|vertex| vertex.digest).or(details.vertex);
                }
                "errdefs.Source+json" => details.sources.extend(json::<Source>(&any.value)),
                "gatewayapi.ExitMessage+json" => {
                    let code = json::<ExitMessage>(&any.value).map(|exit| exit.code.unwrap_or(0));
                    details.exit_code = code.and_then(|code| i32::try_from(code).ok()).or(details.exit_code);
                }
                _ => {}
            }
        }
        details
    }

    /// The lines of the Dockerfile that failed, from the bytes that the daemon worked with.
    fn excerpt(&self, request: &BuildRequest) -> Option<(SourceText, usize, usize)> {
        let placed = |source: &&Source| source.lines().is_some();
        let ours = |source: &&Source| source.info.filename == request.dockerfile.name;
        let source = self.sources.iter().filter(placed).find(ours).or_else(|| self.sources.iter().find(placed))?;
        let (first, last) = source.lines()?;
        let text = String::from_utf8_lossy(&STANDARD.decode(&source.info.data).ok()?).into_owned();
        let path = if ours(&source) { request.dockerfile.written() } else { source.info.filename.clone().into() };
        Some((SourceText::new(path, text), first, last))
    }
}

impl Source {
    /// First and last line of the instruction it is about, which has a range for each of its lines.
    fn lines(&self) -> Option<(usize, usize)> {
        let first = self.ranges.iter().map(|range| range.start.line).min()?;
        let last = self.ranges.iter().map(|range| range.start.line.max(range.end.line)).max()?;
        (first > 0).then_some((first, last))
    }
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// Whether a status was made on this side because the connection broke, rather than sent by the daemon.
///
/// The daemon's own errors carry details, if only a stack; its server's farewell does not.
pub(super) fn is_loss(status: &Status) -> bool {
    status.source().is_some() || (status.code() == Code::Unavailable && status.details().is_empty())
}

/// Makes the error of a solve that the daemon ended.
pub(super) fn judge(status: &Status, progress: &Progress, request: &BuildRequest) -> EngineError {
    let details = Details::of(status);
    let mut step = details.vertex.as_deref().and_then(|digest| progress.step(digest));
    let mut message = strip(status.message()).to_owned();
    // Stopped by something else: what failed first by itself is the cause.
    if (status.code() == Code::Cancelled || is_cancellation(&message))
        && let Some(failed) = progress.failed_step()
        && let Some(error) = &failed.error
    {
        step = Some(failed);
        strip(error).clone_into(&mut message);
    }
    // What the frontend asks for while it reads the file fails without a step of its own.
    let step = step.or_else(|| progress.failed_step().filter(|failed| failed.image().is_some()));
    if is_stale_snapshot(&message) {
        return EngineError::StaleSnapshot { message: words::clip(&message, MESSAGE_LIMIT) };
    }
    let message = words::clip(&message, MESSAGE_LIMIT);
    let excerpt = details.excerpt(request);
    if is_disk_full(&message) && details.exit_code.is_none() {
        return EngineError::BuilderDisk { step: step.map(Step::title), message };
    }
    if let Some(image) = base_image(step, &message) {
        return EngineError::Base { image, message, excerpt };
    }
    EngineError::Build {
        step: step.map(Step::title),
        message,
        exit_code: details.exit_code.filter(|code| *code != 0),
        excerpt,
        output: step.map(Step::output).unwrap_or_default(),
    }
}

/// Whether the daemon itself could not write. The kernel's words end the message; where a process of a step says them, its
/// exit code is what the message is about, and the daemon tells that apart.
fn is_disk_full(message: &str) -> bool {
    message.trim_end().ends_with("no space left on device")
}

/// Whether a new snapshot's place was taken by a directory that the snapshotter's data base does not know. No detail says
/// so; these are the words of containerd's snapshotters (`createSnapshot`), which rename a finished directory into its
/// place before they commit, and remove what is in that place when they fail. A step cannot bring its own words in here
/// unless it says them as the error of the step itself, and then costs one more try.
pub(super) fn is_stale_snapshot(message: &str) -> bool {
    message
        .split_once("failed to rename: rename ")
        .is_some_and(|(_, rest)| rest.contains("/snapshots/") && rest.trim_end().ends_with("file exists"))
}

/// What clients and frontends put in front of the cause.
fn strip(message: &str) -> &str {
    let message = message.strip_prefix("failed to solve: ").unwrap_or(message);
    message.strip_prefix("failed to solve with frontend dockerfile.v0: ").unwrap_or(message)
}

/// The image, where what failed was getting one. No detail says so: the step's name does, or for the resolution that the
/// frontend asked for, the words of its one error (moby/buildkit util/imageutil, client/llb/imagemetaresolver).
fn base_image(step: Option<&Step>, message: &str) -> Option<String> {
    if let Some(image) = step.and_then(Step::image) {
        return Some(image.to_owned());
    }
    let (_, rest) = message.split_once("failed to resolve source metadata for ")?;
    rest.split_once(": ").map(|(image, _)| image.to_owned())
}

#[cfg(test)]
mod tests;
