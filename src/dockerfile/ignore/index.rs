//! Finds the few patterns that can match a path among tens of thousands.
//!
//! Each pattern is filed under one part of the path that it cannot do without: `**/target/*.o` needs a part named `target`,
//! `docs/*.md` one named `docs`, `**/*.log` a part that ends in `.log`. What needs nothing is tried for every path. Whatever
//! is found still has to match: the index may offer too much, never too little.

use std::collections::HashMap;

use super::pattern::{Kind, Pattern};

/// Numbers of patterns by what a path must have for them to match.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Patterns that are whole paths: these match at once.
    paths: HashMap<Box<str>, Vec<u32>>,
    /// By a whole part of the path.
    parts: HashMap<Box<str>, Vec<u32>>,
    /// By the begin of a part.
    heads: Ends,
    /// By the end of a part.
    tails: Ends,
    /// All others.
    always: Vec<u32>,
}

/// Begins or ends of parts, with their lengths in bytes, so that a part needs one look-up for each length.
#[derive(Debug, Clone, Default)]
struct Ends {
    by_text: HashMap<Box<[u8]>, Vec<u32>>,
    lengths: Vec<usize>,
}

/// What a path must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Need<'a> {
    Part(&'a str),
    Head(&'a str),
    Tail(&'a str),
}

impl Index {
    pub(super) fn new(patterns: &[Pattern]) -> Self {
        // What few patterns share tells them apart best.
        let mut frequency: HashMap<Need<'_>, u32> = HashMap::new();
        for need in patterns.iter().flat_map(needs) {
            *frequency.entry(need).or_default() += 1;
        }
        let mut index = Self::default();
        for (number, pattern) in (0..).zip(patterns) {
            if matches!(pattern.kind, Kind::Exact) {
                index.paths.entry(pattern.text.clone()).or_default().push(number);
                continue;
            }
            match needs(pattern).into_iter().min_by_key(|need| (frequency[need], *need)) {
                Some(Need::Part(part)) => index.parts.entry(part.into()).or_default().push(number),
                Some(Need::Head(head)) => index.heads.add(head, number),
                Some(Need::Tail(tail)) => index.tails.add(tail, number),
                None => index.always.push(number),
            }
        }
        index
    }

    /// Puts the numbers of all patterns that match `path` in `found`, in rising order.
    pub(super) fn collect(&self, patterns: &[Pattern], path: &str, found: &mut Vec<u32>) {
        self.candidates(path, found);
        found.retain(|number| patterns[*number as usize].matches(path));
        if let Some(exact) = self.paths.get(path) {
            found.extend(exact);
            found.sort_unstable();
        }
    }

    /// Puts the numbers of all patterns that could match `path`, whole paths apart, in `found`, in rising order.
    pub(super) fn candidates(&self, path: &str, found: &mut Vec<u32>) {
        found.clear();
        found.extend(&self.always);
        if !(self.parts.is_empty() && self.heads.is_empty() && self.tails.is_empty()) {
            for part in path.split('/') {
                found.extend(self.parts.get(part).into_iter().flatten());
                let bytes = part.as_bytes();
                self.heads.look_up(bytes, |length| &bytes[..length], found);
                self.tails.look_up(bytes, |length| &bytes[bytes.len() - length..], found);
            }
        }
        found.sort_unstable();
        found.dedup();
    }
}

impl Ends {
    fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    fn add(&mut self, text: &str, number: u32) {
        self.by_text.entry(text.as_bytes().into()).or_default().push(number);
        if let Err(place) = self.lengths.binary_search(&text.len()) {
            self.lengths.insert(place, text.len());
        }
    }

    fn look_up<'a>(&self, part: &[u8], piece: impl Fn(usize) -> &'a [u8], candidates: &mut Vec<u32>) {
        for length in self.lengths.iter().take_while(|length| **length <= part.len()) {
            candidates.extend(self.by_text.get(piece(*length)).into_iter().flatten());
        }
    }
}

/// Everything that a path must have for the pattern to match.
fn needs(pattern: &Pattern) -> Vec<Need<'_>> {
    if !pattern.is_plain() {
        return Vec::new();
    }
    let parts: Vec<&str> = pattern.text.split('/').collect();
    let mut found = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        if part.is_empty() {
            continue;
        }
        // `**/` also stands for nothing at all: `a**/b` matches `ab`, and so does `a**/**/b`. Only where a part or the
        // whole path ends before the first `**` does what follows begin a part.
        let before = parts[..index].iter().rev().find(|before| **before != "**");
        let loose_before = before.is_some_and(|before| before.ends_with("**"));
        let head = part.split(['*', '?']).next().unwrap_or_default();
        let tail = part.rsplit(['*', '?']).next().unwrap_or_default();
        // In a part with `**` in it the two ends can be parts of different directories; each still begins or ends one. At
        // its end, though, `a**` followed by `/b` does not even need a `/`.
        let loose_after = part.ends_with("**") && *part != "**";
        if head.len() == part.len() {
            found.push(if loose_before { Need::Tail(part) } else { Need::Part(part) });
            continue;
        }
        if !head.is_empty() && !loose_before {
            found.push(Need::Head(head));
        }
        if !tail.is_empty() && !loose_after {
            found.push(Need::Tail(tail));
        }
    }
    found
}
