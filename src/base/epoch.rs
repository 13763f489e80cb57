use std::fmt;
use std::str::FromStr;

/// Seconds since 1970-01-01 UTC to which times in images are clamped, as `SOURCE_DATE_EPOCH` defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

/// Why a text is not an epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a number of seconds since 1970")]
pub struct InvalidEpoch {
    text: String,
}

/// 9999-12-31T23:59:59Z: the last second that RFC 3339, and so an image config, can hold.
const LAST: u64 = 253_402_300_799;

impl Epoch {
    /// An epoch of `seconds` since 1970, if an image config can hold it.
    pub fn from_seconds(seconds: u64) -> Result<Self, InvalidEpoch> {
        if seconds <= LAST { Ok(Self(seconds)) } else { Err(InvalidEpoch { text: seconds.to_string() }) }
    }

    /// Seconds since 1970-01-01 UTC.
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl FromStr for Epoch {
    type Err = InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidEpoch { text: text.chars().take(40).collect() };
        text.trim().parse().map_err(|_| invalid()).and_then(Self::from_seconds)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
