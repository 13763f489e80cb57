//! The smallest images that tell what they are: for whoever makes images in place of a builder or an upstream registry.

use std::io::Write as _;

use catamaran::base::{Digest, media_type};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::images::{elf, machine, noise, platform};

/// Bytes and what they are called.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    pub(crate) fn descriptor(&self) -> serde_json::Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len()})
    }
}

/// An image for one platform, whose files `platform` and `stamp` say what it is.
#[derive(Debug, Clone)]
pub(crate) struct Tiny {
    pub(crate) layer: Blob,
    pub(crate) config: Blob,
    pub(crate) manifest: Blob,
}

impl Tiny {
    /// `programs` is the platform of the programs inside: an honest image has one for all. Equal numbers are equal images.
    pub(crate) fn new(of: &str, programs: &str, stamp: &str, number: usize) -> Self {
        let seed = Digest::of(format!("{of} {stamp} {number}")).raw()[..8].try_into().expect("8 bytes");
        let mut archive = tar::Builder::new(Vec::new());
        let payload = noise(u64::from_le_bytes(seed), 40_000);
        let program = elf(machine(&platform(programs)), 2);
        for (path, mode, content) in [
            ("platform", 0o644, of.as_bytes()),
            ("stamp", 0o644, stamp.as_bytes()),
            ("payload", 0o644, &payload),
            ("bin/program", 0o755, &program),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_mode(mode);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content).expect("in memory");
        }
        let plain = archive.into_inner().expect("in memory");
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&plain).expect("in memory");
        let layer = Blob { media_type: media_type::LAYER_GZIP, bytes: packed.finish().expect("in memory") };
        let (os, architecture) = of.split_once('/').expect("os/architecture");
        let config = json!({
            "os": os, "architecture": architecture, "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&plain)]},
        });
        let config = Blob { media_type: media_type::CONFIG, bytes: config.to_string().into_bytes() };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::MANIFEST,
            "config": config.descriptor(), "layers": [layer.descriptor()],
        });
        let manifest = Blob { media_type: media_type::MANIFEST, bytes: manifest.to_string().into_bytes() };
        Self { layer, config, manifest }
    }

    /// One that is what it says.
    pub(crate) fn honest(of: &str, stamp: &str, number: usize) -> Self {
        Self::new(of, of, stamp, number)
    }
}

/// An index over images with the platforms that it gives them.
pub(crate) fn index(images: &[(&str, &Tiny)]) -> Blob {
    let entries: Vec<serde_json::Value> = images
        .iter()
        .map(|(of, image)| {
            let (os, architecture) = of.split_once('/').expect("os/architecture");
            let mut entry = image.manifest.descriptor();
            entry["platform"] = json!({"os": os, "architecture": architecture});
            entry
        })
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries});
    Blob { media_type: media_type::INDEX, bytes: index.to_string().into_bytes() }
}
