//! A socket between the program and a builder, through which everything goes until one byte that does not.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// After so many bytes of one direction every connection is gone.
    Cut(u64),
    /// In the first large piece after so many bytes one is changed: what is large are blobs.
    Change(u64),
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the builder.
    Up,
    /// From it.
    Down,
}

#[derive(Default)]
struct Inner {
    to: String,
    damage: Option<(Way, Damage)>,
    fired: bool,
    /// Bytes that went each way since the last script.
    up: u64,
    down: u64,
    open: Vec<UnixStream>,
    over: bool,
}

/// The way; ends with this value.
pub(crate) struct Cutter {
    inner: Arc<Mutex<Inner>>,
    socket: std::path::PathBuf,
}

const PIECE: usize = 32 << 10;

/// Pieces of less than this hold more of the protocol than of any blob.
const LARGE: usize = 4 << 10;

impl Cutter {
    /// Listens at a socket.
    pub(crate) fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let inner = Arc::<Mutex<Inner>>::default();
        let accepting = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), inner) = (stream, Arc::clone(&accepting)) else { continue };
                if inner.lock().expect("no panic").over {
                    return;
                }
                thread::spawn(move || connect(&inner, &stream));
            }
        });
        Self { inner, socket: socket.to_owned() }
    }

    /// From now on the way leads to this socket, and this happens on it.
    pub(crate) fn script(&self, to: &str, damage: Option<(Way, Damage)>) {
        let mut inner = self.inner.lock().expect("no panic");
        for stream in inner.open.drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        let over = inner.over;
        *inner = Inner { to: to.trim_start_matches("unix://").to_owned(), damage, over, ..Inner::default() };
    }

    /// Whether it has happened.
    pub(crate) fn fired(&self) -> bool {
        self.inner.lock().expect("no panic").fired
    }

    /// Bytes that went up and down since the last script.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let inner = self.inner.lock().expect("no panic");
        (inner.up, inner.down)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.script("", None);
        self.inner.lock().expect("no panic").over = true;
        drop(UnixStream::connect(&self.socket));
    }
}

fn connect(inner: &Arc<Mutex<Inner>>, client: &UnixStream) {
    let to = inner.lock().expect("no panic").to.clone();
    let Ok(server) = UnixStream::connect(to) else { return };
    let copy = |stream: &UnixStream| stream.try_clone().expect("a descriptor");
    inner.lock().expect("no panic").open.extend([copy(client), copy(&server)]);
    let (from, to, other) = (copy(&server), copy(client), Arc::clone(inner));
    let down = thread::spawn(move || pass(&other, from, to, Way::Down));
    pass(inner, copy(client), copy(&server), Way::Up);
    drop(down.join());
}

fn pass(inner: &Mutex<Inner>, mut from: UnixStream, mut to: UnixStream, way: Way) {
    drop(from.set_read_timeout(Some(Duration::from_secs(600))));
    let mut piece = vec![0; PIECE];
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let (count, cut) = inner.lock().expect("no panic").take(&mut piece[..count], way);
        let written = to.write_all(&piece[..count]);
        if cut {
            for stream in inner.lock().expect("no panic").open.drain(..) {
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        if cut || written.is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}

impl Inner {
    /// How many bytes of a piece pass, and whether they are the last ones.
    fn take(&mut self, piece: &mut [u8], way: Way) -> (usize, bool) {
        let passed = if way == Way::Up { &mut self.up } else { &mut self.down };
        let before = *passed;
        *passed += piece.len() as u64;
        let after = *passed;
        match self.damage {
            Some((on, Damage::Cut(at))) if on == way && !self.fired && after > at => {
                self.fired = true;
                (usize::try_from(at.saturating_sub(before)).expect("within a piece"), true)
            }
            Some((on, Damage::Change(at))) if on == way && !self.fired && after > at && piece.len() >= LARGE => {
                self.fired = true;
                let middle = piece.len() / 2;
                piece[middle] ^= 0x10;
                (piece.len(), false)
            }
            _ => (piece.len(), false),
        }
    }
}
