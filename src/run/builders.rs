use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use super::{NoEmulator, OtherNative, RunError};
use crate::base::{CredentialSource, Platform};
use crate::engine::buildkit::{BuildKitEngine, ConnectOptions, TlsFiles};
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
    /// Certificate authority for builders that have none of their own.
    pub ca: Option<PathBuf>,
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
pub type Starter = Box<dyn Fn(Layout) -> BoxFuture<'static, Result<BuildKitEngine, EngineError>> + Send + Sync>;

/// Builders that answered, and which platform goes to which.
pub struct Builders {
    engines: Vec<Arc<dyn Engine>>,
    lanes: Vec<(Platform, usize)>,
}

/// A builder that somebody named, before it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    address: String,
    tls: Option<TlsFiles>,
    /// Empty: every platform that no other one lists.
    platforms: Vec<Platform>,
}

impl Builders {
    /// Engines of any kind, each with the platforms that it takes; the first one that lists a platform gets it.
    pub fn of(engines: Vec<(Arc<dyn Engine>, Vec<Platform>)>) -> Self {
        let mut builders = Self { engines: Vec::new(), lanes: Vec::new() };
        for (engine, platforms) in engines {
            builders.add(engine, platforms);
        }
        builders
    }

    fn add(&mut self, engine: Arc<dyn Engine>, platforms: Vec<Platform>) {
        let lane = self.engines.len();
        self.engines.push(engine);
        self.lanes.extend(platforms.into_iter().map(|platform| (platform, lane)));
    }

    /// Connects to every builder that one of `platforms` needs, and to no other.
    ///
    /// A builder that was named and does not answer fails the whole: it is never silently replaced by another.
    pub async fn connect(
        plan: &Plan,
        platforms: &[Platform],
        settings: &BuilderSettings,
        layout: &Layout,
        events: &dyn EventSink,
    ) -> Result<Self, EngineError> {
        let named = named(plan, settings);
        let assigned = assign(platforms, &named);
        let mut builders = Self { engines: Vec::new(), lanes: Vec::new() };
        let wanted: Vec<(&Named, Vec<Platform>)> = named
            .iter()
            .enumerate()
            .map(|(at, builder)| (builder, taken(&assigned, Some(at))))
            .filter(|(_, platforms)| !platforms.is_empty())
            .collect();
        let connections = wanted.iter().map(|(builder, _)| connect(builder, settings, layout));
        let mut first_error = None;
        for (result, (_, platforms)) in join_all(connections).await.into_iter().zip(&wanted) {
            match result {
                Ok(engine) => builders.add(Arc::new(engine), platforms.clone()),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let rest = taken(&assigned, None);
        if first_error.is_none() && !rest.is_empty() {
            let engine = match &settings.fallback {
                Fallback::Address(address) => {
                    let builder = Named { address: address.clone(), tls: None, platforms: Vec::new() };
                    connect(&builder, settings, layout).await
                }
                Fallback::Start(start) => start(layout.clone()).await,
            };
            match engine {
                Ok(engine) => builders.add(Arc::new(engine), rest),
                Err(error) => first_error = Some(error),
            }
        }
        if let Some(error) = first_error {
            builders.close().await;
            return Err(error);
        }
        builders.announce(events);
        Ok(builders)
    }

    fn announce(&self, events: &dyn EventSink) {
        for (lane, engine) in self.engines.iter().enumerate() {
            let capabilities = engine.capabilities();
            let platforms = self.lanes.iter().filter(|(_, taken)| *taken == lane);
            events.emit(Event::BuilderReady {
                address: capabilities.address.clone(),
                version: capabilities.version.clone(),
                platforms: platforms
                    .map(|(platform, _)| (platform.clone(), capabilities.execution(platform)))
                    .collect(),
            });
        }
    }

    /// The builder that takes `platform`, and the number of its lane.
    pub fn lane(&self, platform: &Platform) -> Option<(usize, &Arc<dyn Engine>)> {
        let (_, lane) = self.lanes.iter().find(|(taken, _)| taken == platform)?;
        Some((*lane, self.engines.get(*lane)?))
    }

    /// How many cells each lane takes at once, by its builder's own measure.
    pub fn parallelism(&self) -> Vec<usize> {
        self.engines.iter().map(|engine| engine.capabilities().parallelism).collect()
    }

    /// Ends every builder that was started for the run, with everything in it.
    pub async fn close(&self) {
        join_all(self.engines.iter().map(|engine| engine.close())).await;
    }

    /// How the programs of a cell's RUN steps run: emulated if any of them is. `None` where it has no builder.
    ///
    /// A cell without a RUN step of a foreign platform is native, whatever its platform: nothing of it is executed.
    pub(super) fn execution(&self, cell: &Cell) -> Option<Execution> {
        let (_, engine) = self.lane(&cell.id.platform)?;
        let capabilities = engine.capabilities();
        let mut emulated = None;
        for (platform, _) in cell.build().map(|build| build.executes.as_slice()).unwrap_or_default() {
            match capabilities.execution(platform) {
                Execution::Absent => return Some(Execution::Absent),
                Execution::Emulated(interpreter) => emulated = Some(Execution::Emulated(interpreter)),
                Execution::Native => {}
            }
        }
        Some(emulated.unwrap_or(Execution::Native))
    }

    /// Refuses a run in which a stage of the builder's own platform takes another cell than the plan has for it: which
    /// platform that is, only the builder can tell.
    pub fn check_native<'a>(&self, cells: impl IntoIterator<Item = &'a Cell>) -> Result<(), RunError> {
        for cell in cells {
            let (Some((_, engine)), Some(build)) = (self.lane(&cell.id.platform), cell.build()) else { continue };
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
        let mut found: Option<NoEmulator> = None;
        for cell in cells {
            let (Some((_, engine)), Some(build)) = (self.lane(&cell.id.platform), cell.build()) else { continue };
            let capabilities = engine.capabilities();
            for (platform, span) in &build.executes {
                if capabilities.execution(platform) != Execution::Absent {
                    continue;
                }
                let missing = found.get_or_insert_with(|| NoEmulator {
                    platform: platform.clone(),
                    builder: capabilities.address.clone(),
                    cells: Vec::new(),
                    span: span.clone(),
                    hindrance: hindrance(&capabilities.address, platform),
                });
                if missing.platform == *platform {
                    missing.cells.push(cell.id.clone());
                }
            }
        }
        found.map_or(Ok(()), |missing| Err(RunError::NoEmulator(Box::new(missing))))
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

/// The builders that the command line or the project names.
fn named(plan: &Plan, settings: &BuilderSettings) -> Vec<Named> {
    if let Some(address) = &settings.forced {
        return vec![Named {
            address: address.clone(),
            tls: tls(settings, address, None, None),
            platforms: Vec::new(),
        }];
    }
    let of_project = plan.builders.values().map(|builder| {
        let address = builder.address.value.clone();
        Named {
            tls: tls(settings, &address, builder.ca.as_ref(), builder.identity.as_ref()),
            address,
            platforms: builder.platforms.iter().map(|platform| platform.value.clone()).collect(),
        }
    });
    of_project.collect()
}

/// Certificates for an address; a builder with none of its own is spoken to in plain, as `buildctl` does.
fn tls(
    settings: &BuilderSettings,
    address: &str,
    ca: Option<&PathBuf>,
    identity: Option<&(PathBuf, PathBuf)>,
) -> Option<TlsFiles> {
    if !address.starts_with("tcp://") || (ca.is_none() && identity.is_none()) {
        return None;
    }
    let ca = ca.or(settings.ca.as_ref())?;
    Some(TlsFiles { ca: ca.clone(), identity: identity.cloned(), server_name: None })
}

/// Which builder takes each platform: one that lists it, else one that lists none; `None` for the fallback.
fn assign(platforms: &[Platform], named: &[Named]) -> Vec<(Platform, Option<usize>)> {
    let mut assigned: Vec<(Platform, Option<usize>)> = Vec::new();
    for platform in platforms {
        if assigned.iter().any(|(known, _)| known == platform) {
            continue;
        }
        let lists = |builder: &Named| builder.platforms.contains(platform);
        let at = named.iter().position(lists).or_else(|| named.iter().position(|builder| builder.platforms.is_empty()));
        assigned.push((platform.clone(), at));
    }
    assigned
}

fn taken(assigned: &[(Platform, Option<usize>)], by: Option<usize>) -> Vec<Platform> {
    assigned.iter().filter(|(_, at)| *at == by).map(|(platform, _)| platform.clone()).collect()
}

async fn connect(builder: &Named, settings: &BuilderSettings, layout: &Layout) -> Result<BuildKitEngine, EngineError> {
    BuildKitEngine::connect(ConnectOptions {
        address: builder.address.clone(),
        tls: builder.tls.clone(),
        layout: layout.clone(),
        credentials: Arc::clone(&settings.credentials),
        token_client: settings.token_client.clone(),
        connect_timeout: settings.connect_timeout,
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect("a platform")
    }

    fn builder(platforms: &[&str]) -> Named {
        let platforms = platforms.iter().map(|text| platform(text)).collect();
        Named { address: "tcp://b:1".to_owned(), tls: None, platforms }
    }

    #[test]
    fn a_builder_that_lists_a_platform_gets_it() {
        let platforms = [platform("amd64"), platform("arm64"), platform("amd64"), platform("riscv64")];
        let at = |named: &[Named]| assign(&platforms, named).into_iter().map(|(_, at)| at).collect::<Vec<_>>();
        assert_eq!(at(&[builder(&["arm64"])]), [None, Some(0), None]);
        assert_eq!(at(&[builder(&[]), builder(&["arm64"])]), [Some(0), Some(1), Some(0)]);
        assert_eq!(at(&[]), [None, None, None]);
    }
}
