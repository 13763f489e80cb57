use std::fmt;

use crate::base::{ComponentName, Digest, ErrorClass, Failure, Platform, Printable, Reference};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// The blob it is about.
    pub digest: Digest,
    /// Everything that it breaks; a blob that several images share breaks all of them. Never empty.
    pub affects: Vec<Affected>,
}

/// One thing that a finding breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Affected {
    /// The component or external.
    pub component: ComponentName,
    /// Its reference.
    pub reference: Reference,
    /// The platform; none for the index as a whole.
    pub platform: Option<Platform>,
    /// Which part of it the blob is.
    pub part: Part,
}

/// Which part of an image a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The index.
    Index,
    /// The manifest of one platform.
    Manifest,
    /// The config of one platform.
    Config,
    /// A layer of one platform.
    Layer {
        /// From 1, base first.
        number: usize,
        /// Layers of the image.
        of: usize,
    },
    /// An attestation, or a part of one.
    Attestation,
    /// Something that the index refers to without it being an image.
    Other,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The blob is not there.
    Missing,
    /// Its bytes have another digest.
    Corrupt {
        /// The digest that they have, where all of them could be read.
        found: Option<Digest>,
    },
    /// It has another size than its descriptor says.
    WrongSize {
        /// What the descriptor says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// It is a link, a directory or a device.
    NotAFile,
    /// It cannot be read.
    Unreadable {
        /// The system's words.
        reason: String,
    },
    /// It can be read but means nothing sensible.
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// An index has no image for a platform that was asked for.
    AbsentPlatform {
        /// The platform.
        platform: Platform,
    },
    /// An index has an image for a platform that nobody asked for.
    UnexpectedPlatform {
        /// The platform as the index has it.
        platform: String,
    },
    /// An image's config says another platform than its index entry.
    WrongPlatform {
        /// What the entry says and the plan asked for.
        wanted: Platform,
        /// What the config says.
        found: String,
    },
    /// A layer holds another file tree than the config says.
    WrongDiffId {
        /// What the config says.
        expected: Digest,
        /// Digest of the uncompressed layer.
        found: Digest,
    },
    /// A layer holds a program for another processor.
    ForeignExecutable {
        /// Path in the image, as the layer has it.
        path: String,
        /// The processor it is for, as `readelf` readers know it.
        found: String,
        /// The platform it lies in.
        expected: Platform,
        /// How many more of the layer are for another processor than the platform's.
        more: u64,
    },
    /// A layer cannot be looked into, although its digest is right.
    NotScanned {
        /// Why.
        reason: String,
    },
    /// A name is not in `index.json`, or stands for something else.
    WrongName {
        /// What stands there instead.
        found: Option<Digest>,
    },
    /// More than one entry of `index.json` has a name: tools differ in which they take.
    DoubledName,
}

impl Problem {
    /// What kind of trouble it is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unreadable { .. } => ErrorClass::Disk,
            // Whether it is whole was asked, and it is not: a hole, or a layer that nobody can look into, is as bad as
            // wrong bytes here.
            _ => ErrorClass::Integrity,
        }
    }

    /// What to do about it, for an image of `component`.
    pub fn help(&self, component: &ComponentName) -> Option<String> {
        match self {
            Self::Missing | Self::Corrupt { .. } | Self::WrongSize { .. } | Self::NotAFile => {
                Some("run `catamaran build`: it brings back what is missing".to_owned())
            }
            Self::ForeignExecutable { path, expected, .. } => {
                let path = path.trim_start_matches("./").trim_start_matches('/');
                Some(format!(
                    "take a file made for {expected}: look at what COPY and ADD bring from this machine, at stages that pin \
                     `--platform`, and at downloads that ignore TARGETARCH
\
                     if it is there on purpose, declare it under `{component}` in the project file:
\
                     foreign = [{path:?}]
\
                     with a bake or compose file, on the command line: --foreign '{component}={path}'",
                ))
            }
            Self::WrongPlatform { .. } => Some(
                "look at the base image: a stage that pins `--platform`, or a base that has one platform only"
                    .to_owned(),
            ),
            Self::NotScanned { .. } => {
                Some("use layers that are plain tar, gzip or zstd: others could hold anything".to_owned())
            }
            Self::WrongName { .. } | Self::DoubledName => {
                Some("run `catamaran build`: it names what is complete".to_owned())
            }
            _ => None,
        }
    }

    /// Whether building again brings the blob back once the bad one is out of the way: moved to quarantine.
    pub const fn is_blob_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::WrongSize { .. } | Self::NotAFile)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Corrupt { found: Some(found) } => write!(f, "corrupt: its bytes hash to `{found}`"),
            Self::Corrupt { found: None } => f.write_str("corrupt"),
            Self::WrongSize { expected, found } => {
                write!(f, "wrong size: {found} bytes, its descriptor says {expected}")
            }
            Self::NotAFile => f.write_str("not a regular file"),
            Self::Unreadable { reason } => write!(f, "unreadable: {}", Printable(reason)),
            Self::Malformed { reason } => write!(f, "malformed: {}", Printable(reason)),
            Self::AbsentPlatform { platform } => write!(f, "no image for {platform}"),
            Self::UnexpectedPlatform { platform } => {
                write!(f, "an image for {}, which was not asked for", Printable(platform))
            }
            Self::WrongPlatform { wanted, found } => {
                write!(f, "wrong platform: the image is for {}, not {wanted}", Printable(found))
            }
            Self::WrongDiffId { expected, found } => {
                write!(f, "wrong content: uncompressed it hashes to `{found}`, the config says `{expected}`")
            }
            Self::ForeignExecutable { path, found, expected, more } => {
                write!(f, "foreign executable: `{}` is for {found}, the image is for {expected}", Printable(path))?;
                if *more > 0 {
                    write!(f, " (and {more} more in this layer)")?;
                }
                Ok(())
            }
            Self::NotScanned { reason } => write!(f, "not looked into: {}", Printable(reason)),
            Self::WrongName { found: Some(found) } => write!(f, "`index.json` has `{found}` under this name"),
            Self::DoubledName => f.write_str("`index.json` has this name more than once"),
            Self::WrongName { found: None } => f.write_str("`index.json` does not have this name"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("index"),
            Self::Manifest => f.write_str("manifest"),
            Self::Config => f.write_str("config"),
            Self::Layer { number, of } => write!(f, "layer {number} of {of}"),
            Self::Attestation => f.write_str("attestation"),
            Self::Other => f.write_str("other content"),
        }
    }
}

/// `nginx/arm64 layer 2 of 3`
impl fmt::Display for Affected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.platform {
            Some(platform) => write!(f, "{}/{} {}", self.component, platform.short(), self.part),
            None => write!(f, "{} {}", self.component, self.part),
        }
    }
}

/// `nginx/arm64 layer 2 of 3 (sha256:…): missing`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.affects[..] {
            [] => write!(f, "`{}`: {}", self.digest, self.problem),
            [one] => write!(f, "{one} (`{}`): {}", self.digest, self.problem),
            [first, others @ ..] => {
                write!(f, "{first} and {} more (`{}`): {}", others.len(), self.digest, self.problem)
            }
        }
    }
}

impl std::error::Error for Finding {}

impl Failure for Finding {
    fn class(&self) -> ErrorClass {
        self.problem.class()
    }

    fn help(&self) -> Option<String> {
        self.affects.first().and_then(|first| self.problem.help(&first.component))
    }
}
