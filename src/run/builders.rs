use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::meet::{Met, Silent, meet, tell};
use super::named::Named;
use super::posts::{Post, Posts, execution_on, fits};
use super::{NoEmulator, OtherNative, RunError};
use crate::base::{CredentialSource, Platform};
use crate::engine::buildkit::BuildKitEngine;
use crate::engine::{Engine, EngineError};
use crate::event::{Event, EventSink, Execution};
use crate::plan::{Cell, Plan};
use crate::store::Layout;
use crate::sys::{self, Emulation};

/// Which builders a run may use, and how it gets them.
pub struct BuilderSettings {
    /// `--builder`: takes every platform, in place of the project's builders and of `fallback`.
    pub forced: Option<String>,
    /// What takes the platforms that no builder of the project takes.
    pub fallback: Fallback,
    /// Certificate authorities for builders that have none of their own.
    pub authorities: Vec<PathBuf>,
    /// Whether these were asked for (`--ca`), so that a `tcp://` builder without settings of its own is spoken to over TLS;
    /// a setting of the machine (`SSL_CERT_FILE`) does not say so.
    pub expects_tls: bool,
    /// Hosts that plain text is meant for (`--plain-http`).
    pub plain_hosts: Vec<String>,
    /// Credentials for the pulls of base images.
    pub credentials: Arc<dyn CredentialSource>,
    /// Fetches registry tokens in this process, see [`ConnectOptions::token_client`].
    pub token_client: Option<reqwest::Client>,
    /// How long a builder may take to answer.
    pub connect_timeout: Duration,
}

/// What takes the platforms that no named builder takes.
pub enum Fallback {
    /// `BUILDKIT_HOST`.
    Address(String),
    /// A builder that is started for this run.
    Start(Starter),
}

/// Starts a builder whose results go to a layout; it ends when its engine is closed.
pub type Starter = Arc<dyn Fn(Layout) -> BoxFuture<'static, Result<BuildKitEngine, EngineError>> + Send + Sync>;

/// Builders that answered, and which platform goes to which.
pub struct Builders {
    posts: Arc<Posts>,
    /// The number of lanes: of builders that were reached from the beginning.
    reached: usize,
    /// What takes each platform: natively rather than by an emulator, then in the order of the project file.
    lanes: Vec<(Platform, Vec<usize>)>,
    /// The builders that did not answer.
    silent: Vec<Silent>,
    /// Platforms whose own builders did not answer. What has lanes all the same is taken over by others.
    deserted: Vec<(Platform, Arc<EngineError>)>,
}

impl Builders {
    /// Engines of any kind, each with the platforms that it takes.
    pub fn of(engines: Vec<(Arc<dyn Engine>, Vec<Platform>)>) -> Self {
        let posts = engines.into_iter().map(|(engine, platforms)| (Post::reached(engine), platforms));
        Self::at(posts.collect(), Vec::new())
    }

    /// The builders of the lanes with the platforms that they take, and those that have none to take so far.
    fn at(taken: Vec<(Post, Vec<Platform>)>, spare: Vec<Post>) -> Self {
        let reached = taken.len();
        let mut lanes: Vec<(Platform, Vec<usize>)> = Vec::new();
        let mut posts = Posts::new(Vec::new());
        for (lane, (post, platforms)) in taken.into_iter().enumerate() {
            posts.push(post);
            for platform in platforms {
                match lanes.iter_mut().find(|(known, _)| *known == platform) {
                    Some((_, takers)) => takers.push(lane),
                    None => lanes.push((platform, vec![lane])),
                }
            }
        }
        for (platform, takers) in &mut lanes {
            takers
                .sort_by_key(|lane| posts.first(*lane).map(|engine| rank(&engine.capabilities().execution(platform))));
        }
        for post in spare {
            posts.push(post);
        }
        Self { posts: Arc::new(posts), reached, lanes, silent: Vec::new(), deserted: Vec::new() }
    }

    /// Connects to every builder that takes one of `platforms`, and to no other.
    ///
    /// A builder that was named and does not answer is never silently replaced: other builders of the project that take its
    /// platforms take its cells, which is told, and the cells that have no builder then fail with its reason
    /// ([`Self::unserved`]). So this fails only where nothing can be asked.
    ///
    /// # Errors
    /// All addresses and certificates that cannot be meant; nothing was contacted then.
    pub async fn connect(
        plan: &Plan,
        platforms: &[Platform],
        settings: &BuilderSettings,
        layout: &Layout,
        events: &dyn EventSink,
    ) -> Result<Self, RunError> {
        let named = Named::all(plan, platforms, settings);
        let faults = named.iter().filter_map(|builder| builder.usable().err()).map(RunError::from);
        if let Some(error) = RunError::of_many(faults.collect()) {
            return Err(error);
        }
        let met = meet(&named, platforms, settings, layout, events).await;
        tell(&met, events);
        Ok(Self::after(met, events))
    }

    /// The same without judging what it comes to: what cannot be used is in [`Self::silent`] beside what does not answer.
    pub(super) async fn look(
        plan: &Plan,
        platforms: &[Platform],
        settings: &BuilderSettings,
        layout: &Layout,
        events: &dyn EventSink,
    ) -> Self {
        let named = Named::all(plan, platforms, settings);
        Self::after(meet(&named, platforms, settings, layout, events).await, events)
    }

    fn after(met: Met, events: &dyn EventSink) -> Self {
        let builders = Self { silent: met.silent, deserted: met.deserted, ..Self::at(met.taken, met.spare) };
        builders.announce(events);
        builders
    }

    fn announce(&self, events: &dyn EventSink) {
        for (lane, engine) in self.engines().enumerate() {
            let capabilities = engine.capabilities();
            let platforms = self.lanes.iter().filter(|(_, takers)| takers.contains(&lane));
            events.emit(Event::BuilderReady {
                address: capabilities.address.clone(),
                version: capabilities.version.clone(),
                platforms: platforms
                    .map(|(platform, _)| (platform.clone(), capabilities.execution(platform)))
                    .collect(),
            });
        }
    }

    fn engines(&self) -> impl Iterator<Item = &Arc<dyn Engine>> {
        (0..self.reached).filter_map(|lane| self.posts.first(lane))
    }

    /// The builders as they are while the run goes on.
    pub(super) const fn posts(&self) -> &Arc<Posts> {
        &self.posts
    }

    /// The builder that takes `platform` before all others, and the number of its lane.
    pub fn lane(&self, platform: &Platform) -> Option<(usize, &Arc<dyn Engine>)> {
        let (_, takers) = self.lanes.iter().find(|(taken, _)| taken == platform)?;
        let lane = *takers.first()?;
        Some((lane, self.posts.first(lane)?))
    }

    /// Those that did not answer, with the platforms whose cells were to go to them.
    pub(super) fn silent(&self) -> &[Silent] {
        &self.silent
    }

    /// Why nothing at all can be built: nobody answered.
    pub(super) fn nobody(&self) -> Option<RunError> {
        let all = || self.silent.iter().map(|silent| RunError::NoBuilder(Arc::clone(&silent.error)));
        (self.reached == 0).then(|| RunError::of_many(all().collect())).flatten()
    }

    /// Whether anything can be built.
    pub(super) const fn any(&self) -> bool {
        self.reached > 0
    }

    /// Why a cell has no builder: its own did not answer, and none of those that took its platform over can build it.
    pub(super) fn unserved(&self, cell: &Cell) -> Option<&Arc<EngineError>> {
        let (_, error) = self.deserted.iter().find(|(platform, _)| *platform == cell.id.platform)?;
        (cell.build().is_some() && self.lane_of(cell).is_none()).then_some(error)
    }

    /// The builder that takes a cell before all others. Of those that took a platform over, one that can build it.
    pub(super) fn lane_of(&self, cell: &Cell) -> Option<(usize, &Arc<dyn Engine>)> {
        if !self.deserted.iter().any(|(platform, _)| *platform == cell.id.platform) {
            return self.lane(&cell.id.platform);
        }
        let build = cell.build()?;
        let (_, takers) = self.lanes.iter().find(|(taken, _)| *taken == cell.id.platform)?;
        takers.iter().find_map(|lane| Some((*lane, self.posts.first(*lane).filter(|engine| fits(engine, build))?)))
    }

    /// The builder of a lane.
    pub(super) fn at_lane(&self, lane: usize) -> Option<&Arc<dyn Engine>> {
        self.posts.first(lane)
    }

    /// The lanes that a cell may run in, the first choice first.
    ///
    /// All are of one native platform: what of other images it takes depends on that. Nor is emulated what another one runs
    /// natively, and what uses a service stays where that runs.
    pub(super) fn lanes(&self, cell: &Cell) -> Vec<usize> {
        let Some((first, engine)) = self.lane_of(cell) else { return Vec::new() };
        let (Some(build), true) = (cell.build(), cell.services.is_empty()) else { return vec![first] };
        let capabilities = engine.capabilities();
        let execution = rank(&capabilities.execution(&cell.id.platform));
        let like_it = |lane: &usize| {
            *lane == first
                || self.posts.first(*lane).is_some_and(|other| {
                    let its = other.capabilities();
                    its.native == capabilities.native
                        && rank(&its.execution(&cell.id.platform)) == execution
                        && fits(other, build)
                })
        };
        let all = self.lanes.iter().filter(|(taken, _)| *taken == cell.id.platform).flat_map(|(_, takers)| takers);
        all.copied().filter(like_it).collect()
    }

    /// How many cells each lane takes at once: what the project says, else its builder's own measure.
    pub fn parallelism(&self) -> Vec<usize> {
        let own = |(lane, engine): (usize, &Arc<dyn Engine>)| {
            self.posts.capacity(lane).unwrap_or(engine.capabilities().parallelism)
        };
        self.engines().enumerate().map(own).collect()
    }

    /// Ends every builder that was started for the run, with everything in it.
    pub async fn close(&self) {
        self.posts.close().await;
    }

    /// How the programs of a cell's RUN steps run in a lane, see [`execution_on`]. `None` where there is no builder.
    pub(super) fn execution(&self, lane: usize, cell: &Cell) -> Option<Execution> {
        Some(execution_on(self.posts.first(lane)?, cell.build()))
    }

    /// Refuses a run in which a stage of the builder's own platform takes another cell than the plan has for it: which
    /// platform that is, only the builder can tell.
    pub fn check_native<'a>(&self, cells: impl IntoIterator<Item = &'a Cell>) -> Result<(), RunError> {
        for cell in cells {
            let (Some((_, engine)), Some(build)) = (self.lane_of(cell), cell.build()) else { continue };
            let capabilities = engine.capabilities();
            if let Some((planned, span)) = build.native.iter().find(|(id, _)| id.platform != capabilities.native) {
                return Err(RunError::OtherNative(Box::new(OtherNative {
                    cell: cell.id.clone(),
                    planned: planned.clone(),
                    builder: capabilities.address.clone(),
                    native: capabilities.native.clone(),
                    span: span.clone(),
                })));
            }
        }
        Ok(())
    }

    /// Refuses a run in which a RUN step cannot be executed, before the first solve: the builder would find out only when
    /// it comes to that step, by `exec format error`.
    pub fn check_emulation<'a>(&self, cells: impl IntoIterator<Item = &'a Cell>) -> Result<(), RunError> {
        let first = self.missing_emulators(cells).into_iter().next();
        first.map_or(Ok(()), |missing| Err(RunError::NoEmulator(Box::new(missing))))
    }

    /// Every platform whose RUN steps cannot be executed on the builder that they would go to, with the cells that have some.
    pub fn missing_emulators<'a>(&self, cells: impl IntoIterator<Item = &'a Cell>) -> Vec<NoEmulator> {
        let mut found: Vec<NoEmulator> = Vec::new();
        for cell in cells {
            let (Some((_, engine)), Some(build)) = (self.lane_of(cell), cell.build()) else { continue };
            let capabilities = engine.capabilities();
            for (platform, span) in &build.executes {
                if capabilities.execution(platform) != Execution::Absent {
                    continue;
                }
                let same = |missing: &&mut NoEmulator| {
                    missing.platform == *platform && missing.builder == capabilities.address
                };
                match found.iter_mut().find(same) {
                    Some(missing) => missing.cells.push(cell.id.clone()),
                    None => found.push(NoEmulator {
                        platform: platform.clone(),
                        builder: capabilities.address.clone(),
                        cells: vec![cell.id.clone()],
                        span: span.clone(),
                        hindrance: hindrance(&capabilities.address, platform),
                    }),
                }
            }
        }
        found
    }
}

/// An emulator that is there and of no use: only the kernel of this machine can be asked, so only for a builder on it.
fn hindrance(address: &str, platform: &Platform) -> Option<String> {
    address.strip_prefix("unix:")?;
    let emulation = Emulation::of(platform.architecture(), &sys::emulators());
    match &emulation {
        Emulation::Disabled(_) | Emulation::NotInContainers(_) => {
            Some(format!("{emulation}: {}", emulation.advice(platform.architecture())?))
        }
        _ => None,
    }
}

/// Native before emulated, and that before not at all.
fn rank(execution: &Execution) -> u8 {
    match execution {
        Execution::Native => 0,
        Execution::Emulated(_) => 1,
        Execution::Absent => 2,
    }
}
