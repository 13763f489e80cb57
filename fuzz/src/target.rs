//! What every libFuzzer target shares: a folder of its own.

use std::sync::OnceLock;

use super::bodies::{self, Language};

/// Runs one input.
pub fn run(language: Language, data: &[u8]) {
    static PLACE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| tempfile::tempdir().expect("a folder"));
    bodies::run(language, place.path(), data);
}
