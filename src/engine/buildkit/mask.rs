use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;

use base64::Engine as _;
use bytes::Bytes;

use crate::engine::SecretSource;

/// Values shorter than this are not looked for: they would blank ordinary words.
const SHORTEST: usize = 6;
/// What is read of a secret's file: the limit for secrets.
const LIMIT: u64 = 500 << 10;
const MASK: &[u8] = b"***";

/// Replaces the values of secrets in what steps print by `***`, also where a value is cut by the border of two chunks.
///
/// A step that echoes a secret is a mistake of its Dockerfile, and BuildKit passes it on; logs are kept and shown, so it ends
/// here, before any consumer. Looked for are each line of each value, as it is and in base64.
#[derive(Debug, Default)]
pub(super) struct Mask {
    /// Longest first, so that a value that begins with another one is replaced whole.
    values: Vec<Vec<u8>>,
    /// The end of an output that may be the beginning of a value, by step and stream.
    held: HashMap<(String, i64), Vec<u8>>,
}

impl Mask {
    /// Reads the secrets that are files: call it where blocking is allowed. One that cannot be read masks nothing; the
    /// builder will ask for it and be told why.
    pub(super) fn new(secrets: &BTreeMap<String, SecretSource>) -> Self {
        let mut values = Vec::new();
        for secret in secrets.values() {
            let mut bytes = Vec::new();
            match secret {
                SecretSource::Value(value) => bytes.extend_from_slice(value.reveal().as_bytes()),
                SecretSource::File(path) => {
                    if std::fs::File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)).is_err() {
                        continue;
                    }
                }
            }
            let encode = |value: &[u8]| base64::engine::general_purpose::STANDARD.encode(value).into_bytes();
            values.push(encode(&bytes));
            values.push(encode(bytes.trim_ascii()));
            values.extend(bytes.split(|byte| *byte == b'\n').map(|line| line.trim_ascii().to_vec()));
        }
        values.retain(|value| value.len() >= SHORTEST);
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self { values, held: HashMap::new() }
    }

    /// What may be shown of the next `chunk` of a step's output; the rest comes with a later one or with [`Mask::rest`].
    pub(super) fn feed(&mut self, step: &str, stream: i64, chunk: Bytes) -> Bytes {
        if self.values.is_empty() {
            return chunk;
        }
        let key = (step.to_owned(), stream);
        let mut text = self.held.remove(&key).unwrap_or_default();
        text.extend_from_slice(&chunk);
        let mut shown = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if let Some(value) = self.values.iter().find(|value| rest.starts_with(value)) {
                shown.extend_from_slice(MASK);
                at += value.len();
            } else if self.values.iter().any(|value| value.starts_with(rest)) {
                break;
            } else {
                shown.push(text[at]);
                at += 1;
            }
        }
        if at < text.len() {
            self.held.insert(key, text.split_off(at));
        }
        shown.into()
    }

    /// What was held back and turned out to be no secret, by step and stream; nothing more will come.
    pub(super) fn rest(&mut self) -> Vec<((String, i64), Bytes)> {
        self.held.drain().map(|(key, bytes)| (key, bytes.into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Secret;

    fn mask(value: &str) -> Mask {
        Mask::new(&BTreeMap::from([("token".to_owned(), SecretSource::Value(Secret::new(value)))]))
    }

    fn shown(mask: &mut Mask, chunks: &[&[u8]]) -> String {
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend_from_slice(&mask.feed("s", 1, Bytes::copy_from_slice(chunk)));
        }
        for (_, bytes) in mask.rest() {
            out.extend_from_slice(&bytes);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn masks_lines_and_base64() {
        let mut mask = mask("hunter2hunter2\nsecond-line\n");
        let text = b"a hunter2hunter2 b second-line c aHVudGVyMmh1bnRlcjIKc2Vjb25kLWxpbmUK d\n";
        assert_eq!(shown(&mut mask, &[text]), "a *** b *** c *** d\n");
    }

    #[test]
    fn short_values_and_no_secrets_change_nothing() {
        assert_eq!(shown(&mut mask("abc"), &[b"abcabc"]), "abcabc");
        assert_eq!(shown(&mut Mask::default(), &[b"hunter2hunter2"]), "hunter2hunter2");
    }

    #[test]
    fn streams_are_apart() {
        let mut mask = mask("hunter2");
        assert_eq!(mask.feed("s", 1, Bytes::from_static(b"hun")), "");
        assert_eq!(mask.feed("s", 2, Bytes::from_static(b"ter2")), "ter2");
        assert_eq!(mask.feed("s", 1, Bytes::from_static(b"dred")), "hundred");
    }

    proptest! {
        #[test]
        fn chunk_borders_change_nothing(text in "[hunter2 \n]{0,60}(hunter2)?[a-c]{0,5}", cuts in prop::collection::vec(0_usize..80, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(shown(&mut mask("hunter2"), &chunks), text.replace("hunter2", "***"));
        }
    }
}
