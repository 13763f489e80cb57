//! A bad way to a registry: slow, broken every few moments, and now and then refused.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How bad it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Bytes per second that go up, over all connections.
    pub(crate) rate: u64,
    /// How long a connection lives.
    pub(crate) life: Duration,
    /// Of a hundred connections, how many are answered 429 at once.
    pub(crate) refused: u64,
}

/// The way. Ends with this value, connections and all.
pub(crate) struct Proxy {
    pub(crate) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    to: String,
    weather: Weather,
    over: AtomicBool,
    /// Bytes that went up to the registry.
    up: AtomicU64,
    connections: AtomicU64,
    /// When the next byte may go up, in microseconds after `started`.
    next: AtomicU64,
    started: Instant,
}

const PIECE: usize = 16 << 10;

impl Proxy {
    pub(crate) fn start(to: &str, weather: Weather) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            to: to.to_owned(),
            weather,
            over: AtomicBool::new(false),
            up: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            next: AtomicU64::new(0),
            started: Instant::now(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&accepting)) else { continue };
                thread::spawn(move || shared.carry(stream));
            }
        });
        Self { address, shared }
    }

    /// Bytes that went up so far.
    pub(crate) fn up(&self) -> u64 {
        self.shared.up.load(Ordering::Relaxed)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(&self.address));
    }
}

impl Shared {
    fn carry(self: Arc<Self>, mut client: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let end = Instant::now() + self.weather.life;
        // Evenly spread, and never the first one: 37 has no divisor in common with 100.
        if (number * 37) % 100 >= 100 - self.weather.refused {
            let mut head = [0; 4096];
            drop(client.read(&mut head));
            let answer =
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            drop(client.write_all(answer.as_bytes()));
            return;
        }
        let Ok(server) = TcpStream::connect(&self.to) else { return };
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        }
        let (down_from, down_to) = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
        let other = Arc::clone(&self);
        let down = thread::spawn(move || other.pass(down_from, down_to, end, false));
        self.pass(client.try_clone().expect("a socket"), server.try_clone().expect("a socket"), end, true);
        // A cut: both sides see it, whatever they were in the middle of.
        drop((client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both)));
        drop(down.join());
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, end: Instant, upwards: bool) {
        let mut piece = vec![0; PIECE];
        while Instant::now() < end && !self.over.load(Ordering::Relaxed) {
            let count = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            if upwards {
                self.wait_for(count as u64);
                self.up.fetch_add(count as u64, Ordering::Relaxed);
            }
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    }

    /// Waits until so many bytes more are within the rate.
    fn wait_for(&self, bytes: u64) {
        let micros = bytes * 1_000_000 / self.weather.rate;
        let now = u64::try_from(self.started.elapsed().as_micros()).expect("not so long");
        let turn = self.next.fetch_max(now, Ordering::Relaxed).max(now);
        let turn = turn.max(self.next.fetch_add(micros, Ordering::Relaxed));
        thread::sleep(Duration::from_micros(turn.saturating_sub(now)));
    }
}
