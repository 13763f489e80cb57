//! A look at a layout that shares no code with the program: whether what a run has called whole is whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// An image that must be there.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// The name of its entry in `index.json`.
    pub(super) reference: String,
    pub(super) platforms: Vec<&'static str>,
    /// What its file `stamp` says.
    pub(super) stamp: String,
}

/// The name under which other tools know an entry.
const NAME: &str = "org.opencontainers.image.ref.name";

/// Looks at everything that `index.json` leads to, byte by byte. `Err` says what is wrong.
pub(super) fn look(layout: &Path, expected: &[Expected]) -> Result<(), String> {
    let text = fs::read(layout.join("index.json")).map_err(|error| format!("index.json: {error}"))?;
    let entries: Value = serde_json::from_slice(&text).map_err(|error| format!("index.json: {error}"))?;
    let entries = list(&entries, "manifests");
    for image in expected {
        let named = |entry: &&Value| entry["annotations"][NAME] == image.reference.as_str();
        let mut found = entries.iter().filter(named);
        let (Some(entry), None) = (found.next(), found.next()) else {
            let names: Vec<&Value> = entries.iter().map(|entry| &entry["annotations"][NAME]).collect();
            return Err(format!("`{}` is not there once, but {names:?}", image.reference));
        };
        let of = |error: String| format!("{}: {error}", image.reference);
        look_at_index(layout, entry, image).map_err(of)?;
    }
    Ok(())
}

fn look_at_index(layout: &Path, entry: &Value, image: &Expected) -> Result<(), String> {
    let index: Value = parse(&blob(layout, entry)?)?;
    let mut platforms = BTreeMap::new();
    for entry in list(&index, "manifests") {
        if entry["annotations"]["vnd.docker.reference.type"] == "attestation-manifest" {
            blob(layout, &entry)?;
            continue;
        }
        let text = |key: &str| entry["platform"][key].as_str().unwrap_or("?").to_owned();
        let name = format!("{}/{}", text("os"), text("architecture"));
        if platforms.insert(name.clone(), entry).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    let names: Vec<&str> = platforms.keys().map(String::as_str).collect();
    if names != image.platforms {
        return Err(format!("has {names:?} and not {:?}", image.platforms));
    }
    for (name, entry) in &platforms {
        look_at_image(layout, entry, name, &image.stamp).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

fn look_at_image(layout: &Path, entry: &Value, platform: &str, stamp: &str) -> Result<(), String> {
    let manifest = parse(&blob(layout, entry)?)?;
    let config = parse(&blob(layout, &manifest["config"])?)?;
    let says = format!("{}/{}", config["os"].as_str().unwrap_or("?"), config["architecture"].as_str().unwrap_or("?"));
    if says != platform {
        return Err(format!("its config says {says}"));
    }
    let layers = list(&manifest, "layers");
    let diff_ids = list(&config["rootfs"], "diff_ids");
    if layers.is_empty() || layers.len() != diff_ids.len() {
        return Err(format!("{} layers and {} of them in the config", layers.len(), diff_ids.len()));
    }
    let mut files = BTreeMap::new();
    for (layer, diff_id) in layers.iter().zip(&diff_ids) {
        let mut plain = Vec::new();
        let packed = blob(layout, layer)?;
        GzDecoder::new(&packed[..]).read_to_end(&mut plain).map_err(|error| format!("a layer: {error}"))?;
        if *diff_id != hash(&plain).as_str() {
            return Err(format!("a layer is not {diff_id} unpacked"));
        }
        read_files(&plain, &mut files)?;
    }
    for (name, wanted) in [("platform", platform), ("stamp", stamp)] {
        let found = files.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        if found.as_deref() != Some(wanted) {
            return Err(format!("its file `{name}` says {found:?} and not `{wanted}`"));
        }
    }
    for (name, bytes) in files.iter().filter(|(_, bytes)| bytes.starts_with(b"\x7fELF")) {
        let machine = if platform == "linux/arm64" { 183 } else { 62 };
        if bytes.get(18..20) != Some(&[machine, 0]) {
            return Err(format!("its program `{name}` is for another processor"));
        }
    }
    Ok(())
}

fn read_files(plain: &[u8], files: &mut BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let text = |error: std::io::Error| format!("a layer: {error}");
    for entry in tar::Archive::new(plain).entries().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        let name = entry.path().map_err(text)?.display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(text)?;
        files.insert(name, content);
    }
    Ok(())
}

/// The bytes of a blob, which are what their descriptor says.
fn blob(layout: &Path, descriptor: &Value) -> Result<Vec<u8>, String> {
    let digest = descriptor["digest"].as_str().ok_or("a descriptor without a digest")?;
    let hex = digest.strip_prefix("sha256:").ok_or("a digest of another kind")?;
    let bytes = fs::read(layout.join("blobs/sha256").join(hex)).map_err(|error| format!("{digest}: {error}"))?;
    if hash(&bytes) != digest || descriptor["size"].as_u64() != Some(bytes.len() as u64) {
        return Err(format!("{digest} is {} bytes of {}", bytes.len(), hash(&bytes)));
    }
    Ok(bytes)
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn list(value: &Value, key: &str) -> Vec<Value> {
    value[key].as_array().cloned().unwrap_or_default()
}
