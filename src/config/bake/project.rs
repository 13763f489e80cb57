//! Resolved targets to components: tags are the references, `contexts` of targets are edges, paths are as buildx has them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::base::{ComponentName, Epoch, Platform, Reference, Span, Spanned, Tag, Warning};
use crate::config::error::ConfigProblem;
use crate::config::paths::{clean_path, fetched_dockerfile, is_remote};
use crate::config::project::{ComponentSpec, ContextRef, Project, SecretSpec};

use super::load::{BakeRequest, Resolved, local_platform};
use super::resolve::refused;
use super::solve::{Finding, output_findings, output_names, solve_spec};
use super::target::{Target, Texts};

/// The components of the resolved targets.
pub(super) fn project_of(request: &BakeRequest, resolved: &Resolved) -> Result<Project, Vec<ConfigProblem>> {
    let directory = std::path::absolute(&request.directory).unwrap_or_else(|_| request.directory.clone());
    let file = directory.join(&resolved.first_file);
    let root = file.parent().map_or_else(|| directory.clone(), Path::to_path_buf);
    let targets = &resolved.selection.targets;
    let mut problems = Vec::new();
    let names = component_names(targets, &mut problems);
    let platforms = platforms(targets, &mut problems);
    let mut components = IndexMap::new();
    let mut missing = Missing::default();
    for (name, target) in targets {
        let environment = &request.environment;
        let mut mapper = Mapper { directory: &directory, names: &names, target, environment, problems: &mut problems };
        let mut spec = mapper.component();
        mapper.solve(&mut spec, &mut missing);
        spec.platforms = platforms.get(name).cloned();
        if let Some(own) = names.get(name) {
            components.insert(own.clone(), spec);
        }
    }
    let epoch = match request.environment.get("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) {
        Some(text) => match text.parse::<Epoch>() {
            Ok(epoch) => Some(epoch),
            Err(error) => {
                problems.push(refused(format!("SOURCE_DATE_EPOCH: {error}")));
                None
            }
        },
        None => None,
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut all: Vec<Spanned<Platform>> = Vec::new();
    for platform in platforms.values().flatten() {
        if !all.iter().any(|own| own.value == platform.value) {
            all.push(platform.clone());
        }
    }
    let folder = root.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Project {
        name: folder.unwrap_or_else(|| "bake".to_owned()),
        file,
        root,
        platforms: all,
        image: Spanned::unplaced("{component}".to_owned()),
        tag: Spanned::unplaced(Tag::latest()),
        registries: Vec::new(),
        arch_tags: false,
        epoch,
        vars: IndexMap::new(),
        components,
        externals: IndexMap::new(),
        services: IndexMap::new(),
        builders: IndexMap::new(),
        groups: groups(resolved, &names),
        mentioned: BTreeSet::new(),
        defaults: IndexMap::new(),
        finds: Vec::new(),
        unselected: unselected(resolved, &names),
        warnings: missing.warnings().into_iter().chain(resolved.unsettled.then(unsettled)).collect(),
    })
}

/// Names and labels of now are other ones in the next command.
fn unsettled() -> Warning {
    Warning {
        message: "`timestamp()` says something else in every run: what was built under it is not found again"
            .to_owned(),
        help: Some("set SOURCE_DATE_EPOCH to a number of seconds, as `git log -1 --format=%ct` gives it".to_owned()),
        span: None,
    }
}

/// The component that a target becomes: in lower case, a run of separators as its first one, none at the ends.
pub(super) fn component_name(target: &str) -> Option<ComponentName> {
    let lower = target.to_lowercase();
    let mut tidy = String::with_capacity(lower.len());
    for c in lower.chars() {
        let separator = matches!(c, '-' | '_');
        if !separator || !tidy.is_empty() && !tidy.ends_with(['-', '_']) {
            tidy.push(c);
        }
    }
    tidy.trim_end_matches(['-', '_']).parse().ok()
}

/// The component of every target. Targets may be named in ways that components may not: then the nearest allowed name.
fn component_names(
    targets: &BTreeMap<String, Target>,
    problems: &mut Vec<ConfigProblem>,
) -> BTreeMap<String, ComponentName> {
    let mut names = BTreeMap::new();
    let mut taken: BTreeMap<ComponentName, &str> = BTreeMap::new();
    for (name, target) in targets {
        let Some(component) = component_name(name) else {
            problems.push(at(target, "", format!("the target `{name}` cannot be a component's name")));
            continue;
        };
        if let Some(other) = taken.insert(component.clone(), name) {
            let message = format!("the targets `{other}` and `{name}` would both be the component `{component}`");
            problems.push(at(target, "", message));
        }
        names.insert(name.clone(), component);
    }
    names
}

fn at(target: &Target, attribute: &str, message: String) -> ConfigProblem {
    let span = target.span(attribute).filter(|span| !span.source.text().is_empty()).cloned();
    ConfigProblem::Invalid { message, help: None, span }
}

/// The platforms of every target. One without any is built for those of the targets that use it, or else for this machine.
fn platforms(
    targets: &BTreeMap<String, Target>,
    problems: &mut Vec<ConfigProblem>,
) -> BTreeMap<String, Vec<Spanned<Platform>>> {
    let mut found: BTreeMap<String, Vec<Spanned<Platform>>> = BTreeMap::new();
    for (name, target) in targets {
        for text in target.platforms.iter().flatten().flat_map(|text| text.split(',')) {
            let text = if text.eq_ignore_ascii_case("local") { local_platform() } else { text };
            match text.parse::<Platform>() {
                Ok(platform) => {
                    let own = found.entry(name.clone()).or_default();
                    if !own.iter().any(|other| other.value == platform) {
                        own.push(Spanned { value: platform, span: target.span("platforms").cloned() });
                    }
                }
                Err(error) => {
                    let help = error.suggestion().map(|near| format!("did you mean `{near}`?"));
                    let span = target.span("platforms").filter(|span| !span.source.text().is_empty()).cloned();
                    problems.push(ConfigProblem::Invalid { message: error.to_string(), help, span });
                }
            }
        }
    }
    // What a user needs goes down the links until nothing changes; links have no cycles.
    let declared: BTreeSet<String> = found.keys().cloned().collect();
    loop {
        let mut added = false;
        for (name, target) in targets {
            let wanted = found.get(name).cloned().unwrap_or_default();
            for used in linked(target).filter(|used| !declared.contains(*used)) {
                let own = found.entry(used.to_owned()).or_default();
                for platform in &wanted {
                    if !own.iter().any(|other| other.value == platform.value) {
                        own.push(Spanned::unplaced(platform.value.clone()));
                        added = true;
                    }
                }
            }
        }
        if !added {
            break;
        }
    }
    let local = local_platform().parse::<Platform>();
    for name in targets.keys() {
        let own = found.entry(name.clone()).or_default();
        if let Ok(local) = &local
            && own.is_empty()
        {
            own.push(Spanned::unplaced(local.clone()));
        }
    }
    found
}

fn linked(target: &Target) -> impl Iterator<Item = &str> {
    target.contexts.iter().flatten().filter_map(|(_, context)| context.strip_prefix("target:"))
}

/// Groups whose members are components; nested ones are resolved.
fn groups(
    resolved: &Resolved,
    names: &BTreeMap<String, ComponentName>,
) -> IndexMap<String, Vec<Spanned<ComponentName>>> {
    let mut groups = IndexMap::new();
    for (name, members) in &resolved.groups {
        let components: Vec<Spanned<ComponentName>> =
            members.iter().filter_map(|member| names.get(member)).cloned().map(Spanned::unplaced).collect();
        if !components.is_empty() {
            groups.insert(name.clone(), components);
        }
    }
    // A target can be named as the file has it, too; and a service with the dots that a target's name cannot have.
    for (name, component) in names {
        for alias in [name.clone(), name.replace('_', ".")] {
            if alias != component.as_str() && !groups.contains_key(&alias) {
                groups.insert(alias, vec![Spanned::unplaced(component.clone())]);
            }
        }
    }
    groups
}

/// The targets that are no components of this project; what they are published as is all that counts of them.
fn unselected(resolved: &Resolved, names: &BTreeMap<String, ComponentName>) -> IndexMap<ComponentName, ComponentSpec> {
    let mut found = IndexMap::new();
    for target in &resolved.others {
        let Some(name) = component_name(&target.name) else { continue };
        if names.values().any(|own| *own == name) {
            continue;
        }
        let mut spec = ComponentSpec::new(target.span("").cloned());
        let tags = target.tags.iter().flatten().filter_map(|tag| tag.parse().ok());
        spec.references = Some(tags.map(Spanned::unplaced).collect());
        found.insert(name, spec);
    }
    found
}

/// What targets are built without: for each such thing the targets, the first place and how to get it.
#[derive(Default)]
struct Missing(IndexMap<String, (Vec<String>, Option<Span>, &'static str)>);

impl Missing {
    fn add(&mut self, target: &Target, attribute: &str, what: String, help: &'static str) {
        let span = target.span(attribute).filter(|span| !span.source.text().is_empty()).cloned();
        let (names, _, _) = self.0.entry(what).or_insert_with(|| (Vec::new(), span, help));
        if !names.contains(&target.name) {
            names.push(target.name.clone());
        }
    }

    /// One warning for each thing, with the targets that it is about.
    fn warnings(self) -> Vec<Warning> {
        /// More names than this only hide the message.
        const SHOWN: usize = 4;
        let one = |(what, (names, span, help)): (String, (Vec<String>, Option<Span>, &'static str))| {
            let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
            if names.len() > SHOWN {
                shown.push(format!("{} more", names.len() - SHOWN));
            }
            Warning { message: format!("{}: {what}", shown.join(", ")), help: Some(help.to_owned()), span }
        };
        self.0.into_iter().map(one).collect()
    }
}

struct Mapper<'a> {
    directory: &'a Path,
    names: &'a BTreeMap<String, ComponentName>,
    target: &'a Target,
    environment: &'a BTreeMap<String, String>,
    problems: &'a mut Vec<ConfigProblem>,
}

impl Mapper<'_> {
    fn spanned<T>(&self, attribute: &str, value: T) -> Spanned<T> {
        Spanned { value, span: self.target.span(attribute).cloned() }
    }

    fn component(&mut self) -> ComponentSpec {
        let target = self.target;
        let mut spec = ComponentSpec::new(target.span("").cloned());
        let context = target.context.as_deref().unwrap_or(".");
        spec.context = self.spanned("context", self.context(context));
        spec.dockerfile = self.spanned("dockerfile", self.dockerfile(&spec.context.value));
        spec.dockerfile_inline = target.dockerfile_inline.clone().map(|text| self.spanned("dockerfile-inline", text));
        let written = target.dockerfile.as_deref().unwrap_or("Dockerfile");
        if spec.dockerfile_inline.is_none() && !written.starts_with("cwd://") {
            spec.dockerfile_fetched = fetched_dockerfile(&spec.context.value, written);
        }
        spec.target =
            target.target.clone().filter(|stage| !stage.is_empty()).map(|stage| self.spanned("target", stage));
        for (name, context) in target.contexts.iter().flatten() {
            spec.contexts.insert(name.clone(), self.spanned("contexts", self.context(context)));
        }
        spec.args = self.texts("args", target.args.as_ref());
        spec.labels = self.texts("labels", target.labels.as_ref());
        for secret in target.secrets.iter().flatten() {
            let value = match (secret.source.as_str(), secret.environment.as_str()) {
                // The variable of that name, else the file of that name.
                ("", "") if self.environment.contains_key(&secret.id) => SecretSpec::Environment(secret.id.clone()),
                ("", "") if self.directory.join(&secret.id).exists() => {
                    SecretSpec::File(self.directory.join(&secret.id))
                }
                ("", "") => SecretSpec::Environment(secret.id.clone()),
                ("", variable) => SecretSpec::Environment(variable.to_owned()),
                (file, _) => SecretSpec::File(self.directory.join(file)),
            };
            spec.secrets.insert(secret.id.clone(), self.spanned("secret", value));
        }
        for ssh in target.ssh.iter().flatten() {
            let path = ssh.paths.first().filter(|path| !path.is_empty());
            if ssh.paths.len() > 1 {
                let message = format!("target `{}`: `ssh` `{}` names several keys", target.name, ssh.id);
                let help = "add them to an agent with `ssh-add`, and name its socket or nothing".to_owned();
                let span = target.span("ssh").cloned();
                self.problems.push(ConfigProblem::Invalid { message, help: Some(help), span });
            }
            let id = if ssh.id.is_empty() { "default" } else { &ssh.id };
            spec.ssh.insert(id.to_owned(), path.map(|path| self.directory.join(path)));
        }
        for (host, address) in target.extra_hosts.iter().flatten() {
            spec.extra_hosts.extend(address.iter().map(|address| (host.clone(), address.clone())));
        }
        spec.no_cache = target.no_cache == Some(true);
        spec.references = Some(self.references());
        spec
    }

    /// What the builder is asked for beside the inputs, and what of it is not done.
    fn solve(&mut self, spec: &mut ComponentSpec, missing: &mut Missing) {
        let mut findings = Vec::new();
        spec.solve = solve_spec(self.target, self.environment, &mut findings);
        output_findings(self.target, &mut findings);
        for finding in findings {
            match finding {
                Finding::Problem(attribute, message) => {
                    self.problems.push(at(self.target, attribute, format!("target `{}`: {message}", self.target.name)));
                }
                Finding::Missing(attribute, what, help) => missing.add(self.target, attribute, what, help),
            }
        }
        // `call` asks the frontend a question instead of building: what is not an image is no hole either.
        let call = self.target.call.as_deref().unwrap_or_default();
        if !call.is_empty() && call != "build" && spec.exclude.is_none() {
            spec.exclude = Some(self.spanned("call", format!("its `call` is `{call}`: it makes no image")));
        }
    }

    /// A context as bake resolves it: relative to the working directory.
    fn context(&self, context: &str) -> ContextRef {
        if let Some(name) = context.strip_prefix("target:").and_then(|name| self.names.get(name)) {
            return ContextRef::Component(name.clone());
        }
        // A main context of this form was tidied as if it were a path.
        if let Some(rest) = context.strip_prefix("docker-image:/").filter(|rest| !rest.starts_with('/')) {
            return ContextRef::Remote(format!("docker-image://{rest}"));
        }
        let special = ["docker-image://", "oci-layout://"].iter().any(|scheme| context.starts_with(scheme));
        if special || is_remote(context) {
            return ContextRef::Remote(context.to_owned());
        }
        let local = context.strip_prefix("cwd://").unwrap_or(context);
        ContextRef::Directory(self.path(local))
    }

    /// A path below the working directory, without `.` and `..` where they can be taken out.
    fn path(&self, path: &str) -> PathBuf {
        match clean_path(path).as_str() {
            "." => self.directory.to_path_buf(),
            clean => PathBuf::from(clean_path(&self.directory.join(clean).to_string_lossy())),
        }
    }

    /// The Dockerfile: below a local context, unless it says otherwise.
    fn dockerfile(&self, context: &ContextRef) -> PathBuf {
        let written = self.target.dockerfile.as_deref().unwrap_or("Dockerfile");
        match (written.strip_prefix("cwd://"), context) {
            (Some(local), _) => self.path(local),
            (None, ContextRef::Directory(folder)) => PathBuf::from(clean_path(&folder.join(written).to_string_lossy())),
            (None, _) => PathBuf::from(written),
        }
    }

    fn texts(&self, attribute: &str, texts: Option<&Texts>) -> IndexMap<String, Spanned<String>> {
        let texts = texts.into_iter().flatten();
        let set = texts.filter_map(|(name, text)| text.clone().map(|text| (name.clone(), text)));
        set.map(|(name, text)| (name, self.spanned(attribute, text))).collect()
    }

    fn references(&mut self) -> Vec<Spanned<Reference>> {
        let mut references = Vec::new();
        let mut tags: Vec<&str> = self.target.tags.iter().flatten().map(String::as_str).collect();
        if tags.is_empty() {
            tags.extend(output_names(self.target.outputs.as_deref().unwrap_or_default()));
        }
        for tag in tags {
            match tag.parse::<Reference>() {
                Ok(reference) if reference.digest().is_some() => {
                    self.problems.push(at(
                        self.target,
                        "tags",
                        format!("`{tag}` has a digest, which no image can be given"),
                    ));
                }
                Ok(reference) => references.push(self.spanned("tags", reference)),
                Err(error) => self.problems.push(at(self.target, "tags", error.to_string())),
            }
        }
        references
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::{ContextRef, LoadRequest, Project, load};

    fn project(file: &str, text: &str) -> Result<Project, crate::config::ConfigError> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(file), text).expect("a file");
        let environment = BTreeMap::from([("TAG".to_owned(), "2".to_owned())]);
        let directory = folder.path().to_path_buf();
        load(&LoadRequest { directory, files: vec![file.into()], environment, ..LoadRequest::default() })
    }

    #[test]
    fn links_are_edges_and_tags_are_references() {
        let text = "variable \"TAG\" {}\ngroup \"default\" {\n  targets = [\"App_1\"]\n}\ntarget \"base\" {}\n\
            target \"App_1\" {\n  contexts = { base = \"target:base\" }\n  platforms = [\"linux/amd64\", \"linux/arm64\"]\n\
            tags = [\"r.example.com/app:${TAG}\"]\n}\ntarget \"other\" {}\n";
        let project = project("docker-bake.hcl", text).expect("a project");
        let names: Vec<String> = project.components.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["app_1", "base"], "what `default` does not reach is no part of it");
        let app = &project.components[0];
        assert_eq!(app.contexts["base"].value, ContextRef::Component("base".parse().expect("a name")));
        let references = app.references.as_ref().expect("references");
        assert_eq!(references[0].value.to_string(), "r.example.com/app:2");
        let base = project.components[1].platforms.as_ref().expect("platforms");
        assert_eq!(base.len(), 2, "a base is needed for every platform of its users");
    }

    /// What a file of any kind asks of the builder, as the solve gets it; the engine's own test has the daemon's words.
    #[test]
    fn caches_limits_and_attestations_reach_the_solve() {
        let file = r#"
target "default" {
  platforms = ["linux/amd64"]
  cache-from = ["type=gha,scope=x", "type=s3,bucket=b,region=r", "type=azblob,name=n,account_url=u"]
  cache-to = ["type=gha,mode=max", "type=s3,bucket=b,region=r,access_key_id=own", { type = "azblob", name = "n" }]
  resources = { memory = "64m", memory-swap = "-1", cpu-shares = 512, cpuset-cpus = "0-1" }
  attest = ["type=sbom,generator=a/b", "type=provenance,mode=max", "type=sbom,disabled=false"]
  no-cache-filter = ["one", "two"]
  ulimits = ["nofile=5"]
  shm-size = "1m"
  pull = true
}
"#;
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("f.hcl"), file).expect("a file");
        let environment = [
            ("ACTIONS_RUNTIME_TOKEN", "token"),
            ("ACTIONS_RESULTS_URL", "https://results"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
        ];
        let environment: BTreeMap<String, String> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = LoadRequest {
            directory: folder.path().to_path_buf(),
            files: vec!["f.hcl".into()],
            environment,
            ..LoadRequest::default()
        };
        let project = load(&request).expect("a project");
        let options = &project.components.values().next().expect("a component").solve.options;
        let shown = |caches: &[crate::base::CacheSpec]| -> Vec<String> {
            let one = |cache: &crate::base::CacheSpec| {
                let pairs: Vec<String> =
                    cache.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} {}", cache.kind, pairs.join(" "))
            };
            let mut all: Vec<String> = caches.iter().map(one).collect();
            all.sort();
            all
        };
        assert_eq!(
            shown(&options.cache_from),
            [
                "azblob account_url=u name=n",
                "gha scope=x token=token url=https://results url_v2=https://results",
                "s3 access_key_id=id bucket=b region=r secret_access_key=key",
            ]
        );
        assert_eq!(
            shown(&options.cache_to),
            [
                "azblob name=n",
                "gha mode=max token=token url=https://results url_v2=https://results",
                "s3 access_key_id=own bucket=b region=r secret_access_key=key",
            ]
        );
        let pairs = |map: &BTreeMap<String, String>| -> Vec<String> {
            map.iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        assert_eq!(pairs(&options.resources), ["cpusetcpus=0-1", "cpushares=512", "memory=67108864", "memswap=-1"]);
        assert_eq!(pairs(&options.attestations)[0], "provenance=mode=max");
        assert!(options.attestations.contains_key("sbom"));
        assert_eq!(options.no_cache_stages, ["one", "two"]);
        assert_eq!(
            (options.shm_bytes, options.pull, options.ulimits.join(",")),
            (Some(1 << 20), true, "nofile=5:5".to_owned())
        );
    }

    #[test]
    fn hostile_files_are_refused_with_their_place() {
        use crate::base::Failure as _;
        let doubled: Vec<String> = (0..60).map(|at| format!("v{} = \"${{v{at}}}${{v{at}}}\"", at + 1)).collect();
        let doubled = doubled.join("\n");
        let aliases: Vec<String> =
            (0..9).map(|at| format!("a{}: &a{} [{}]", at + 1, at + 1, vec![format!("*a{at}"); 10].join(","))).collect();
        let aliases = aliases.join("\n");
        let cases = [
            ("a.hcl", format!("x = {}", "[".repeat(10_000))),
            ("a.hcl", format!("x = \"{}", "${\"".repeat(10_000))),
            ("a.hcl", "a {\n".repeat(10_000)),
            ("a.hcl", format!("v0 = \"aaaaaaaa\"\n{doubled}\ntarget \"default\" {{}}\n")),
            ("a.json", "{\"a\":".repeat(10_000)),
            ("a.yaml", format!("a0: &a0 [x]\n{aliases}\nservices: {{}}\n")),
            ("a.yaml", format!("services: {}", "[".repeat(10_000))),
        ];
        for (file, text) in cases {
            let error = project(file, &text).expect_err(file);
            assert!(error.span().is_some(), "{error}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 192, ..Default::default() })]
        #[test]
        fn no_text_makes_it_panic(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "target", "\"default\"", "{", "}", "[", "]", "(", ")", "=", "\n", "\"", "${", "%{", "if", "for", "x", "in",
                    ":", ",", "...", "*", ".", "1", "null", "<<E\n", "E\n", "!", "-", "&a", "*a", "services:", "  ", "- ", "é",
                    "upper(", "~}", "?", "\\", "$", "'", "args", "tags", "inherits", "matrix", "\t", "\u{0}", "|",
                ]),
                0..60,
            ),
        ) {
            let text = words.concat();
            for file in ["a.hcl", "a.json", "a.yaml"] {
                drop(project(file, &text));
            }
        }
    }
}
