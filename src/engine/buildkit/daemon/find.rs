use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The daemon's file name.
pub const BUILDKITD: &str = "buildkitd";

/// Folders that hold system programs although the PATH of ordinary users often leaves them out (Debian's runc is there).
const SYSTEM: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Finds a `buildkitd`: first among the entries of PATH, in their order, then in `tools`, the folder that this program's
/// own tools are installed into.
pub fn find_buildkitd(path_entries: &[PathBuf], tools: Option<&Path>) -> Option<PathBuf> {
    find(&[BUILDKITD], path_entries.iter().map(PathBuf::as_path).chain(tools))
}

/// The program that runs containers, by the names that `buildkitd` itself tries, and `crun`, which takes the same commands.
pub(super) fn find_runtime(search: &[PathBuf]) -> Option<PathBuf> {
    find(&["buildkit-runc", "runc", "crun"], search.iter().map(PathBuf::as_path))
}

/// Where the daemon looks for programs: beside itself, in `search`, and where systems keep such programs.
pub(in crate::engine::buildkit) fn search_path(binary: &Path, search: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let all =
        binary.parent().into_iter().chain(search.iter().map(PathBuf::as_path)).chain(SYSTEM.iter().map(Path::new));
    for folder in all {
        // Relative entries would mean something else in the daemon's working directory.
        if folder.is_absolute() && !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_owned());
        }
    }
    folders
}

fn find<'a>(names: &[&str], folders: impl Iterator<Item = &'a Path>) -> Option<PathBuf> {
    let folders: Vec<&Path> = folders.collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn program(folder: &Path, name: &str, mode: u32) -> PathBuf {
        fs::create_dir_all(folder).expect("a folder");
        let path = folder.join(name);
        fs::write(&path, "").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
        path
    }

    #[test]
    fn the_path_comes_before_the_tools() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b, tools) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("tools"));
        let own = program(&tools, BUILDKITD, 0o755);
        program(&a, BUILDKITD, 0o644);
        fs::create_dir_all(b.join(BUILDKITD)).expect("a folder of that name is no program");
        assert_eq!(find_buildkitd(&[a.clone(), b.clone()], Some(&tools)), Some(own));
        let first = program(&a, BUILDKITD, 0o755);
        assert_eq!(find_buildkitd(&[b, a], Some(&tools)), Some(first));
        assert_eq!(find_buildkitd(&[], None), None);
    }

    #[test]
    fn a_better_name_wins_over_an_earlier_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        program(&a, "crun", 0o755);
        let runc = program(&b, "runc", 0o755);
        assert_eq!(find_runtime(&[a, b]), Some(runc));
    }

    #[test]
    fn the_daemon_looks_beside_itself_first_and_nowhere_twice() {
        let found =
            search_path(Path::new("/t/buildkitd"), &["/usr/sbin".into(), "rel".into(), "/b".into(), "/b".into()]);
        let expected = ["/t", "/usr/sbin", "/b", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
        assert_eq!(found, expected);
    }
}
