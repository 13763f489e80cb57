use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::task::address;
use super::{RunError, StateDir};
use crate::base::{CellId, ComponentName, Descriptor, Digest, DigestHasher, ErrorClass, Failure, Platform};
use crate::config::{self, Readiness};
use crate::engine::{
    BuildRequest, Engine, EngineError, ServiceEnd, ServiceFile, ServiceHandle, ServicePort, ServiceProbe,
    ServiceRequest,
};
use crate::event::{Event, EventSink};
use crate::plan::{Cell, Plan, PlannedService};

/// Bytes of one file that is put into a service's container.
const FILE_LIMIT: u64 = 1 << 20;

/// How long the end of a service may take to be known after a step that it fails has.
const END_BECOMES_KNOWN: Duration = Duration::from_millis(500);

/// The services of a run: each is started when the first cell that needs it is due, shared by all that need it on the same
/// builder, and ended after the last of them.
pub(super) struct Services {
    specs: IndexMap<ComponentName, PlannedService>,
    state: StateDir,
    events: Arc<dyn EventSink>,
    /// Ends every start that is under way.
    cancel: CancellationToken,
    instances: Mutex<HashMap<Key, Arc<OnceCell<Instance>>>>,
    /// How many cells still need each service.
    due: Mutex<HashMap<ComponentName, usize>>,
}

/// One instance of a service: what it runs from, and on which engine. A builder that is started anew is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    source: CellId,
    engine: usize,
}

/// Why a cell was not built, as far as services make a difference.
pub(super) enum Trial {
    /// By a service, or in the way to it: trying again would not help.
    Service(RunError),
    /// By the engine, in the build or already in the start of a service.
    Engine(EngineError),
}

impl From<RunError> for Trial {
    fn from(error: RunError) -> Self {
        Self::Service(error)
    }
}

/// What came of starting a service; a failure is told to every cell that needs it.
type Instance = Result<Arc<Running>, Arc<ServiceFailure>>;

/// A service that is up, as a cell sees it.
pub(super) struct Running {
    name: ComponentName,
    hosts: Vec<String>,
    scheme: &'static str,
    /// Image and declared data: what decides what it serves.
    identity: Digest,
    log: PathBuf,
    handle: ServiceHandle,
}

/// A service that a cell needs is not up, or is no more.
#[derive(Debug, Clone)]
pub struct ServiceFailure {
    /// The service.
    pub service: ComponentName,
    /// What became of it: `is not up: ...`, `ended while ... was built: exit code 1`.
    pub what: String,
    /// What failed without it, in a few words.
    pub felt: Option<String>,
    /// What kind of trouble it is.
    pub class: ErrorClass,
    /// What to do.
    pub help: Option<String>,
    /// The last lines that it wrote.
    pub output: Vec<String>,
    /// Its full log.
    pub log: PathBuf,
}

impl fmt::Display for ServiceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service `{}` {}", self.service, self.what)
    }
}

impl Error for ServiceFailure {}

impl Services {
    /// The services of `plan`, for the cells of `selected` that are to be built.
    pub(super) fn new(
        plan: &Plan,
        selected: &[&Cell],
        state: &StateDir,
        events: Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Self {
        let mut due = HashMap::new();
        for name in selected.iter().flat_map(|cell| &cell.services) {
            *due.entry(name.clone()).or_default() += 1;
        }
        Self {
            specs: plan.services.clone(),
            state: state.clone(),
            events,
            cancel: cancel.child_token(),
            instances: Mutex::default(),
            due: Mutex::new(due),
        }
    }

    /// Has every service of `names` running on `engine`; each of them comes after those that it needs.
    ///
    /// # Errors
    /// [`RunError::Service`] naming the one that is not up, the same for every cell that asks; [`Trial::Engine`] where the builder
    /// was lost.
    pub(super) async fn attach(
        &self,
        names: &[ComponentName],
        platform: &Platform,
        engine: &Arc<dyn Engine>,
        results: &BTreeMap<CellId, Descriptor>,
    ) -> Result<Vec<Arc<Running>>, Trial> {
        let mut attached: Vec<Arc<Running>> = Vec::new();
        for name in names {
            let Some(spec) = self.specs.get(name) else { continue };
            let source = spec.cell_for(platform);
            let image = results.get(&source).ok_or_else(|| RunError::Internal {
                message: format!("service `{name}` is due before {source}, which it runs from"),
            })?;
            let key = Key { source: source.clone(), engine: Arc::as_ptr(engine).cast::<()>() as usize };
            let place = Arc::clone(self.instances().entry(key).or_default());
            let start = || self.start(name, spec, &source, image, engine, &attached);
            match place.get_or_try_init(start).await?.clone() {
                Ok(running) => {
                    if let Some(end) = running.handle.ended() {
                        return Err(RunError::Service(Arc::new(running.casualty(&end, None))).into());
                    }
                    attached.push(running);
                }
                Err(failure) => return Err(RunError::Service(failure).into()),
            }
        }
        Ok(attached)
    }

    /// Starts one; `Err` only where that says nothing about the service.
    async fn start(
        &self,
        name: &ComponentName,
        spec: &PlannedService,
        source: &CellId,
        image: &Descriptor,
        engine: &Arc<dyn Engine>,
        before: &[Arc<Running>],
    ) -> Result<Instance, Trial> {
        let begin = Instant::now();
        let log = self.state.service_log(name);
        let failure = |error: &dyn Failure| {
            let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
            let text = format!("{error}{cause}");
            let prefix = format!("service `{name}` ");
            Arc::new(ServiceFailure {
                service: name.clone(),
                what: text.strip_prefix(&prefix).map_or_else(|| format!("is not up: {text}"), str::to_owned),
                felt: None,
                class: error.class(),
                help: error.help().or_else(|| Some(format!("see what it says in `{}`", log.display()))),
                output: error.output(),
                log: log.clone(),
            })
        };
        let (own, from) = (spec.clone(), image.clone());
        let read = tokio::task::spawn_blocking(move || Ok((read_files(&own.files)?, identity(&own, &from)))).await;
        let (files, identity) = match read.map_err(|error| RunError::Internal { message: error.to_string() })? {
            Ok(found) => found,
            Err(error) => return Ok(Err(failure(&error as &RunError))),
        };
        let needed = before.iter().filter(|running| spec.needs.contains(&running.name));
        let request = ServiceRequest {
            name: name.to_string(),
            image: image.clone(),
            platform: source.platform.clone(),
            command: spec.command.clone(),
            env: spec.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            files,
            port: port(spec),
            probe: probe(spec),
            interval: spec.interval,
            timeout: spec.timeout,
            extra_hosts: needed.flat_map(|running| running.entries()).collect(),
            events: Arc::clone(&self.events),
            cancel: self.cancel.clone(),
        };
        match engine.serve(request).await {
            Ok(handle) => {
                let place = match handle.port() {
                    Some(port) => format!("{}:{port}", handle.address()),
                    None => handle.address().to_owned(),
                };
                let ready = Event::ServiceReady {
                    service: name.to_string(),
                    builder: address(engine),
                    address: place,
                    took: begin.elapsed(),
                };
                self.events.emit(ready);
                let (scheme, hosts) = (scheme(spec), spec.hosts.clone());
                Ok(Ok(Arc::new(Running { name: name.clone(), hosts, scheme, identity, log, handle })))
            }
            Err(EngineError::ServiceCancelled { .. }) => Err(RunError::Cancelled.into()),
            Err(
                error @ (EngineError::Lost { .. } | EngineError::Cancelled { .. } | EngineError::StaleSnapshot { .. }),
            ) => Err(Trial::Engine(error)),
            Err(error) => Ok(Err(failure(&error))),
        }
    }

    /// Told once for every cell that has ended, or will never start: after the last one that needs it, a service ends.
    pub(super) fn release(&self, cell: &Cell) {
        let mut over = Vec::new();
        {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            for name in &cell.services {
                if let Some(count) = due.get_mut(name) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        over.push(name.clone());
                    }
                }
            }
        }
        for (key, place) in self.instances().iter() {
            if let (true, Some(Ok(running))) = (over.contains(&key.source.component), place.get()) {
                running.handle.ask_to_stop();
            }
        }
    }

    /// Ends every service, and waits until that is done.
    pub(super) async fn close(&self) {
        self.cancel.cancel();
        let places: Vec<Arc<OnceCell<Instance>>> = self.instances().values().cloned().collect();
        let running: Vec<&Arc<Running>> = places.iter().filter_map(|place| place.get()?.as_ref().ok()).collect();
        futures_util::future::join_all(running.iter().map(|running| running.handle.stop())).await;
    }

    fn instances(&self) -> MutexGuard<'_, HashMap<Key, Arc<OnceCell<Instance>>>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Its entries in `/etc/hosts`.
    fn entries(&self) -> impl Iterator<Item = (String, String)> {
        let names = std::iter::once(self.name.to_string()).chain(self.hosts.iter().cloned());
        names.map(|name| (name, self.handle.address().to_owned()))
    }

    /// Lets a cell's steps find it: host names, and build arguments for those Dockerfiles that ask for them.
    ///
    /// What a service serves is in no cache key of the builder. A host name is in the key of every RUN step, its address is
    /// not, and neither comes into the image: so one more name says which service it was, and a changed one is asked again.
    pub(super) fn enter(&self, request: &mut BuildRequest) {
        request.extra_hosts.extend(self.entries());
        let marker = format!("{}.{}.service.internal", &self.identity.hex()[..32], self.name);
        request.extra_hosts.push((marker, self.handle.address().to_owned()));
        let prefix = self.name.as_str().to_uppercase().replace(['-', '.'], "_");
        let mut argument = |name: &str, value: String| {
            // What the project says itself stands.
            request.args.entry(format!("{prefix}_{name}")).or_insert(value);
        };
        argument("HOST", self.name.to_string());
        if let Some(port) = self.handle.port() {
            argument("PORT", port.to_string());
            argument("URL", format!("{}://{}:{port}", self.scheme, self.name));
        }
    }

    fn casualty(&self, end: &ServiceEnd, felt: Option<String>) -> ServiceFailure {
        ServiceFailure {
            service: self.name.clone(),
            what: format!("ended while cells still needed it: {}", end.reason),
            felt,
            class: ErrorClass::Build,
            help: Some(format!("see what it says in `{}`", self.log.display())),
            output: end.output.clone(),
            log: self.log.clone(),
        }
    }
}

/// The service whose end explains how a cell ended: whatever a step made of it, it did not get what it needs.
pub(super) async fn casualty(attached: &[Arc<Running>], trouble: Option<&EngineError>) -> Option<RunError> {
    if trouble.is_some_and(|error| !matches!(error, EngineError::Build { .. })) {
        return None;
    }
    for running in attached {
        let end = match running.handle.ended() {
            None if trouble.is_some() => tokio::time::timeout(END_BECOMES_KNOWN, running.handle.end()).await.ok(),
            ended => ended,
        };
        if let Some(end) = end {
            return Some(RunError::Service(Arc::new(running.casualty(&end, trouble.map(ToString::to_string)))));
        }
    }
    None
}

fn port(spec: &PlannedService) -> ServicePort {
    match spec.port {
        None => ServicePort::None,
        Some(config::ServicePort::Fixed(port)) => ServicePort::Fixed(port),
        Some(config::ServicePort::Auto) => ServicePort::Free,
    }
}

/// How its URL begins.
fn scheme(spec: &PlannedService) -> &'static str {
    match &spec.ready {
        Some(Readiness::Http(url)) if url.starts_with("https:") => "https",
        Some(Readiness::Tcp(_)) => "tcp",
        _ => "http",
    }
}

fn probe(spec: &PlannedService) -> ServiceProbe {
    match (&spec.ready, spec.port) {
        (Some(Readiness::Http(url)), _) => ServiceProbe::Http(url.clone()),
        (Some(Readiness::Exec(words)), _) => ServiceProbe::Exec(words.clone()),
        (Some(Readiness::Tcp(_)), Some(config::ServicePort::Auto)) | (None, Some(_)) => ServiceProbe::Tcp(0),
        (Some(Readiness::Tcp(port)), _) => ServiceProbe::Tcp(*port),
        (None, None) => ServiceProbe::Started,
    }
}

fn read_files(paths: &IndexMap<String, PathBuf>) -> Result<Vec<ServiceFile>, RunError> {
    let read = |(place, path): (&String, &PathBuf)| {
        let bytes = read_bounded(path).map_err(|source| RunError::state("read", path, source))?;
        Ok(ServiceFile { path: place.clone(), bytes })
    };
    paths.iter().map(read).collect()
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "more than 1 MiB"));
    }
    Ok(bytes)
}

/// Everything that decides what a service serves: its image, and what is declared about it.
fn identity(spec: &PlannedService, image: &Descriptor) -> Digest {
    Digest::of(format!("{} {}", image.digest, declared(spec)))
}

/// What is declared about a service, as far as it decides what it serves and how it is found. The number of a port that is
/// chosen for the run is no part of it. A file that cannot be read fails the start of the service, and here is as good as empty.
pub(super) fn declared(spec: &PlannedService) -> Digest {
    let mut hasher = DigestHasher::new();
    let mut part = |kind: &str, bytes: &[u8]| {
        for bytes in [kind.as_bytes(), bytes] {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        }
    };
    match spec.port {
        None => {}
        Some(config::ServicePort::Fixed(port)) => part("port", &port.to_be_bytes()),
        Some(config::ServicePort::Auto) => part("port", b"auto"),
    }
    part("scheme", scheme(spec).as_bytes());
    spec.needs.iter().for_each(|need| part("needs", need.as_str().as_bytes()));
    spec.command.iter().flatten().for_each(|word| part("word", word.as_bytes()));
    spec.hosts.iter().for_each(|host| part("host", host.as_bytes()));
    for (name, value) in &spec.env {
        part("variable", name.as_bytes());
        part("value", value.as_bytes());
    }
    for (place, path) in &spec.files {
        part("file", place.as_bytes());
        part("content", &read_bounded(path).unwrap_or_default());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_by_which_steps_see_a_service_is_declared() {
        let plain = PlannedService {
            cell: CellId::new("db".parse().expect("a name"), "amd64".parse().expect("a platform")),
            elsewhere: BTreeMap::new(),
            same_platform: false,
            port: None,
            ready: None,
            command: None,
            env: IndexMap::new(),
            files: IndexMap::new(),
            hosts: Vec::new(),
            needs: Vec::new(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        };
        let of = |edit: fn(&mut PlannedService)| {
            let mut spec = plain.clone();
            edit(&mut spec);
            declared(&spec).to_string()
        };
        let mut all = vec![
            of(|_| {}),
            of(|spec| spec.port = Some(config::ServicePort::Auto)),
            of(|spec| spec.port = Some(config::ServicePort::Fixed(80))),
            of(|spec| spec.ready = Some(Readiness::Tcp(80))),
            of(|spec| spec.ready = Some(Readiness::Http("https://db/".to_owned()))),
            of(|spec| spec.needs.push("queue".parse().expect("a name"))),
            of(|spec| spec.hosts.push("queue".to_owned())),
        ];
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 7);
        assert_eq!(of(|spec| spec.timeout *= 2), of(|_| {}), "how long it is waited for makes no image");
    }
}
