//! Small releases in a layout, made by hand: no code of the program decides what they look like.

use std::io::{Read as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catamaran::base::{
    CredentialFuture, CredentialSource, Credentials, Descriptor, Digest, DigestHasher, Secret, media_type,
};
use catamaran::registry::{
    NoCredentials, RegistryClient, RegistryOptions, Release, ReleaseItem, RetryPolicy, Timeouts,
};
use catamaran::store::{BlobSource as _, BlobWriter, Layout};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::json;
use tempfile::TempDir;

/// Components of a fleet as large as those that the program is for.
pub(crate) const TWELVE: [&str; 12] = [
    "apphub",
    "gitea",
    "nginx",
    "saltstack",
    "backend",
    "frontend",
    "jupyterhub",
    "nightingale",
    "prometheus",
    "singleuser",
    "slurm-master",
    "test-containers",
];

/// A blob that is being written, as other writers know it.
struct Sink(BlobWriter);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.append(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Makes `size` bytes that nothing compresses, in pieces: some layers are larger than the memory.
fn noise(seed: &str, size: usize, mut take: impl FnMut(&[u8])) {
    let mut block = Digest::of(seed);
    let mut left = size;
    while left > 0 {
        let mut bytes = Vec::with_capacity((1 << 20) + 32);
        while bytes.len() < left.min(1 << 20) {
            bytes.extend_from_slice(block.raw());
            block = Digest::of(block.raw());
        }
        bytes.truncate(left);
        take(&bytes);
        left -= bytes.len();
    }
}

/// A layout in a folder that ends with it, or in one of somebody else's.
pub(crate) struct Images {
    pub(crate) layout: Layout,
    folder: Option<TempDir>,
}

impl Images {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("layout").tempdir().expect("a folder");
        let layout = Layout::create(folder.path().join("layout")).expect("a layout");
        Self { layout, folder: Some(folder) }
    }

    /// A layout at `path`, made if it is not there.
    pub(crate) fn at(path: &Path) -> Self {
        Self { layout: Layout::create(path).expect("a layout"), folder: None }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.as_ref().map_or(self.layout.root(), TempDir::path)
    }

    /// A layer with one file of `size` bytes that nothing compresses; equal seeds are equal layers.
    pub(crate) fn layer(&self, seed: &str, size: usize) -> Descriptor {
        let mut writer = GzEncoder::new(Sink(self.layout.writer().expect("a layout")), Compression::none());
        let mut header = tar::Header::new_ustar();
        header.set_path("data").expect("a path");
        header.set_mode(0o644);
        header.set_size(size as u64);
        header.set_cksum();
        writer.write_all(header.as_bytes()).expect("written");
        noise(seed, size, |bytes| writer.write_all(bytes).expect("written"));
        // To the end of the file's last block, and the two empty ones that end an archive.
        writer.write_all(&vec![0; size.next_multiple_of(512) - size + 1024]).expect("written");
        let (digest, size) = writer.finish().expect("written").0.commit(None, None).expect("a blob");
        Descriptor::new(media_type::LAYER_GZIP, digest, size)
    }

    /// What only calls itself a layer: exactly `size` bytes that nothing compresses. The program looks into layers and would
    /// refuse it; the registry client does not, and its tests count bytes.
    pub(crate) fn raw(&self, seed: &str, size: usize) -> Descriptor {
        let mut writer = self.layout.writer().expect("a layout");
        noise(seed, size, |bytes| writer.append(bytes).expect("written"));
        let (digest, size) = writer.commit(None, None).expect("a blob");
        Descriptor::new(media_type::LAYER_GZIP, digest, size)
    }

    /// The digest of what is in a layer; its own for what only calls itself one, or is not here.
    fn diff_id(&self, layer: &Descriptor) -> Digest {
        let path = self.layout.root().join("blobs/sha256").join(layer.digest.hex());
        let Ok(file) = std::fs::File::open(path) else { return layer.digest };
        let mut archive = GzDecoder::new(file);
        if archive.header().is_none() {
            return layer.digest;
        }
        let mut hasher = DigestHasher::new();
        let mut block = vec![0; 1 << 16];
        loop {
            match archive.read(&mut block).expect("a whole archive") {
                0 => return hasher.finish(),
                length => hasher.update(&block[..length]),
            }
        }
    }

    /// An image of one platform: `os/architecture`.
    pub(crate) fn manifest(&self, name: &str, platform: &str, layers: &[Descriptor]) -> Descriptor {
        let (os, architecture) = platform.split_once('/').expect("os/architecture");
        let config = json!({
            "architecture": architecture, "os": os, "config": {"Labels": {"name": name}},
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| self.diff_id(layer)).collect::<Vec<_>>()}
        });
        let config = self.layout.put(media_type::CONFIG, config.to_string().as_bytes()).expect("a blob");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": config, "layers": layers
        });
        let mut descriptor = self.layout.put(media_type::MANIFEST, manifest.to_string().as_bytes()).expect("a blob");
        let entry = json!({"os": os, "architecture": architecture});
        descriptor.platform = Some(serde_json::from_value(entry).expect("a map"));
        descriptor
    }

    /// An index over these.
    pub(crate) fn index(&self, manifests: &[Descriptor]) -> Descriptor {
        let index = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": manifests});
        self.layout.put(media_type::INDEX, index.to_string().as_bytes()).expect("a blob")
    }

    /// An index for amd64 and arm64: `shared` below one layer of its own for each platform, of `size` bytes.
    pub(crate) fn image(&self, name: &str, version: &str, shared: &[Descriptor], size: usize) -> Descriptor {
        let manifests: Vec<Descriptor> = ["linux/amd64", "linux/arm64"]
            .iter()
            .map(|platform| {
                let own = self.layer(&format!("{name} {version} {platform}"), size);
                let layers: Vec<Descriptor> = shared.iter().cloned().chain([own]).collect();
                self.manifest(&format!("{name} {version}"), platform, &layers)
            })
            .collect();
        self.index(&manifests)
    }

    /// `names` under `prefix`, each with one tag, all of one version.
    pub(crate) fn release(&self, prefix: &str, names: &[&str], version: &str, shared: &[Descriptor]) -> Release {
        let items = names.iter().map(|name| item(prefix, name, version, self.image(name, version, shared, 3000)));
        Release { items: items.collect() }
    }

    /// The bytes of a blob.
    pub(crate) fn read(&self, descriptor: &Descriptor) -> Vec<u8> {
        self.layout.read(descriptor, u64::MAX).expect("a blob")
    }
}

pub(crate) fn item(prefix: &str, name: &str, tag: &str, index: Descriptor) -> ReleaseItem {
    ReleaseItem {
        component: name.parse().expect("a name"),
        index,
        repository: format!("{prefix}/{name}").parse().expect("a repository"),
        tags: vec![tag.parse().expect("a tag")],
        partial: false,
    }
}

/// Options that lose no time: waits of milliseconds, patience of a second.
pub(crate) fn options() -> RegistryOptions {
    // The one in the process may have been chosen by another test: either is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut options = RegistryOptions::new(Arc::new(NoCredentials));
    options.retry = RetryPolicy {
        tries: 6,
        first_wait: Duration::from_millis(4),
        longest_wait: Duration::from_millis(20),
        longest_retry_after: Duration::from_secs(5),
    };
    options.timeouts = Timeouts { connect: Duration::from_secs(5), progress: Duration::from_secs(20) };
    options
}

pub(crate) fn client() -> RegistryClient {
    RegistryClient::new(options()).expect("a client")
}

/// One account for every host.
pub(crate) struct Account(pub(crate) Credentials);

impl Account {
    pub(crate) fn basic(user: &str, password: &str) -> Arc<Self> {
        Arc::new(Self(Credentials::Basic { username: user.to_owned(), password: Secret::new(password) }))
    }
}

impl CredentialSource for Account {
    fn credentials<'a>(&'a self, _host: &'a str, _repository: Option<&'a str>) -> CredentialFuture<'a> {
        Box::pin(async { Ok(Some(self.0.clone())) })
    }

    fn places(&self) -> Vec<String> {
        vec!["the test's pocket".to_owned()]
    }
}
