use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a build is asked for beside its inputs. The default asks for nothing: the builder does as it always does.
///
/// The names are those of `docker buildx build`; what they mean is the builder's Dockerfile frontend's to say
/// (moby/buildkit frontend/dockerui/config.go).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SolveOptions {
    /// The network of RUN steps.
    pub network: NetworkMode,
    /// What the build may do that a build may usually not (`network.host`, `security.insecure`).
    pub entitlements: BTreeSet<String>,
    /// Bytes of `/dev/shm` in RUN steps.
    pub shm_bytes: Option<u64>,
    /// Limits of RUN steps, each `name=soft:hard`.
    pub ulimits: Vec<String>,
    /// The control group that those of RUN steps are below.
    pub cgroup_parent: Option<String>,
    /// Limits of RUN steps under the frontend's names: `memory`, `memswap`, `cpushares` and so on.
    pub resources: BTreeMap<String, String>,
    /// Stages that are built without the builder's cache.
    pub no_cache_stages: Vec<String>,
    /// Ask registries for bases that the builder has already.
    pub pull: bool,
    /// Where the builder finds cached steps beside its own.
    pub cache_from: Vec<CacheSpec>,
    /// Where the builder writes its cached steps.
    pub cache_to: Vec<CacheSpec>,
    /// Attestations by kind (`provenance`, `sbom`), each with its settings as `key=value,…`.
    pub attestations: BTreeMap<String, String>,
    /// Annotations of the image's manifest.
    pub annotations: BTreeMap<String, String>,
}

/// The network of RUN steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// What the builder gives them.
    #[default]
    Default,
    /// That of the machine; needs the entitlement `network.host`.
    Host,
    /// None.
    None,
}

/// An entry of `cache-from` or `cache-to`. Its settings may hold a token, so they are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheSpec {
    /// `registry`, `inline`, `gha` and so on.
    pub kind: String,
    /// The rest, by name.
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Debug for CacheSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheSpec").field("kind", &self.kind).finish_non_exhaustive()
    }
}
