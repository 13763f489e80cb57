use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use catamaran::base::Descriptor;
use catamaran::store::Layout;
use tempfile::TempDir;

/// A real registry on loopback that bases are pulled from.
pub(super) struct Registry {
    process: Child,
    host: String,
    _directory: TempDir,
}

impl Registry {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let config = directory.path().join("config.yml");
        let root = directory.path().display();
        let text =
            format!("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\nhttp:\n  addr: {host}\n");
        std::fs::write(&config, text).unwrap();
        // It must not outlive this process, however that ends; the thread that starts it does not count as its parent.
        let process = Command::new("sh")
            .args(["-c", "docker-registry serve \"$1\" & cat >/dev/null; kill $!; wait", "keeper"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        let registry = Self { process, host, _directory: directory };
        let begin = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "docker-registry does not start: run scripts/setup test"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// Pushes an image of a layout with a tool that is not ours; returns its reference.
    pub(super) fn push(&self, layout: &Layout, image: &Descriptor, name: &str) -> String {
        let mut entry = image.clone();
        entry.annotations = Some([("org.opencontainers.image.ref.name".to_owned(), "pushed".to_owned())].into());
        layout.update_index(|entries| *entries = vec![entry]).unwrap();
        let reference = format!("{}/{name}", self.host);
        let status = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:pushed", layout.root().display()))
            .arg(format!("docker://{reference}"))
            .status()
            .expect("skopeo is there: run scripts/setup test");
        assert!(status.success());
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().expect("the keeper ends");
    }
}
