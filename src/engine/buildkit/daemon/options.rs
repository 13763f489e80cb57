use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::event::EventSink;

/// What a daemon is started with.
#[derive(Clone)]
pub struct DaemonOptions {
    /// The `buildkitd` to run, as [`find_buildkitd`](super::find_buildkitd) found it.
    pub binary: PathBuf,
    /// A program whose `main` begins with [`crate::sys::supervised`]: `/proc/self/exe` means this very program.
    pub supervisor: PathBuf,
    /// The daemon's own directory. Stays between runs, and the builder's cache in it.
    pub root: PathBuf,
    /// Where a short-lived private directory for the sockets is made. A short path: the name of a UNIX socket has at most
    /// 107 bytes.
    pub run_dir: PathBuf,
    /// Where the daemon's output goes. A file of this name is replaced.
    pub log: PathBuf,
    /// The folders in which the daemon finds its container runtime and other programs: the entries of PATH.
    pub search: Vec<PathBuf>,
    /// What the daemon is given of the environment, such as settings of a proxy. What would change its behaviour
    /// otherwise (telemetry, its own settings) is left out.
    pub environment: Vec<(OsString, OsString)>,
    /// Registries that need more than the daemon's defaults.
    pub registries: Vec<RegistryRule>,
    /// What builds may do beyond the usual (`network.host`, `security.insecure`), as the user allowed it.
    pub entitlements: Vec<String>,
    /// What to do for an ordinary user without ids of its own.
    pub ids: Ids,
    /// How long the daemon may take to answer.
    pub start_timeout: Duration,
    /// How long to wait for another daemon that still uses `root`.
    pub lock_timeout: Duration,
    /// Where waiting and warnings are told.
    pub events: Arc<dyn EventSink>,
}

/// What to do when an ordinary user has no range of ids in `/etc/subuid` and `/etc/subgid`. Does not concern root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ids {
    /// Do not start. With a single id no RUN step works, and no base image with files of a second owner can be unpacked.
    #[default]
    NeedRanges,
    /// Start with the user's own id alone and warn: enough for images that only copy files.
    AllowSingle,
}

/// How the daemon reaches one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistryRule {
    /// `registry.example.com:5000`
    #[serde(skip)]
    pub host: String,
    /// Plain HTTP instead of HTTPS. Always said: unasked, the daemon speaks plain HTTP to registries on loopback.
    #[serde(rename = "http")]
    pub plain_http: bool,
    /// Files with authorities, in PEM form, that are trusted for it beside the system's.
    #[serde(rename = "ca", skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<PathBuf>,
    /// Certificates that it is shown where it asks for one.
    #[serde(rename = "keypair", skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<KeyPair>,
}

/// A certificate of ours and its key, as files in PEM form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyPair {
    /// The key.
    pub key: PathBuf,
    /// The certificate.
    #[serde(rename = "cert")]
    pub certificate: PathBuf,
}

impl fmt::Debug for DaemonOptions {
    /// Leaves the environment out: a proxy's address may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonOptions").field("binary", &self.binary).field("root", &self.root).finish_non_exhaustive()
    }
}
