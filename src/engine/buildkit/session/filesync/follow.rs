use std::collections::{BTreeSet, HashSet};

use rustix::fs::FileType;

use super::error::SendError;
use super::filter::without_covered;
use super::tree::{Tree, is_denied, matchable};
use crate::dockerfile::ignore::{clean_path, matches_name};

/// Links on one way, as the kernel has it (`path_resolution(7)`), and some for what wildcards add.
const MOST_LINKS: usize = 64;
/// Steps in all: wildcards multiply ways, and links into themselves could do so for ever.
const MOST_STEPS: usize = 4_096;

/// Resolves paths inside the tree: for each, every symbolic link on its way and where they lead in the end.
///
/// What comes back is a sorted list of include patterns, or `None` where the root is among them, which restricts nothing.
/// Targets that are absolute start at the root of the tree, and `..` does not leave it. A name with wildcards stands for the
/// links among what it matches; a path that is not there stays, and matches nothing.
pub(super) fn follow(tree: &Tree, paths: &[String]) -> Result<Option<Vec<String>>, SendError> {
    let mut resolver = Resolver { tree, found: BTreeSet::new(), seen: HashSet::new() };
    for path in paths {
        resolver.resolve(path.clone())?;
    }
    let found: Vec<String> = resolver.found.into_iter().collect();
    Ok(without_covered(&found))
}

struct Resolver<'a> {
    tree: &'a Tree,
    found: BTreeSet<String>,
    /// Ways that were gone already. fsutil remembers the link alone and so drops `l/b` after `l/a` where `l` is a link:
    /// the COPY of it fails. With the rest of the way it is found, too.
    seen: HashSet<(String, String)>,
}

impl Resolver<'_> {
    fn resolve(&mut self, path: String) -> Result<(), SendError> {
        let mut ways = vec![(path, 0)];
        while let Some((path, links)) = ways.pop() {
            // The leading `/` keeps `..` inside and goes again.
            let path = clean_path(&path);
            let path = path.strip_prefix('/').unwrap_or(&path);
            if path.is_empty() || path == "." {
                self.found.insert(".".to_owned());
                continue;
            }
            let mut end = 0;
            while end < path.len() {
                let start = if end == 0 { 0 } else { end + 1 };
                end = path[start..].find('/').map_or(path.len(), |length| start + length);
                let (current, rest) = (&path[..end], path[end..].trim_start_matches('/'));
                let targets = self.targets(current)?;
                if !targets.is_empty() {
                    self.found.insert(current.to_owned());
                    let new = self.seen.insert((current.to_owned(), rest.to_owned()));
                    if new && links < MOST_LINKS && self.seen.len() < MOST_STEPS {
                        ways.extend(targets.into_iter().map(|target| (format!("{target}/{rest}"), links + 1)));
                    }
                    break;
                }
                if rest.is_empty() {
                    self.found.insert(current.to_owned());
                    break;
                }
            }
        }
        Ok(())
    }

    /// Where the links lead that a path stands for, from the root on; none if it stands for no link.
    fn targets(&self, path: &str) -> Result<Vec<String>, SendError> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !has_wildcards(name) {
            return Ok(self.target(directory, name.as_bytes())?.into_iter().collect());
        }
        let names = match self.tree.directory(directory.as_bytes()).and_then(|mut directory| directory.names()) {
            Ok(names) => names,
            Err(error) => return self.missing(directory, &error),
        };
        let mut targets = Vec::new();
        for found in names {
            let maybe_link = matches!(found.kind, FileType::Symlink | FileType::Unknown);
            if maybe_link && matches_name(name, &matchable(&found.bytes)) {
                targets.extend(self.target(directory, &found.bytes)?);
            }
        }
        Ok(targets)
    }

    fn target(&self, directory: &str, name: &[u8]) -> Result<Option<String>, SendError> {
        let path = super::tree::join(directory.as_bytes(), name);
        let is_link = match self.tree.stat(&path) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Symlink,
            Err(error) => return self.missing(&matchable(&path), &error),
        };
        if !is_link {
            return Ok(None);
        }
        match self.tree.link(&path) {
            Ok(target) if target.starts_with(b"/") => Ok(Some(clean_path(&matchable(&target)))),
            Ok(target) => Ok(Some(clean_path(&format!("/{directory}/{}", matchable(&target))))),
            Err(error) => self.missing(&matchable(&path), &error),
        }
    }

    /// A path that is not there leads nowhere. One that we may not look at is an error: it could be what is to be sent.
    #[expect(clippy::unused_self, reason = "reads as a step of the resolver")]
    fn missing<T: Default>(&self, path: &str, error: &std::io::Error) -> Result<T, SendError> {
        if is_denied(error) { Err(SendError::io(path.as_bytes(), error)) } else { Ok(T::default()) }
    }
}

fn has_wildcards(name: &str) -> bool {
    let mut escaped = false;
    name.chars().any(|c| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        escaped = c == '\\';
        matches!(c, '*' | '?' | '[')
    })
}

#[cfg(test)]
mod tests;
