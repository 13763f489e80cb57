use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Which members of a JSON document carry meaning, so that no reader can be led to see another document than we do.
///
/// Go's decoder, which every importer and most registries use, matches member names without regard to case and keeps the last of
/// two equal ones: `{"digest":"good","Digest":"bad"}` is `bad` there. A spelling that only folds to a known name is
/// therefore refused where the document is `structural`.
#[derive(Debug, Clone, Copy)]
pub struct JsonShape {
    /// Names that must be spelled exactly like this in structural objects.
    pub names: &'static [&'static str],
    /// Members whose value (or whose elements) are structural again. The document itself is.
    pub structural: &'static [&'static str],
}

impl JsonShape {
    /// No names are known: only duplicates are refused.
    pub const ANY: Self = Self { names: &[], structural: &[] };
}

/// Parses a JSON document that others wrote: duplicate member names are refused at every depth (I-JSON, RFC 7493), and so are
/// misspellings of `shape`'s names. Nesting is bounded by `serde_json` (128).
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8], shape: &JsonShape) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Walk { shape, strict: true }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    serde_json::from_slice(bytes)
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    shape: &'a JsonShape,
    strict: bool,
}

/// Equal to Go's simple folding for the ASCII names that we look for: two non-ASCII characters fold to ASCII letters.
fn folds_to(text: &str, name: &str) -> bool {
    text.chars().count() == name.len()
        && text.chars().zip(name.chars()).all(|(written, known)| {
            let written = match written {
                '\u{17f}' => 's',
                '\u{212a}' => 'k',
                other => other.to_ascii_lowercase(),
            };
            written == known.to_ascii_lowercase()
        })
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if self.strict
                && let Some(known) = self.shape.names.iter().find(|known| folds_to(&name, known) && **known != name)
            {
                return Err(A::Error::custom(format_args!("member {name:?} could be taken for `{known}`")));
            }
            let strict = self.strict && self.shape.structural.contains(&name.as_str());
            if seen.contains(&name) {
                return Err(A::Error::custom(format_args!("member {name:?} stands there twice")));
            }
            seen.insert(name);
            members.next_value_seed(Self { shape: self.shape, strict })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SHAPE: JsonShape = JsonShape { names: &["digest", "layers"], structural: &["layers"] };

    fn refused(text: &str) -> Option<String> {
        parse_json::<Value>(text.as_bytes(), &SHAPE).err().map(|error| error.to_string())
    }

    #[test]
    fn refuses_duplicates_at_every_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"[{"x":{"a":1,"b":2,"a":3}}]"#,
            r#"{"layers":[{"digest":"good","digest":"bad"}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert!(refused(text).is_some_and(|error| error.contains("twice")), "{text}");
        }
        assert_eq!(refused(r#"{"a":{"x":1},"b":{"x":1}}"#), None);
    }

    #[test]
    fn refuses_what_go_would_take_for_a_known_name() {
        for text in [
            r#"{"Digest":"x"}"#,
            r#"{"layers":[{"DIGEST":"x"}]}"#,
            "{\"layer\u{17f}\":[]}",
            r#"{"digest":"good","diGest":"bad"}"#,
        ] {
            assert!(refused(text).is_some_and(|error| error.contains("taken for")), "{text}");
        }
        assert_eq!(refused(r#"{"annotations":{"Digest":"x","digest":"y"}}"#), None, "a map of the user's own names");
    }

    #[test]
    fn refuses_what_is_no_json() {
        for text in ["", "{", "{} {}", "\u{feff}{}", "{\"a\":1e400}", "{\"a\":\"\\ud800\"}", "\0", "{\"a\":\"\u{1}\"}"]
        {
            assert!(refused(text).is_some(), "{text:?}");
        }
        assert!(refused(&"[".repeat(100_000)).is_some());
    }
}
