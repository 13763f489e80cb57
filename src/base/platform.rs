use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and processor, always normalised: `os/arch[/variant]`.
///
/// `arm64`, `aarch64`, `linux/arm64/v8` and `Linux/ARM64` are all `linux/arm64`; `x86_64` and `linux/amd64/v1` are
/// `linux/amd64`; `armhf` and `linux/arm` are `linux/arm/v7`; `armel` is `linux/arm/v6` (containerd's `platforms`
/// package has the same rules). Ordered by os, architecture, variant.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlatform {
    /// Nothing was written.
    #[error("an empty platform")]
    Empty,
    /// Not one to three parts of letters, digits, `_`, `.` and `-`.
    #[error("`{text}` is not of the form os/arch[/variant]")]
    Malformed {
        /// What was written.
        text: String,
    },
    /// The operating system is not one that images are made for.
    #[error("unknown operating system `{os}` in platform `{text}`")]
    UnknownOs {
        /// What was written.
        text: String,
        /// Its first part.
        os: String,
    },
    /// The architecture is not one that images are made for.
    #[error("unknown platform `{text}`")]
    UnknownArchitecture {
        /// What was written.
        text: String,
        /// The platform that was probably meant, if one is near.
        suggestion: Option<String>,
    },
}

impl InvalidPlatform {
    /// What to write instead, if that can be guessed.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::UnknownArchitecture { suggestion, .. } => suggestion.as_deref(),
            _ => None,
        }
    }
}

/// Values of `GOOS` for which images exist (image-spec, image-index: "os").
const SYSTEMS: &[&str] = &["linux", "windows", "darwin", "freebsd", "wasip1", "wasi"];

/// Values of `GOARCH` for which images exist, as normalised.
const ARCHITECTURES: &[&str] = &[
    "amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x", "loong64", "mips64le", "mips64", "mipsle", "mips",
    "ppc64", "wasm",
];

/// Spellings that people use, for did-you-mean and aliases: (written, architecture, variant).
const ALIASES: &[(&str, &str, Option<&str>)] = &[
    ("x86_64", "amd64", None),
    ("x86-64", "amd64", None),
    ("aarch64", "arm64", None),
    ("armhf", "arm", Some("v7")),
    ("armel", "arm", Some("v6")),
    ("i386", "386", None),
    ("i486", "386", None),
    ("i586", "386", None),
    ("i686", "386", None),
];

impl Platform {
    /// The platform of this process: what a local builder runs without emulation.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::normalised("linux", architecture, None)
    }

    /// A platform from the separate fields of an image config or an index entry.
    pub fn from_parts(os: &str, architecture: &str, variant: Option<&str>) -> Result<Self, InvalidPlatform> {
        let mut text = format!("{os}/{architecture}");
        if let Some(variant) = variant.filter(|variant| !variant.is_empty()) {
            text.push('/');
            text.push_str(variant);
        }
        text.parse()
    }

    fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = match (architecture, variant) {
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
            ("arm", None | Some("7")) => Some("v7"),
            ("arm", Some("5")) => Some("v5"),
            ("arm", Some("6")) => Some("v6"),
            ("arm", Some("8")) => Some("v8"),
            (_, variant) => variant,
        };
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// The operating system, a value of `GOOS`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture, a value of `GOARCH`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant, where it is not the architecture's default.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// `linux-arm64`, `linux-arm-v7`: the name used for files and directories.
    pub fn file_stem(&self) -> String {
        self.to_string().replace('/', "-")
    }

    /// `arm64`, `arm-v7`: the name people and suffixed tags use; the operating system is said only if it is not Linux.
    pub fn short(&self) -> String {
        let full = self.to_string();
        full.strip_prefix("linux/").unwrap_or(&full).replace('/', "-")
    }

    /// Whether an image whose config says `os`, `architecture` and `variant` is one for this platform.
    ///
    /// Many images, also official ones, leave the variant out of the config while their index has it; so an absent variant
    /// contradicts nothing, a written one must be the same. Nothing that is no platform is for any.
    pub fn is_said_by(&self, os: &str, architecture: &str, variant: Option<&str>) -> bool {
        let variant = variant.filter(|variant| !variant.is_empty());
        Self::from_parts(os, architecture, variant).is_ok_and(|said| {
            said == *self || (variant.is_none() && said.os == self.os && said.architecture == self.architecture)
        })
    }

    /// Whether programs of `self` run on a machine of `host` as they are: the same platform, or a lower level of it.
    pub fn runs_on(&self, host: &Self) -> bool {
        if self.os != host.os || self.architecture != host.architecture {
            return false;
        }
        // Levels of one architecture are ordered by their number: arm v6 code runs on v7, amd64 v2 code on v3.
        let level = |platform: &Self| -> Option<u32> {
            let default = match platform.architecture.as_str() {
                "arm64" => "v8",
                "amd64" => "v1",
                _ => "v0",
            };
            let digits: String = platform.variant().unwrap_or(default).chars().filter(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        level(self) <= level(host)
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(InvalidPlatform::Empty);
        }
        let shown = || trimmed.chars().take(80).collect::<String>();
        let lower = trimmed.to_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let well_formed =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if parts.len() > 3 || !parts.iter().all(well_formed) {
            return Err(InvalidPlatform::Malformed { text: shown() });
        }
        let (os, architecture, variant) = match parts[..] {
            // One word is an architecture, unless it names a system.
            [word] if SYSTEMS.contains(&word) => return Err(InvalidPlatform::Malformed { text: shown() }),
            [architecture] => ("linux", architecture, None),
            // `arm/v7` leaves out the system.
            [architecture, variant] if is_architecture(architecture) => ("linux", architecture, Some(variant)),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(InvalidPlatform::Malformed { text: shown() }),
        };
        if !SYSTEMS.contains(&os) {
            return Err(InvalidPlatform::UnknownOs { text: shown(), os: os.to_owned() });
        }
        if let Some((_, architecture, default)) = ALIASES.iter().find(|alias| alias.0 == architecture) {
            return Ok(Self::normalised(os, architecture, variant.or(*default)));
        }
        if !ARCHITECTURES.contains(&architecture) {
            let known = ARCHITECTURES.iter().chain(ALIASES.iter().map(|alias| &alias.0)).copied();
            let suggestion = super::did_you_mean(architecture, known).map(|near| format!("{os}/{near}"));
            return Err(InvalidPlatform::UnknownArchitecture { text: shown(), suggestion });
        }
        Ok(Self::normalised(os, architecture, variant))
    }
}

fn is_architecture(word: &str) -> bool {
    ARCHITECTURES.contains(&word) || ALIASES.iter().any(|alias| alias.0 == word)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ord for Platform {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.os, &self.architecture, &self.variant).cmp(&(&other.os, &other.architecture, &other.variant))
    }
}

impl PartialOrd for Platform {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As a text, `linux/arm64`: the form of reports and lock files. An index entry's object is written by `image`.
impl Serialize for Platform {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        text.parse::<Platform>().map_or_else(|error| format!("error: {error}"), |platform| platform.to_string())
    }

    #[test]
    fn a_config_may_leave_the_variant_out_and_must_not_contradict() {
        let said = |wanted: &str, architecture: &str, variant: Option<&str>| {
            wanted.parse::<Platform>().unwrap().is_said_by("linux", architecture, variant)
        };
        for (wanted, architecture, variant) in [
            ("arm/v7", "arm", None),
            ("arm/v6", "arm", None),
            ("arm/v6", "arm", Some("")),
            ("arm/v7", "arm", Some("7")),
            ("arm64", "arm64", Some("v8")),
            ("amd64/v2", "amd64", None),
        ] {
            assert!(said(wanted, architecture, variant), "{wanted} {architecture} {variant:?}");
        }
        for (wanted, architecture, variant) in [
            ("arm/v7", "arm", Some("v6")),
            ("arm/v6", "arm", Some("v7")),
            ("arm64", "arm", None),
            ("amd64", "amd64", Some("v3")),
            ("amd64", "", None),
        ] {
            assert!(!said(wanted, architecture, variant), "{wanted} {architecture} {variant:?}");
        }
    }

    #[test]
    fn d1_normalises_every_spelling() {
        for text in ["arm64", "aarch64", "linux/arm64/v8", "LINUX/ARM64", " linux/aarch64 "] {
            assert_eq!(parsed(text), "linux/arm64", "{text}");
        }
        for text in ["amd64", "x86_64", "linux/amd64/v1"] {
            assert_eq!(parsed(text), "linux/amd64", "{text}");
        }
        assert_eq!(parsed("arm"), "linux/arm/v7");
        assert_eq!(parsed("arm/v6"), "linux/arm/v6");
        assert_eq!(parsed("linux/arm/7"), "linux/arm/v7");
        assert_eq!(parsed("armel"), "linux/arm/v6");
        assert_eq!(parsed("linux/amd64/v3"), "linux/amd64/v3");
        assert_eq!(parsed("i686"), "linux/386");
    }

    #[test]
    fn d1_says_what_was_meant() {
        let error = "amd65".parse::<Platform>().expect_err("amd65 is no platform");
        assert_eq!(error.to_string(), "unknown platform `amd65`");
        assert_eq!(error.suggestion(), Some("linux/amd64"));
        assert_eq!("".parse::<Platform>(), Err(InvalidPlatform::Empty));
        for text in ["linux", "a/b/c/d", "linux//v8", "linux/arm64/../x", "linux/ar m64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        assert!(matches!("linus/amd64".parse::<Platform>(), Err(InvalidPlatform::UnknownOs { .. })));
    }

    #[test]
    fn knows_which_levels_run_where() {
        let platform = |text: &str| text.parse::<Platform>().expect(text);
        assert!(platform("arm/v6").runs_on(&platform("arm/v7")));
        assert!(!platform("arm/v7").runs_on(&platform("arm/v6")));
        assert!(!platform("arm64").runs_on(&platform("amd64")));
        assert!(platform("amd64").runs_on(&platform("amd64/v2")));
    }

    #[test]
    fn sorts_by_system_architecture_variant() {
        let mut all: Vec<Platform> =
            ["arm/v7", "arm64", "amd64", "arm/v6"].iter().map(|text| text.parse().expect(text)).collect();
        all.sort();
        let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64"]);
    }
}
