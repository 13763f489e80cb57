//! Streams as a daemon may send them.

use std::sync::Mutex;

use super::*;
use crate::engine::buildkit::proto::pb;

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl EventSink for Recorder {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

fn progress() -> (Progress, Arc<Recorder>) {
    let events = Arc::new(Recorder::default());
    let cell = CellId::new("thing".parse().unwrap(), "linux/arm64".parse().unwrap());
    (Progress::new(cell, events.clone(), Mask::default()), events)
}

impl Recorder {
    /// The kinds of the events so far, and forgets them.
    fn kinds(&self) -> Vec<&'static str> {
        let kind = |event: Event| match event {
            Event::StepStarted { .. } => "started",
            Event::StepFinished { .. } => "finished",
            Event::StepLog { .. } => "log",
            Event::StepProgress { .. } => "progress",
            Event::BuildWarning { .. } => "warning",
            _ => "other",
        };
        self.0.lock().unwrap().drain(..).map(kind).collect()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form of the message's fields")]
fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn vertex(name: &str, started: Option<Timestamp>, completed: Option<Timestamp>, error: &str) -> StatusResponse {
    let vertex = Vertex {
        digest: format!("sha256:{name}"),
        name: name.to_owned(),
        started,
        completed,
        error: error.to_owned(),
        ..Vertex::default()
    };
    StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() }
}

fn log(step: &str, bytes: &[u8]) -> StatusResponse {
    let log = VertexLog { vertex: format!("sha256:{step}"), msg: bytes.to_vec().into(), stream: 1, timestamp: None };
    StatusResponse { logs: vec![log], ..StatusResponse::default() }
}

#[test]
fn records_that_say_nothing_new_are_no_events() {
    let (mut progress, events) = progress();
    progress.take(vertex("[1/2] RUN x", None, None, ""));
    assert!(events.kinds().is_empty(), "known, not begun");
    progress.take(vertex("[1/2] RUN x", at(1), None, ""));
    progress.take(vertex("[1/2] RUN x", at(1), None, ""));
    assert_eq!(events.kinds(), ["started"]);
    progress.take(vertex("[1/2] RUN x", at(1), at(3), ""));
    progress.take(vertex("[1/2] RUN x", at(1), at(3), ""));
    assert_eq!(events.kinds(), ["finished"]);
    progress.take(vertex("[1/2] RUN x", at(4), None, ""));
    progress.take(vertex("[1/2] RUN x", at(4), at(5), ""));
    assert_eq!(events.kinds(), ["started", "finished"], "a step may begin again");
    progress.take(vertex("[2/2] RUN y", at(6), at(6), ""));
    assert_eq!(events.kinds(), ["started", "finished"]);
}

#[test]
fn what_failed_by_itself_is_told_from_what_was_stopped() {
    let (mut progress, _) = progress();
    progress.take(vertex(
        "[slow 1/2] RUN a",
        at(1),
        at(4),
        "process \"a\" did not complete successfully: exit code: 137: context canceled",
    ));
    progress.take(vertex("[late 1/2] RUN b", at(1), at(5), "exit code: 2"));
    progress.take(vertex("[broken 2/2] RUN c", at(1), at(3), "exit code: 1"));
    assert_eq!(progress.failed_step().unwrap().title(), "step 2 of 2: RUN c");
}

#[test]
fn output_may_come_before_its_step_and_in_any_pieces() {
    let (mut progress, _) = progress();
    for piece in "first\nsécond\nthird".as_bytes().chunks(1) {
        progress.take(log("[1/1] RUN x", piece));
    }
    progress.take(vertex("[1/1] RUN x", at(1), at(2), "exit code: 1"));
    let step = progress.step("sha256:[1/1] RUN x").unwrap();
    assert_eq!(step.output(), ["first", "sécond", "third"]);
}

#[test]
fn only_the_end_of_the_output_is_kept() {
    let mut output = Output::default();
    for number in 0..1000 {
        output.take(format!("line {number}\n").as_bytes());
    }
    assert_eq!(output.lines().len(), OUTPUT_LINES);
    assert_eq!(output.lines().last().unwrap(), "line 999");
    output.take(&vec![b'x'; 10 << 20]);
    assert_eq!(output.lines().last().unwrap().len(), LINE_BYTES);
    assert_eq!(output.lines().len(), OUTPUT_LINES);
    output.take(b"\n10%\r50%\r100%\r\n");
    assert_eq!(output.lines().last().unwrap(), "100%", "as a terminal leaves it");
}

#[test]
fn warnings_on_several_parts_are_one() {
    let (mut progress, events) = progress();
    let warning = |line| VertexWarning {
        vertex: "sha256:x".to_owned(),
        short: "Rule: text".into(),
        ranges: vec![pb::Range { start: Some(pb::Position { line, character: 0 }), end: None }],
        ..VertexWarning::default()
    };
    for _ in 0..3 {
        progress.take(StatusResponse { warnings: vec![warning(3), warning(4)], ..StatusResponse::default() });
    }
    assert_eq!(events.kinds(), ["warning", "warning"]);
}

#[test]
fn names_are_taken_apart() {
    let position = |number, of| Some(StepPosition { number, of });
    for (name, text, expected, internal) in [
        ("[2/4] RUN make", "RUN make", position(2, 4), false),
        ("[builder 12/40] RUN [ -e x ] && y", "RUN [ -e x ] && y", position(12, 40), false),
        ("[linux/arm64 builder 1/2] FROM a", "FROM a", position(1, 2), false),
        ("[stage-1  2/10] COPY a b", "COPY a b", position(2, 10), false),
        ("[internal] load build context", "load build context", None, true),
        ("[auth] team/x:pull token for r.example", "team/x:pull token for r.example", None, true),
        ("exporting to oci image format", "exporting to oci image format", None, false),
        ("[context base] load metadata for base", "[context base] load metadata for base", None, false),
        ("[x/y] odd", "[x/y] odd", None, false),
        ("[", "[", None, false),
    ] {
        assert_eq!(StepName::parse(name), StepName { text: text.to_owned(), position: expected, internal }, "{name}");
    }
}

#[test]
fn a_base_of_another_platform_is_read_off_its_warning() {
    let text = "InvalidBaseImagePlatform: Base image r.example/a:1 was pulled with platform \"linux/amd64\", expected \"linux/arm64\" for current build";
    let found = ForeignBase::parse(text, Some(3)).unwrap();
    assert_eq!((found.image.as_str(), found.found.as_str(), found.line), ("r.example/a:1", "linux/amd64", Some(3)));
    assert_eq!(ForeignBase::parse("FromAsCasing: 'as' and 'FROM' keywords' casing do not match", None), None);
}
