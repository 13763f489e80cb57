use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::cell::Prepared;
use super::dependents::Dependents;
use super::fingerprint::{Contents, Fingerprint, Sources};
use super::mirror::Mirror;
use super::moved::resolved;
use super::posts::{Posts, execution_on};
use super::scans::Scans;
use super::scheduler::Crash;
use super::services::{Services, Trial, casualty};
use super::{CellRecord, RunError, StateDir};
use crate::base::{CellId, ComponentName, Descriptor, Failure};
use crate::engine::{BuildRequest, BuiltImage, ContextReads, Engine, EngineError};
use crate::event::{Event, EventSink, Execution};
use crate::plan::CellWork;

/// What a cell made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) record: CellRecord,
    pub(super) took: Duration,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// It was there already, and nothing that it is made from has changed.
    pub(super) reused: bool,
}

/// Why a cell made nothing.
pub(super) struct Trouble {
    pub(super) error: Box<dyn Failure>,
    pub(super) took: Duration,
}

impl From<Crash> for Trouble {
    fn from(crash: Crash) -> Self {
        Self { error: Box::new(RunError::from(crash)), took: Duration::ZERO }
    }
}

/// What is known of a cell before its turn.
#[derive(Debug, Clone, Default)]
pub(super) struct JudgedCell {
    /// What an earlier run made, which is still right if the images that it was made from come out as they were.
    pub(super) waiting: Option<Box<CellRecord>>,
    /// Where its inputs come from; nothing where that cannot be told, and then it is built every time.
    pub(super) sources: Option<Arc<Sources>>,
    /// Looks at its inputs.
    pub(super) contents: Option<Arc<Contents>>,
    /// Somebody wants it to be built whatever is there.
    pub(super) forced: bool,
}

impl JudgedCell {
    /// The record of an earlier run, if what it was made from has not changed after all.
    fn unchanged(&self, results: &BTreeMap<CellId, Descriptor>) -> Option<&CellRecord> {
        let (record, sources) = (self.waiting.as_deref()?, self.sources.as_ref()?);
        sources.has_images_of(record.fingerprint.as_ref()?, results).then_some(record)
    }
}

/// What all cells of a run use together.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) mirror: Arc<Mirror>,
    pub(super) scans: Arc<Scans>,
    pub(super) services: Arc<Services>,
    pub(super) dependents: Arc<Dependents>,
}

/// One cell's work, with everything it needs in hand.
pub(super) struct CellTask {
    pub(super) id: CellId,
    pub(super) work: CellWork,
    pub(super) prepared: Option<Arc<Prepared>>,
    pub(super) judged: JudgedCell,
    pub(super) results: BTreeMap<CellId, Descriptor>,
    pub(super) posts: Arc<Posts>,
    pub(super) lane: Option<usize>,
    /// Why no builder takes it.
    pub(super) unserved: Option<Arc<EngineError>>,
    /// Services that must run while it is built.
    pub(super) services: Vec<ComponentName>,
    pub(super) shared: Shared,
    pub(super) state: StateDir,
    pub(super) events: Arc<dyn EventSink>,
}

impl CellTask {
    pub(super) async fn run(self, cancel: CancellationToken, began: Instant) -> Result<Made, Box<dyn Failure>> {
        if let Some(record) = self.judged.unchanged(&self.results) {
            let made = Made { record: record.clone(), took: began.elapsed(), received: 0, sent: 0, reused: true };
            return self.keep(made).await;
        }
        let mut made = match &self.work {
            CellWork::Build(_) => self.build(cancel.clone(), began).await?,
            CellWork::Mirror(reference) => {
                let started = Event::CellStarted { cell: self.id.clone(), builder: reference.to_string(), attempt: 1 };
                self.events.emit(started);
                let mirrored = tokio::select! {
                    mirrored = self.shared.mirror.bring(&self.id, reference) => mirrored.map_err(boxed)?,
                    () = cancel.cancelled() => return Err(boxed(RunError::Cancelled)),
                };
                let mut record = CellRecord::new(&self.id, mirrored.manifest, None, false, 0.0);
                record.attestations = mirrored.attestations;
                record.upstream = mirrored.upstream;
                Made { record, took: Duration::ZERO, received: 0, sent: 0, reused: false }
            }
            CellWork::Excluded(_) => {
                return Err(boxed(RunError::Internal { message: format!("{} is excluded and was started", self.id) }));
            }
        };
        self.shared.scans.accept(&self.id, &made.record.manifest, &cancel).await.map_err(boxed)?;
        made.took = began.elapsed();
        made.record.seconds = made.took.as_secs_f64();
        self.keep(made).await
    }

    /// Saves the record, which is what makes an image count.
    async fn keep(&self, made: Made) -> Result<Made, Box<dyn Failure>> {
        // Only now is everything that it names durable.
        let (record, state) = (made.record.clone(), self.state.clone());
        let (dependents, id) = (Arc::clone(&self.shared.dependents), self.id.clone());
        let work = move || {
            let gone = dependents.forget(&state, &id, record.manifest.digest)?;
            record.save(&state).map(|()| gone)
        };
        let gone = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| boxed(RunError::Internal { message: error.to_string() }))?
            .map_err(boxed)?;
        if let Some(first) = gone.first() {
            let more = if gone.len() > 1 { format!(" and {} more", gone.len() - 1) } else { String::new() };
            let text = format!("{first}{more} was made from an older {}: missing until it is built again", self.id);
            self.events.emit(Event::Warning { cell: None, text });
        }
        Ok(made)
    }

    async fn build(&self, cancel: CancellationToken, began: Instant) -> Result<Made, Box<dyn Failure>> {
        if let Some(error) = &self.unserved {
            return Err(boxed(RunError::NoBuilder(Arc::clone(error))));
        }
        let (Some(lane), Some(prepared)) = (self.lane, &self.prepared) else {
            return Err(boxed(RunError::Internal { message: format!("{} has no builder", self.id) }));
        };
        let mut engine = self.posts.engine(lane, &self.id.platform, &prepared.build).await.map_err(boxed)?;
        let outside = self.shared.mirror.outside().of_cell(&prepared.build, &engine.capabilities().native);
        let bases = resolved(&outside.pins);
        let events = Arc::clone(&self.events);
        let request = prepared.request(&self.id, &self.results, outside, events, cancel.clone()).map_err(boxed)?;
        let mut retried = None;
        let image = loop {
            let (builder, attempt) = (address(&engine), 1 + u32::from(retried.is_some()));
            self.events.emit(Event::CellStarted { cell: self.id.clone(), builder, attempt });
            match self.attempt(&engine, request.clone()).await {
                Ok(image) => break image,
                Err(Trial::Service(error)) => return Err(boxed(error)),
                Err(Trial::Engine(error)) => {
                    let cause = error.to_string();
                    engine = self.another(&engine, error, retried.is_some(), &cancel).await.map_err(boxed)?;
                    let text = format!("{cause}; built again on `{}`", address(&engine));
                    self.events.emit(Event::Warning { cell: Some(self.id.clone()), text });
                    retried = Some(cause);
                }
            }
        };
        let (seconds, emulated) = (began.elapsed().as_secs_f64(), execution_on(&engine, Some(&prepared.build)));
        let emulated = matches!(emulated, Execution::Emulated(_));
        let mut record = CellRecord::new(&self.id, image.manifest, Some(image.builder), emulated, seconds);
        record.attestations = image.attestations;
        record.retried = retried;
        record.bases = bases;
        record.forced = self.judged.forced;
        record.fingerprint = self.fingerprint(image.reads).await;
        if let Some(reason) = record.fingerprint.as_ref().and_then(|print| print.unsettled.as_deref()) {
            let text = format!("{reason}: what the image holds of it is not known, and the next run builds it again");
            self.events.emit(Event::Warning { cell: Some(self.id.clone()), text });
        }
        Ok(Made { record, took: began.elapsed(), received: image.received, sent: image.sent, reused: false })
    }

    /// What the image that was just built was made from. That this cannot be told costs a build where none was needed.
    async fn fingerprint(&self, reads: ContextReads) -> Option<Fingerprint> {
        let (sources, contents) = (self.judged.sources.clone()?, self.judged.contents.clone()?);
        let results = self.results.clone();
        tokio::task::spawn_blocking(move || sources.of_build(&contents, &reads, &results)).await.ok()
    }

    /// One try on `engine`, with the services that it takes.
    async fn attempt(&self, engine: &Arc<dyn Engine>, mut request: BuildRequest) -> Result<BuiltImage, Trial> {
        let attached = self.shared.services.attach(&self.services, &self.id.platform, engine, &self.results).await?;
        for service in &attached {
            service.enter(&mut request);
        }
        let built = engine.build(request).await;
        match casualty(&attached, built.as_ref().err()).await {
            Some(error) => Err(Trial::Service(error)),
            None => built.map_err(Trial::Engine),
        }
    }

    /// The engine for a second try, where the failure is one that a second try may cure and there was none yet.
    async fn another(
        &self,
        engine: &Arc<dyn Engine>,
        error: EngineError,
        is_second: bool,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Engine>, EngineError> {
        let Some(prepared) = self.prepared.as_ref().filter(|_| !cancel.is_cancelled()) else { return Err(error) };
        match error {
            // `Cancelled` is told by the engine, not by the run: another cell has seen that the builder is gone, and
            // closed it.
            EngineError::Lost { .. } | EngineError::Cancelled { .. } if is_second => {
                Err(self.posts.lose(engine, error))
            }
            EngineError::Lost { .. } | EngineError::Cancelled { .. } => tokio::select! {
                found = self.posts.replace(engine, error, &self.id.platform, &prepared.build, self.events.as_ref()) => found,
                () = cancel.cancelled() => Err(EngineError::Cancelled { cell: self.id.clone() }),
            },
            EngineError::StaleSnapshot { .. } if !is_second => Ok(Arc::clone(engine)),
            error => Err(error),
        }
    }
}

fn boxed(error: impl Failure) -> Box<dyn Failure> {
    Box::new(error)
}

/// The name of a builder in events and records.
pub(super) fn address(engine: &Arc<dyn Engine>) -> String {
    engine.capabilities().address.clone()
}
