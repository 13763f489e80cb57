use std::fs;
use std::path::Path;

use catamaran::bundle::{BundleReader, ContentsLock, write_bundle};
use catamaran::event::NoEvents;
use catamaran::store::Layout;
use catamaran::verify::{Depth, ExpectedIndex, verify_layout, verify_names};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio_util::sync::CancellationToken;

use crate::support::images::Fleet;

/// What is wrong with a layout, the way `verify` looks at it; empty if nothing is.
fn layout_findings(root: &Path, roots: &[ExpectedIndex]) -> Vec<String> {
    let layout = match Layout::open(root) {
        Ok(layout) => layout,
        Err(error) => return vec![error.to_string()],
    };
    let mut findings = match layout.index() {
        Ok(entries) => verify_names(&entries, roots).iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    };
    let report = verify_layout(&layout, roots, Depth::Blobs, &CancellationToken::new());
    findings.extend(report.findings.iter().map(ToString::to_string));
    findings
}

/// The same for a bundle, which must say itself what it holds.
fn bundle_findings(path: &Path, roots: &[ExpectedIndex]) -> Vec<String> {
    let bundle = match BundleReader::open(path) {
        Ok(bundle) => bundle,
        Err(error) => return vec![error.to_string()],
    };
    let report = verify_layout(&bundle, roots, Depth::Blobs, &CancellationToken::new());
    let mut findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    findings.extend(bundle.check_views().err().map(|error| error.to_string()));
    findings.extend(verify_names(&bundle.index(), roots).iter().map(ToString::to_string));
    findings
}

struct Bundled {
    fleet: Fleet,
    bytes: Vec<u8>,
}

fn bundled() -> Bundled {
    let fleet = Fleet::small(&["api", "web"], &["amd64", "arm64"]);
    let path = fleet.directory.path().join("fleet.tar");
    write_bundle(&fleet.layout, &fleet.contents(), &path, &NoEvents, &CancellationToken::new()).expect("written");
    let bytes = fs::read(&path).expect("readable");
    assert_eq!(bundle_findings(&path, &fleet.roots), [""; 0]);
    assert_eq!(layout_findings(fleet.layout.root(), &fleet.roots), [""; 0]);
    Bundled { fleet, bytes }
}

#[test]
fn any_bit_flip_in_a_layout_is_reported_with_its_blob() {
    let Bundled { fleet, .. } = bundled();
    let blobs = fleet.blobs();
    let mut runner = proptest::test_runner::TestRunner::default();
    let strategy = (any::<Index>(), any::<Index>(), 0_u8..8);
    runner
        .run(&strategy, |(blob, at, bit)| {
            let digest = blob.get(&blobs);
            let path = fleet.blob_path(digest);
            let good = fs::read(&path).expect("readable");
            let mut bad = good.clone();
            bad[at.index(good.len())] ^= 1 << bit;
            fs::write(&path, &bad).expect("writable");
            let findings = layout_findings(fleet.layout.root(), &fleet.roots);
            fs::write(&path, &good).expect("writable");
            prop_assert!(
                findings.iter().any(|finding| finding.contains(&digest.to_string())),
                "{digest}: {findings:?}"
            );
            Ok(())
        })
        .expect("every flip is found");
}

#[test]
fn any_truncation_in_a_layout_is_reported_with_its_blob() {
    let Bundled { fleet, .. } = bundled();
    let blobs = fleet.blobs();
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&(any::<Index>(), any::<Index>()), |(blob, length)| {
            let digest = blob.get(&blobs);
            let path = fleet.blob_path(digest);
            let good = fs::read(&path).expect("readable");
            fs::write(&path, &good[..length.index(good.len())]).expect("writable");
            let findings = layout_findings(fleet.layout.root(), &fleet.roots);
            fs::write(&path, &good).expect("writable");
            prop_assert!(
                findings.iter().any(|finding| finding.contains(&digest.to_string())),
                "{digest}: {findings:?}"
            );
            Ok(())
        })
        .expect("every truncation is found");
}

#[test]
fn any_bit_flip_in_a_layouts_index_is_reported_or_changes_nothing() {
    let Bundled { fleet, .. } = bundled();
    let path = fleet.layout.root().join("index.json");
    let good = fs::read(&path).expect("readable");
    let entries = fleet.layout.index().expect("readable");
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            fs::write(&path, &bad).expect("writable");
            // A flip in the name of a member that says nothing to us, such as the file's own media type.
            let harmless = fleet.layout.index().is_ok_and(|changed| changed == entries);
            let entries_only = || match fleet.layout.index() {
                Ok(entries) => !verify_names(&entries, &fleet.roots).is_empty(),
                Err(_) => true,
            };
            assert!(harmless || entries_only(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn any_bit_flip_in_a_bundle_is_reported() {
    let Bundled { fleet, bytes } = bundled();
    let path = fleet.directory.path().join("flipped.tar");
    let lock = BundleReader::open(fleet.directory.path().join("fleet.tar")).expect("a bundle").lock().clone();
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&(any::<Index>(), 0_u8..8), |(at, bit)| {
            let at = at.index(bytes.len());
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            fs::write(&path, &bad).expect("writable");
            let findings = bundle_findings(&path, &fleet.roots);
            prop_assert!(!findings.is_empty(), "bit {bit} of byte {at}");
            // Where the byte is a blob's, the finding must say which.
            let blob = blob_at(&lock, bytes.len() as u64, at as u64);
            if let Some(digest) = blob {
                prop_assert!(findings.iter().any(|finding| finding.contains(&digest)), "{digest}: {findings:?}");
            }
            Ok(())
        })
        .expect("every flip is found");
}

/// The blob whose content byte `at` of a bundle of `size` bytes is. Blobs are the last thing in it but the end blocks.
fn blob_at(lock: &ContentsLock, size: u64, at: u64) -> Option<String> {
    let mut end = size - 1024;
    for blob in lock.blobs.iter().rev() {
        let begin = end - blob.size.next_multiple_of(512);
        if (begin..begin + blob.size).contains(&at) {
            return Some(blob.digest.to_string());
        }
        end = begin - 512;
    }
    None
}

#[test]
fn any_truncation_of_a_bundle_is_reported() {
    let Bundled { fleet, bytes } = bundled();
    let path = fleet.directory.path().join("cut.tar");
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&any::<Index>(), |length| {
            let length = length.index(bytes.len());
            fs::write(&path, &bytes[..length]).expect("writable");
            let error = BundleReader::open(&path).expect_err("it is cut");
            prop_assert!(error.to_string().contains("truncated"), "{length}: {error}");
            Ok(())
        })
        .expect("every truncation is found");
    // The last byte of the end blocks too, and a byte too many.
    for wrong in [&bytes[..bytes.len() - 1], &[&bytes[..], b"\0"].concat()] {
        fs::write(&path, wrong).expect("writable");
        assert!(BundleReader::open(&path).is_err());
    }
}
