use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::tools;

/// A real buildkitd with its own root and socket.
///
/// It lives in its own pid and mount namespaces, so that nothing of it outlives it, and as long as a pipe that this process
/// holds: it ends with the test process however that ends.
pub(crate) struct Daemon {
    keeper: Child,
    address: String,
    directory: TempDir,
}

/// Waits for the pipe to close, then ends everything and removes the root.
const KEEPER: &str = r#"
root=$1 daemon=$2 address=$3 net=$4
shift 4
own= begin='exec "$@"'
if [ "$net" = bridge ]; then
  # What the plugins leave on a machine, it leaves in a network and in folders that end with it.
  begin='ip link set lo up && mount -t tmpfs none /var/lib && mount -t tmpfs none /run && exec "$@"'
  own=--net
  set -- --oci-cni-binary-dir=/usr/lib/cni "$@"
fi
unshare --fork --kill-child=KILL --pid --mount --mount-proc $own sh -c "$begin" daemon "$daemon" \
  --root "$root/root" --addr "$address" --config "$root/config.toml" --otel-socket-path "$root/otel" \
  --oci-worker-net="$net" --oci-worker-gc=false "$@" >"$root/log" 2>&1 &
cat >/dev/null
kill -KILL $!
wait
rm -rf "$root"
"#;

impl Daemon {
    /// Starts a daemon with a socket and waits until it is there.
    pub(crate) fn start() -> Self {
        Self::launch(|root| format!("unix://{}", root.join("s").display()), "host", &[])
    }

    /// Starts a daemon whose containers have a network each, joined by a bridge (`--oci-worker-net=bridge`). Its own network
    /// is another one than the machine's.
    pub(crate) fn start_bridge() -> Self {
        assert!(Path::new("/usr/lib/cni/bridge").exists(), "network plugins are missing: run scripts/setup test");
        Self::launch(|root| format!("unix://{}", root.join("s").display()), "bridge", &[])
    }

    /// Starts a daemon on a port of loopback, with further flags.
    pub(crate) fn start_tcp(flags: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = format!("tcp://{}", listener.local_addr().expect("bound"));
        drop(listener);
        Self::launch(|_| address, "host", flags)
    }

    /// Starts a daemon where another one was, without anything of what that one had.
    pub(crate) fn start_at(address: &str) -> Self {
        let address = address.to_owned();
        Self::launch(|_| address, "host", &[])
    }

    fn launch(address: impl FnOnce(&Path) -> String, network: &str, flags: &[String]) -> Self {
        let directory = tempfile::Builder::new().prefix("bk").tempdir().expect("a temporary directory");
        let root = directory.path();
        let address = address(root);
        // An empty configuration of its own, or the machine's would apply.
        fs::write(root.join("config.toml"), "").expect("writable");
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(root)
            .arg(tools::tool("bin/buildkitd"))
            .args([&address, network])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .env_remove("NOTIFY_SOCKET")
            .spawn()
            .expect("sh can be started");
        let daemon = Self { keeper, address, directory };
        daemon.wait();
        daemon
    }

    /// One daemon for all tests that do it no harm, started by the first of them.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Daemon> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it wrote to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Ends it at once with every step that it runs, as a power cut would.
    pub(crate) fn kill(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().expect("the keeper ends");
    }

    fn wait(&self) {
        let begin = Instant::now();
        while !self.listens() {
            assert!(begin.elapsed() < Duration::from_secs(60), "buildkitd does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn listens(&self) -> bool {
        match self.address.strip_prefix("tcp://") {
            Some(address) => TcpStream::connect(address).is_ok(),
            None => UnixStream::connect(self.address.trim_start_matches("unix://")).is_ok(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
