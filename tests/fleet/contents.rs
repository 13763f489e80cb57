use std::process::Command;

use super::delivery::output;
use super::{Fleet, expected};

/// The last version of `path` in an image's layers, as another tool unpacks them.
fn file_of(fleet: &Fleet, component: &str, tag: &str, platform: &str, path: &str) -> String {
    let layout = fleet.path(".catamaran/layout");
    let folder = tempfile::tempdir().expect("a folder");
    let (_, architecture) = platform.split_once('/').expect("os/architecture");
    output(
        Command::new("skopeo")
            .args(["--override-os", "linux", "--override-arch", architecture, "copy", "--quiet"])
            .arg(format!("oci:{}:127.0.0.1:5000/fleet/{component}:{tag}", layout.display()))
            .arg(format!("dir:{}", folder.path().display())),
    );
    let manifest = std::fs::read(folder.path().join("manifest.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let mut found = None;
    for layer in manifest["layers"].as_array().expect("layers") {
        let digest = layer["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
        let tar = Command::new("tar").arg("xzOf").arg(folder.path().join(digest)).arg(path).output().expect("tar runs");
        if tar.status.success() {
            found = Some(String::from_utf8_lossy(&tar.stdout).trim().to_owned());
        }
    }
    found.unwrap_or_else(|| panic!("{component} for {platform} has no {path}"))
}

#[test]
fn d14_run_steps_ran_on_the_platform_of_their_image() {
    let (fleet, expected) = (Fleet::shared(), expected());
    drop(fleet.document());
    for component in &expected.components {
        for (platform, machine) in &expected.machines {
            let found = file_of(fleet, component, &expected.tag, platform, &expected.arch_file);
            assert_eq!(found, *machine, "{component} for {platform}");
        }
    }
}
