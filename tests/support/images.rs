use std::collections::BTreeMap;
use std::io::Write;

use catamaran::base::{CellId, ComponentName, Descriptor, Digest, Platform, Reference, media_type};
use catamaran::bundle::{BundleContents, BundleEntry};
use catamaran::image::{IndexEntry, assemble_index, publish_name};
use catamaran::store::Layout;
use catamaran::verify::ExpectedIndex;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

/// Images in a layout, made by hand: no builder is needed, and faults can be planted.
pub(crate) struct Fleet {
    pub(crate) directory: TempDir,
    pub(crate) layout: Layout,
    pub(crate) roots: Vec<ExpectedIndex>,
}

/// A file of a layer.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) content: Vec<u8>,
}

/// An image for one platform.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) platform: Platform,
    /// What the config says, where it is not the platform.
    pub(crate) config_platform: Option<Platform>,
    pub(crate) layers: Vec<Vec<File>>,
    pub(crate) layer_type: &'static str,
    pub(crate) command: Vec<String>,
    /// What the config says about the layers, where it is not the truth.
    pub(crate) diff_ids: Option<Vec<Digest>>,
}

pub(crate) fn platform(text: &str) -> Platform {
    text.parse().expect("a platform")
}

pub(crate) fn component(text: &str) -> ComponentName {
    text.parse().expect("a component name")
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

pub(crate) fn file(path: &str, mode: u32, content: impl Into<Vec<u8>>) -> File {
    File { path: path.to_owned(), mode, content: content.into() }
}

/// The head of an ELF program for `machine` (`e_machine`), 64-bit little-endian, with some bytes behind it.
pub(crate) fn elf(machine: u16, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0; 200];
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    bytes[16..18].copy_from_slice(&kind.to_le_bytes());
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes
}

/// `e_machine` of a platform's programs.
pub(crate) fn machine(platform: &Platform) -> u16 {
    match platform.architecture() {
        "amd64" => 62,
        "arm64" => 183,
        "arm" => 40,
        other => panic!("no machine for {other}"),
    }
}

/// `size` bytes that do not compress and are the same every time.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(size);
    out
}

pub(crate) fn layer_tar(files: &[File]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(file.mode);
        header.set_size(file.content.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        tar.append_data(&mut header, &file.path, &file.content[..]).expect("a tar in memory");
    }
    tar.into_inner().expect("a tar in memory")
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(4));
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

impl Image {
    /// A small image of two layers: one that all platforms share, and a program for this one.
    pub(crate) fn small(name: &str, for_platform: &str) -> Self {
        let platform = platform(for_platform);
        let shared = vec![file("etc/shared", 0o644, "the same in every image\n")];
        let own = vec![
            file("bin/program", 0o755, elf(machine(&platform), 2)),
            file("etc/name", 0o644, format!("{name} {platform}\n")),
        ];
        Self {
            platform,
            config_platform: None,
            layers: vec![shared, own],
            layer_type: media_type::LAYER_GZIP,
            command: vec!["/bin/program".to_owned()],
            diff_ids: None,
        }
    }

    /// Writes it into `layout`; its manifest.
    pub(crate) fn store(&self, layout: &Layout) -> Descriptor {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for files in &self.layers {
            let tar = layer_tar(files);
            diff_ids.push(Digest::of(&tar));
            let bytes = if self.layer_type == media_type::LAYER_GZIP { gzip(&tar) } else { tar };
            layers.push(layout.put(self.layer_type, &bytes).expect("the layout takes it"));
        }
        let says = self.config_platform.as_ref().unwrap_or(&self.platform);
        let mut config = serde_json::json!({
            "architecture": says.architecture(),
            "os": says.os(),
            "config": {"Cmd": self.command, "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids.as_ref().unwrap_or(&diff_ids)},
        });
        if let Some(variant) = says.variant() {
            config["variant"] = variant.into();
        }
        let config = layout.put(media_type::CONFIG, config.to_string().as_bytes()).expect("the layout takes it");
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": config, "layers": layers,
        });
        layout.put(media_type::MANIFEST, manifest.to_string().as_bytes()).expect("the layout takes it")
    }
}

impl Fleet {
    /// An empty layout.
    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::create(directory.path().join("layout")).expect("a layout");
        Self { directory, layout, roots: Vec::new() }
    }

    /// `names` as components, each for every one of `platforms`, named `registry.example/team/NAME:1.0`.
    pub(crate) fn small(names: &[&str], platforms: &[&str]) -> Self {
        let mut fleet = Self::empty();
        for name in names {
            let images: Vec<Image> = platforms.iter().map(|platform| Image::small(name, platform)).collect();
            fleet.add(name, &images);
        }
        fleet
    }

    /// Stores images of one component, assembles their index and names it; returns the manifests by platform.
    pub(crate) fn add(&mut self, name: &str, images: &[Image]) -> BTreeMap<Platform, Descriptor> {
        let manifests: BTreeMap<Platform, Descriptor> =
            images.iter().map(|image| (image.platform.clone(), image.store(&self.layout))).collect();
        let entries = manifests
            .iter()
            .map(|(platform, manifest)| IndexEntry {
                platform: platform.clone(),
                manifest: manifest.clone(),
                annotations: None,
                attestations: Vec::new(),
            })
            .collect();
        let index = assemble_index(&self.layout, entries, &BTreeMap::new()).expect("an index");
        self.expect(name, index.descriptor, manifests.keys().cloned().collect());
        manifests
    }

    /// A component `api` whose image for amd64 has an attestation; returns the statement in it.
    pub(crate) fn add_attested(&mut self) -> Descriptor {
        let image = Image::small("api", "amd64").store(&self.layout);
        let put = |kind: &str, bytes: &[u8]| self.layout.put(kind, bytes).expect("the layout takes it");
        let statement = put(media_type::IN_TOTO, b"{}");
        let config = put(media_type::CONFIG, b"{\"architecture\":\"unknown\"}");
        let attestation = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [statement]});
        let attestations = vec![put(media_type::MANIFEST, attestation.to_string().as_bytes())];
        let entry = IndexEntry { platform: platform("amd64"), manifest: image, annotations: None, attestations };
        let index = assemble_index(&self.layout, vec![entry], &BTreeMap::new()).expect("an index");
        self.expect("api", index.descriptor, vec![platform("amd64")]);
        statement
    }

    /// Names an index that is in the layout.
    pub(crate) fn expect(&mut self, name: &str, descriptor: Descriptor, platforms: Vec<Platform>) {
        let reference = reference(&format!("registry.example/team/{name}:1.0"));
        publish_name(&self.layout, &reference, &descriptor).expect("a complete index");
        self.roots.push(ExpectedIndex {
            component: component(name),
            reference,
            descriptor,
            platforms,
            unasked: Vec::new(),
            foreign: Vec::new(),
        });
    }

    /// All of it as the contents of a bundle.
    pub(crate) fn contents(&self) -> BundleContents {
        let entry = |root: &ExpectedIndex| BundleEntry {
            component: root.component.clone(),
            reference: root.reference.clone(),
            path: None,
            index: root.descriptor.clone(),
            foreign: root.foreign.clone(),
        };
        BundleContents {
            subset: false,
            project: "fleet".to_owned(),
            tag: "1.0".to_owned(),
            entries: self.roots.iter().map(entry).collect(),
            default_platform: platform("amd64"),
            incomplete: Vec::<CellId>::new(),
        }
    }

    /// Where a blob lies.
    pub(crate) fn blob_path(&self, digest: &Digest) -> std::path::PathBuf {
        self.layout.root().join("blobs/sha256").join(digest.hex())
    }

    /// Every blob of the layout, sorted.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        let directory = std::fs::read_dir(self.layout.root().join("blobs/sha256")).expect("blobs");
        let mut blobs: Vec<Digest> = directory
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("hex"))
            .map(|name| Digest::from_hex(&name).expect("a digest"))
            .collect();
        blobs.sort();
        blobs
    }
}
