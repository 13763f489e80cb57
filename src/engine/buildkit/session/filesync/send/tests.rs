use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Mode};
use tempfile::TempDir;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::super::walk::tests::as_nobody_special;
use super::*;
use crate::engine::buildkit::session::{LocalFailure, LocalFailureSlot};

/// The daemon's side of a transfer, by hand.
struct Receiver {
    requests: Option<mpsc::Sender<Result<Packet, Status>>>,
    packets: Outgoing,
    observer: Observer,
}

impl Receiver {
    fn new(directory: &Path, selection: Selection) -> Self {
        // One place only: a sender that does not drain requests blocks at once.
        let (requests, incoming) = mpsc::channel(1);
        let observer = Observer::new(Arc::default(), LocalFailureSlot::default());
        let job = Job {
            name: "context".to_owned(),
            directory: directory.to_owned(),
            always_excluded: vec![],
            rendered: vec![],
            selection,
        };
        let packets = send(job, ReceiverStream::new(incoming), observer.clone());
        Self { requests: Some(requests), packets, observer }
    }

    async fn ask(&self, packet: Packet) {
        self.requests.as_ref().unwrap().send(Ok(packet)).await.unwrap();
    }

    async fn request(&self, id: u32) {
        self.ask(Packet { id, ..packet(PacketType::PacketReq) }).await;
    }

    async fn finish(&self) {
        self.ask(packet(PacketType::PacketFin)).await;
    }

    async fn next(&mut self) -> Option<Result<Packet, Status>> {
        let next = self.packets.next();
        tokio::time::timeout(Duration::from_secs(30), next).await.expect("the sender says something")
    }

    /// Everything up to the empty STAT.
    async fn stats(&mut self) -> Vec<Stat> {
        let mut stats = Vec::new();
        while let Some(packet) = self.next().await {
            let packet = packet.unwrap();
            assert_eq!(packet.r#type(), PacketType::PacketStat);
            match packet.stat {
                Some(stat) => stats.push(stat),
                None => return stats,
            }
        }
        panic!("no end of the list");
    }

    /// The rest as a failing transfer has it: data or not, ERR with the words, and a status.
    async fn failure(mut self) -> (String, Status, Option<LocalFailure>) {
        let mut told = String::new();
        loop {
            match self.next().await.expect("a status") {
                Ok(packet) if packet.r#type() == PacketType::PacketErr => {
                    told = String::from_utf8(packet.data.to_vec()).unwrap();
                }
                Ok(packet) => assert_ne!(packet.r#type(), PacketType::PacketFin),
                Err(status) => {
                    assert!(self.next().await.is_none(), "nothing after the status");
                    return (told, status, self.observer.failure.get());
                }
            }
        }
    }
}

fn directory(files: &[(&str, usize)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, size) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content: Vec<u8> = name.bytes().cycle().take(*size).collect();
        fs::write(path, content).unwrap();
    }
    root
}

#[tokio::test]
async fn contents_go_to_the_numbers_that_asked_for_them() {
    let sizes = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * 1024 * 1024 + 1, 17, 0, 5, 100_000];
    let names: Vec<String> = (0..sizes.len()).map(|n| format!("dir{}/file{n}", n % 3)).collect();
    let files: Vec<(&str, usize)> = names.iter().map(String::as_str).zip(sizes).collect();
    let root = directory(&files);
    let mut receiver = Receiver::new(root.path(), Selection::default());
    let stats = receiver.stats().await;
    let mut wanted: Vec<u32> = (0..).zip(&stats).filter(|(_, stat)| stat.mode >> 31 == 0).map(|(id, _)| id).collect();
    assert_eq!(wanted.len(), sizes.len());
    // Any order will do, and all at once: nothing is read here before everything is asked for.
    wanted.sort_by_key(|id| id.wrapping_mul(2_654_435_761));
    for id in &wanted {
        receiver.request(*id).await;
    }
    let mut contents: HashMap<u32, Vec<u8>> = HashMap::new();
    let mut open = wanted.len();
    while open > 0 {
        let packet = receiver.next().await.unwrap().unwrap();
        assert_eq!(packet.r#type(), PacketType::PacketData);
        assert!(packet.data.len() <= CHUNK);
        open -= usize::from(packet.data.is_empty());
        contents.entry(packet.id).or_default().extend_from_slice(&packet.data);
    }
    for id in wanted {
        let stat = &stats[id as usize];
        assert_eq!(contents[&id], fs::read(root.path().join(&stat.path)).unwrap(), "{}", stat.path);
        assert_eq!((stat.uid, stat.gid, stat.xattrs.len()), (0, 0, 0));
    }
    // The daemon may take its time; our end comes with the answer, while its own is still open.
    tokio::time::sleep(Duration::from_millis(200)).await;
    receiver.finish().await;
    assert_eq!(receiver.next().await.unwrap().unwrap().r#type(), PacketType::PacketFin);
    assert!(receiver.next().await.is_none());
    assert_eq!(receiver.observer.sent.load(Ordering::Relaxed), sizes.iter().sum::<usize>() as u64);
    assert_eq!(receiver.observer.failure.get(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_drained_while_nothing_is_taken() {
    let names: Vec<String> = (0..2_000).map(|n| format!("f{n:04}")).collect();
    let files: Vec<(&str, usize)> = names.iter().map(|name| (&**name, 10)).collect();
    let root = directory(&files);
    let mut receiver = Receiver::new(root.path(), Selection::default());
    let stats = receiver.stats().await;
    for id in 0..2_000 {
        tokio::time::timeout(Duration::from_secs(30), receiver.request(id)).await.expect("requests are taken");
    }
    let mut contents = vec![Vec::new(); stats.len()];
    for _ in 0..4_000 {
        let packet = receiver.next().await.unwrap().unwrap();
        contents[packet.id as usize].extend_from_slice(&packet.data);
    }
    assert!(
        contents
            .iter()
            .zip(&stats)
            .all(|(content, stat)| content.len() == 10 && content.starts_with(b"f") && stat.size == 10)
    );
}

#[tokio::test]
async fn numbers_that_make_no_sense_end_the_transfer() {
    let root = directory(&[("d/f", 3)]);
    symlink("f", root.path().join("link")).unwrap();
    for ids in [&[0][..], &[2], &[3], &[u32::MAX], &[1, 1]] {
        let mut receiver = Receiver::new(root.path(), Selection::default());
        assert_eq!(receiver.stats().await.len(), 3);
        for id in ids {
            receiver.request(*id).await;
        }
        let (told, status, failure) = receiver.failure().await;
        assert_eq!((status.code(), &*told, failure), (Code::InvalidArgument, "", None), "{ids:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_gives_up_is_no_failure_of_ours() {
    let root = directory(&[("f", 3)]);
    let mut receiver = Receiver::new(root.path(), Selection::default());
    receiver.stats().await;
    receiver.ask(Packet { data: Bytes::from("no space left"), ..packet(PacketType::PacketErr) }).await;
    let (_, status, failure) = receiver.failure().await;
    assert_eq!((status.code(), failure), (Code::Aborted, None));
    assert!(status.message().contains("no space left"));

    let mut receiver = Receiver::new(root.path(), Selection::default());
    receiver.stats().await;
    receiver.requests = None;
    let (_, status, failure) = receiver.failure().await;
    assert_eq!((status.code(), failure), (Code::Cancelled, None), "the end without FIN is no success");
}

#[tokio::test]
async fn dropping_the_stream_ends_the_threads() {
    let root = directory(&[("big", 8 * 1024 * 1024), ("f", 1)]);
    let mut receiver = Receiver::new(root.path(), Selection::default());
    receiver.stats().await;
    receiver.request(0).await;
    assert!(receiver.next().await.unwrap().is_ok());
    let sent = receiver.observer.sent.clone();
    drop(receiver);
    tokio::time::timeout(Duration::from_secs(30), async {
        while Arc::strong_count(&sent) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("nobody holds the transfer");
}

/// A transfer of `f`, to which `change` happens between its STAT and the request for it.
async fn changed(change: impl FnOnce(&Path)) -> (String, Option<LocalFailure>) {
    let root = directory(&[("f", 10), ("g", 1)]);
    let mut receiver = Receiver::new(root.path(), Selection::default());
    assert_eq!(receiver.stats().await.len(), 2);
    change(&root.path().join("f"));
    receiver.request(0).await;
    let (told, status, failure) = receiver.failure().await;
    assert_eq!(status.message(), told);
    (told, failure)
}

type Change = Box<dyn FnOnce(&Path)>;

#[tokio::test]
async fn a_file_that_is_not_what_was_announced_is_an_error() {
    let old = SystemTime::now() - Duration::from_secs(60);
    let touched = move |path: &Path| fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    let changes: [(&str, Change); 7] = [
        ("changed", Box::new(|path| fs::write(path, "longer than it was before").unwrap())),
        ("changed", Box::new(|path| fs::write(path, "").unwrap())),
        ("changed", Box::new(touched)),
        (
            "changed",
            Box::new(|path| {
                fs::remove_file(path).unwrap();
                symlink("g", path).unwrap();
            }),
        ),
        (
            "changed",
            Box::new(|path| {
                fs::remove_file(path).unwrap();
                rustix::fs::mkfifoat(CWD, path, Mode::RWXU).unwrap();
            }),
        ),
        (
            "changed",
            Box::new(|path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }),
        ),
        ("vanished", Box::new(|path| fs::remove_file(path).unwrap())),
    ];
    for (word, change) in changes {
        let (told, failure) = changed(change).await;
        let reason = format!("it {word} while it was being sent");
        assert_eq!(told, format!("cannot send `f`: {reason}"));
        assert_eq!(failure, Some(LocalFailure { path: "f".to_owned(), reason, disk: false }));
    }
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_read_is_an_error() {
    let root = directory(&[("log", 4 * 1024 * 1024)]);
    let mut receiver = Receiver::new(root.path(), Selection::default());
    receiver.stats().await;
    receiver.request(0).await;
    // The queue is shorter than the file: it cannot have been read to its end.
    assert!(!receiver.next().await.unwrap().unwrap().data.is_empty());
    let mut log = fs::File::options().append(true).open(root.path().join("log")).unwrap();
    io::Write::write_all(&mut log, b"one more line").unwrap();
    let (told, _, failure) = receiver.failure().await;
    assert_eq!(told, "cannot send `log`: it changed while it was being sent");
    assert!(failure.is_some());
}

#[test]
fn a_file_that_may_not_be_read_is_an_error_and_never_empty() {
    let root = directory(&[("d/secret", 5)]);
    fs::set_permissions(root.path().join("d/secret"), fs::Permissions::from_mode(0o000)).unwrap();
    // Threads of a runtime have the rights of the thread that starts them.
    as_nobody_special(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mut receiver = Receiver::new(root.path(), Selection::default());
            assert_eq!(receiver.stats().await.len(), 2);
            receiver.request(1).await;
            let (told, _, failure) = receiver.failure().await;
            assert_eq!(told, "cannot send `d/secret`: Permission denied (os error 13)");
            assert!(failure.unwrap().disk);
        });
    });
}

#[tokio::test]
async fn what_cannot_be_walked_is_told() {
    let root = directory(&[("f", 1)]);
    let missing = root.path().join("missing");
    let (told, _, failure) = Receiver::new(&missing, Selection::default()).failure().await;
    assert_eq!(told, format!("cannot send `{}`: No such file or directory (os error 2)", missing.display()));
    assert!(failure.unwrap().disk);

    let selection = Selection { exclude: vec!["[".to_owned()], ..Selection::default() };
    let (told, _, failure) = Receiver::new(root.path(), selection).failure().await;
    assert_eq!(told, "cannot send `context`: the ignore pattern `[` is malformed");
    assert!(!failure.unwrap().disk);
}
