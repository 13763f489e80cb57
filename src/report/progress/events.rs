use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::View;
use crate::event::{Event, Execution, LogStream};
use crate::report::stream::seconds;

/// Every event as one line of JSON, for programs: `--progress json`.
///
/// Each line is an object whose first member is `event`; `seconds` is the time since the stream began, whose
/// [head](crate::report::stream_head) is written by whoever opens it: something may have to be told before the first event.
/// Output of steps is text, with what is not UTF-8 replaced; chunks may split lines.
pub struct EventLines {
    began: Instant,
}

impl EventLines {
    /// A view of a stream that began at `began`.
    pub const fn new(began: Instant) -> Self {
        Self { began }
    }
}

impl View for EventLines {
    fn event(&mut self, event: &Event, now: Instant, out: &mut dyn Write) -> io::Result<()> {
        let (name, mut members) = members(event);
        let mut line = json!({"event": name, "seconds": seconds(now.saturating_duration_since(self.began))});
        if let (Some(line), Some(members)) = (line.as_object_mut(), members.as_object_mut()) {
            line.append(members);
        }
        out.write_all(format!("{line}\n").as_bytes())?;
        out.flush()
    }

    fn idle(&mut self, _now: Instant, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn tick(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn finish(&mut self, _now: Instant, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn members(event: &Event) -> (&'static str, Value) {
    match event {
        Event::RunStarted { title, components, platforms, cells, subset, needed } => (
            "run-started",
            json!({
                "title": title,
                "components": components,
                "platforms": platforms,
                "cells": cells,
                "subset": subset,
                "needed": needed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }),
        ),
        Event::Expected { cells } => {
            let cells: Vec<Value> =
                cells.iter().map(|(cell, took)| with_cell(cell, json!({"took": seconds(*took)}))).collect();
            ("expected", json!({"cells": cells}))
        }
        Event::BuilderReady { address, version, platforms } => {
            let platforms: Vec<Value> = platforms
                .iter()
                .map(|(platform, execution)| json!({"platform": platform, "execution": word(execution)}))
                .collect();
            ("builder-ready", json!({"builder": address, "version": version, "platforms": platforms}))
        }
        Event::CellStarted { cell, builder, attempt } => {
            ("cell-started", with_cell(cell, json!({"builder": builder, "attempt": attempt})))
        }
        Event::CellFinished { cell, state, execution, took, reason } => (
            "cell-finished",
            with_cell(
                cell,
                json!({
                    "state": state, "execution": execution.as_ref().map(word), "took": seconds(*took), "reason": reason,
                }),
            ),
        ),
        Event::StepStarted { .. }
        | Event::StepProgress { .. }
        | Event::StepLog { .. }
        | Event::StepFinished { .. }
        | Event::BuildWarning { .. } => step_members(event),
        Event::ServiceReady { .. } | Event::ServiceLog { .. } | Event::ServiceEnded { .. } => service_members(event),
        Event::Reused { cells, of, unlocked } => ("reused", json!({"cells": cells, "of": of, "unlocked": unlocked})),
        Event::Transfer { what, done, total } => ("transfer", json!({"what": what, "done": done.0, "total": total.0})),
        Event::Waiting { text } => ("waiting", json!({"text": text})),
        Event::Warning { cell, text } => (
            "warning",
            cell.as_ref().map_or_else(|| json!({"text": text}), |cell| with_cell(cell, json!({"text": text}))),
        ),
        Event::Detail { text } => ("detail", json!({"text": text})),
    }
}

fn step_members(event: &Event) -> (&'static str, Value) {
    match event {
        Event::StepStarted { cell, step, name, position, internal } => (
            "step-started",
            with_cell(
                cell,
                json!({
                    "step": *step.0, "name": name, "internal": internal,
                    "number": position.as_ref().map(|position| position.number),
                    "of": position.as_ref().map(|position| position.of),
                }),
            ),
        ),
        Event::StepProgress { cell, step, what, done, total } => {
            ("step-progress", with_cell(cell, json!({"step": *step.0, "what": what, "done": done, "total": total})))
        }
        Event::StepLog { cell, step, stream, bytes } => {
            let stream = if *stream == LogStream::Out { "out" } else { "err" };
            let text = String::from_utf8_lossy(bytes);
            ("step-log", with_cell(cell, json!({"step": *step.0, "stream": stream, "text": text})))
        }
        Event::StepFinished { cell, step, cached, error, took } => (
            "step-finished",
            with_cell(cell, json!({"step": *step.0, "cached": cached, "error": error, "took": seconds(*took)})),
        ),
        Event::BuildWarning { cell, text, url, line } => {
            ("build-warning", with_cell(cell, json!({"text": text, "url": url, "line": line})))
        }
        _ => ("unknown", json!({})),
    }
}

fn service_members(event: &Event) -> (&'static str, Value) {
    match event {
        Event::ServiceReady { service, builder, address, took } => (
            "service-ready",
            json!({"service": service, "builder": builder, "address": address, "took": seconds(*took)}),
        ),
        Event::ServiceLog { service, stream, bytes } => {
            let stream = if *stream == LogStream::Out { "out" } else { "err" };
            ("service-log", json!({"service": service, "stream": stream, "text": String::from_utf8_lossy(bytes)}))
        }
        Event::ServiceEnded { service, reason } => ("service-ended", json!({"service": service, "reason": reason})),
        _ => ("unknown", json!({})),
    }
}

fn with_cell(cell: &crate::base::CellId, members: Value) -> Value {
    let mut object = json!({"component": cell.component, "platform": cell.platform});
    if let (Some(object), Value::Object(mut members)) = (object.as_object_mut(), members) {
        object.append(&mut members);
    }
    object
}

const fn word(execution: &Execution) -> &'static str {
    match execution {
        Execution::Native => "native",
        Execution::Emulated(_) => "emulated",
        Execution::Absent => "absent",
    }
}
