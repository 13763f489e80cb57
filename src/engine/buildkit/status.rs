use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost_types::Timestamp;

use super::mask::Mask;
use super::proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use super::words;
use crate::base::CellId;
use crate::event::{Event, EventSink, LogStream, StepId, StepPosition};

/// Lines of output that are kept of each step, for the error of the one that fails.
const OUTPUT_LINES: usize = 40;
/// Bytes that are kept of one line.
const LINE_BYTES: usize = 2000;
/// Steps and warnings that are kept apart; a stream with more is not one of a Dockerfile.
const STEPS: usize = 100_000;

/// Turns the status stream of one solve into events, and remembers what an error needs.
///
/// The daemon's records come again and again: each replaces the one before, a step may end and begin anew, and output may
/// come before the step that it is from was ever named (moby/buildkit client/status.go, solver/progress.go).
pub(super) struct Progress {
    cell: CellId,
    events: Arc<dyn EventSink>,
    mask: Mask,
    steps: HashMap<String, Step>,
    warnings: HashSet<SeenWarning>,
    /// Steps whose output the daemon cut.
    clipped: HashSet<String>,
    foreign_bases: Vec<ForeignBase>,
}

/// Step, text and lines: what makes two warnings the same.
type SeenWarning = (String, Vec<u8>, Vec<(i32, i32)>);

/// A base image that the builder found to be of another platform than the stage that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignBase {
    /// The image, as the FROM has it.
    pub(super) image: String,
    /// The platform that its config says.
    pub(super) found: String,
    /// The line of the FROM.
    pub(super) line: Option<u32>,
}

/// What is known of a step.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Without the bracket: `RUN apk add nginx`.
    pub(super) name: String,
    /// The bracket's position.
    pub(super) position: Option<StepPosition>,
    /// Its error, unless that only says that it was stopped.
    pub(super) error: Option<String>,
    started: Option<Timestamp>,
    completed: Option<Timestamp>,
    output: Output,
}

impl Step {
    /// The step as people read it: `step 2 of 4: RUN apk add nginx`.
    pub(super) fn title(&self) -> String {
        match &self.position {
            Some(StepPosition { number, of }) => format!("step {number} of {of}: {}", self.name),
            None => self.name.clone(),
        }
    }

    /// The image, where getting one is what the step does.
    pub(super) fn image(&self) -> Option<&str> {
        let resolved = self.name.strip_prefix("load metadata for ");
        resolved.or_else(|| self.name.strip_prefix("FROM ")).map(str::trim)
    }

    /// The last lines that it wrote.
    pub(super) fn output(&self) -> Vec<String> {
        self.output.lines()
    }
}

impl Progress {
    pub(super) fn new(cell: CellId, events: Arc<dyn EventSink>, mask: Mask) -> Self {
        Self {
            cell,
            events,
            mask,
            steps: HashMap::new(),
            warnings: HashSet::new(),
            clipped: HashSet::new(),
            foreign_bases: Vec::new(),
        }
    }

    /// The stream has ended: lets out what was held back of the steps' output.
    pub(super) fn finish(&mut self) {
        for ((step, stream), bytes) in self.mask.rest() {
            self.output(step, stream, bytes);
        }
    }

    /// The step of a digest.
    pub(super) fn step(&self, digest: &str) -> Option<&Step> {
        self.steps.get(digest)
    }

    /// A step that failed by itself, not because something else did.
    pub(super) fn failed_step(&self) -> Option<&Step> {
        self.steps.values().filter(|step| step.error.is_some()).min_by_key(|step| step.completed.map(nanoseconds))
    }

    /// The base images that were warned about.
    pub(super) fn foreign_bases(&self) -> &[ForeignBase] {
        &self.foreign_bases
    }

    /// Takes the next message of the stream.
    pub(super) fn take(&mut self, message: StatusResponse) {
        for vertex in message.vertexes {
            self.vertex(vertex);
        }
        for status in message.statuses {
            self.moved(status);
        }
        for log in message.logs {
            self.log(log);
        }
        for warning in message.warnings {
            self.warn(&warning);
        }
    }

    fn vertex(&mut self, vertex: Vertex) {
        if self.steps.len() >= STEPS && !self.steps.contains_key(&vertex.digest) {
            return;
        }
        let id = StepId(vertex.digest.as_str().into());
        let step = self.steps.entry(vertex.digest).or_default();
        let name = StepName::parse(&vertex.name);
        step.name.clone_from(&name.text);
        step.position.clone_from(&name.position);
        step.error = (!vertex.error.is_empty() && !is_cancellation(&vertex.error)).then(|| vertex.error.clone());
        let began = vertex.started.is_some() && newer(vertex.started, step.started);
        let ended = vertex.completed.is_some() && (began || newer(vertex.completed, step.completed));
        step.started = vertex.started.or(step.started);
        step.completed = vertex.completed;
        if began {
            self.events.emit(Event::StepStarted {
                cell: self.cell.clone(),
                step: id.clone(),
                name: name.text,
                position: name.position,
                internal: name.internal,
            });
        }
        if ended {
            self.events.emit(Event::StepFinished {
                cell: self.cell.clone(),
                step: id,
                cached: vertex.cached,
                error: (!vertex.error.is_empty()).then(|| match step.error.clone() {
                    Some(error) => error,
                    // What ended it is told elsewhere; the words for that are the builder's own.
                    None => "cancelled".to_owned(),
                }),
                took: elapsed(vertex.started, vertex.completed),
            });
        }
    }

    fn moved(&self, status: VertexStatus) {
        let what = if status.name.is_empty() { status.id } else { status.name };
        self.events.emit(Event::StepProgress {
            cell: self.cell.clone(),
            step: StepId(status.vertex.into()),
            what,
            done: u64::try_from(status.current).unwrap_or(0),
            // Zero is the daemon's word for unknown.
            total: u64::try_from(status.total).ok().filter(|total| *total > 0),
        });
    }

    fn log(&mut self, log: VertexLog) {
        let bytes = self.mask.feed(&log.vertex, log.stream, log.msg);
        if !bytes.is_empty() {
            self.output(log.vertex, log.stream, bytes);
        }
    }

    /// Warns, once for each step, when the daemon says that it left output out. It has no typed form for that: it writes this
    /// line into the output (moby/buildkit util/progress/logs).
    fn tell_clipping(&mut self, vertex: &str, bytes: &[u8]) {
        const MARK: &[u8] = b"\n[output clipped, log limit ";
        let Some(at) = bytes.windows(MARK.len()).position(|part| part == MARK) else { return };
        if !self.clipped.insert(vertex.to_owned()) {
            return;
        }
        let rest = String::from_utf8_lossy(&bytes[at + MARK.len()..]);
        let limit = rest.split(" reached]").next().unwrap_or_default();
        let text = format!(
            "the builder left output of a step out (its limit is {}): start buildkitd with BUILDKIT_STEP_LOG_MAX_SIZE=-1 and \
             BUILDKIT_STEP_LOG_MAX_SPEED=-1 to have all of it",
            words::clip(limit, 20)
        );
        self.events.emit(Event::Warning { cell: Some(self.cell.clone()), text });
    }

    fn output(&mut self, vertex: String, stream: i64, bytes: Bytes) {
        self.tell_clipping(&vertex, &bytes);
        if self.steps.len() < STEPS || self.steps.contains_key(&vertex) {
            self.steps.entry(vertex.clone()).or_default().output.take(&bytes);
        }
        self.events.emit(Event::StepLog {
            cell: self.cell.clone(),
            step: StepId(vertex.into()),
            stream: if stream == 2 { LogStream::Err } else { LogStream::Out },
            bytes,
        });
    }

    /// Large messages are split, and the same warnings ride on every part.
    fn warn(&mut self, warning: &VertexWarning) {
        let line = |position: Option<super::proto::pb::Position>| position.map_or(0, |position| position.line);
        let lines: Vec<(i32, i32)> = warning.ranges.iter().map(|range| (line(range.start), line(range.end))).collect();
        let first = lines.iter().map(|(start, _)| *start).min().and_then(|line| u32::try_from(line).ok());
        if self.warnings.len() >= STEPS
            || !self.warnings.insert((warning.vertex.clone(), warning.short.to_vec(), lines))
        {
            return;
        }
        let line = first.filter(|line| *line > 0);
        let text = String::from_utf8_lossy(&warning.short).into_owned();
        self.foreign_bases.extend(ForeignBase::parse(&text, line));
        let url = (!warning.url.is_empty()).then(|| warning.url.clone());
        // Checks of the frontend say it in their text already.
        let said = line.map(|line| format!(" (line {line})"));
        let text = said.and_then(|said| text.strip_suffix(&said).map(str::to_owned)).unwrap_or(text);
        self.events.emit(Event::BuildWarning { cell: self.cell.clone(), text, url, line });
    }
}

impl ForeignBase {
    /// The rule `InvalidBaseImagePlatform` (moby/buildkit frontend/dockerfile/linter/ruleset.go) is the only place where the
    /// builder says it.
    fn parse(warning: &str, line: Option<u32>) -> Option<Self> {
        let rest = warning.strip_prefix("InvalidBaseImagePlatform: Base image ")?;
        let (image, rest) = rest.split_once(" was pulled with platform ")?;
        let found = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()).unwrap_or("another platform");
        Some(Self { image: image.to_owned(), found: found.to_owned(), line })
    }
}

/// Says only that something else ended the step: a sibling that failed, or we ourselves. A step that was killed for it ends
/// in these words too, after its exit code.
pub(super) fn is_cancellation(error: &str) -> bool {
    error.trim_end().ends_with("context canceled")
}

/// A step's name taken apart: `[builder 2/4] RUN make` or `[internal] load build context`.
#[derive(Debug, Default, PartialEq, Eq)]
struct StepName {
    text: String,
    position: Option<StepPosition>,
    internal: bool,
}

impl StepName {
    fn parse(name: &str) -> Self {
        let whole = || Self { text: name.to_owned(), ..Self::default() };
        let Some((bracket, text)) = name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
            return whole();
        };
        // `[auth]` is the daemon asking us for a registry token.
        if bracket == "internal" || bracket == "auth" {
            return Self { text: text.to_owned(), position: None, internal: true };
        }
        let position = bracket.rsplit(' ').next().and_then(|last| last.split_once('/')).and_then(|(number, of)| {
            Some(StepPosition { number: number.trim().parse().ok()?, of: of.trim().parse().ok()? })
        });
        match position {
            Some(position) => Self { text: text.to_owned(), position: Some(position), internal: false },
            None => whole(),
        }
    }
}

/// The last lines of a step's output, put together from chunks that may split lines and characters.
#[derive(Debug, Default)]
struct Output {
    lines: VecDeque<Vec<u8>>,
    open: Vec<u8>,
}

impl Output {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, ended) = part.strip_suffix(b"\n").map_or((part, false), |content| (content, true));
            let room = LINE_BYTES.saturating_sub(self.open.len());
            self.open.extend_from_slice(&content[..content.len().min(room)]);
            if ended {
                if self.lines.len() == OUTPUT_LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(std::mem::take(&mut self.open));
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let open = (!self.open.is_empty()).then_some(&self.open);
        let lines: Vec<String> = self
            .lines
            .iter()
            .chain(open)
            // What a terminal would show of a line that was written over.
            .map(|line| {
                String::from_utf8_lossy(line).trim_end_matches('\r').rsplit('\r').next().unwrap_or("").to_owned()
            })
            .collect();
        lines[lines.len().saturating_sub(OUTPUT_LINES)..].to_vec()
    }
}

fn nanoseconds(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

fn newer(new: Option<Timestamp>, old: Option<Timestamp>) -> bool {
    new.map(nanoseconds) > old.map(nanoseconds)
}

fn elapsed(from: Option<Timestamp>, to: Option<Timestamp>) -> Duration {
    let (Some(from), Some(to)) = (from, to) else { return Duration::ZERO };
    let nanoseconds = nanoseconds(to).saturating_sub(nanoseconds(from));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests;
