use std::env;
use std::path::PathBuf;

/// The folder that `scripts/setup` fills.
pub(crate) fn folder() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache"));
    cache.join("catamaran/tools")
}

/// A file of that folder. A missing one fails the test: a test that does not run proves nothing.
pub(crate) fn tool(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(path.is_file(), "`{}` is missing: run scripts/setup test", path.display());
    path
}

/// A static busybox for an architecture, the program of all images that tests build.
pub(crate) fn busybox(architecture: &str) -> PathBuf {
    tool(&format!("busybox/{architecture}"))
}
