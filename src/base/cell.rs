use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Platform;

/// The name of a component, external or service: `[a-z0-9]+([._-][a-z0-9]+)*`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentName(Arc<str>);

/// Why a text is not a component name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a component name (lower-case letters and digits, joined by single `.`, `_` or `-`)")]
pub struct InvalidComponentName {
    text: String,
}

impl ComponentName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ComponentName {
    type Err = InvalidComponentName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let separator = |c: char| matches!(c, '.' | '_' | '-');
        let valid = text.len() <= 128
            && text
                .split(separator)
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        if valid { Ok(Self(text.into())) } else { Err(InvalidComponentName { text: text.chars().take(128).collect() }) }
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for ComponentName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ComponentName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One (component, platform): the unit of building, of failing, of completeness. Shown `nginx/arm64`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CellId {
    /// The component or external.
    pub component: ComponentName,
    /// The platform.
    pub platform: Platform,
}

impl CellId {
    /// The cell of `component` for `platform`.
    pub const fn new(component: ComponentName, platform: Platform) -> Self {
        Self { component, platform }
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.component, self.platform.short()))
    }
}

impl fmt::Debug for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What became of a cell. Every cell of a matrix is in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellState {
    /// Built in this run; `status`: present in the layout.
    Built,
    /// Its inputs are unchanged and its result is in the layout.
    Reused,
    /// An external, brought in whole.
    Mirrored,
    /// Left out, with a declared reason.
    Excluded,
    /// Its own build failed.
    Failed,
    /// It waited for a cell that failed.
    Blocked,
    /// It is not in the layout.
    Missing,
    /// The run was stopped before it ended.
    Cancelled,
}

impl CellState {
    /// All of them, in the order in which people are told how many there are.
    pub const ALL: [Self; 8] = [
        Self::Built,
        Self::Reused,
        Self::Mirrored,
        Self::Failed,
        Self::Blocked,
        Self::Missing,
        Self::Cancelled,
        Self::Excluded,
    ];

    /// Whether a matrix of only such cells may end with exit code 0.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Built | Self::Reused | Self::Mirrored | Self::Excluded)
    }

    /// The word of the contract.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Reused => "reused",
            Self::Mirrored => "mirrored",
            Self::Excluded => "excluded",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Missing => "missing",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for CellState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        for good in ["a", "slurm-master", "a.b_c-d", "7zip"] {
            assert!(good.parse::<ComponentName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a--b", "A", "a/b", "a b", "ä", "..", "a\n"] {
            assert!(bad.parse::<ComponentName>().is_err(), "{bad:?}");
        }
    }
}
