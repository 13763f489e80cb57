use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::base::{CellId, ComponentName, Descriptor};
use crate::plan::{Component, ComponentKind, Plan};
use crate::run::{CellReport, IndexReport, Matrix, RecordedCell, RunRecord, Sizes};

/// `catamaran metadata`: what is there and where it came from, by component and platform.
///
/// Digests, sizes and builders are those of what lies in the layout; `run` tells of the last build, where there was one.
pub fn metadata_document(plan: &Plan, matrix: &Matrix, sizes: &Sizes, record: Option<&RunRecord>) -> String {
    let recorded: BTreeMap<CellId, &RecordedCell> =
        record.into_iter().flat_map(|record| &record.cells).map(|cell| (cell.id(), cell)).collect();
    let indexes: BTreeMap<&ComponentName, &IndexReport> =
        matrix.indexes.iter().map(|index| (&index.component, index)).collect();
    let mut components: Vec<&Component> = plan.components.iter().collect();
    components.sort_by(|a, b| a.name.cmp(&b.name));
    let of = |component: &Component| {
        let cells: Vec<&CellReport> =
            matrix.cells.iter().filter(|cell| cell.cell.component == component.name).collect();
        (!cells.is_empty()).then(|| {
            let platforms = cells.iter().map(|cell| platform(cell, sizes, recorded.get(&cell.cell).copied()));
            let index = indexes.get(&component.name);
            json!({
                "name": component.name,
                "kind": if component.kind == ComponentKind::Built { "built" } else { "external" },
                "references": component.references,
                "digest": index.map(|index| index.digest),
                "size": sizes.indexes.get(&component.name).map(|index| index.size),
                "excluded": component.excluded,
                "sources": {"dockerfile": component.dockerfile, "bases": component.bases},
                "platforms": platforms.collect::<Vec<_>>(),
            })
        })
    };
    let document = json!({
        "schema": "catamaran/metadata/v1",
        "project": plan.project,
        "tag": plan.tag,
        "complete": matrix.is_complete(),
        "run": record.map(|record| json!({
            "began": record.began, "seconds": round(record.seconds), "version": record.version,
            "complete": record.complete,
            "builders": record.builders.iter()
                .map(|one| json!({"address": one.address, "version": one.version})).collect::<Vec<_>>(),
        })),
        "components": components.into_iter().filter_map(of).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

fn platform(cell: &CellReport, sizes: &Sizes, recorded: Option<&RecordedCell>) -> Value {
    let layers = sizes.layers.get(&cell.cell);
    json!({
        "platform": cell.cell.platform,
        "state": cell.state,
        "reason": cell.reason,
        "digest": cell.digest,
        "size": layers.map(|layers| layers.iter().map(|layer| layer.size).sum::<u64>()),
        "layers": layers.map(|layers| layers.iter().map(layer).collect::<Vec<_>>()),
        "seconds": cell.took.map(|took| round(took.as_secs_f64())),
        "builder": cell.builder,
        "emulated": cell.emulated,
        "needs": recorded.map(|recorded| recorded.needs.iter()
            .map(|need| json!({"component": need.component, "platform": need.platform})).collect::<Vec<_>>()),
        "log": cell.log,
    })
}

fn layer(layer: &Descriptor) -> Value {
    json!({"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size})
}

fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// `build --metadata-file`: the form of `docker buildx bake --metadata-file`, for tools that read that (docker/buildx
/// commands/bake.go). A component that has no index yet is not there, as a target is not that bake did not build.
pub fn buildx_metadata(plan: &Plan, matrix: &Matrix, sizes: &Sizes) -> String {
    let mut document = Map::new();
    for index in &matrix.indexes {
        let names = plan.components.iter().find(|component| component.name == index.component);
        let names = names.map(|component| component.references.iter().map(full).collect::<Vec<_>>().join(","));
        let descriptor = sizes.indexes.get(&index.component);
        document.insert(
            index.component.to_string(),
            json!({
                "containerimage.descriptor": descriptor
                    .map(|one| json!({"mediaType": one.media_type, "digest": one.digest, "size": one.size})),
                "containerimage.digest": index.digest,
                "image.name": names,
            }),
        );
    }
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// A reference with everything that may be left out of it: `docker.io/library/web:latest`.
fn full(reference: &crate::base::Reference) -> String {
    reference.to_string()
}
