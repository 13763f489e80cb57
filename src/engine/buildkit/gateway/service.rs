use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;

use super::bridge::Bridge;
use super::definition;
use super::image::RunConfig;
use super::network::{self, Network};
use super::probe::{Answer, Prober, accepts, located};
use super::process::{Exit, Process, Said};
use super::teller;
use crate::base::ByteSize;
use crate::engine::buildkit::connect::MESSAGE_LIMIT;
use crate::engine::buildkit::engine::{BuildKitEngine, Shared};
use crate::engine::buildkit::fault;
use crate::engine::buildkit::proto::containerd::services::content::v1::content_server::ContentServer;
use crate::engine::buildkit::proto::grpc::health::v1::health_server::HealthServer;
use crate::engine::buildkit::proto::pb;
use crate::engine::buildkit::session::{Content, Health, Receipt, Session};
use crate::engine::buildkit::words;
use crate::engine::{EngineError, ServiceEnd, ServiceFile, ServiceHandle, ServicePort, ServiceProbe, ServiceRequest};
use crate::event::{Event, EventSink, LogStream};

/// What the session of a service serves: its image.
const METHODS: [&str; 3] = [
    "/grpc.health.v1.Health/Check",
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Read",
];

/// Lines of output that are kept for an error.
const OUTPUT_LINES: usize = 20;
/// Bytes that are kept of one line.
const LINE_BYTES: usize = 500;
/// Bytes of all files of one service: they travel in one message.
const FILES_LIMIT: usize = 4 << 20;

/// How long a service may take to end after SIGTERM. It is thrown away with all its data, and PID 1 of a container does not
/// even get the signal unless it asked for it.
const FAREWELL: Duration = Duration::from_millis(300);

/// How often a start is tried that meets snapshots which the daemon left when it was killed.
const SNAPSHOT_TRIES: u32 = 4;

/// The first pause between two probes; each is twice the one before, up to the request's interval.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Below the range that kernels give to outgoing connections, above what people choose.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Free ports that are tried.
const FREE_TRIES: usize = 16;

/// A service whose process was started, and who attends to it.
struct Started {
    bridge: Arc<Bridge>,
    container: String,
    meta: pb::Meta,
    handle: ServiceHandle,
    output: Arc<Mutex<Tail>>,
}

impl BuildKitEngine {
    /// Runs a service until its handle is stopped. See [`crate::engine::Engine::serve`].
    pub(in crate::engine::buildkit) async fn run_service(
        &self,
        request: ServiceRequest,
    ) -> Result<ServiceHandle, EngineError> {
        let up = async {
            let mut tries = SNAPSHOT_TRIES;
            loop {
                let bridge = open(&self.shared).await.map_err(|status| refused(&self.shared, &request, &status))?;
                match start(&self.shared, Arc::new(bridge), &request).await {
                    // Meeting it has removed it; a daemon that was killed may have left several.
                    Err(EngineError::StaleSnapshot { .. }) if tries > 1 => tries -= 1,
                    result => break result,
                }
            }
        };
        tokio::select! {
            result = up => result,
            () = request.cancel.cancelled() => Err(cancelled(&request)),
            () = self.shared.closed.cancelled() => Err(cancelled(&request)),
        }
    }
}

fn cancelled(request: &ServiceRequest) -> EngineError {
    EngineError::ServiceCancelled { service: request.name.clone() }
}

fn failed(request: &ServiceRequest, reason: String) -> EngineError {
    EngineError::Service { service: request.name.clone(), reason, help: None, output: Vec::new() }
}

/// What the daemon said no to; that it is gone is another matter.
fn refused(shared: &Shared, request: &ServiceRequest, status: &Status) -> EngineError {
    if fault::is_loss(status) {
        return shared.lost(&words::status(status));
    }
    let message = words::status(status);
    if fault::is_stale_snapshot(&message) {
        return EngineError::StaleSnapshot { message };
    }
    failed(request, message)
}

/// Opens a build with a session that serves the image.
async fn open(shared: &Shared) -> Result<Bridge, Status> {
    let content = Content::new(shared.layout.clone(), shared.ingests.clone(), Receipt::default());
    let content =
        ContentServer::new(content).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
    let routes = Routes::new(HealthServer::new(Health)).add_service(content);
    let session = Session::open(&shared.channel, "", &METHODS, routes).await?;
    Bridge::open(&shared.channel, session).await
}

async fn start(shared: &Shared, bridge: Arc<Bridge>, request: &ServiceRequest) -> Result<ServiceHandle, EngineError> {
    let begin = Instant::now();
    let port = choose_port(shared, &bridge, request).await?;
    let mut started = launch(shared, bridge, request, port).await?;
    let located = match shared.network {
        Network::Own => network::address(&started.bridge, &started.container).await,
        Network::Host | Network::Nothing => Ok(Ipv4Addr::LOCALHOST),
    };
    let result = match located {
        Ok(address) => {
            started.handle.locate(address.to_string());
            await_ready(&started, request, port, begin).await
        }
        Err(reason) => Err(started.failure(request, reason, port)),
    };
    match result {
        Ok(()) => Ok(started.handle),
        Err(error) => {
            started.handle.stop().await;
            Err(error)
        }
    }
}

/// The port that the service gets, known to be free where containers share it with the machine.
async fn choose_port(shared: &Shared, bridge: &Bridge, request: &ServiceRequest) -> Result<Option<u16>, EngineError> {
    let host = Ipv4Addr::LOCALHOST.to_string();
    match (request.port, shared.network) {
        (_, Network::Nothing) => Err(failed(request, "the builder gives its containers no network".to_owned())),
        (ServicePort::None, _) => Ok(None),
        (ServicePort::Fixed(port), Network::Own) => Ok(Some(port)),
        // Nobody else is there: any will do, and an equal one keeps build arguments equal.
        (ServicePort::Free, Network::Own) => Ok(Some(FREE_PORTS.start)),
        (ServicePort::Fixed(port), Network::Host) => match accepts(bridge, &host, port).await {
            Answer::Refuses(_) => Ok(Some(port)),
            Answer::Unknown(words) => Err(failed(request, format!("cannot tell whether port {port} is free: {words}"))),
            Answer::Accepts => Err(EngineError::Service {
                service: request.name.clone(),
                reason: format!("port {port} is taken on the builder's machine, whose network its containers share"),
                help: Some("stop what listens there, or write port = \"auto\" to have a free one chosen".to_owned()),
                output: Vec::new(),
            }),
        },
        (ServicePort::Free, Network::Host) => {
            let mut unknown = None;
            for _ in 0..FREE_TRIES {
                let port = random_port();
                match accepts(bridge, &host, port).await {
                    Answer::Refuses(_) => return Ok(Some(port)),
                    Answer::Accepts => {}
                    Answer::Unknown(words) => unknown = Some(words),
                }
            }
            let words = unknown.map(|words| format!(": {words}")).unwrap_or_default();
            Err(failed(request, format!("found no free port{words}")))
        }
    }
}

fn random_port() -> u16 {
    let mut bytes = [0_u8; 2];
    SystemRandom::new().fill(&mut bytes).expect("the kernel's random source does not fail once it is seeded");
    FREE_PORTS.start + u16::from_le_bytes(bytes) % (FREE_PORTS.end - FREE_PORTS.start)
}

/// Mounts the image, starts its process, and leaves somebody to attend to it.
async fn launch(
    shared: &Shared,
    bridge: Arc<Bridge>,
    request: &ServiceRequest,
    port: Option<u16>,
) -> Result<Started, EngineError> {
    let (layout, image) = (shared.layout.clone(), request.image.clone());
    let config = tokio::task::spawn_blocking(move || RunConfig::read(&layout, &image))
        .await
        .map_err(|error| EngineError::BadResult { reason: error.to_string() })??;
    let meta = meta(request, &config, port)?;
    let wrong = |status: Status| refused(shared, request, &status);
    let image = definition::image(&request.image.digest, &request.platform, bridge.session());
    let root = bridge.solve(image).await.map_err(wrong)?;
    let mut mounts = vec![pb::Mount { dest: "/".to_owned(), result_id: root, ..pb::Mount::default() }];
    mounts.extend(files(shared, &bridge, request).await?);
    mounts.extend(teller(shared, &bridge).await.map_err(wrong)?);
    let container =
        bridge.container(mounts, &request.platform, &request.extra_hosts, &request.name).await.map_err(wrong)?;
    let process = Process::start(&bridge, &container, meta.clone()).await.map_err(wrong)?;
    let (ended, ending) = watch::channel(None);
    let (stop, output) = (CancellationToken::new(), Arc::new(Mutex::new(Tail::default())));
    let attendant = Attendant {
        name: request.name.clone(),
        bridge: Arc::clone(&bridge),
        container: container.clone(),
        process,
        stop: stop.clone(),
        closed: shared.closed.clone(),
        output: Arc::clone(&output),
        events: Arc::clone(&request.events),
    };
    tokio::spawn(attendant.attend(ended));
    let handle = ServiceHandle::new(String::new(), port, ending, stop);
    Ok(Started { bridge, container, meta, handle, output })
}

/// What runs, from the image's config and the request.
fn meta(request: &ServiceRequest, config: &RunConfig, port: Option<u16>) -> Result<pb::Meta, EngineError> {
    let filled = |text: &str| match port {
        Some(port) => text.replace("{port}", &port.to_string()),
        None => text.to_owned(),
    };
    let args: Vec<String> = match &request.command {
        Some(command) => command.iter().map(|word| filled(word)).collect(),
        None => config.args(),
    };
    if args.is_empty() {
        return Err(EngineError::Service {
            service: request.name.clone(),
            reason: "its image has neither an entrypoint nor a command".to_owned(),
            help: Some(format!("write command = [\"…\"] in [service.{}]", request.name)),
            output: Vec::new(),
        });
    }
    let mut env = config.env.clone().unwrap_or_default();
    // The image's own word on it is about a port of its choice, which nobody was told.
    let own = request.env.iter().map(|(name, value)| format!("{name}={}", filled(value)));
    env.extend(port.map(|port| format!("PORT={port}")));
    env.extend(own);
    let cwd = if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() };
    Ok(pb::Meta { args, env: last_wins(env), cwd, user: config.user.clone(), ..pb::Meta::default() })
}

/// `NAME=value` entries, of which the last of each name counts.
fn last_wins(entries: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = entry.split('=').next().unwrap_or_default();
        kept.retain(|known| known.split('=').next() != Some(name));
        kept.push(entry);
    }
    kept
}

/// Mounts for the request's files: one directory, each file mounted from it at its place.
async fn files(shared: &Shared, bridge: &Bridge, request: &ServiceRequest) -> Result<Vec<pb::Mount>, EngineError> {
    if request.files.is_empty() {
        return Ok(Vec::new());
    }
    if request.files.iter().map(|file| file.bytes.len()).sum::<usize>() > FILES_LIMIT {
        return Err(failed(request, format!("its files are more than {}", ByteSize(FILES_LIMIT as u64))));
    }
    let named = |(at, file): (usize, &ServiceFile)| (format!("/{at}"), file.bytes.clone());
    let contents: Vec<(String, Vec<u8>)> = request.files.iter().enumerate().map(named).collect();
    let directory =
        bridge.solve(definition::files(&contents, 0o444)).await.map_err(|status| refused(shared, request, &status))?;
    let mount = |(file, (name, _)): (&ServiceFile, &(String, Vec<u8>))| pb::Mount {
        dest: file.path.clone(),
        selector: name.clone(),
        readonly: true,
        result_id: directory.clone(),
        ..pb::Mount::default()
    };
    Ok(request.files.iter().zip(&contents).map(mount).collect())
}

/// A mount of the program that tells a container's address, where it has one of its own.
async fn teller(shared: &Shared, bridge: &Bridge) -> Result<Option<pb::Mount>, Status> {
    let program = teller::program(&shared.native).filter(|_| shared.network == Network::Own);
    let Some(program) = program else { return Ok(None) };
    let name = "/teller".to_owned();
    let directory = bridge.solve(definition::files(&[(name.clone(), program)], 0o555)).await?;
    Ok(Some(pb::Mount {
        dest: teller::PLACE.to_owned(),
        selector: name,
        readonly: true,
        result_id: directory,
        ..pb::Mount::default()
    }))
}

impl Started {
    /// Its failure, with its last words and what may help.
    fn failure(&self, request: &ServiceRequest, reason: String, port: Option<u16>) -> EngineError {
        let output = self.handle.ended().map_or_else(|| self.output().lines(), |end| end.output);
        let denied = output.iter().any(|line| line.to_lowercase().contains("permission denied"));
        let help = port.filter(|port| *port < 1024 && denied).map(|port| {
            format!(
                "a rootless builder cannot bind port {port}: let it listen on one from 1024, or write port = \"auto\""
            )
        });
        EngineError::Service { service: request.name.clone(), reason, help, output }
    }

    fn output(&self) -> MutexGuard<'_, Tail> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Probes until the service is up, has ended, or has had its time.
async fn await_ready(
    started: &Started,
    request: &ServiceRequest,
    port: Option<u16>,
    begin: Instant,
) -> Result<(), EngineError> {
    let address = started.handle.address();
    let probe = match &request.probe {
        ServiceProbe::Http(url) => {
            let located = located(url, &request.name, address, port);
            ServiceProbe::Http(located.ok_or_else(|| failed(request, format!("`{url}` is no http URL")))?)
        }
        ServiceProbe::Tcp(own) => ServiceProbe::Tcp(if *own == 0 { port.unwrap_or(*own) } else { *own }),
        ServiceProbe::Exec(args) => {
            let word = |word: &String| port.map_or(word.clone(), |port| word.replace("{port}", &port.to_string()));
            ServiceProbe::Exec(args.iter().map(word).collect())
        }
        ServiceProbe::Started => ServiceProbe::Started,
    };
    let prober = Prober { bridge: &started.bridge, container: &started.container, meta: &started.meta };
    let mut pause = FIRST_PAUSE.min(request.interval);
    loop {
        let answer = tokio::select! {
            biased;
            end = started.handle.end() => {
                return Err(started.failure(request, format!("it ended before it was ready: {}", end.reason), port));
            }
            answer = prober.ask(&probe, address) => answer,
        };
        let Err(reason) = answer else { break };
        if begin.elapsed() >= request.timeout {
            let waited = request.timeout.as_secs_f32();
            return Err(started.failure(request, format!("it was not ready within {waited} s: {reason}"), port));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(request.interval);
    }
    // A process that forked itself into the background and one that died both leave an open port behind for a moment.
    match started.handle.ended() {
        Some(end) => Err(started.failure(request, format!("it ended before it was ready: {}", end.reason), port)),
        None => Ok(()),
    }
}

/// The last lines that a service wrote.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl Tail {
    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.open.len());
            self.open.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.break_line();
            }
        }
    }

    fn break_line(&mut self) {
        let line = String::from_utf8_lossy(&self.open).trim_end().to_owned();
        self.open.clear();
        if self.lines.len() == OUTPUT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn lines(&self) -> Vec<String> {
        let open = String::from_utf8_lossy(&self.open);
        self.lines.iter().cloned().chain((!open.is_empty()).then(|| open.into_owned())).collect()
    }
}

/// Reads what a service says until it ends, and ends it when asked to.
struct Attendant {
    name: String,
    bridge: Arc<Bridge>,
    container: String,
    process: Process,
    stop: CancellationToken,
    closed: CancellationToken,
    output: Arc<Mutex<Tail>>,
    events: Arc<dyn EventSink>,
}

impl Attendant {
    async fn attend(mut self, ended: watch::Sender<Option<ServiceEnd>>) {
        let end = self.follow().await;
        self.bridge.release(&self.container).await;
        self.bridge.close().await;
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner).lines();
        let (reason, exit_code) = end;
        self.events.emit(Event::ServiceEnded { service: self.name.clone(), reason: reason.clone() });
        ended.send_replace(Some(ServiceEnd { reason, exit_code, output }));
    }

    async fn follow(&mut self) -> (String, Option<u32>) {
        let mut exit: Option<Exit> = None;
        let mut stopping = false;
        let farewell = tokio::time::sleep(Duration::MAX);
        let mut farewell = std::pin::pin!(farewell);
        loop {
            tokio::select! {
                biased;
                said = self.process.next() => match said {
                    Ok(Said::Output(stream, bytes)) => self.hear(stream, bytes),
                    Ok(Said::Exited(found)) => exit = Some(found),
                    Ok(Said::Started) => {}
                    Ok(Said::Done) => break,
                    Err(status) => return (words::status(&status), None),
                },
                reason = self.bridge.ended() => return (reason, None),
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.process.signal("TERM").await;
                    farewell.as_mut().reset(tokio::time::Instant::now() + FAREWELL);
                }
                () = self.closed.cancelled() => return ("it was stopped".to_owned(), None),
                () = &mut farewell, if stopping => break,
            }
        }
        match exit {
            _ if stopping => ("it was stopped".to_owned(), exit.map(|exit| exit.code)),
            // The daemon's words for a plain end only repeat the code.
            Some(Exit { error: Some(error), code }) if !error.starts_with("exit code") => (error, Some(code)),
            Some(Exit { code, .. }) => (explain(code), Some(code)),
            None => ("it ended without a word".to_owned(), None),
        }
    }

    fn hear(&self, stream: LogStream, bytes: Bytes) {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).take(&bytes);
        self.events.emit(Event::ServiceLog { service: self.name.clone(), stream, bytes });
    }
}

/// An exit code in words; above 128 it is a signal.
fn explain(code: u32) -> String {
    let signal = match code {
        132 => "illegal instruction",
        134 => "aborted",
        137 => "killed, maybe for want of memory",
        139 => "segmentation fault",
        143 => "terminated",
        _ => return format!("exit code {code}"),
    };
    format!("exit code {code} ({signal})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_variable_counts() {
        let entries = ["A=1", "B=2", "A=3"].map(str::to_owned).to_vec();
        assert_eq!(last_wins(entries), ["B=2", "A=3"]);
    }

    #[test]
    fn the_tail_keeps_the_last_lines_and_bounds_each() {
        let mut tail = Tail::default();
        for number in 0..30 {
            tail.take(format!("line {number}\n").as_bytes());
        }
        tail.take(&vec![b'x'; 5000]);
        let lines = tail.lines();
        assert_eq!(lines.len(), OUTPUT_LINES + 1);
        assert_eq!(lines[0], "line 10");
        assert_eq!(lines[OUTPUT_LINES].len(), LINE_BYTES);
    }
}
