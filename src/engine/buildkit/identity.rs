use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};

/// A fresh name for a build or a session: 32 lower-case hex characters, so it holds none of the daemon's separators
/// (a `:` would make it look up another session).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity(String);

impl Identity {
    /// A name that was never used: the daemon refuses one that it saw in the last ten seconds.
    pub(super) fn random() -> Self {
        let mut bytes = [0_u8; 16];
        SystemRandom::new().fill(&mut bytes).expect("the kernel's random source does not fail once it is seeded");
        Self(hex(&bytes))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}
