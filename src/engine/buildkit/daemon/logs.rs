use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::base::Printable;

/// Bytes of a log's end that are looked at.
const TAIL_BYTES: u64 = 32 << 10;

/// Lines of it that people are shown.
const TAIL_LINES: usize = 12;

/// The last lines of a daemon's log, oldest first, made printable. Empty if there is none.
pub(super) fn tail(path: &Path) -> Vec<String> {
    let Ok(text) = end_of(path) else { return Vec::new() };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| Printable(line).to_string()).collect()
}

fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Why the daemon ended, in its own words: the line with which it gave up, else the last error that it logged.
///
/// moby/buildkit cmd/buildkitd/main.go prints `buildkitd: REASON` as its last act; the Go runtime says `panic: REASON` or
/// `fatal error: REASON`; all else is `time="…" level=error msg="REASON"`.
pub(super) fn last_error(lines: &[String]) -> Option<String> {
    let gave_up = lines.iter().rev().find_map(|line| {
        ["buildkitd: ", "panic: ", "fatal error: "].iter().find_map(|start| line.strip_prefix(start)).map(str::to_owned)
    });
    gave_up.or_else(|| {
        lines
            .iter()
            .rev()
            .filter(|line| line.contains(" level=error ") || line.contains(" level=fatal "))
            .find_map(|line| message(line))
    })
}

/// The `msg` of a log line, without its quoting.
fn message(line: &str) -> Option<String> {
    let rest = line.split_once(" msg=")?.1;
    let Some(quoted) = rest.strip_prefix('"') else { return rest.split(' ').next().map(str::to_owned) };
    let mut text = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' | 't' => text.push(' '),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// What to do about a reason the daemon gave. Its text is all there is to go by: it has no codes. What is not known gets
/// the one piece of advice that is always right.
pub(super) fn advice(reason: &str, root: &Path, log: &Path) -> String {
    let is = |words: &str| reason.contains(words);
    if is("another instance running") {
        format!("wait for the run that uses `{}`, or name another place with `--state DIR`", root.display())
    } else if is("no space left on device") {
        format!("free some space on the file system of `{}`", root.display())
    } else if is("read-only file system") {
        format!("name a place that can be written with `--state DIR`, instead of `{}`", root.display())
    } else if is("flag provided but not defined") {
        "install buildkitd 0.13 or newer".to_owned()
    } else if is("operation not permitted") || is("permission denied") {
        format!(
            "give this machine or container the right to mount, or name a builder with `--builder`; its log is `{}`",
            log.display()
        )
    } else {
        format!("read the builder's log in `{}`", log.display())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_line_it_gave_up_with_wins() {
        let log =
            lines("time=\"x\" level=error msg=\"a \\\"b\\\"\" path=/x\nbuildkitd: could not lock /r/buildkitd.lock\n");
        assert_eq!(last_error(&log).as_deref(), Some("could not lock /r/buildkitd.lock"));
        assert_eq!(last_error(&log[..1]).as_deref(), Some("a \"b\""));
        assert_eq!(last_error(&lines("time=\"x\" level=info msg=fine\n")), None);
        assert_eq!(last_error(&lines("time=\"x\" level=fatal msg=bad x=y\n")).as_deref(), Some("bad"));
    }

    #[test]
    fn only_the_end_of_a_log_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let long = (0..50_000).map(|number| format!("line {number}")).collect::<Vec<_>>().join("\n") + "\n";
        fs::write(&path, long + "\x1b[31mred\n\n").expect("a file");
        let tail = tail(&path);
        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail[TAIL_LINES - 2], "line 49999");
        assert!(!tail[TAIL_LINES - 1].contains('\x1b'), "{tail:?}");
        assert!(super::tail(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn known_reasons_have_their_own_advice() {
        let advice = |reason| advice(reason, Path::new("/r"), Path::new("/l"));
        assert!(advice("write /x: no space left on device").contains("free some space"));
        assert!(advice("could not lock /x, another instance running?").contains("--state"));
        assert!(advice("flag provided but not defined: -cdi").contains("0.13"));
        assert_eq!(advice("something new"), "read the builder's log in `/l`");
    }
}
