//! Rendered template files: where they lie in the state directory, and where the builder finds them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::state::write_with_mode;
use super::{RunError, StateDir};
use crate::base::{Digest, DigestHasher};
use crate::engine::RenderedFile;
use crate::plan::{CellBuild, RenderedTemplate};

/// The rendered files of a cell. They are written, unless they are there, where there is a state directory at all: what only
/// reads must not make one.
///
/// A file has its content and permissions in its name, so it never changes, and one that is written again gets a time of its
/// own: builders tell contents apart by time and size.
pub(super) fn rendered_files(state: &StateDir, build: &CellBuild) -> Result<Vec<RenderedFile>, RunError> {
    build.templates.iter().map(|template| rendered_file(state, template)).collect()
}

fn rendered_file(state: &StateDir, template: &RenderedTemplate) -> Result<RenderedFile, RunError> {
    let failed = |source: io::Error| RunError::state("read", &template.path, source);
    // A script that is rendered is as executable as its template.
    let mode = fs::metadata(&template.path).map_err(failed)?.permissions().mode() & 0o777;
    let directory = template.path.parent().map_or_else(|| Ok(PathBuf::new()), fs::canonicalize).map_err(failed)?;
    let name = template.path.file_stem().unwrap_or_default();
    let mut hasher = DigestHasher::new();
    hasher.update(Digest::of(template.text.as_bytes()).raw());
    hasher.update(&mode.to_le_bytes());
    let file = state.rendered().join("files").join(hasher.finish().hex());
    let there = fs::metadata(&file).is_ok_and(|found| {
        found.is_file() && found.len() == template.text.len() as u64 && found.permissions().mode() & 0o777 == mode
    });
    if !there && state.root().is_dir() {
        write_with_mode(&file, template.text.as_bytes(), mode)
            .map_err(|source| RunError::state("write", &file, source))?;
    }
    Ok(RenderedFile { path: directory.join(name), file })
}
