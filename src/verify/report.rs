use super::Finding;
use crate::base::{ComponentName, Descriptor, Platform, Reference};

/// An index that must be there, and what it must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedIndex {
    /// The component or external.
    pub component: ComponentName,
    /// Its reference.
    pub reference: Reference,
    /// Its index.
    pub descriptor: Descriptor,
    /// The platforms that were asked for.
    pub platforms: Vec<Platform>,
    /// Platforms that it may have beside these, and that are not looked at: a subset was asked about.
    pub unasked: Vec<Platform>,
    /// Globs of programs for other processors that are declared to be in it on purpose.
    pub foreign: Vec<String>,
}

/// How far [`super::verify_layout`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Every blob hashed, every edge followed, every platform compared. As fast as hashing.
    Blobs,
    /// Layers are also uncompressed: their diff IDs, and the processor of every program in them. As fast as inflating.
    Layers,
}

/// What was found, and how much was looked at.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Everything that is wrong, sorted by component, platform and part; empty means proven whole.
    pub findings: Vec<Finding>,
    /// Different blobs that were hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Images (one platform each) that were followed.
    pub images: u64,
    /// Layers that were looked into.
    pub layers: u64,
    /// Programs and libraries whose processor was compared.
    pub executables: u64,
    /// It was stopped before it ended, and proves nothing.
    pub cancelled: bool,
}

impl Report {
    /// Whether everything is proven.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty() && !self.cancelled
    }
}
