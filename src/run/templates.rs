//! Rendered template files: where they lie in the state directory, and where the builder finds them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::state::write_with_mode;
use super::{RunError, StateDir};
use crate::base::{Digest, DigestHasher};
use crate::engine::RenderedFile;
use crate::plan::{CellBuild, RenderedTemplate};

/// The rendered files of a cell. They are written, unless they are there; by who only reads outside of the state directory.
///
/// A file has its content and permissions in its name, so it never changes, and one that is written again gets a time of its
/// own: builders tell contents apart by time and size.
pub(super) fn rendered_files(state: &StateDir, build: &CellBuild) -> Result<Vec<RenderedFile>, RunError> {
    build.templates.iter().map(|template| rendered_file(state, template)).collect()
}

fn rendered_file(state: &StateDir, template: &RenderedTemplate) -> Result<RenderedFile, RunError> {
    let (mut rendered, mode) = place(state, template)?;
    if is_written(&rendered.file, &template.text, mode) {
        return Ok(rendered);
    }
    if let (Some(aside), Some(name)) = (state.aside(), rendered.file.file_name()) {
        rendered.file = aside.join(name);
    }
    if !is_written(&rendered.file, &template.text, mode) {
        write_with_mode(&rendered.file, template.text.as_bytes(), mode)
            .map_err(|source| RunError::state("write", &rendered.file, source))?;
    }
    Ok(rendered)
}

/// Whether `template` is among `files` as it would be rendered now, and lies there so.
pub(super) fn is_rendered<'a>(
    state: &StateDir,
    template: &RenderedTemplate,
    mut files: impl Iterator<Item = &'a RenderedFile>,
) -> bool {
    place(state, template).is_ok_and(|(rendered, mode)| {
        is_written(&rendered.file, &template.text, mode) && files.any(|known| *known == rendered)
    })
}

/// Where a template lies when it is rendered, and its permissions: a script that is rendered is as executable as its template.
fn place(state: &StateDir, template: &RenderedTemplate) -> Result<(RenderedFile, u32), RunError> {
    let failed = |source: io::Error| RunError::state("read", &template.path, source);
    let mode = fs::metadata(&template.path).map_err(failed)?.permissions().mode() & 0o777;
    let directory = template.path.parent().map_or_else(|| Ok(PathBuf::new()), fs::canonicalize).map_err(failed)?;
    let name = template.path.file_stem().unwrap_or_default();
    let mut hasher = DigestHasher::new();
    hasher.update(Digest::of(template.text.as_bytes()).raw());
    hasher.update(&mode.to_le_bytes());
    let file = state.rendered().join("files").join(hasher.finish().hex());
    Ok((RenderedFile { path: directory.join(name), file }, mode))
}

/// Whether `file` holds just this: its name alone does not tell, somebody may have been at it.
fn is_written(file: &Path, text: &str, mode: u32) -> bool {
    let as_expected = |found: &fs::Metadata| {
        found.is_file() && found.len() == text.len() as u64 && found.permissions().mode() & 0o777 == mode
    };
    fs::metadata(file).is_ok_and(|found| as_expected(&found))
        && fs::read(file).is_ok_and(|bytes| bytes == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn who_only_reads_renders_elsewhere() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path().join("state"));
        let path = directory.path().join("conf.tpl");
        fs::write(&path, "{{A}}").expect("a file");
        let template = RenderedTemplate { path, text: "one".to_owned(), variables: BTreeSet::new() };
        let reading = state.only_read(directory.path()).expect("there is a folder for it");
        let rendered = rendered_file(&reading, &template).expect("it can be rendered");
        assert_eq!(fs::read_to_string(&rendered.file).expect("it is there"), "one");
        assert!(!state.root().exists(), "nothing was written there");
        drop(reading);
        assert!(!rendered.file.exists(), "and nothing stays");
        // What a build has rendered is taken from there.
        let built = rendered_file(&state, &template).expect("it can be rendered");
        let reading = state.only_read(directory.path()).expect("there is a folder for it");
        assert_eq!(rendered_file(&reading, &template).expect("it is there"), built);
    }

    #[test]
    fn a_rendered_file_that_somebody_changed_is_written_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::at(directory.path().join("state"));
        state.create().expect("it can be made");
        let path = directory.path().join("conf.tpl");
        fs::write(&path, "{{A}}").expect("a file");
        let template = RenderedTemplate { path: path.clone(), text: "one".to_owned(), variables: BTreeSet::new() };
        let rendered = rendered_file(&state, &template).expect("it can be rendered");
        assert!(is_rendered(&state, &template, [&rendered].into_iter()));
        fs::write(&rendered.file, "two").expect("ours");
        assert!(!is_rendered(&state, &template, [&rendered].into_iter()), "the same size and other bytes");
        rendered_file(&state, &template).expect("it can be rendered");
        assert_eq!(fs::read_to_string(&rendered.file).expect("it is there"), "one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("ours");
        assert!(!is_rendered(&state, &template, [&rendered].into_iter()), "it would be executable now");
    }
}
