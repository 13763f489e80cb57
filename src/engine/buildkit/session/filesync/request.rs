use tonic::Status;
use tonic::metadata::MetadataMap;

use super::filter::Selection;

/// Request metadata of `DiffCopy` (moby/buildkit session/filesync).
const DIR_NAME: &str = "dir-name";
const INCLUDE: &str = "include-patterns";
const EXCLUDE: &str = "exclude-patterns";
const FOLLOW: &str = "followpaths";

/// What the daemon wants to be sent: the name of the source, and what of it.
pub(super) fn decode(metadata: &MetadataMap) -> Result<(String, Selection), Status> {
    let name = values(metadata, DIR_NAME)?.into_iter().next().unwrap_or_default();
    let follow = values(metadata, FOLLOW)?;
    Ok((
        name,
        Selection {
            include: values(metadata, INCLUDE)?,
            exclude: values(metadata, EXCLUDE)?,
            follow: (!follow.is_empty()).then_some(follow),
        },
    ))
}

/// All values of a key. If one of them is not ASCII, the daemon escapes them all and says so with `KEY-encoded: 1` (0.12 on).
fn values(metadata: &MetadataMap, key: &str) -> Result<Vec<String>, Status> {
    let marker = metadata.get(format!("{key}-encoded"));
    let encoded =
        marker.is_some_and(|value| matches!(value.as_bytes(), b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True"));
    metadata
        .get_all(key)
        .iter()
        .map(|value| {
            let bytes = value.as_bytes();
            let text = if encoded { unescape(bytes) } else { Some(bytes.to_vec()) };
            text.map(|bytes| super::tree::matchable(&bytes).into_owned())
                .ok_or_else(|| Status::invalid_argument(format!("a value of `{key}` is not escaped as announced")))
        })
        .collect()
}

/// Undoes Go's `url.QueryEscape`: `+` is a blank, `%` two hexadecimal digits.
fn unescape(value: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = value.iter();
    let mut plain = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(*byte).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => *other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.append(*key, value.parse().unwrap());
        }
        metadata
    }

    #[test]
    fn repeated_values_keep_their_order() {
        let (name, selection) = decode(&metadata(&[
            ("dir-name", "context"),
            ("exclude-patterns", "a+b%41"),
            ("exclude-patterns", "!c, d"),
            ("followpaths", "x"),
        ]))
        .unwrap();
        assert_eq!(name, "context");
        assert_eq!(selection.exclude, ["a+b%41", "!c, d"]);
        assert_eq!(selection.follow, Some(vec!["x".to_owned()]));
        assert!(selection.include.is_empty());
    }

    #[test]
    fn escaped_values_are_unescaped_where_it_is_said() {
        let (_, selection) = decode(&metadata(&[
            ("exclude-patterns", "%C3%A4+b%2Bc%2A"),
            ("exclude-patterns", "%ff"),
            ("exclude-patterns-encoded", "1"),
            ("include-patterns", "%41"),
        ]))
        .unwrap();
        assert_eq!(selection.exclude, ["ä b+c*", "\u{fffd}"]);
        assert_eq!(selection.include, ["%41"]);
        assert_eq!(selection.follow, None);
        for broken in ["%", "%4", "%zz", "%+1"] {
            let metadata = metadata(&[("followpaths", broken), ("followpaths-encoded", "1")]);
            assert_eq!(decode(&metadata).unwrap_err().code(), tonic::Code::InvalidArgument, "{broken}");
        }
    }
}
