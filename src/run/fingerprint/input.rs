use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

use super::Read;
use crate::base::Digest;

/// Everything that an image was made from, as far as it can be known without making it again.
///
/// Equal lists mean equal images, but for what comes over the network under a name that moves and for times of files. Kept
/// in the cell's record; one that cannot be understood counts as none, and the cell is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Sorted by kind and name, each pair of these once.
    pub(super) inputs: Vec<Input>,
    /// What the builder read of the cell's directories: where to look for changes.
    pub(super) reads: Vec<Read>,
    /// Why this list cannot be trusted, if it cannot: a file changed while it was read.
    #[serde(default)]
    pub(in crate::run) unsettled: Option<String>,
}

/// One thing that an image depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Input {
    /// What it is.
    pub kind: InputKind,
    /// Its name among those of its kind.
    pub name: String,
    /// Of its content; of a secret never.
    pub digest: Digest,
}

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InputKind {
    /// The text of the Dockerfile, rendered where it is a template.
    Dockerfile,
    /// Files of a context that the builder read, under the path that it asked for.
    Files,
    /// A build argument.
    Arg,
    /// The stage that is built.
    Target,
    /// An image from outside.
    Base,
    /// The image of another component.
    Component,
    /// The image of a service that runs meanwhile.
    Service,
    /// What the project says about such a service.
    ServiceSettings,
    /// A context that the builder fetches, by its URL.
    Context,
    /// An image label.
    Label,
    /// Something else that the builder is asked for, by the name that buildx has for it.
    Option,
    /// A line of `/etc/hosts`.
    Host,
    /// A secret, by its id alone.
    Secret,
    /// An ssh agent, by its id alone.
    Ssh,
    /// The time that is written into images.
    Epoch,
    /// A program for another processor that the component declares: what is acceptable, not what is made.
    Foreign,
    /// The settings under which builders are asked.
    Engine,
}

impl InputKind {
    /// The word for it in messages and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dockerfile => "dockerfile",
            Self::Files => "file",
            Self::Arg => "arg",
            Self::Target => "target",
            Self::Base => "base",
            Self::Component => "component",
            Self::Service => "service",
            Self::ServiceSettings => "settings of service",
            Self::Context => "context",
            Self::Label => "label",
            Self::Option => "option",
            Self::Host => "host",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
            Self::Epoch => "epoch",
            Self::Foreign => "foreign program",
            Self::Engine => "engine",
        }
    }
}

impl Input {
    pub(super) fn new(kind: InputKind, name: impl Into<String>, content: impl AsRef<[u8]>) -> Self {
        Self { kind, name: name.into(), digest: Digest::of(content) }
    }
}

impl Fingerprint {
    pub(super) fn new(mut inputs: Vec<Input>, reads: Vec<Read>, unsettled: Option<String>) -> Self {
        inputs.sort();
        inputs.dedup();
        Self { inputs, reads, unsettled }
    }

    /// Files of the main context that the builder read, by the path that it asked for, with the digest of what it found.
    pub(in crate::run) fn main_files(&self) -> impl Iterator<Item = (&str, Digest)> {
        let main = self.reads.iter().filter(|read| read.context.is_none());
        let names: BTreeSet<String> = main.flat_map(|read| read.parts(&[])).map(|(name, _)| name).collect();
        let files =
            self.inputs.iter().filter(move |input| input.kind == InputKind::Files && names.contains(&input.name));
        files.map(|input| (input.name.as_str(), input.digest))
    }

    /// Whether the image was made from something else than `digest` under this name.
    pub(in crate::run) fn names_another(&self, kind: InputKind, name: &str, digest: Digest) -> bool {
        self.inputs.iter().any(|input| input.kind == kind && input.name == name && input.digest != digest)
    }
}

/// Reads a fingerprint where there is one that is understood: what a later version wrote must not cost the whole record.
pub(in crate::run) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Fingerprint>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}
