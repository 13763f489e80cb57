use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A validated `sha256` content digest.
///
/// Written `sha256:` followed by 64 lower-case hex characters (OCI image-spec, "Digests"). Other registered algorithms are
/// refused: nothing here may be trusted that cannot be verified, and a digest is the only way to build a blob path or URL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Why a text is not a usable digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a sha256 digest (`sha256:` and 64 lower-case hex characters)")]
pub struct InvalidDigest {
    text: String,
}

impl Digest {
    /// Digest of `bytes`, computed now.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        let mut hasher = DigestHasher::new();
        hasher.update(bytes.as_ref());
        hasher.finish()
    }

    /// A digest from its 32 raw bytes.
    pub const fn from_raw(raw: [u8; 32]) -> Self {
        Self(raw)
    }

    /// The 32 raw bytes.
    pub const fn raw(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 lower-case hex characters after `sha256:`, which name the blob's file in a layout.
    pub fn hex(&self) -> String {
        let mut out = String::with_capacity(64);
        for byte in self.0 {
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
        out
    }

    /// The first 12 hex characters, for people.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// A digest from its 64 hex characters, as a layout's file names have them.
    pub fn from_hex(hex: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest { text: hex.chars().take(120).collect() };
        let bytes = hex.as_bytes();
        if bytes.len() != 64 {
            return Err(invalid());
        }
        let mut raw = [0_u8; 32];
        for (slot, pair) in raw.iter_mut().zip(bytes.chunks_exact(2)) {
            let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
                return Err(invalid());
            };
            *slot = high << 4 | low;
        }
        Ok(Self(raw))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Lower-case only: two spellings of one digest would be two names for one blob.
const fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("sha256:")
            .and_then(|hex| Self::from_hex(hex).ok())
            .ok_or_else(|| InvalidDigest { text: text.chars().take(120).collect() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a JSON document that cannot be used points to blobs by `sha512`: registered (OCI image-spec, "Digests"), and not
/// supported. Any other digest that is no `sha256` is damage or an attack.
pub fn has_sha512(document: &[u8]) -> bool {
    fn within(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Array(elements) => elements.iter().any(within),
            serde_json::Value::Object(members) => members.iter().any(|(name, value)| match value {
                serde_json::Value::String(text) if name == "digest" => is_sha512(text),
                value => within(value),
            }),
            _ => false,
        }
    }
    serde_json::from_slice(document).is_ok_and(|value| within(&value))
}

fn is_sha512(text: &str) -> bool {
    text.strip_prefix("sha512:").is_some_and(|hex| hex.len() == 128 && hex.bytes().all(|byte| nibble(byte).is_some()))
}

/// Computes a [`Digest`] from bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct DigestHasher(sha2::Sha256);

impl DigestHasher {
    /// A hasher that has seen no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for DigestHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn hashes_the_empty_text_to_the_published_value() {
        assert_eq!(Digest::of("").to_string(), EMPTY);
    }

    #[test]
    fn parses_what_it_prints() {
        let digest = Digest::of("catamaran");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(Digest::from_hex(&digest.hex()), Ok(digest));
    }

    #[test]
    fn sha512_is_told_from_damage() {
        let hex = "0f".repeat(64);
        let document = |digest: &str| format!(r#"{{"manifests":[{{"digest":"{digest}","size":3}}]}}"#);
        assert!(has_sha512(document(&format!("sha512:{hex}")).as_bytes()));
        for digest in
            [EMPTY, "md5:../../etc/passwd", &format!("sha512:{hex}0"), &format!("sha512:{}", &hex[1..]), "sha512:"]
        {
            assert!(!has_sha512(document(digest).as_bytes()), "{digest}");
        }
        assert!(!has_sha512(format!(r#"{{"annotations":{{"note":"sha512:{hex}"}}}}"#).as_bytes()));
        assert!(!has_sha512(b"{"));
    }

    #[test]
    fn refuses_every_other_spelling() {
        let upper = EMPTY.to_uppercase();
        let upper_hex = format!("sha256:{}", &upper[7..]);
        for text in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &EMPTY[..70],
            &format!("{EMPTY}0"),
            &upper,
            &upper_hex,
            &EMPTY.replace("sha256:", "SHA256:"),
            &EMPTY.replace("e3", "%65"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
