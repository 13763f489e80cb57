use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::diagnostic::last_advice;
use super::stream::seconds;
use crate::base::{CellState, ComponentName, Failure, Warning};
use crate::catalogue;
use crate::plan::{CellWork, ComponentKind, NeedReason, Plan, PlannedService, Readiness, ServicePort};
use crate::run::{CellReport, IndexReport, Matrix, Outcome};

/// What `build --push` and `--export` add to the document of a build.
#[derive(Debug, Clone, Default)]
pub struct Delivered {
    /// References that were pushed, with what they point to.
    pub pushed: Vec<(String, String)>,
    /// The bundle that was written, and its size in bytes.
    pub bundle: Option<(String, u64)>,
}

/// One cell as `build --json` and `plan --json` have it. What is unknown is null, and there all the same.
#[derive(Debug, Serialize)]
struct CellDocument {
    component: String,
    platform: String,
    state: Option<CellState>,
    digest: Option<String>,
    reason: Option<String>,
    emulated: bool,
    builder: Option<String>,
    seconds: Option<f64>,
    log: Option<String>,
    external: bool,
}

/// An error in a document.
pub(super) fn error_document(error: &dyn Failure) -> Value {
    let span = error.span();
    let excerpt = error.excerpt();
    let known = catalogue::explain(error);
    json!({
        "id": known.map(|entry| entry.id),
        "class": error.class().word(),
        "message": error.to_string(),
        "cause": Failure::cause(error).or_else(|| error.source().map(ToString::to_string)),
        "why": known.map(|entry| entry.means),
        "help": error.help().or_else(|| known.map(|entry| entry.fix.to_owned())),
        "path": span.as_ref().map(crate::base::Span::path).or(excerpt.as_ref().map(|lines| lines.0.path())).map(shown),
        "line": span.as_ref().map(crate::base::Span::line).or(excerpt.as_ref().map(|lines| lines.1)),
        "exit_code": error.exit_code(),
        "output": error.output(),
    })
}

fn cell_document(cell: &CellReport) -> CellDocument {
    CellDocument {
        component: cell.cell.component.to_string(),
        platform: cell.cell.platform.to_string(),
        state: Some(cell.state),
        digest: cell.digest.map(|digest| digest.to_string()),
        reason: cell.reason.clone(),
        emulated: cell.emulated,
        builder: cell.builder.clone(),
        seconds: cell.took.map(seconds),
        log: cell.log.as_deref().map(shown),
        external: cell.external,
    }
}

fn index_document(index: &IndexReport) -> Value {
    json!({
        "component": index.component,
        "reference": index.reference,
        "digest": index.digest,
        "platforms": index.platforms,
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn pretty(document: &Value) -> String {
    // A `Value` has string keys and finite numbers only: nothing in it can fail to be written.
    serde_json::to_string_pretty(document).unwrap_or_default() + "\n"
}

/// `status --json`: exactly the contract's members for its cells. `unfinished`: tags of a push that was interrupted while
/// they moved.
pub fn status_document(matrix: &Matrix, unfinished: Option<usize>) -> String {
    let cells: Vec<Value> = matrix
        .cells
        .iter()
        .map(|cell| {
            let cell = cell_document(cell);
            json!({
                "component": cell.component,
                "platform": cell.platform,
                "state": cell.state,
                "digest": cell.digest,
                "reason": cell.reason,
                "emulated": cell.emulated,
                "builder": cell.builder,
            })
        })
        .collect();
    pretty(&json!({
        "schema": "catamaran/status/v1",
        "complete": matrix.is_complete(),
        "expected": matrix.expected(),
        "present": matrix.present(),
        "subset": matrix.subset,
        "unfinished_tags": unfinished,
        "cells": cells,
        "indexes": matrix.indexes.iter().map(index_document).collect::<Vec<_>>(),
    }))
}

/// `build --json`: the outcome, whether or not there was time to have one.
///
/// `error` is what ended the command besides its cells: a configuration error, a refused push.
pub fn build_document(outcome: &Outcome, delivered: &Delivered, error: Option<&dyn Failure>, exit: u8) -> String {
    let matrix = &outcome.matrix;
    let mut errors: Vec<Value> = outcome
        .failures
        .iter()
        .map(|failure| {
            let mut document = error_document(failure);
            document["component"] = json!(failure.cell.component);
            document["platform"] = json!(failure.cell.platform);
            if document["help"].is_null() {
                document["help"] = json!(last_advice(failure));
            }
            document
        })
        .collect();
    errors.extend(all_errors(error));
    let pushed = delivered.pushed.iter().map(|(reference, digest)| json!({"reference": reference, "digest": digest}));
    pretty(&json!({
        "schema": "catamaran/build/v1",
        "complete": matrix.is_complete() && error.is_none() && !matrix.cells.is_empty(),
        "expected": matrix.expected(),
        "present": matrix.present(),
        "subset": matrix.subset,
        "exit": exit,
        "seconds": seconds(outcome.took),
        "received_bytes": outcome.received,
        "cells": matrix.cells.iter().map(cell_document).collect::<Vec<_>>(),
        "indexes": matrix.indexes.iter().map(index_document).collect::<Vec<_>>(),
        "pushed": pushed.collect::<Vec<_>>(),
        "bundle": delivered.bundle.as_ref().map(|(path, bytes)| json!({"path": path, "bytes": bytes})),
        "errors": errors,
    }))
}

/// An error and its companions, each text once: a registry that is down is one piece of news, as on the screen.
fn all_errors(error: Option<&dyn Failure>) -> Vec<Value> {
    let mut seen = HashSet::new();
    let all = error.into_iter().flat_map(|error| std::iter::once(error).chain(error.others())).map(error_document);
    all.filter(|document| seen.insert(document.to_string())).collect()
}

/// `plan --json`. Nothing has been done, so the state of a cell is null unless it is excluded.
pub fn plan_document(plan: Option<&Plan>, error: Option<&dyn Failure>) -> String {
    let Some(plan) = plan else {
        return pretty(&json!({
            "schema": "catamaran/plan/v1", "cells": [], "components": [], "errors": all_errors(error),
        }));
    };
    let mut cells: Vec<&crate::plan::Cell> = plan.cells.iter().filter(|cell| !plan.is_brought(&cell.id)).collect();
    cells.sort_by(|a, b| a.id.cmp(&b.id));
    let cell = |cell: &&crate::plan::Cell| {
        let reason = match &cell.work {
            CellWork::Excluded(reason) => Some(reason.clone()),
            CellWork::Build(_) | CellWork::Mirror(_) => None,
        };
        CellDocument {
            component: cell.id.component.to_string(),
            platform: cell.id.platform.to_string(),
            state: reason.as_ref().map(|_| CellState::Excluded),
            digest: None,
            reason,
            emulated: false,
            builder: None,
            seconds: None,
            log: None,
            external: matches!(cell.work, CellWork::Mirror(_)),
        }
    };
    pretty(&json!({
        "schema": "catamaran/plan/v1",
        "project": plan.project,
        "tag": plan.tag,
        "platforms": plan.platforms,
        "registry": plan.registries.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "expected": plan.expected().count(),
        "subset": plan.subset.platforms || plan.subset.names,
        "needed": plan.brought().map(|cell| cell.id.to_string()).collect::<Vec<_>>(),
        "cells": cells.iter().map(cell).collect::<Vec<_>>(),
        "components": plan.components.iter().map(component_document).collect::<Vec<_>>(),
        "services": plan.services.iter().map(service_document).collect::<Vec<_>>(),
        "unselected": plan.unselected.iter().map(|one| &one.name).collect::<Vec<_>>(),
        "warnings": plan.warnings.iter().map(warning_document).collect::<Vec<_>>(),
        "errors": [],
    }))
}

fn warning_document(warning: &Warning) -> Value {
    json!({
        "message": warning.message,
        "help": warning.help,
        "path": warning.span.as_ref().map(|span| span.path().display().to_string()),
        "line": warning.span.as_ref().map(crate::base::Span::line),
    })
}

/// A service: the cell that it runs from (`platform` null: each platform its own), and how it is found.
fn service_document((name, service): (&ComponentName, &PlannedService)) -> Value {
    json!({
        "service": name,
        "component": service.cell.component,
        "platform": (!service.same_platform).then_some(&service.cell.platform),
        "port": match service.port {
            Some(ServicePort::Fixed(port)) => json!(port),
            Some(ServicePort::Auto) => json!("auto"),
            None => Value::Null,
        },
        "ready": match &service.ready {
            Some(Readiness::Http(url)) => json!({"http": url}),
            Some(Readiness::Tcp(port)) => json!({"tcp": port}),
            Some(Readiness::Exec(words)) => json!({"exec": words}),
            None => Value::Null,
        },
        "hosts": service.hosts,
        "needs": service.needs,
    })
}

fn component_document(component: &crate::plan::Component) -> Value {
    let needs = component.needs.iter().map(|need| {
        let (reason, name) = match &need.reason {
            NeedReason::Declared => ("declared", None),
            NeedReason::Context(name) => ("context", Some(name)),
            NeedReason::Inferred(name) => ("inferred", Some(name)),
        };
        json!({"component": need.name, "service": need.service, "reason": reason, "as": name})
    });
    json!({
        "component": component.name,
        "kind": match component.kind {
            ComponentKind::Built => "built",
            ComponentKind::External => "external",
        },
        "references": component.references,
        "dockerfile": component.dockerfile.as_deref().map(shown),
        "fetched": component.fetched.as_ref().map(|(url, path)| json!({"context": url, "dockerfile": path})),
        "platforms": component.platforms,
        "excluded": component.excluded,
        "phase": component.phase,
        "bases": component.bases,
        "needs": needs.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::CellId;

    #[test]
    fn d15_documents_say_what_the_contract_says() {
        let cell = CellId::new("nginx".parse().expect("a name"), "arm64".parse().expect("a platform"));
        let matrix = Matrix { cells: vec![CellReport::new(cell, CellState::Missing, false)], ..Matrix::default() };
        let status = status_document(&matrix, None);
        assert!(status.starts_with("{\n  \"schema\": \"catamaran/status/v1\""), "{status}");
        let value: Value = serde_json::from_str(&status).expect("JSON");
        assert_eq!(value["complete"], false);
        assert_eq!(value["expected"], 1);
        assert_eq!(value["cells"][0]["platform"], "linux/arm64");
        let keys: Vec<&String> = value["cells"][0].as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["component", "platform", "state", "digest", "reason", "emulated", "builder"]);

        let outcome = Outcome { matrix, ..Outcome::default() };
        let build = build_document(&outcome, &Delivered::default(), None, 4);
        assert!(build.starts_with("{\n  \"schema\": \"catamaran/build/v1\""), "{build}");
        let value: Value = serde_json::from_str(&build).expect("JSON");
        assert!(value["cells"][0]["seconds"].is_null());
        assert_eq!(value["cells"][0]["emulated"], false);
    }
}
