use std::time::SystemTime;

use super::listing::Listing;
use super::{Cause, Change, How, Input, InputKind, Read};
use crate::base::Digest;
use crate::engine::buildkit::{InventoryEntry, Selection};
use crate::engine::{Asked, ContextReads};

fn asked(context: Option<&str>, exclude: &[&str], follow: &[&str]) -> Asked {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let follow = (!follow.is_empty()).then(|| texts(follow));
    Asked {
        context: context.map(str::to_owned),
        selection: Selection { include: Vec::new(), exclude: texts(exclude), follow },
    }
}

fn reads(asked: Option<Vec<Asked>>, patterns: &[&str]) -> Result<Vec<Read>, String> {
    let reads = ContextReads { since: SystemTime::now(), asked };
    let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
    Read::of_build(&reads, [None, Some("extra")].into_iter(), |_| patterns.clone())
}

fn names(reads: &[Read]) -> Vec<String> {
    reads.iter().flat_map(|read| read.parts(&[])).map(|(name, _)| name).collect()
}

#[test]
fn what_a_builder_does_not_tell_may_be_everything() {
    assert_eq!(names(&reads(None, &[]).expect("it fits")), [".", "extra: ."]);
    assert_eq!(names(&reads(Some(Vec::new()), &[]).expect("it fits")), [""; 0]);
    let all = reads(Some(vec![asked(None, &["x"], &[])]), &["x"]).expect("it fits");
    assert_eq!(names(&all), ["."]);
}

#[test]
fn the_look_for_patterns_is_no_input_and_a_copy_of_them_is() {
    let look = || asked(None, &[], &[".dockerignore"]);
    let copy = asked(None, &["x"], &["src", "doc/a"]);
    assert_eq!(names(&reads(Some(vec![look(), copy]), &["x"]).expect("it fits")), ["src", "doc/a"]);
    // Without a pattern the two look the same.
    assert_eq!(names(&reads(Some(vec![look()]), &[]).expect("it fits")), [".dockerignore"]);
    let named = asked(Some("extra"), &["x"], &["a"]);
    assert_eq!(names(&reads(Some(vec![named]), &["x"]).expect("it fits")), ["extra: a"]);
}

#[test]
fn patterns_that_are_not_those_of_the_builder_are_no_ground_to_stand_on() {
    let copy = || Some(vec![asked(None, &["x"], &["src"])]);
    assert!(reads(copy(), &["x"]).is_ok());
    assert!(reads(copy(), &["x", "y"]).is_err());
    assert!(reads(copy(), &[]).is_err());
}

fn listing(entries: &[(&str, &str)]) -> Listing {
    let mut listing = Listing::default();
    for (path, content) in entries {
        let entry = InventoryEntry {
            path: (*path).to_owned(),
            mode: 0o644,
            size: 0,
            link: String::new(),
            modified: 0,
            changed: 0,
            identity: (0, 0),
        };
        listing.add(&entry, Some(Digest::of(content)));
    }
    listing
}

#[test]
fn changes_are_told_by_path() {
    let whole = |name: &str| Input { kind: InputKind::Files, name: name.to_owned(), digest: Digest::of("") };
    let told = |changes: Vec<Change>| {
        changes.into_iter().map(|change| Cause::Input(change).to_string()).collect::<Vec<_>>().join("; ")
    };
    let before = listing(&[("a", "1"), ("b", "1"), ("c\nd\t1", "1")]);
    let now = listing(&[("a", "2"), ("c\nd\t1", "1"), ("e", "1")]);
    assert_eq!(
        told(Listing::changes(Some(&before), &now, &whole("."))),
        "file `a` changed; file `b` removed; file `e` added"
    );
    assert_eq!(told(Listing::changes(Some(&before), &now, &whole("x: src"))).matches("file `x: ").count(), 3);
    assert_eq!(told(Listing::changes(None, &now, &whole("src"))), "file `src` changed");
    assert_ne!(listing(&[("a\tb", "1")]).digest(), listing(&[("a\\tb", "1")]).digest());
    assert_eq!(How::Added.word(), "added");
}

#[test]
fn a_listing_that_was_kept_comes_back_or_is_none() {
    let directory = tempfile::tempdir().expect("a folder");
    let listing = listing(&[("a", "1")]);
    listing.keep(directory.path());
    assert!(Listing::kept(directory.path(), &listing.digest()).is_some());
    std::fs::write(directory.path().join(listing.digest().hex()), "torn").expect("ours");
    assert!(Listing::kept(directory.path(), &listing.digest()).is_none());
}
