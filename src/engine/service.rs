use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::base::{Descriptor, Platform};
use crate::event::EventSink;

/// Everything about one service that an engine needs to run it.
#[derive(Clone)]
pub struct ServiceRequest {
    /// The name that people and other containers know it by.
    pub name: String,
    /// Manifest of the image that it runs from, in the layout.
    pub image: Descriptor,
    /// The image's platform.
    pub platform: Platform,
    /// What runs, in place of the image's entrypoint and command. `{port}` stands for the port.
    pub command: Option<Vec<String>>,
    /// Environment on top of the image's, in order. `{port}` stands for the port.
    pub env: Vec<(String, String)>,
    /// Files that are put into the container.
    pub files: Vec<ServiceFile>,
    /// The port it listens on.
    pub port: ServicePort,
    /// How to tell that it is up.
    pub probe: ServiceProbe,
    /// Time between two probes.
    pub interval: Duration,
    /// How long it may take to be up.
    pub timeout: Duration,
    /// Extra `/etc/hosts` entries, (name, address): the services that it uses itself.
    pub extra_hosts: Vec<(String, String)>,
    /// Where its output goes.
    pub events: Arc<dyn EventSink>,
    /// Ends the wait for it when cancelled; a service that runs is ended by [`ServiceHandle::stop`].
    pub cancel: CancellationToken,
}

/// A file that is put into a service's container, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFile {
    /// Absolute path in the container.
    pub path: String,
    /// Its content; the engine bounds it.
    pub bytes: Vec<u8>,
}

/// The port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServicePort {
    /// It listens on none.
    None,
    /// The one that the project says. Where containers share the machine's network it must be free there.
    Fixed(u16),
    /// Any free one: chosen when it starts, and told to it as `PORT`.
    Free,
}

/// How to tell that a service is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceProbe {
    /// Running is enough.
    Started,
    /// An http URL answers with a good status; the name of the service in it stands for its address.
    Http(String),
    /// The port accepts connections.
    Tcp(u16),
    /// A command in its container exits with 0.
    Exec(Vec<String>),
}

/// Why a service is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEnd {
    /// `exit code 1`, `the builder was lost`, ...
    pub reason: String,
    /// Exit code of its process, where it ended by itself.
    pub exit_code: Option<u32>,
    /// The last lines that it wrote.
    pub output: Vec<String>,
}

/// A service that is up. Dropping it ends the service; [`ServiceHandle::stop`] also waits for that.
#[derive(Debug)]
pub struct ServiceHandle {
    address: String,
    port: Option<u16>,
    ended: watch::Receiver<Option<ServiceEnd>>,
    stop: CancellationToken,
}

impl ServiceHandle {
    /// A handle on what runs at `address`: `stop` asks it to end, `ended` tells when it has.
    pub(super) fn new(
        address: String,
        port: Option<u16>,
        ended: watch::Receiver<Option<ServiceEnd>>,
        stop: CancellationToken,
    ) -> Self {
        Self { address, port, ended, stop }
    }

    /// Tells where it is, once that is known.
    pub(super) fn locate(&mut self, address: String) {
        self.address = address;
    }

    /// Waits until it has ended. Cancel-safe.
    pub async fn end(&self) -> ServiceEnd {
        let mut ended = self.ended.clone();
        let gone = || ServiceEnd { reason: "its task ended".to_owned(), exit_code: None, output: Vec::new() };
        match ended.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_else(gone),
            Err(_) => gone(),
        }
    }

    /// The IP address under which containers of the same builder reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port it listens on, as fixed or chosen.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Why it ended, if it did.
    pub fn ended(&self) -> Option<ServiceEnd> {
        self.ended.borrow().clone()
    }

    /// Ends it with everything it started, without waiting for that.
    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Ends it with everything it started, and waits until that is done. Idempotent.
    pub async fn stop(&self) {
        self.stop.cancel();
        let _end = self.end().await;
    }
}

impl Drop for ServiceHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for ServiceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceRequest").field("name", &self.name).field("image", &self.image).finish_non_exhaustive()
    }
}
