//! What every [`BlobSource`] must do, as one suite that each implementation runs.

use std::io::{ErrorKind, Read as _};

use super::{BlobSource, StoreError};
use crate::base::{Descriptor, Digest, ErrorClass, Failure as _};

/// Runs the suite on a source that holds exactly `blobs`, at least one of them over 64 KiB and one empty.
pub(crate) fn is_a_blob_source(source: &dyn BlobSource, blobs: &[Vec<u8>]) {
    for bytes in blobs {
        let good = Descriptor::of("application/octet-stream", bytes);
        assert_eq!(source.size_of(&good.digest).expect("answers"), Some(good.size));
        assert_eq!(source.read(&good, good.size).expect("readable"), *bytes, "the limit is inclusive");

        let mut read = Vec::new();
        source.open(&good).expect("opens").read_to_end(&mut read).expect("readable");
        assert_eq!(read, *bytes);
        // In pieces, and once more at the end: what was proven stays proven.
        let mut reader = source.open(&good).expect("opens");
        let mut piece = [0; 7];
        let mut seen = 0;
        loop {
            let count = reader.read(&mut piece).expect("readable");
            seen += count as u64;
            if count == 0 {
                break;
            }
        }
        assert_eq!(seen, good.size);
        assert_eq!(reader.read(&mut piece).expect("readable"), 0);

        for size in [good.size + 1, good.size.wrapping_sub(1)] {
            let wrong = Descriptor { size, ..good.clone() };
            let answer = source.read(&wrong, u64::MAX);
            assert!(matches!(answer, Err(StoreError::WrongSize { .. })), "{answer:?}");
            assert!(matches!(source.open(&wrong), Err(StoreError::WrongSize { .. })));
        }
        if good.size > 0 {
            let answer = source.read(&good, good.size - 1);
            assert!(matches!(answer, Err(StoreError::TooLarge { .. })), "{answer:?}");
        }
    }
    let absent = Descriptor::of("application/octet-stream", b"nowhere");
    assert_eq!(source.size_of(&absent.digest).expect("answers"), None);
    assert!(matches!(source.open(&absent), Err(StoreError::Missing { digest }) if digest == absent.digest));
    let answer = source.read(&absent, 100).expect_err("it is absent");
    assert_eq!(answer.class(), ErrorClass::Incomplete);
}

/// Runs the suite's part about damage: `source` holds a blob under `descriptor` whose bytes are not its own.
pub(crate) fn finds_damage(source: &dyn BlobSource, descriptor: &Descriptor) {
    let answer = source.read(descriptor, u64::MAX).expect_err("it is damaged");
    assert!(matches!(answer, StoreError::Corrupt { expected, .. } if expected == descriptor.digest), "{answer}");
    assert_eq!(answer.class(), ErrorClass::Integrity);
    let mut reader = source.open(descriptor).expect("damage shows only when it is read");
    let error = std::io::copy(&mut reader, &mut std::io::sink()).expect_err("the end is never reached");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    let verdict = StoreError::from_read(error, "x");
    assert!(matches!(verdict, StoreError::Corrupt { found, .. } if found != Digest::of("")), "{verdict}");
}
