use std::net::Ipv4Addr;
use std::time::Duration;

use super::bridge::Bridge;
use super::process::Process;
use super::teller::{self, ADDRESSES};
use crate::engine::buildkit::proto::moby::buildkit::v1::types::WorkerRecord;
use crate::engine::buildkit::proto::pb;
use crate::engine::buildkit::words;

/// The label by which a worker tells what network its containers are on (moby/buildkit worker/label).
const LABEL: &str = "org.mobyproject.buildkit.worker.network";

/// Bytes of that list that are read; one interface needs two kilobytes.
const LIST_LIMIT: usize = 64 << 10;

/// How long a program in the container may take to print it.
const READING: Duration = Duration::from_secs(10);

/// What network the containers of a worker are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::buildkit) enum Network {
    /// The machine's: ports are shared with everything on it.
    Host,
    /// Each container its own, joined by a bridge.
    Own,
    /// None at all.
    Nothing,
}

impl Network {
    /// What a worker's record says; a daemon too old to say it uses the machine's.
    pub(in crate::engine::buildkit) fn of(worker: &WorkerRecord) -> Self {
        match worker.labels.get(LABEL).map(String::as_str) {
            None | Some("host" | "") => Self::Host,
            Some("none") => Self::Nothing,
            Some(_) => Self::Own,
        }
    }
}

/// The address of a container with a network of its own, from inside: its `/etc/hosts` says 127.0.0.1 and nothing outside
/// tells it. Our own program prints it; where there is none for the builder's processor, any of the image that prints a file.
pub(super) async fn address(bridge: &Bridge, container: &str) -> Result<Ipv4Addr, String> {
    let script = format!("while read -r line; do echo \"$line\"; done <{ADDRESSES}");
    let attempts: [Vec<String>; 4] = [
        vec![teller::PLACE.to_owned()],
        vec!["cat".to_owned(), ADDRESSES.to_owned()],
        vec!["sh".to_owned(), "-c".to_owned(), script],
        vec!["busybox".to_owned(), "cat".to_owned(), ADDRESSES.to_owned()],
    ];
    let mut reason = String::new();
    for args in attempts {
        let meta = pb::Meta { args, cwd: "/".to_owned(), ..pb::Meta::default() };
        let read = async {
            let process = Process::start(bridge, container, meta).await?;
            process.finish(LIST_LIMIT).await
        };
        match tokio::time::timeout(READING, read).await {
            Ok(Ok((exit, list))) if exit.code == 0 => {
                return local(&String::from_utf8_lossy(&list))
                    .ok_or_else(|| "its container has no address beside loopback".to_owned());
            }
            Ok(Ok((exit, _))) => reason = exit.error.unwrap_or_else(|| format!("exit code {}", exit.code)),
            Ok(Err(status)) => reason = words::status(&status),
            Err(_) => "no answer".clone_into(&mut reason),
        }
    }
    Err(format!("nothing in its container can tell its address (cat, sh, busybox): {reason}"))
}

/// The first address of `fib_trie` that is the container's own: a leaf that is followed by `host LOCAL`.
fn local(list: &str) -> Option<Ipv4Addr> {
    let mut leaf = None;
    for line in list.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line.ends_with("host LOCAL")
            && let Some(address) = leaf.filter(|address| !address.is_loopback())
        {
            return Some(address);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.10.0.0/16 2 0 2
        |-- 10.10.0.0
           /16 link UNICAST
        |-- 10.10.0.2
           /32 host LOCAL
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
";

    #[test]
    fn finds_the_address_among_routes_and_loopback() {
        assert_eq!(local(LIST), Some(Ipv4Addr::new(10, 10, 0, 2)));
        let (_, loopback) = LIST.split_at(LIST.find("+-- 127").unwrap_or(0));
        assert_eq!(local(loopback), None);
        assert_eq!(local(""), None);
    }

    #[test]
    fn the_workers_label_decides() {
        let worker = |value: &str| WorkerRecord {
            labels: std::collections::HashMap::from([(LABEL.to_owned(), value.to_owned())]),
            ..WorkerRecord::default()
        };
        assert_eq!(Network::of(&worker("host")), Network::Host);
        assert_eq!(Network::of(&worker("cni")), Network::Own);
        assert_eq!(Network::of(&worker("none")), Network::Nothing);
        assert_eq!(Network::of(&WorkerRecord::default()), Network::Host);
    }
}
