use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

use super::publish::blocking;
use super::state::write_atomically;
use super::{RunError, StateDir, suspect};
use crate::base::{CellId, ComponentName, Descriptor, Digest, ErrorClass, Failure, Platform};
use crate::image::{ImageConfig, ManifestBody, RawManifest, layer_origins};
use crate::plan::Plan;
use crate::store::{BlobSource as _, Layout};
use crate::verify::{Foreign, ForeignProgram, LayerFacts, Problem, look_into};

/// Looks into the layers of images before they count: an image of programs for another processor is none of its platform,
/// whatever its config says.
///
/// A layer is read once for each platform that has it, on another thread, as many at once as there are cores. What was found
/// is remembered by digest, so that what a builder has cached is never read again.
pub(super) struct Scans {
    state: StateDir,
    layout: Layout,
    declared: HashMap<ComponentName, Vec<String>>,
    /// What the cells' images stand on, and how many layers are put on that at most.
    bases: HashMap<CellId, BaseOf>,
    known: Mutex<HashMap<(Digest, Platform), Shared>>,
    threads: Semaphore,
    changed: AtomicBool,
}

/// What is known of a layer, or will be once whoever came first has looked.
type Shared = Arc<OnceCell<LayerFacts>>;

/// The image that another one stands on.
#[derive(Debug, Clone)]
struct BaseOf {
    /// As the Dockerfile has it.
    name: String,
    /// How many layers are put on it at most.
    own_layers: usize,
    /// Whether it comes from outside the project.
    is_outside: bool,
}

/// Where a layer comes from.
#[derive(Debug)]
enum Origin {
    /// It is a layer of the base.
    Base { name: String, is_outside: bool, platform: Platform },
    /// This instruction made it.
    Step(String),
    /// Nobody says.
    Unknown,
}

/// An image that must not count, because of one of its layers.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(super) struct Unfit {
    component: ComponentName,
    problem: Problem,
    /// The config or layer that it lies in.
    digest: Digest,
    /// Which layer of how many, from 1, base first; none for the config.
    layer: Option<(usize, usize)>,
    /// Where the layer comes from.
    origin: Origin,
}

/// `scans.json` of the state directory. Written as a whole; a file of another version, or none that can be read, is the same
/// as none, and costs one more look into each layer. A version belongs to what counts as foreign, too.
#[derive(Serialize, Deserialize)]
struct Remembered {
    schema: String,
    layers: Vec<RememberedLayer>,
}

#[derive(Serialize, Deserialize)]
struct RememberedLayer {
    layer: Digest,
    platform: Platform,
    diff_id: Digest,
    /// (path, processor)
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    foreign: Vec<(String, String)>,
    #[serde(default)]
    more: u64,
}

const SCHEMA: &str = "catamaran/scans/v1";

/// Some 300 bytes a layer; a file over this is not one.
const LIMIT: u64 = 64 << 20;

impl Scans {
    /// What earlier runs found, and what `plan` declares.
    pub(super) fn load(plan: &Plan, state: &StateDir, layout: &Layout) -> Self {
        let known = read(state).unwrap_or_default().into_iter().map(|one| {
            let programs =
                one.foreign.into_iter().map(|(path, processor)| ForeignProgram { path, processor }).collect();
            let facts = LayerFacts { diff_id: one.diff_id, foreign: Foreign { programs, more: one.more } };
            ((one.layer, one.platform), Arc::new(OnceCell::from(facts)))
        });
        let declared = plan.components.iter().map(|component| (component.name.clone(), component.foreign.clone()));
        let bases = plan.cells.iter().filter_map(|cell| {
            let build = cell.build()?;
            let (name, own_layers) = build.stands_on.clone()?;
            let is_outside = build.bases.iter().any(|base| base.reference.to_string() == name);
            Some((cell.id.clone(), BaseOf { name, own_layers, is_outside }))
        });
        Self {
            state: state.clone(),
            layout: layout.clone(),
            declared: declared.collect(),
            bases: bases.collect(),
            known: Mutex::new(known.collect()),
            threads: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            changed: AtomicBool::new(false),
        }
    }

    /// Accepts the image behind `manifest` as that of `cell`, or says why it cannot be.
    pub(super) async fn accept(
        &self,
        cell: &CellId,
        manifest: &Descriptor,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let (layout, descriptor) = (self.layout.clone(), manifest.clone());
        let (raw, config) = blocking(move || {
            let raw = RawManifest::read(&layout, &descriptor)?;
            let config = ImageConfig::of(&layout, &raw)?;
            Ok((raw, config))
        })
        .await?;
        let ManifestBody::Image { config: config_blob, layers, .. } = &raw.parsed else { return Ok(()) };
        let platform = &cell.platform;
        let unfit = |problem, digest, layer, origin| {
            let component = cell.component.clone();
            Err(RunError::room(Unfit { component, problem, digest, layer, origin }))
        };
        if !config.is_for(platform) {
            let problem = Problem::WrongPlatform { wanted: platform.clone(), found: config.shown() };
            return unfit(problem, config_blob.digest, None, Origin::Unknown);
        }
        let declared = self.declared.get(&cell.component).map(Vec::as_slice).unwrap_or_default();
        let looks = join_all(layers.iter().map(|layer| self.look(layer, platform, cancel))).await;
        for (at, (layer, look)) in layers.iter().zip(looks).enumerate() {
            let problem = match look {
                Ok(facts) => config.diff_ids.get(at).and_then(|diff_id| facts.problem(diff_id, declared, platform)),
                Err(Stopped::Problem(problem)) => Some(*problem),
                Err(Stopped::Error(error)) => return Err(error),
            };
            let Some(problem) = problem else { continue };
            if problem.is_blob_damage() {
                let (state, digest) = (self.state.clone(), layer.digest);
                blocking(move || suspect(&state, [digest])).await?;
            }
            let origin = self.origin(cell, &raw, (at, layers.len())).await?;
            return unfit(problem, layer.digest, Some((at + 1, layers.len())), origin);
        }
        Ok(())
    }

    /// Where layer `at` of `all` comes from.
    async fn origin(&self, cell: &CellId, raw: &RawManifest, (at, all): (usize, usize)) -> Result<Origin, RunError> {
        // The Dockerfile may have made fewer layers than it has instructions for, never more: those before are the base's.
        if let Some(base) = self.bases.get(cell).filter(|base| at + base.own_layers < all) {
            let (name, is_outside) = (base.name.clone(), base.is_outside);
            return Ok(Origin::Base { name, is_outside, platform: cell.platform.clone() });
        }
        let (layout, raw) = (self.layout.clone(), raw.clone());
        let step = blocking(move || Ok(layer_origins(&layout, &raw).into_iter().nth(at).flatten())).await?;
        Ok(step.filter(|step| !step.is_empty()).map_or(Origin::Unknown, Origin::Step))
    }

    async fn look(
        &self,
        layer: &Descriptor,
        platform: &Platform,
        cancel: &CancellationToken,
    ) -> Result<LayerFacts, Stopped> {
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry((layer.digest, platform.clone())).or_default())
        };
        let look = || async {
            let _thread = self.threads.acquire().await;
            let (layout, layer, platform) = (self.layout.clone(), layer.clone(), platform.clone());
            let stop = cancel.clone();
            let looked = tokio::task::spawn_blocking(move || look_into(&layout, &layer, &platform, &stop)).await;
            if cancel.is_cancelled() {
                return Err(Stopped::Error(RunError::Cancelled));
            }
            let message = |error: tokio::task::JoinError| RunError::Internal { message: error.to_string() };
            let facts = looked.map_err(|error| Stopped::Error(message(error)))?.map_err(Stopped::Problem)?;
            self.changed.store(true, Ordering::Relaxed);
            Ok(facts)
        };
        cell.get_or_try_init(look).await.cloned()
    }

    /// Remembers what was found for the next run, as far as its layers are still there.
    pub(super) fn save(&self) -> Result<(), RunError> {
        if !self.changed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut layers: Vec<RememberedLayer> = known
            .iter()
            .filter_map(|((layer, platform), facts)| Some((layer, platform, facts.get()?)))
            .filter(|(layer, _, _)| self.layout.size_of(layer).is_ok_and(|size| size.is_some()))
            .map(|(layer, platform, facts)| RememberedLayer {
                layer: *layer,
                platform: platform.clone(),
                diff_id: facts.diff_id,
                foreign: facts.foreign.programs.iter().map(|one| (one.path.clone(), one.processor.clone())).collect(),
                more: facts.foreign.more,
            })
            .collect();
        layers.sort_by(|left, right| (left.layer, &left.platform).cmp(&(right.layer, &right.platform)));
        let remembered = Remembered { schema: SCHEMA.to_owned(), layers };
        let path = self.state.scans();
        let bytes = serde_json::to_vec(&remembered).map_err(|error| RunError::state("write", &path, error.into()))?;
        write_atomically(&path, &bytes).map_err(|source| RunError::state("write", &path, source))
    }
}

/// Why a layer has no facts.
enum Stopped {
    Problem(Box<Problem>),
    Error(RunError),
}

fn read(state: &StateDir) -> io::Result<Vec<RememberedLayer>> {
    let mut bytes = Vec::new();
    File::open(state.scans())?.take(LIMIT).read_to_end(&mut bytes)?;
    let remembered: Remembered = serde_json::from_slice(&bytes)?;
    if remembered.schema != SCHEMA {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(remembered.layers)
}

impl Failure for Unfit {
    fn class(&self) -> ErrorClass {
        self.problem.class()
    }

    fn help(&self) -> Option<String> {
        match (&self.origin, &self.problem) {
            (Origin::Base { name, is_outside: true, platform }, Problem::ForeignExecutable { path, .. }) => {
                let path = path.trim_start_matches("./").trim_start_matches('/');
                Some(format!(
                    "name a base whose image for {platform} is one: `{name}` holds programs of another platform under this \
                     name\nif they are there on purpose, declare them under `{0}` in the project file:\nforeign = [{path:?}]\n\
                     with a bake or compose file, on the command line: --foreign '{0}={path}'",
                    self.component
                ))
            }
            _ => self.problem.help(&self.component),
        }
    }

    fn cause(&self) -> Option<String> {
        let place = match self.layer {
            Some((number, of)) => format!("layer {number} of {of} (`{}`)", self.digest),
            None => format!("its config (`{}`)", self.digest),
        };
        Some(match &self.origin {
            Origin::Base { name, .. } => format!("{place}\nbrought by the base image `{name}`, or a trigger in it"),
            Origin::Step(step) => format!("{place}\nmade by {step}"),
            Origin::Unknown => place,
        })
    }
}
