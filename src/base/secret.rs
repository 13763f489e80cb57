use std::fmt;

use base64::Engine as _;

/// A value that must never be shown: `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; the one place where it leaves its wrapper.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Replaces known secret values by `***` in texts that are about to be shown or kept.
///
/// Values under six characters are not looked for: they would blank ordinary words. The base64 form is looked for too,
/// since that is how basic credentials travel.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    values: Vec<Secret>,
}

impl Redactor {
    /// Adds a value to look for.
    pub fn add(&mut self, secret: &Secret) {
        if secret.reveal().len() >= 6 {
            let encoded = base64::engine::general_purpose::STANDARD.encode(secret.reveal());
            for value in [secret.clone(), Secret::new(encoded)] {
                if !self.values.contains(&value) {
                    self.values.push(value);
                }
            }
        }
    }

    /// `text` with every known value replaced.
    pub fn redact(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for value in &self.values {
            if out.contains(value.reveal()) {
                out = out.replace(value.reveal(), "***");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows_its_value() {
        let secret = Secret::new("hunter2hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        let mut redactor = Redactor::default();
        redactor.add(&secret);
        assert_eq!(redactor.redact("password hunter2hunter2 / aHVudGVyMmh1bnRlcjI="), "password *** / ***");
    }
}
