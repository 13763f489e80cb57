use serde::Serialize;

use super::Settlement;
use crate::base::{ComponentName, Digest, Platform, Repository, Tag};

/// What a push did. Every tag in it shows the release's index at its registry.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PushReceipt {
    /// One entry per item of the release, in its order.
    pub repositories: Vec<RepositoryReceipt>,
    /// Bytes of blobs and manifests that went out, those of failed tries included.
    pub bytes_sent: u64,
    /// Bytes of blobs that were there already and were not sent, each counted once per repository.
    pub bytes_present: u64,
    /// Blobs that were mounted from another repository of the same registry.
    pub mounted: usize,
    /// Bytes that mounting saved.
    pub bytes_mounted: u64,
    /// Blobs that were sent.
    pub uploaded: usize,
    /// HTTP requests made by our client, those for tokens included; the independent reader's are not counted.
    pub requests: u64,
    /// Milliseconds from the first tag moved to the last: the window in which a reader could see a mix.
    pub tag_window_ms: u64,
    /// What became of a release that an earlier process had left half published.
    pub settled: Option<Settlement>,
    /// What a person should know that fails nothing.
    pub warnings: Vec<String>,
}

impl PushReceipt {
    /// Adds what another push of the same act did.
    pub fn add(&mut self, other: Self) {
        self.repositories.extend(other.repositories);
        self.bytes_sent += other.bytes_sent;
        self.bytes_present += other.bytes_present;
        self.mounted += other.mounted;
        self.bytes_mounted += other.bytes_mounted;
        self.uploaded += other.uploaded;
        self.requests += other.requests;
        self.tag_window_ms = self.tag_window_ms.max(other.tag_window_ms);
        self.settled = self.settled.take().or(other.settled);
        self.warnings.extend(other.warnings);
    }
}

/// What a push did in one repository.
#[derive(Debug, Clone, Serialize)]
pub struct RepositoryReceipt {
    /// The component.
    pub component: ComponentName,
    /// The repository.
    pub repository: Repository,
    /// Digest of the index that every tag shows.
    pub index: Digest,
    /// The platforms that it lists.
    pub platforms: Vec<Platform>,
    /// Whether these are only some of the component's platforms.
    pub partial: bool,
    /// Its tags.
    pub tags: Vec<TagReceipt>,
}

/// What a push did to one tag.
#[derive(Debug, Clone, Serialize)]
pub struct TagReceipt {
    /// The tag.
    pub tag: Tag,
    /// What happened to it.
    pub change: TagChange,
    /// Platforms that it showed before and does not show any more. Looked for where the index is partial.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Platform>,
    /// Who confirmed afterwards that it shows the index.
    pub confirmed: Confirmation,
}

/// What happened to a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TagChange {
    /// It was not there.
    Created,
    /// It showed something else.
    Moved,
    /// It showed this index already.
    Unchanged,
    /// It showed this index already, but something behind it had gone missing at the registry and was brought again.
    Mended,
}

/// Who confirmed that a tag shows its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confirmation {
    /// A second implementation read index, manifests and configs, and their digests and platforms are right.
    IndependentReader,
    /// Our own client did so, because the second implementation could not connect, for this reason.
    OwnReader(String),
    /// The tag was unchanged, and the registry says that it has every manifest and blob behind it, in the right size.
    Present,
    /// The tag was unchanged, and everything behind it was read back or found by this project within the last hour.
    Earlier,
}
