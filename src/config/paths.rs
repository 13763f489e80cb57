use super::ContextRef;

/// A slash-separated path without `.`, inner `..`, doubled and trailing slashes; `.` for the empty path.
///
/// Purely textual, as bake and compose do it: links are not looked at.
pub(crate) fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(last) if *last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// `base/path`, cleaned; an absolute path stays.
pub(crate) fn join_path(base: &str, path: &str) -> String {
    if path.starts_with('/') || base.is_empty() { clean_path(path) } else { clean_path(&format!("{base}/{path}")) }
}

/// The folder part of a file's path; `.` for a bare name.
pub(crate) fn folder_of(path: &str) -> String {
    clean_path(path.rfind('/').map_or("", |at| if at == 0 { "/" } else { &path[..at] }))
}

/// Whether a context is something that the builder fetches: an HTTP(S) URL or a git repository.
///
/// moby/buildkit `dfgitutil.ParseGitRef`, as buildx applies it.
pub fn is_remote(context: &str) -> bool {
    if context.starts_with("http://") || context.starts_with("https://") {
        return true;
    }
    if context.starts_with("github.com/") {
        return true;
    }
    if let Some((scheme, rest)) = context.split_once("://") {
        return matches!(scheme.to_lowercase().as_str(), "ssh" | "git") && !rest.is_empty() && !rest.contains(' ');
    }
    is_scp_style(context)
}

/// Whether a URL that the builder fetches stands for the same files for ever: a git repository at a commit that is written in
/// full. Whatever else is behind it may be another thing tomorrow, so also what an `http` URL answers.
///
/// moby/buildkit util/gitutil and frontend/dockerui (`#REF:FOLDER`, or `?ref=`, `?commit=`, `?checksum=`); a checksum may be
/// written in part there, which is not believed here.
pub fn is_pinned(url: &str) -> bool {
    let (place, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let http = place.starts_with("http://") || place.starts_with("https://");
    if !is_remote(place) || http && place.strip_suffix(".git").is_none() {
        return false;
    }
    let commit = |text: &str| matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut named = query.split('&').filter_map(|pair| pair.split_once('='));
    commit(fragment.split(':').next().unwrap_or_default())
        || named.any(|(key, value)| matches!(key, "ref" | "commit" | "checksum") && commit(value))
}

/// The path of a Dockerfile in a main context that the builder fetches, where it is written relative to that; an absolute
/// path is one of this machine, and its file is sent along (docker/buildx build/opt.go).
pub(crate) fn fetched_dockerfile(context: &ContextRef, written: &str) -> Option<String> {
    let ContextRef::Remote(url) = context else { return None };
    (is_remote(url) && !written.starts_with('/')).then(|| clean_path(written))
}

/// `user@host:path`.
fn is_scp_style(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    word(user, b"-_") && word(host, b"-.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_like_the_reference() {
        for (path, clean) in [
            ("", "."),
            ("./a/../b", "b"),
            ("a//b/", "a/b"),
            ("../x", "../x"),
            ("a/../../x", "../x"),
            ("/../a", "/a"),
            ("docker-image://alpine", "docker-image:/alpine"),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
        assert_eq!(folder_of("a/b.hcl"), "a");
        assert_eq!(folder_of("b.hcl"), ".");
        assert_eq!(join_path("a", "../b"), "b");
    }

    #[test]
    fn only_a_whole_commit_stands_for_the_same_for_ever() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for pinned in [
            format!("https://h/r.git#{commit}"),
            format!("https://h/r.git#{commit}:sub/folder"),
            format!("git@github.com:a/b.git#{commit}"),
            format!("github.com/a/b#{commit}"),
            format!("ssh://git@h/r?ref={commit}&subdir=a"),
            format!("https://h/r.git?branch=main&checksum={commit}"),
        ] {
            assert!(is_pinned(&pinned), "{pinned}");
        }
        for moving in [
            "https://h/r.git".to_owned(),
            "https://h/r.git#main".to_owned(),
            format!("https://h/r.git#{}", &commit[..12]),
            format!("https://h/r.git#main:{commit}"),
            format!("https://h/r.git?subdir={commit}"),
            // What a server answers, whatever stands behind it.
            format!("https://h/r.tar.gz#{commit}"),
            format!("https://h/r.tar.gz?ref={commit}"),
            format!("./r#{commit}"),
        ] {
            assert!(!is_pinned(&moving), "{moving}");
        }
    }

    #[test]
    fn tells_remote_from_local() {
        for remote in ["https://x", "git@github.com:a/b.git", "ssh://git@h/r", "git://h/r", "github.com/a/b"] {
            assert!(is_remote(remote), "{remote}");
        }
        for local in ["./github.com/a", "docker-image://alpine", "oci-layout://x", "C:foo", "a@b", "target:x"] {
            assert!(!is_remote(local), "{local}");
        }
    }
}
