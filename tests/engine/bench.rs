use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catamaran::base::{CellId, CredentialFuture, CredentialSource, Descriptor, Platform};
use catamaran::engine::buildkit::{BuildKitEngine, ConnectOptions};
use catamaran::engine::{
    BuildRequest, BuiltImage, ContextSource, DockerfilePlace, DockerfileSource, Engine, EngineError,
};
use catamaran::event::{Event, EventSink};
use catamaran::store::{BlobSource, Layout};
use tempfile::TempDir;

use crate::support::daemon::Daemon;
use crate::support::tools;

/// A context directory, a layout, an engine, and everything the engine said.
pub(super) struct Bench {
    pub(super) directory: TempDir,
    pub(super) layout: Layout,
    pub(super) engine: BuildKitEngine,
    pub(super) events: Arc<Recorder>,
}

/// No registry is asked in these tests.
pub(super) struct Anonymous;

impl CredentialSource for Anonymous {
    fn credentials<'a>(&'a self, _host: &'a str, _repository: Option<&'a str>) -> CredentialFuture<'a> {
        Box::pin(async { Ok(None) })
    }
}

#[derive(Default)]
pub(super) struct Recorder(Mutex<Vec<Event>>);

impl EventSink for Recorder {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Recorder {
    pub(super) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// Everything that steps wrote.
    pub(super) fn output(&self) -> String {
        let bytes: Vec<u8> = self
            .all()
            .into_iter()
            .filter_map(|event| match event {
                Event::StepLog { bytes, .. } => Some(bytes),
                _ => None,
            })
            .flatten()
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until steps have written `text`.
    pub(super) async fn wait_for(&self, text: &str) {
        tokio::time::timeout(Duration::from_secs(60), async {
            while !self.output().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no step wrote `{text}`: {:?}", self.output()));
    }
}

/// A shell for every platform: what most Dockerfiles here begin with.
pub(super) const SHELL: &str = "FROM scratch\nARG TARGETARCH\nCOPY busybox-$TARGETARCH /bin/sh\nRUN [\"/bin/sh\", \"-c\", \"/bin/sh --help >/dev/null 2>&1 || true\"]\n";

impl Bench {
    /// A bench on the daemon that all tests share.
    pub(super) async fn new() -> Self {
        Self::on(Daemon::shared().address()).await
    }

    pub(super) async fn on(address: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::create(directory.path().join("layout")).unwrap();
        let engine = connect(address, &layout).await;
        let bench = Self { directory, layout, engine, events: Arc::default() };
        fs::create_dir(bench.context()).unwrap();
        bench
    }

    pub(super) fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    /// Writes a file of the context.
    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Puts the shells of both platforms into the context.
    pub(super) fn shells(&self) {
        for architecture in ["amd64", "arm64"] {
            fs::copy(tools::busybox(architecture), self.context().join(format!("busybox-{architecture}"))).unwrap();
        }
    }

    pub(super) fn request(&self, platform: &str) -> BuildRequest {
        let cell = CellId::new("thing".parse().unwrap(), platform.parse().unwrap());
        let context = ContextSource::Directory { path: self.context(), always_excluded: Vec::new() };
        let dockerfile = DockerfileSource {
            directory: self.context(),
            name: "Dockerfile".to_owned(),
            template: None,
            place: DockerfilePlace::Directory,
        };
        let key = self.directory.path().display().to_string();
        BuildRequest { events: self.events.clone(), ..BuildRequest::new(cell, context, dockerfile, key) }
    }

    pub(super) async fn build(&self, platform: &str) -> Result<BuiltImage, EngineError> {
        self.engine.build(self.request(platform)).await
    }

    /// The file `name` of an image, found in the topmost layer that has it.
    pub(super) fn file(&self, image: &BuiltImage, name: &str) -> Option<Vec<u8>> {
        let manifest = self.json(&image.manifest);
        let layers: Vec<Descriptor> = serde_json::from_value(manifest["layers"].clone()).unwrap();
        layers.iter().rev().find_map(|layer| {
            let bytes = self.layout.read(layer, 1 << 30).unwrap();
            let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
            archive.entries().unwrap().map(Result::unwrap).find_map(|mut entry| {
                let found = entry.path().unwrap() == Path::new(name);
                found.then(|| {
                    let mut content = Vec::new();
                    std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
                    content
                })
            })
        })
    }

    pub(super) fn text(&self, image: &BuiltImage, name: &str) -> String {
        let content = self.file(image, name).unwrap_or_else(|| panic!("the image has no {name}"));
        String::from_utf8(content).unwrap().trim().to_owned()
    }

    pub(super) fn json(&self, descriptor: &Descriptor) -> serde_json::Value {
        serde_json::from_slice(&self.layout.read(descriptor, 4 << 20).unwrap()).unwrap()
    }

    pub(super) fn config(&self, image: &BuiltImage) -> serde_json::Value {
        let config: Descriptor = serde_json::from_value(self.json(&image.manifest)["config"].clone()).unwrap();
        self.json(&config)
    }
}

pub(super) async fn connect(address: &str, layout: &Layout) -> BuildKitEngine {
    BuildKitEngine::connect(options(address, layout)).await.expect("the daemon answers")
}

pub(super) fn options(address: &str, layout: &Layout) -> ConnectOptions {
    ConnectOptions {
        address: address.to_owned(),
        tls: None,
        layout: layout.clone(),
        credentials: Arc::new(Anonymous),
        token_client: None,
        connect_timeout: Duration::from_secs(30),
    }
}

pub(super) fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}
