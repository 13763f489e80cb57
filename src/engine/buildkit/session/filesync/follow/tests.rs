use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn resolve(links: &[(&str, &str)], files: &[&str], paths: &[&str]) -> Option<Vec<String>> {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        fs::create_dir_all(root.path().join(file).parent().unwrap()).unwrap();
        fs::write(root.path().join(file), "").unwrap();
    }
    for (link, target) in links {
        fs::create_dir_all(root.path().join(link).parent().unwrap()).unwrap();
        symlink(target, root.path().join(link)).unwrap();
    }
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    follow(&Tree::open(root.path()).unwrap(), &paths).unwrap()
}

#[track_caller]
fn check(links: &[(&str, &str)], files: &[&str], paths: &[&str], wanted: &[&str]) {
    assert_eq!(resolve(links, files, paths).unwrap(), wanted);
}

#[test]
fn links_are_found_and_so_is_what_they_lead_to() {
    check(&[], &["a"], &["a", "/b/c", "./d/", "*.x"], &["*.x", "a", "b/c", "d"]);
    check(&[("l", "d/f")], &["d/f"], &["l"], &["d/f", "l"]);
    check(&[("l", "m"), ("m", "n"), ("n", "d")], &["d/f"], &["l/f"], &["d/f", "l", "m", "n"]);
    check(&[("x/l", "../d")], &["d/f"], &["x/l/f"], &["d/f", "x/l"]);
    check(&[("l", "/d")], &["d/f"], &["l/f"], &["d/f", "l"]);
    check(&[("l", "../../../d")], &["d/f"], &["l/f"], &["d/f", "l"]);
    check(&[("l", "nothing")], &[], &["l/f"], &["l", "nothing/f"]);
    check(&[("d/l", "/etc/passwd")], &[], &["d/l"], &["d/l", "etc/passwd"]);
}

#[test]
fn wildcards_stand_for_the_links_among_their_matches() {
    check(&[("l1", "d"), ("l2", "e"), ("other", "f")], &["d/x"], &["l*"], &["d", "e", "l*"]);
    check(&[("p/l1", "../d")], &["d/x"], &["p/*/x"], &["d/x", "p/*"]);
    check(&[("p/l", "q")], &[], &[r"p/\l"], &[r"p/\l"]);
    check(&[], &["a/x"], &["*/x"], &["*/x"]);
}

#[test]
fn several_paths_through_one_link_are_all_found() {
    check(&[("l", "d")], &["d/a", "d/b"], &["l/a", "l/b"], &["d/a", "d/b", "l"]);
}

#[test]
fn what_lies_below_another_path_is_covered() {
    check(&[], &[], &["a/b", "a", "a/c"], &["a"]);
    // Sorted as texts, so that `a-b` hides that `a/c` lies below `a`: it does no harm.
    check(&[], &[], &["a/c", "a", "a-b"], &["a", "a-b", "a/c"]);
}

#[test]
fn the_root_restricts_nothing() {
    for path in [".", "/", "", "a/..", "/../"] {
        assert_eq!(resolve(&[], &[], &["a", path]), None, "{path:?}");
    }
    assert_eq!(resolve(&[("l", "/")], &[], &["l"]), None);
    assert_eq!(resolve(&[], &[], &[]), Some(vec![]));
}

#[test]
fn loops_end() {
    check(&[("a", "b"), ("b", "a")], &[], &["a/x"], &["a", "b"]);
    check(&[("a", "a")], &[], &["a"], &["a"]);
    check(&[("a", "a/a")], &[], &["a/x"], &["a"]);
    let links: Vec<(String, String)> = (0..6).map(|n| (format!("l{n}"), format!("l*/l{n}/*"))).collect();
    let links: Vec<(&str, &str)> = links.iter().map(|(a, b)| (&**a, &**b)).collect();
    assert!(resolve(&links, &[], &["l*/x"]).unwrap().contains(&"l*".to_owned()));
}
