//! What another program read out of a registry, looked at file by file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A layout that skopeo filled.
pub(super) struct Layout(PathBuf);

impl Layout {
    pub(super) fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    fn document(&self, digest: &str) -> Value {
        serde_json::from_slice(&fs::read(self.blob(digest)).expect("a blob")).expect("JSON")
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    /// The images of the index called `name`, in its order: platform and digest.
    pub(super) fn images(&self, name: &str) -> Vec<(String, String)> {
        let index: Value =
            serde_json::from_slice(&fs::read(self.0.join("index.json")).expect("a layout")).expect("JSON");
        let entries = index["manifests"].as_array().expect("entries");
        let named = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == name;
        let root = entries.iter().find(named).unwrap_or_else(|| panic!("{name} was not read back"));
        let index = self.document(text(&root["digest"]));
        let entries = index["manifests"].as_array().unwrap_or_else(|| panic!("{name} is no index: {index}"));
        let image = |entry: &Value| {
            let platform = &entry["platform"];
            let platform = format!("{}/{}", text(&platform["os"]), text(&platform["architecture"]));
            (platform, text(&entry["digest"]).to_owned())
        };
        entries.iter().map(image).collect()
    }

    /// A file of an image, out of the topmost layer that has it.
    pub(super) fn file(&self, manifest: &str, path: &str) -> Option<Vec<u8>> {
        let manifest = self.document(manifest);
        manifest["layers"].as_array().expect("layers").iter().rev().find_map(|layer| {
            let blob = self.blob(text(&layer["digest"]));
            let names = [path.to_owned(), format!("./{path}")];
            names.iter().find_map(|name| {
                let output = Command::new("tar").arg("-xzOf").arg(&blob).arg(name).output().expect("tar runs");
                output.status.success().then_some(output.stdout)
            })
        })
    }

    /// The files `path` of both images of `name`, as texts.
    pub(super) fn texts(&self, name: &str, path: &str) -> BTreeMap<String, String> {
        let images = self.images(name).into_iter();
        let read = |(platform, digest): (String, String)| {
            let bytes = self.file(&digest, path).unwrap_or_else(|| panic!("{name}/{platform} has no {path}"));
            (platform, String::from_utf8(bytes).expect("text").trim().to_owned())
        };
        images.map(read).collect()
    }
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}
