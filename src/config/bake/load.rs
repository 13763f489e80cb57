use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::compose::{convert, load};
use crate::config::error::{ConfigError, ConfigProblem};
use crate::config::files::{DiskFiles, ReadText};
use crate::config::hcl::eval::Host;
use crate::config::project::{LoadRequest, Project};

use super::entries::Attestation;
use super::files::{self, Kind};
use super::resolve::{Definitions, Selection, rebase_contexts};
use super::scope::{self, Inputs, VariableInfo};
use super::validate::{self, Surroundings};
use super::{print, project};

/// Which bake and compose files to read, what they may use, and what a command line adds to them.
#[derive(Debug, Clone, Default)]
pub struct BakeRequest {
    /// Where relative paths begin: the working directory, or `-C`.
    pub directory: PathBuf,
    /// `-f`, in order; empty for `BUILDX_BAKE_FILE`, or else the usual names.
    pub files: Vec<PathBuf>,
    /// What `-f -` means.
    pub stdin: Option<String>,
    /// The process environment.
    pub environment: BTreeMap<String, String>,
    /// Targets and groups that are asked for; empty for `default`.
    pub targets: Vec<String>,
    /// `--set`, in order.
    pub overrides: Vec<String>,
    /// `--var`, in order.
    pub vars: Vec<(String, String)>,
    /// `--push`.
    pub push: bool,
    /// `--load`.
    pub load: bool,
    /// `--pull`.
    pub pull: Option<bool>,
    /// `--no-cache`.
    pub no_cache: Option<bool>,
    /// `--provenance`.
    pub provenance: Option<String>,
    /// `--sbom`.
    pub sbom: Option<String>,
    /// `--call`, `--check`.
    pub call: Option<String>,
    /// Seconds since 1970-01-01, for `timestamp()`; a `SOURCE_DATE_EPOCH` of the environment goes over it.
    pub now: i64,
}

/// What bake files come to: the targets and groups that were asked for, with everything that they link to.
#[derive(Debug, Default)]
pub struct Resolved {
    pub(super) selection: Selection,
    /// Variables of the files, for `--list`.
    pub variables: Vec<VariableInfo>,
    /// Names of every target and group that could be asked for.
    pub names: Vec<String>,
    /// Every group with the targets that it comes to.
    pub(super) groups: Vec<(String, Vec<String>)>,
    /// For a project: the targets that are not selected, as far as they can be resolved.
    pub(super) others: Vec<super::target::Target>,
    /// The first file that was read.
    pub(super) first_file: PathBuf,
    /// Whether the files ask what time it is, and nothing settles it: then they say something else each time.
    pub(super) unsettled: bool,
}

impl BakeRequest {
    /// The environment, unless it was switched off for variables.
    pub(super) fn visible_environment(&self) -> Option<&BTreeMap<String, String>> {
        let off = self.environment.get("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP");
        let off = off.and_then(|text| super::entries::parse_bool(text).ok()).unwrap_or(false);
        (!off).then_some(&self.environment)
    }

    /// The time that `SOURCE_DATE_EPOCH` settles.
    fn epoch(&self) -> Option<i64> {
        self.environment.get("SOURCE_DATE_EPOCH")?.parse().ok()
    }

    fn relative_to_files(&self) -> bool {
        let text = self.environment.get("BUILDX_BAKE_FILE_RELATIVE_PATHS");
        text.and_then(|text| super::entries::parse_bool(text).ok()).unwrap_or(false)
    }

    /// `--set` with what other flags stand for.
    fn all_overrides(&self) -> Result<Vec<String>, String> {
        let mut all = self.overrides.clone();
        if self.push {
            all.push("*.push=true".to_owned());
        }
        if self.load {
            all.push("*.load=true".to_owned());
        }
        if let Some(call) = &self.call {
            let name = call.split(',').next().unwrap_or_default();
            let name = if name == "check" { "lint" } else { name };
            if name != "build" {
                all.push(format!("*.call={name}"));
            }
        }
        if let Some(no_cache) = self.no_cache {
            all.push(format!("*.no-cache={no_cache}"));
        }
        if let Some(pull) = self.pull {
            all.push(format!("*.pull={pull}"));
        }
        for (kind, text) in [("sbom", &self.sbom), ("provenance", &self.provenance)] {
            if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
                Attestation::from_flag(kind, text)?;
                let value = match super::entries::parse_bool(text) {
                    Ok(enabled) => format!("type={kind},disabled={}", !enabled),
                    Err(_) => format!("type={kind},{text}"),
                };
                all.push(format!("*.attest={value}"));
            }
        }
        Ok(all)
    }
}

/// Stack for reading and evaluating: recursion is bounded by depth, and this is more than the bound needs.
const STACK_BYTES: usize = 256 << 20;

/// Reads, evaluates, resolves and checks. Every problem that can be found independently of others is in the one error.
pub fn resolve(request: &BakeRequest, reader: &(dyn ReadText + Sync)) -> Result<Resolved, ConfigError> {
    let run = || resolve_all(request, reader, Mode::Print);
    on_large_stack(run)
}

/// Runs on a thread with a stack for deep recursion; only pages that are used cost memory.
fn on_large_stack<T: Send>(run: impl FnOnce() -> Result<T, Vec<ConfigProblem>> + Send) -> Result<T, ConfigError> {
    let result = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run);
        thread.map(std::thread::ScopedJoinHandle::join)
    });
    match result {
        Ok(Ok(result)) => result.map_err(ConfigError::from),
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => {
            let message = format!("cannot start a thread: {error}");
            Err(ConfigError::from(ConfigProblem::Invalid { message, help: None, span: None }))
        }
    }
}

/// What the result is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// What bake would do with exactly this request.
    Print,
    /// A project: everything that could be built, whether or not its secrets are here today.
    Project,
}

fn resolve_all(request: &BakeRequest, reader: &dyn ReadText, mode: Mode) -> Result<Resolved, Vec<ConfigProblem>> {
    let vars: BTreeMap<String, String> = request.vars.iter().cloned().collect();
    let Defined { definitions, variables, first_file, timed } = define(request, reader, &vars)?;
    let asked = match mode {
        Mode::Print => request.targets.clone(),
        Mode::Project => definitions.asked_by(&request.targets),
    };
    let overrides = request.all_overrides().map_err(|error| vec![super::resolve::refused(error)])?;
    let mut selection =
        definitions.select(&asked, &overrides, request.visible_environment()).map_err(|problem| vec![problem])?;
    if let Some(epoch) = request.environment.get("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty()) {
        for target in selection.targets.values_mut() {
            let args = target.args.get_or_insert_default();
            args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert_with(|| Some(epoch.clone()));
        }
    }
    let surroundings =
        Surroundings { directory: &request.directory, environment: &request.environment, look: mode == Mode::Print };
    let problems = validate::check(&mut selection, &surroundings);
    if !problems.is_empty() {
        return Err(problems);
    }
    let names = definitions.groups.iter().map(|group| group.name.clone());
    let mut names: Vec<String> = names.chain(definitions.targets.iter().map(|target| target.name.clone())).collect();
    names.sort();
    names.dedup();
    let groups = definitions.expanded_groups();
    let others = match mode {
        Mode::Print => Vec::new(),
        Mode::Project => definitions.others(&selection),
    };
    let unsettled = timed && request.epoch().is_none();
    Ok(Resolved { selection, variables, names, groups, others, first_file, unsettled })
}

struct Defined {
    definitions: Definitions,
    variables: Vec<VariableInfo>,
    first_file: PathBuf,
    timed: bool,
}

/// What all files define together: compose files first, whatever their place, then the others over them.
fn define(
    request: &BakeRequest,
    reader: &dyn ReadText,
    vars: &BTreeMap<String, String>,
) -> Result<Defined, Vec<ConfigProblem>> {
    let texts = files::read(request, reader)?;
    let mut bodies = Vec::new();
    let mut problems = Vec::new();
    let mut compose = Vec::new();
    let surroundings = compose_surroundings(request, reader, vars, &texts)?;
    for text in &texts {
        let kind = files::kind_of(text.path());
        let tried = kind == Kind::Unknown && composed(std::slice::from_ref(text), &surroundings).is_ok();
        if kind == Kind::Compose || tried {
            compose.push(text.clone());
            continue;
        }
        match files::parse(text, kind) {
            Ok(body) => bodies.push(body),
            Err(found) => problems.extend(found),
        }
    }
    let mut definitions = Definitions::default();
    if !compose.is_empty() {
        match composed(&compose, &surroundings) {
            // Without any service there is not even a group.
            Ok(None) => {}
            Ok(Some(targets)) => {
                let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
                let names = Some(names).filter(|names| !names.is_empty());
                let group = super::target::Group { name: "default".to_owned(), targets: names, ..Default::default() };
                merge(&mut definitions, targets, vec![group]);
            }
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut variables = Vec::new();
    let mut timed = false;
    if !bodies.is_empty() {
        let inputs = Inputs {
            vars,
            environment: request.visible_environment(),
            builtins: BTreeMap::from([
                ("BAKE_CMD_CONTEXT".to_owned(), "cwd://".to_owned()),
                ("BAKE_LOCAL_PLATFORM".to_owned(), local_platform().to_owned()),
            ]),
            host: Host {
                now: request.epoch().unwrap_or(request.now),
                home: request.environment.get("HOME").cloned().unwrap_or_default(),
                ..Host::default()
            },
        };
        let evaluated = scope::evaluate(&bodies, inputs)?;
        variables = evaluated.variables;
        timed = evaluated.timed;
        merge(&mut definitions, evaluated.targets, evaluated.groups);
        for (label, mut names) in evaluated.renamed {
            let mut seen = std::collections::BTreeSet::new();
            names.retain(|name| seen.insert(name.clone()));
            if !matches!(&names[..], [only] if *only == label) {
                let group = super::target::Group { name: label, targets: Some(names), ..Default::default() };
                definitions.groups.push(group);
            }
        }
    }
    definitions.dedupe();
    if request.relative_to_files() {
        rebase_contexts(&mut definitions);
    }
    let first_file = texts.first().map(|text| text.path().to_path_buf()).unwrap_or_default();
    Ok(Defined { definitions, variables, first_file, timed })
}

/// What compose files may use: the process environment, `.env` of the working directory for what is not set there, and
/// `--var` over both.
fn compose_surroundings<'a>(
    request: &'a BakeRequest,
    reader: &'a dyn ReadText,
    vars: &BTreeMap<String, String>,
    texts: &[crate::base::SourceText],
) -> Result<load::Surroundings<'a>, Vec<ConfigProblem>> {
    let mut environment = request.visible_environment().cloned().unwrap_or_default();
    let wanted = texts.iter().any(|text| matches!(files::kind_of(text.path()), Kind::Compose | Kind::Unknown));
    if wanted {
        environment =
            load::with_dotenv(reader, &request.directory, "", &environment).map_err(|problem| vec![problem])?;
    }
    environment.extend(vars.iter().map(|(name, value)| (name.clone(), value.clone())));
    environment.entry("COMPOSE_PROJECT_NAME".to_owned()).or_insert_with(|| "bake".to_owned());
    Ok(load::Surroundings { directory: &request.directory, environment, reader })
}

/// The targets of compose files, read as one project.
fn composed(
    texts: &[crate::base::SourceText],
    surroundings: &load::Surroundings<'_>,
) -> Result<Option<Vec<super::target::Target>>, Vec<ConfigProblem>> {
    let model = load::load(texts, surroundings)?;
    let services = model.get("services").and_then(|services| services.as_map()).unwrap_or_default();
    match texts.first() {
        Some(first) if !services.is_empty() => convert::targets(&model, first, surroundings).map(Some),
        _ => Ok(None),
    }
}

/// Targets of the same name are merged, groups of the same name replaced.
fn merge(definitions: &mut Definitions, targets: Vec<super::target::Target>, groups: Vec<super::target::Group>) {
    for group in groups {
        match definitions.groups.iter_mut().find(|own| own.name == group.name) {
            Some(own) => *own = group,
            None => definitions.groups.push(group),
        }
    }
    for target in targets {
        match definitions.targets.iter_mut().find(|own| own.name == target.name) {
            Some(own) => own.merge(&target),
            None => definitions.targets.push(target),
        }
    }
}

/// The platform of this machine, as `BAKE_LOCAL_PLATFORM` names it.
pub(super) const fn local_platform() -> &'static str {
    if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" }
}

/// The resolved bake as `docker buildx bake --print` writes it.
pub fn print_bake(resolved: &Resolved) -> serde_json::Value {
    print::document(&resolved.selection)
}

/// A project of bake and compose files: its components are what `default` builds, with what they link to, and what the
/// request names beside it.
///
/// `--set NAME=VALUE` sets a variable, `--set TARGET.KEY=VALUE` overrides a target.
pub fn load_bake(request: &LoadRequest) -> Result<Project, ConfigError> {
    let bake = BakeRequest {
        directory: request.directory.clone(),
        files: request.files.clone(),
        environment: request.environment.clone(),
        overrides: request.overrides.clone(),
        vars: request.sets.clone(),
        targets: request.names.clone(),
        now: request.now,
        ..BakeRequest::default()
    };
    let run = || {
        let resolved = resolve_all(&bake, &DiskFiles, Mode::Project)?;
        project::project_of(&bake, &resolved)
    };
    on_large_stack(run)
}

/// Whether the files of a request are bake or compose files. They and a project file do not mix.
pub(crate) fn is_asked_for(request: &LoadRequest) -> Result<bool, ConfigError> {
    let is_bake = |path: &PathBuf| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        extension.is_some_and(|extension| ["hcl", "json", "yml", "yaml"].contains(&extension.as_str()))
    };
    match request.files.iter().filter(|path| is_bake(path)).count() {
        0 => Ok(false),
        all if all == request.files.len() => Ok(true),
        _ => Err(ConfigError::from(ConfigProblem::Invalid {
            message: "a project file does not mix with bake or compose files".to_owned(),
            help: Some("name files of one kind with `-f`".to_owned()),
            span: None,
        })),
    }
}
