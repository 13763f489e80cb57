use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::cell::Prepared;
use super::mirror::Mirror;
use super::scans::Scans;
use super::scheduler::Crash;
use super::{CellRecord, RunError, StateDir};
use crate::base::{CellId, Descriptor, Failure};
use crate::engine::Engine;
use crate::event::{Event, EventSink};
use crate::plan::CellWork;

/// What a cell made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) record: CellRecord,
    pub(super) took: Duration,
    pub(super) received: u64,
    pub(super) sent: u64,
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

/// One cell's work, with everything it needs in hand.
pub(super) struct CellTask {
    pub(super) id: CellId,
    pub(super) work: CellWork,
    pub(super) prepared: Option<Arc<Prepared>>,
    pub(super) results: BTreeMap<CellId, Descriptor>,
    pub(super) engine: Option<Arc<dyn Engine>>,
    pub(super) emulated: bool,
    pub(super) mirror: Arc<Mirror>,
    pub(super) scans: Arc<Scans>,
    pub(super) state: StateDir,
    pub(super) events: Arc<dyn EventSink>,
}

impl CellTask {
    pub(super) async fn run(self, cancel: CancellationToken, began: Instant) -> Result<Made, Box<dyn Failure>> {
        let mut made = match &self.work {
            CellWork::Build(_) => self.build(cancel.clone(), began).await?,
            CellWork::Mirror(reference) => {
                let started = Event::CellStarted { cell: self.id.clone(), builder: reference.to_string(), attempt: 1 };
                self.events.emit(started);
                let mirrored = tokio::select! {
                    mirrored = self.mirror.bring(&self.id, reference) => mirrored.map_err(boxed)?,
                    () = cancel.cancelled() => return Err(boxed(RunError::Cancelled)),
                };
                let mut record = CellRecord::new(&self.id, mirrored.manifest, None, false, 0.0);
                record.attestations = mirrored.attestations;
                record.upstream = mirrored.upstream;
                Made { record, took: Duration::ZERO, received: 0, sent: 0 }
            }
            CellWork::Excluded(_) => {
                return Err(boxed(RunError::Internal { message: format!("{} is excluded and was started", self.id) }));
            }
        };
        self.scans.accept(&self.id, &made.record.manifest, &cancel).await.map_err(boxed)?;
        made.took = began.elapsed();
        made.record.seconds = made.took.as_secs_f64();
        // The record is what makes the image count: only now is everything that it names durable.
        let (record, state) = (made.record.clone(), self.state.clone());
        tokio::task::spawn_blocking(move || record.save(&state))
            .await
            .map_err(|error| boxed(RunError::Internal { message: error.to_string() }))?
            .map_err(boxed)?;
        Ok(made)
    }

    async fn build(&self, cancel: CancellationToken, began: Instant) -> Result<Made, Box<dyn Failure>> {
        let (Some(engine), Some(prepared)) = (&self.engine, &self.prepared) else {
            return Err(boxed(RunError::Internal { message: format!("{} has no builder", self.id) }));
        };
        let request = prepared.request(&self.id, &self.results, Arc::clone(&self.events), cancel).map_err(boxed)?;
        self.events.emit(Event::CellStarted { cell: self.id.clone(), builder: address(engine), attempt: 1 });
        let image = engine.build(request).await.map_err(boxed)?;
        let seconds = began.elapsed().as_secs_f64();
        let mut record = CellRecord::new(&self.id, image.manifest, Some(image.builder), self.emulated, seconds);
        record.attestations = image.attestations;
        Ok(Made { record, took: began.elapsed(), received: image.received, sent: image.sent })
    }
}

fn boxed(error: impl Failure) -> Box<dyn Failure> {
    Box::new(error)
}

/// The name of a builder in events and records.
pub(super) fn address(engine: &Arc<dyn Engine>) -> String {
    engine.capabilities().address.clone()
}
