use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::Environment;
use super::args::{ForceArgs, GlobalArgs, SelectArgs, Setting, ToArgs};
use super::error::CliError;
use crate::base::{CellId, ComponentName, CredentialSource, InvalidPlatform, Platform, Prefix, Secret, Spanned};
use crate::config::{self, BakeRequest, DiskFiles, LoadRequest, LockFile, Project, SecretSpec};
use crate::engine::EngineError;
use crate::engine::buildkit::daemon::{DaemonOptions, Ids, KeyPair, RegistryRule, find_buildkitd};
use crate::engine::buildkit::{StartOptions, start};
use crate::event::EventSink;
use crate::plan::{self, Plan, PlanOptions, Selection, Selector};
use crate::registry::{
    CredentialFiles, HostCertificates, PullSources, RegistryClient, RegistryOptions, answers_in_plain, is_loopback,
};
use crate::run::{BuilderSettings, Fallback, Inputs, StateDir};

/// What all commands mean, made of what was typed and of the environment.
pub(super) struct Settings {
    pub(super) environment: Environment,
    /// `-C`, or the working directory.
    directory: PathBuf,
    files: Vec<PathBuf>,
    /// `--set`
    sets: Vec<(String, String)>,
    /// `--set` of targets of a bake file
    overrides: Vec<String>,
    state: Option<PathBuf>,
    /// `-v`
    pub(super) verbose: bool,
    /// `--json`
    pub(super) json: bool,
    ca: Vec<PathBuf>,
    /// Whether `--ca` was typed.
    expects_tls: bool,
    plain_http: Vec<String>,
    /// `--rate`
    rate: Option<u64>,
    /// `--foreign`: programs for another processor that are meant, of one component or of all.
    foreign: Vec<(Option<ComponentName>, String)>,
}

/// The same project under three questions. What a command line narrows never narrows what `index.json` may name.
pub(super) struct Plans {
    /// What was asked for: names and platforms.
    pub(super) asked: Plan,
    /// What `--push` and `--export` judge: all names, the same platforms.
    pub(super) judged: Plan,
    /// Everything.
    pub(super) whole: Plan,
    /// Cells of `asked` that are built whatever is there.
    pub(super) forced: BTreeSet<CellId>,
}

/// How long a builder that is there already may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a builder may take to start: its first start on a slow disk includes making its databases.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the builder of a run that was killed may take to go away.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(60);

impl Settings {
    /// Makes settings of the global arguments.
    pub(super) fn new(global: GlobalArgs, environment: Environment) -> Self {
        let at = |path: PathBuf| environment.directory.join(path);
        let directory = global.directory.map_or_else(|| environment.directory.clone(), at);
        // As with git and make, `-C` comes before everything else: other paths are seen from there.
        let from = |path: PathBuf| directory.join(path);
        let expects_tls = !global.ca.is_empty();
        let mut ca: Vec<PathBuf> = global.ca.into_iter().map(from).collect();
        ca.extend(environment.get("SSL_CERT_FILE").map(|path| environment.directory.join(path)));
        let (mut sets, mut overrides) = (Vec::new(), Vec::new());
        for setting in global.set {
            match setting {
                Setting::Variable(name, value) => sets.push((name, value)),
                Setting::Override(text) => overrides.push(text),
            }
        }
        Self {
            files: global.files.into_iter().map(from).collect(),
            sets,
            overrides,
            state: global.state.map(from),
            verbose: global.verbose,
            json: global.json,
            ca,
            expects_tls,
            plain_http: global.plain_http,
            rate: global.rate,
            foreign: global.foreign,
            directory,
            environment,
        }
    }

    /// A path as it was typed, seen from `-C`.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// Reads the project. Names can make more of it: they mean targets of a bake file that `default` does not reach.
    pub(super) fn project_with(&self, names: &[Selector]) -> Result<Project, CliError> {
        if !self.directory.is_dir() {
            return Err(CliError::NoDirectory { path: self.directory.clone() });
        }
        for ca in &self.ca {
            // A mistyped file would otherwise show as a refused certificate, far from its cause.
            if let Err(source) = std::fs::File::open(ca) {
                return Err(CliError::Certificates { path: ca.clone(), source });
            }
        }
        let mut project = config::load(&LoadRequest {
            directory: self.directory.clone(),
            files: self.files.clone(),
            environment: self.environment.variables().clone(),
            sets: self.sets.clone(),
            overrides: self.overrides.clone(),
            names: names.iter().map(ToString::to_string).collect(),
            now: Environment::now(),
        })?;
        self.declare_foreign(&mut project)?;
        Ok(project)
    }

    /// Adds `--foreign` to what the files declare: bake and compose files have no word for it. Seen by every command, since
    /// it is an input of cells as `foreign` in a project file is.
    fn declare_foreign(&self, project: &mut Project) -> Result<(), CliError> {
        for (name, glob) in &self.foreign {
            let meant = |known: &ComponentName| name.as_ref().is_none_or(|name| name == known);
            let glob = || Spanned::unplaced(glob.clone());
            let mut found = false;
            for (_, spec) in project.components.iter_mut().filter(|(known, _)| meant(known)) {
                spec.foreign.push(glob());
                found = true;
            }
            for (_, spec) in project.externals.iter_mut().filter(|(known, _)| meant(known)) {
                spec.foreign.push(glob());
                found = true;
            }
            if let Some(name) = name.as_ref().filter(|_| !found) {
                let message = format!("`--foreign {name}=...` names no component of this project");
                return Err(CliError::Unknown { message, help: None });
            }
        }
        Ok(())
    }

    /// Whether `plan --print` is about a project file: it is unless bake files are named, or there is no project at all.
    pub(super) fn prints_project(&self) -> bool {
        let named = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
        if self.files.is_empty() {
            self.directory.ancestors().any(|folder| folder.join("catamaran.toml").is_file())
        } else {
            self.files.iter().all(named)
        }
    }

    /// The bake and compose files of `-f`, or of the usual names, as `docker buildx bake --print` gives them.
    pub(super) fn print_bake(&self, names: &[Selector]) -> Result<String, CliError> {
        let request = BakeRequest {
            directory: self.directory.clone(),
            files: self.files.clone(),
            environment: self.environment.variables().clone(),
            targets: names.iter().map(ToString::to_string).collect(),
            overrides: self.overrides.clone(),
            vars: self.sets.clone(),
            now: Environment::now(),
            ..BakeRequest::default()
        };
        let resolved = config::resolve_bake(&request, &DiskFiles)?;
        // A `Value` has string keys and finite numbers only: nothing in it can fail to be written.
        Ok(serde_json::to_string_pretty(&config::print_bake(&resolved)).unwrap_or_default() + "\n")
    }

    /// Plans the project as a command's arguments narrow it.
    pub(super) fn plan(project: &Project, select: &SelectArgs, to: &ToArgs) -> Result<Plan, CliError> {
        Self::one_plan(project, select.platform.clone(), select.names.clone(), to.to.clone())
    }

    /// All plans of a command that builds or publishes.
    pub(super) fn plans(project: &Project, select: &SelectArgs, to: &ToArgs) -> Result<Plans, CliError> {
        Ok(Plans {
            asked: Self::plan(project, select, to)?,
            judged: Self::one_plan(project, select.platform.clone(), Vec::new(), to.to.clone())?,
            whole: Self::one_plan(project, None, Vec::new(), to.to.clone())?,
            forced: BTreeSet::new(),
        })
    }

    fn one_plan(
        project: &Project,
        platforms: Option<Vec<String>>,
        names: Vec<Selector>,
        to: Vec<Prefix>,
    ) -> Result<Plan, CliError> {
        let platforms = match platforms {
            Some(typed) => Some(typed.iter().map(|text| parse_platform(text)).collect::<Result<Vec<Platform>, _>>()?),
            None => None,
        };
        let options = PlanOptions { platforms, names, to, build_platform: None };
        Ok(plan::plan(project, &options, &DiskFiles)?)
    }

    /// What `catamaran.lock` beside the project file says, if there is one.
    pub(super) fn lock(plan: &Plan) -> Result<Option<LockFile>, CliError> {
        Ok(LockFile::read(&LockFile::path_beside(&plan.file), &DiskFiles)?)
    }

    /// The folder that paths of the project's files are relative to, as far as names tell: that of the first file, or the
    /// nearest one with a project file.
    pub(super) fn root(&self) -> PathBuf {
        let named = self.files.first().and_then(|file| file.parent()).map(Path::to_path_buf);
        let found = || self.directory.ancestors().find(|folder| folder.join("catamaran.toml").is_file());
        named.or_else(|| found().map(Path::to_path_buf)).unwrap_or_else(|| self.directory.clone())
    }

    /// The cells of `plan` that `--force` means: without a name those that were asked for, not what these need.
    pub(super) fn forced(project: &Project, plan: &Plan, args: &ForceArgs) -> Result<BTreeSet<CellId>, CliError> {
        let mut forced = BTreeSet::new();
        for name in &args.force {
            if name.to_string().is_empty() {
                let selected = plan.cells.iter().filter(|cell| cell.selection == Selection::Selected);
                forced.extend(selected.map(|cell| cell.id.clone()));
                continue;
            }
            let meant = Self::one_plan(project, None, vec![name.clone()], Vec::new())?;
            let meant = meant.cells.iter().filter(|cell| cell.selection == Selection::Selected);
            let before = forced.len();
            forced.extend(meant.map(|cell| cell.id.clone()).filter(|id| {
                plan.cell(id).is_some_and(|cell| cell.selection > Selection::Unselected && cell.build().is_some())
            }));
            if forced.len() == before {
                return Err(CliError::Unknown {
                    message: format!("`--force={name}` means nothing that this command would build"),
                    help: Some("name it also as what to build, or leave the names out".to_owned()),
                });
            }
        }
        Ok(forced)
    }

    /// The state directory of a project.
    pub(super) fn state(&self, project: &Project) -> StateDir {
        StateDir::at(self.state.clone().unwrap_or_else(|| project.root.join(".catamaran")))
    }

    /// Where a command without a project keeps its journal: what `--state` says, or a folder beside the file it works on.
    pub(super) fn state_beside(&self, file: &Path) -> StateDir {
        let mut beside = file.as_os_str().to_owned();
        beside.push(".catamaran");
        StateDir::at(self.state.clone().unwrap_or_else(|| PathBuf::from(beside)))
    }

    /// Where a copy keeps what is on its way: below what `--state` says, or the user's cache.
    pub(super) fn state_of_copy(&self, key: &str) -> StateDir {
        let folder = self.state.clone().or_else(|| self.environment.cache()).unwrap_or_else(std::env::temp_dir);
        StateDir::at(folder.join("copy").join(key))
    }

    /// Whether `--state` was typed.
    pub(super) fn has_state(&self) -> bool {
        self.state.is_some()
    }

    fn credentials(&self) -> Arc<dyn CredentialSource> {
        Arc::new(CredentialFiles::new(self.environment.credential_files()).with_helpers_in(self.environment.path()))
    }

    fn host_certificates(&self) -> HostCertificates {
        HostCertificates::new(self.environment.certificate_folders())
    }

    /// A client for registries.
    pub(super) fn registry(&self, events: Arc<dyn EventSink>) -> Result<RegistryClient, CliError> {
        self.registry_trying(None, events)
    }

    /// One that tries so often, `None` as often as usual.
    pub(super) fn registry_trying(
        &self,
        tries: Option<u32>,
        events: Arc<dyn EventSink>,
    ) -> Result<RegistryClient, CliError> {
        let mut options = RegistryOptions::new(self.credentials());
        options.extra_ca.clone_from(&self.ca);
        options.host_certificates = self.host_certificates();
        options.plain_http.clone_from(&self.plain_http);
        options.rate = self.rate;
        options.broken_proxy = self.environment.broken_proxy().map(str::to_owned);
        options.sources = PullSources::read(&self.environment.registry_files())?;
        options.retry.tries = tries.unwrap_or(options.retry.tries);
        Ok(RegistryClient::new(options)?.with_events(events))
    }

    /// How to get builders.
    pub(super) fn builders(
        &self,
        plan: &Plan,
        state: &StateDir,
        forced: Option<String>,
        events: &Arc<dyn EventSink>,
    ) -> Result<BuilderSettings, CliError> {
        let token_client = self.token_client()?;
        let credentials = self.credentials();
        let fallback = match self.environment.get("BUILDKIT_HOST") {
            Some(address) => Fallback::Address(address.to_owned()),
            None => self.starter(plan, state, &credentials, token_client.as_ref(), events),
        };
        Ok(BuilderSettings {
            forced,
            fallback,
            authorities: self.ca.clone(),
            expects_tls: self.expects_tls,
            plain_hosts: self.plain_http.clone(),
            credentials,
            token_client,
            connect_timeout: CONNECT_TIMEOUT,
        })
    }

    /// Starts a builder of our own when it turns out that one is needed.
    fn starter(
        &self,
        plan: &Plan,
        state: &StateDir,
        credentials: &Arc<dyn CredentialSource>,
        token_client: Option<&reqwest::Client>,
        events: &Arc<dyn EventSink>,
    ) -> Fallback {
        let search = self.environment.path();
        let binary = find_buildkitd(&search, self.environment.tools().as_deref());
        let daemon = binary.map(|binary| DaemonOptions {
            binary,
            supervisor: PathBuf::from("/proc/self/exe"),
            root: state.root().join("builder"),
            run_dir: self.environment.runtime_folder(),
            log: state.root().join("builder.log"),
            search,
            environment: self.environment.for_builder(),
            registries: self.registry_rules(plan),
            entitlements: entitlements(plan),
            ids: Ids::default(),
            start_timeout: START_TIMEOUT,
            lock_timeout: LEAVE_TIMEOUT,
            events: Arc::clone(events),
        });
        let (credentials, token_client) = (Arc::clone(credentials), token_client.cloned());
        Fallback::Start(Arc::new(move |layout| {
            let (credentials, token_client) = (Arc::clone(&credentials), token_client.clone());
            let daemon = daemon.clone();
            async move {
                let Some(daemon) = daemon else {
                    return Err(EngineError::CannotStart {
                        reason: "there is no `buildkitd` on PATH".to_owned(),
                        help: "install one (`scripts/setup` does), or name a running one with `--builder ADDRESS` or \
                               BUILDKIT_HOST"
                            .to_owned(),
                        output: Vec::new(),
                    });
                };
                start(StartOptions { daemon, layout, credentials, token_client }).await
            }
            .boxed()
        }))
    }

    /// What the builder must know of the registries that bases come from.
    fn registry_rules(&self, plan: &Plan) -> Vec<RegistryRule> {
        let builds = plan.cells.iter().filter_map(|cell| cell.build());
        // The builder pulls the image that reads the Dockerfile, too.
        let bases = builds.flat_map(|build| build.bases.iter().chain(&build.frontend));
        let mut hosts: Vec<String> = bases.map(|base| base.reference.repository().host().to_owned()).collect();
        let builds = plan.cells.iter().filter_map(|cell| cell.build());
        let caches = builds.flat_map(|build| build.options.cache_from.iter().chain(&build.options.cache_to));
        let references = caches.filter_map(|cache| cache.attributes.get("ref")?.parse::<crate::base::Reference>().ok());
        hosts.extend(references.map(|reference| reference.repository().host().to_owned()));
        hosts.extend(self.plain_http.iter().cloned());
        hosts.sort();
        hosts.dedup();
        let certificates = self.host_certificates();
        hosts
            .into_iter()
            .map(|host| {
                // What cannot be read there is told by our own client, which resolves the same bases first.
                let (own, identity) = certificates.files_of(&host).unwrap_or_default();
                let authorities: Vec<PathBuf> = self.ca.iter().cloned().chain(own).collect();
                // An authority may be for another registry than one on loopback, which may speak either way.
                let plain_http = self.plain_http.contains(&host)
                    || (!authorities.is_empty() && is_loopback(&host) && answers_in_plain(&host));
                let pairs = identity.map(|[certificate, key]| KeyPair { key, certificate }).into_iter().collect();
                RegistryRule { host, plain_http, authorities, pairs }
            })
            .filter(|rule| rule.plain_http || !rule.authorities.is_empty() || !rule.pairs.is_empty())
            .collect()
    }

    /// Fetches tokens for the builder, so that passwords stay in this process.
    fn token_client(&self) -> Result<Option<reqwest::Client>, CliError> {
        let mut builder = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            // A token server that sends us on would take the credentials along.
            .redirect(reqwest::redirect::Policy::none());
        for path in &self.ca {
            let unusable = |source| CliError::Certificates { path: path.clone(), source };
            let pem = std::fs::read(path).map_err(unusable)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| unusable(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        // Without this client the builder fetches tokens itself: slower to explain, not wrong.
        Ok(builder.build().ok())
    }

    /// Values of the environment that the plan's secrets name, and the ssh agent.
    pub(super) fn inputs(&self, plan: &Plan) -> Inputs {
        let secrets = plan
            .cells
            .iter()
            .filter_map(|cell| cell.build())
            .flat_map(|build| build.secrets.values())
            .filter_map(|spec| match spec {
                SecretSpec::Environment(name) => {
                    Some((name.clone(), Secret::new(self.environment.variables().get(name)?)))
                }
                SecretSpec::File(_) => None,
            })
            .collect();
        Inputs { secrets, ssh_agent: self.environment.get("SSH_AUTH_SOCK").map(PathBuf::from) }
    }
}

/// What the builds of a plan may do beyond the usual; that the user allowed it is checked before.
fn entitlements(plan: &Plan) -> Vec<String> {
    let builds = plan.cells.iter().filter_map(|cell| cell.build());
    // `device=NAME` is granted by kind.
    let kinds = builds.flat_map(|build| &build.options.entitlements).filter_map(|text| text.split('=').next());
    kinds.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A platform as it was typed after `--platform`.
pub(super) fn parse_platform(text: &str) -> Result<Platform, CliError> {
    text.parse().map_err(|error| match error {
        InvalidPlatform::Empty => CliError::NoPlatform,
        error => CliError::Unknown {
            help: error.suggestion().map(|near| format!("did you mean `{near}`?")),
            message: error.to_string(),
        },
    })
}
