//! Services with a `build` to bake targets.

use std::collections::BTreeMap;

use crate::base::SourceText;
use crate::config::bake::{
    Attestation, BLOCK, Bases, CacheEntry, Entry, Output, Secret, Ssh, Target, Texts, merge_attests, merge_cache,
    merge_outputs, merge_secrets, merge_ssh, parse_bool, parse_size,
};
use crate::config::error::ConfigProblem;
use crate::config::paths::folder_of;

use super::dotenv;
use super::load::Surroundings;
use super::schema;
use super::yaml::{Kind, Node};

/// The targets of a model, by service. Every problem of every service is in the list of the error.
pub(crate) fn targets(
    model: &Node,
    first: &SourceText,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<Target>, Vec<ConfigProblem>> {
    let mut problems = Vec::new();
    let mut targets = Vec::new();
    let services = model.get("services");
    for (name, service) in services.and_then(Node::as_map).unwrap_or_default() {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !name.bytes().all(allowed) || name.is_empty() {
            problems.push(problem(format!("`{}` cannot be a service's name", name.escape_debug()), service));
            continue;
        }
        let before = problems.len();
        schema::check_service(service, &mut problems);
        if problems.len() > before {
            continue;
        }
        let environment = declared_environment(service, name, surroundings, &mut problems);
        let has_build = service.get("build").is_some_and(|build| build.kind != Kind::Null);
        if !has_build {
            // An image whose variable is not set is none.
            if text(service.get("image")).is_none() {
                problems.push(problem(format!("the service `{name}` has neither `image` nor `build`"), service));
            }
            continue;
        }
        let mut converter = Converter { model, surroundings, service, environment, name, problems: &mut problems };
        let mut target = converter.target();
        let base = folder_of(&first.path().to_string_lossy());
        target.bases = Bases {
            default: Some(base.clone()),
            context: target.context.as_ref().map(|_| base.clone()),
            contexts: target.contexts.iter().flatten().map(|(name, _)| (name.clone(), base.clone())).collect(),
            ..Bases::default()
        };
        targets.push(target);
    }
    for (name, secret) in model.get("secrets").and_then(Node::as_map).unwrap_or_default() {
        let sources = ["file", "environment", "external", "driver"];
        if !sources.iter().any(|source| secret.get(source).is_some()) {
            problems.push(problem(format!("the secret `{name}` has neither `file` nor `environment`"), secret));
        }
    }
    if problems.is_empty() { Ok(targets) } else { Err(problems) }
}

fn problem(message: String, node: &Node) -> ConfigProblem {
    ConfigProblem::Invalid { message, help: None, span: Some(node.span.clone()) }
}

struct Converter<'a> {
    model: &'a Node,
    surroundings: &'a Surroundings<'a>,
    service: &'a Node,
    /// What its arguments without a value are taken from first.
    environment: BTreeMap<String, String>,
    name: &'a str,
    problems: &'a mut Vec<ConfigProblem>,
}

fn texts(node: Option<&Node>) -> Option<Vec<String>> {
    let items = node?.as_list()?;
    Some(items.iter().filter_map(Node::scalar).collect())
}

fn text(node: Option<&Node>) -> Option<String> {
    node.and_then(Node::scalar).filter(|text| !text.is_empty())
}

/// `name: value` or `- name=value`; `None` where there is no value.
fn pairs(node: Option<&Node>) -> Vec<(String, Option<String>)> {
    match node.map(|node| &node.kind) {
        Some(Kind::Map(entries)) => entries.iter().map(|(name, value)| (name.clone(), value.scalar())).collect(),
        Some(Kind::List(items)) => items
            .iter()
            .filter_map(Node::scalar)
            .map(|item| match item.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (item, None),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The environment that a service declares. Files that it names must be there, even if nothing is built with them.
fn declared_environment(
    service: &Node,
    service_name: &str,
    surroundings: &Surroundings<'_>,
    problems: &mut Vec<ConfigProblem>,
) -> BTreeMap<String, String> {
    let mut own = BTreeMap::new();
    for (name, value) in pairs(service.get("environment")) {
        let value = value.or_else(|| surroundings.environment.get(&name).cloned());
        own.insert(name, value);
    }
    let mut values = BTreeMap::new();
    let files = match service.get("env_file").map(|node| (&node.kind, node)) {
        Some((Kind::List(items), _)) => items.iter().collect(),
        Some((Kind::Null, _)) | None => Vec::new(),
        Some((_, node)) => vec![node],
    };
    if !files.is_empty() {
        // What is set outside goes over what the service sets.
        let set = own.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        let mut known: BTreeMap<String, String> = set.collect();
        known.extend(surroundings.environment.clone());
        for file in files {
            match environment_file(file, &known, surroundings) {
                Ok(more) => values.extend(more),
                Err(message) => problems.push(problem(format!("service `{service_name}`: {message}"), file)),
            }
        }
    }
    for (name, value) in own {
        match value {
            Some(value) => values.insert(name, value),
            None => values.remove(&name),
        };
    }
    values
}

/// What an entry of `env_file` sets.
fn environment_file(
    file: &Node,
    known: &BTreeMap<String, String>,
    surroundings: &Surroundings<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let required = file.get("required").is_none_or(|required| required.scalar().as_deref() != Some("false"));
    let path = file.as_str().map(str::to_owned).or_else(|| file.get("path").and_then(Node::scalar));
    let path = path.unwrap_or_default();
    let raw = match file.get("format").and_then(Node::scalar).as_deref() {
        None | Some("") => false,
        Some("raw") => true,
        Some(other) => return Err(format!("`{path}`: there is no format `{other}` of an `env_file`")),
    };
    match surroundings.reader.read_text(&surroundings.directory.join(&path)) {
        Ok(text) if raw => Ok(dotenv::parse_raw(&text)),
        Ok(text) => dotenv::parse(&text, known).map_err(|error| format!("`{path}`: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => Ok(BTreeMap::new()),
        Err(error) => Err(format!("`{path}`: {error}")),
    }
}

impl Converter<'_> {
    fn take<T>(&mut self, node: Option<&Node>, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let message = format!("service `{}`: {error}", self.name);
                self.problems.push(problem(message, node.unwrap_or(self.service)));
                None
            }
        }
    }

    fn target(&mut self) -> Target {
        let empty = Node { kind: Kind::Map(Vec::new()), span: self.service.span.clone(), mark: None };
        let service = self.service;
        let build = service.get("build").unwrap_or(&empty);
        let mut target = Target { name: self.name.replace('.', "_"), ..Target::default() };
        self.places(&mut target, build);
        // Without a context the folder of the project is meant.
        target.context = match build.get("context") {
            Some(context) => text(Some(context)),
            None => Some(".".to_owned()),
        };
        target.dockerfile = text(build.get("dockerfile"));
        target.dockerfile_inline = text(build.get("dockerfile_inline"));
        if target.dockerfile.is_some() && target.dockerfile_inline.is_some() {
            self.take::<()>(
                build.get("dockerfile"),
                Err("`dockerfile` and `dockerfile_inline` exclude each other".to_owned()),
            );
        }
        target.contexts = self.contexts(build.get("additional_contexts"));
        target.args = Some(self.args(build)).filter(|args| !args.is_empty());
        let labels = pairs(build.get("labels"));
        target.labels = Some(labels.into_iter().map(|(name, text)| (name, Some(text.unwrap_or_default()))).collect());
        target.tags = texts(build.get("tags"));
        target.platforms = texts(build.get("platforms"));
        target.network = text(build.get("network"));
        target.target = text(build.get("target"));
        target.cache_from = self.entries(build.get("cache_from"));
        target.cache_to = self.entries(build.get("cache_to"));
        target.no_cache = self.truth(build.get("no_cache"));
        target.pull = self.truth(build.get("pull"));
        target.shm_size = self.shm_size(build.get("shm_size"));
        target.ulimits = self.ulimits(build.get("ulimits"));
        target.extra_hosts = self.extra_hosts(build.get("extra_hosts"));
        target.ssh = self.ssh(build.get("ssh"));
        target.secrets = self.secrets(build.get("secrets"));
        target.attest = self.attest(build);
        if let Some(extension) = build.get("x-bake") {
            self.extend(&mut target, extension);
        }
        if target.tags.as_ref().is_none_or(Vec::is_empty)
            && let Some(image) = text(service.get("image"))
        {
            target.tags = Some(vec![image]);
            if let Some(node) = service.get("image") {
                target.spans.insert("tags", node.span.clone());
            }
        }
        target
    }

    fn places(&self, target: &mut Target, build: &Node) {
        const NAMES: [(&str, &str); 14] = [
            ("context", "context"),
            ("dockerfile", "dockerfile"),
            ("additional_contexts", "contexts"),
            ("args", "args"),
            ("labels", "labels"),
            ("tags", "tags"),
            ("platforms", "platforms"),
            ("target", "target"),
            ("shm_size", "shm-size"),
            ("ulimits", "ulimits"),
            ("secrets", "secret"),
            ("ssh", "ssh"),
            ("cache_from", "cache-from"),
            ("cache_to", "cache-to"),
        ];
        target.spans.insert(BLOCK, self.service.span.clone());
        for (key, attribute) in NAMES {
            if let Some(node) = build.get(key) {
                target.spans.insert(attribute, node.span.clone());
            }
        }
    }

    /// `service:x` and `target:x` are other targets.
    fn contexts(&mut self, node: Option<&Node>) -> Option<BTreeMap<String, String>> {
        let node = node?;
        let mut contexts = BTreeMap::new();
        for (name, context) in pairs(Some(node)) {
            let context = context.unwrap_or_default();
            let other = context.strip_prefix("service:").or_else(|| context.strip_prefix("target:"));
            if let Some(service) = context.strip_prefix("service:") {
                let services = self.model.get("services");
                let built = services.and_then(|services| services.get(service)).and_then(|own| own.get("build"));
                if built.is_none() {
                    self.take::<()>(Some(node), Err(format!("there is no service `{service}` with a `build`")));
                }
            }
            let context = other.map_or(context.clone(), |other| format!("target:{}", other.replace('.', "_")));
            contexts.insert(name, context);
        }
        Some(contexts)
    }

    /// Build arguments; one without a value takes it from the service's environment, or else from the process.
    fn args(&mut self, build: &Node) -> Texts {
        let args = pairs(build.get("args"));
        let around = &self.environment;
        let mut texts = Texts::new();
        for (name, value) in args {
            let value =
                value.or_else(|| around.get(&name).or_else(|| self.surroundings.environment.get(&name)).cloned());
            if let Some(value) = value {
                texts.insert(name, Some(value));
            }
        }
        texts
    }

    fn entries<E: Entry>(&mut self, node: Option<&Node>) -> Option<Vec<E>> {
        let mut entries = Vec::new();
        for item in texts(node)?.iter().filter(|item| !item.is_empty()) {
            entries.extend(self.take(node, E::from_text(item))?);
        }
        (!entries.is_empty()).then_some(entries)
    }

    /// Only what is true is set.
    fn truth(&mut self, node: Option<&Node>) -> Option<bool> {
        let value = match &node?.kind {
            Kind::Bool(value) => *value,
            Kind::Text(text) => self.take(node, parse_bool(text))?,
            _ => false,
        };
        value.then_some(true)
    }

    fn shm_size(&mut self, node: Option<&Node>) -> Option<String> {
        let text = text(node)?;
        let bytes = self.take(node, parse_size(&text))?;
        (bytes > 0).then(|| shown_size(bytes))
    }

    fn ulimits(&mut self, node: Option<&Node>) -> Option<Vec<String>> {
        let mut limits = Vec::new();
        for (name, limit) in node?.as_map()? {
            let part = |part: &str| limit.get(part).and_then(Node::scalar).unwrap_or_default();
            let (soft, hard) = match limit.scalar() {
                // The reference makes 0 of a single number, which nobody means.
                Some(both) => (both.clone(), both),
                None => (part("soft"), part("hard")),
            };
            let shown = format!("{name}={soft}:{hard}");
            self.take(Some(limit), crate::config::bake::check_ulimit(&shown));
            limits.push(shown);
        }
        limits.sort();
        Some(limits)
    }

    fn extra_hosts(&mut self, node: Option<&Node>) -> Option<Texts> {
        let node = node?;
        let mut hosts: Vec<(String, Vec<String>)> = Vec::new();
        let mut add = |host: &str, addresses: Vec<String>| match hosts.iter_mut().find(|(own, _)| own == host) {
            Some((_, own)) => own.extend(addresses),
            None => hosts.push((host.to_owned(), addresses)),
        };
        let split = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        match &node.kind {
            Kind::Map(entries) => {
                for (host, value) in entries {
                    add(host, texts(Some(value)).unwrap_or_else(|| vec![value.scalar().unwrap_or_default()]));
                }
            }
            _ => {
                for item in texts(Some(node))? {
                    match item.split_once('=').or_else(|| item.split_once(':')) {
                        Some((host, addresses)) => add(host, split(addresses)),
                        None => {
                            self.take::<()>(Some(node), Err(format!("the host `{item}` has no address")));
                        }
                    }
                }
            }
        }
        let bare = |address: &String| {
            address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address).to_owned()
        };
        for (host, _) in &hosts {
            if host.is_empty() || host.contains([':', '=']) {
                self.take::<()>(Some(node), Err(format!("`{host}` is no host name")));
            }
        }
        let joined = |addresses: Vec<String>| addresses.iter().map(bare).collect::<Vec<_>>().join(",");
        Some(hosts.into_iter().map(|(host, addresses)| (host, Some(joined(addresses)))).collect())
    }

    fn ssh(&mut self, node: Option<&Node>) -> Option<Vec<Ssh>> {
        let node = node?;
        let mut all: Vec<Ssh> = Vec::new();
        for (id, path) in pairs(Some(node)) {
            if path.is_none() && id != "default" && node.as_list().is_some() {
                self.take::<()>(Some(node), Err(format!("the ssh key `{id}` has no path")));
            }
            all.push(Ssh { id, paths: path.into_iter().filter(|path| !path.is_empty()).collect() });
        }
        all.sort_by(|a, b| (&a.id, &a.paths).cmp(&(&b.id, &b.paths)));
        Some(all).filter(|all| !all.is_empty())
    }

    fn secrets(&mut self, node: Option<&Node>) -> Option<Vec<Secret>> {
        let mut secrets = Vec::new();
        for item in node?.as_list()? {
            let source = item.as_str().map(str::to_owned).or_else(|| item.get("source").and_then(Node::scalar));
            let source = source.unwrap_or_default();
            let declared = self.model.get("secrets").and_then(|secrets| secrets.get(&source));
            let Some(declared) = declared else {
                self.take::<()>(Some(item), Err(format!("there is no secret `{source}`")));
                continue;
            };
            let external = declared.get("external").and_then(Node::scalar);
            if external.as_deref().is_some_and(|external| external != "false") {
                self.take::<()>(
                    Some(item),
                    Err(format!("the secret `{source}` is external, which cannot be built with")),
                );
                continue;
            }
            let part = |name: &str| declared.get(name).and_then(Node::scalar).unwrap_or_default();
            secrets.push(Secret { id: source, source: part("file"), environment: part("environment") });
        }
        Some(secrets).filter(|secrets| !secrets.is_empty())
    }

    fn attest(&mut self, build: &Node) -> Option<Vec<Attestation>> {
        let mut all = Vec::new();
        for kind in ["sbom", "provenance"] {
            if let Some(text) = text(build.get(kind)) {
                all.extend(self.take(build.get(kind), Attestation::from_flag(kind, &text)));
            }
        }
        Some(all).filter(|all| !all.is_empty())
    }

    /// `x-bake`: attributes that compose has no word for.
    fn extend(&mut self, target: &mut Target, extension: &Node) {
        let words = |name: &str| -> Vec<String> {
            match extension.get(name).map(|node| &node.kind) {
                Some(Kind::Text(text)) => text.split_whitespace().map(str::to_owned).collect(),
                Some(Kind::List(items)) => items.iter().filter_map(Node::scalar).collect(),
                _ => Vec::new(),
            }
        };
        let add = |own: &mut Option<Vec<String>>, new: Vec<String>| {
            for word in new {
                let own = own.get_or_insert_default();
                if !own.contains(&word) {
                    own.push(word);
                }
            }
        };
        add(&mut target.tags, words("tags"));
        add(&mut target.platforms, words("platforms"));
        add(&mut target.no_cache_filter, words("no-cache-filter"));
        if let Some(new) = self.parsed::<CacheEntry>(extension, &words("cache-from")) {
            target.cache_from = merge_cache(target.cache_from.take(), &Some(new));
        }
        if let Some(new) = self.parsed::<CacheEntry>(extension, &words("cache-to")) {
            target.cache_to = merge_cache(target.cache_to.take(), &Some(new));
        }
        if let Some(new) = self.parsed::<Secret>(extension, &words("secret")) {
            target.secrets = merge_secrets(target.secrets.take(), &Some(new));
        }
        if let Some(new) = self.parsed::<Ssh>(extension, &words("ssh")) {
            target.ssh = merge_ssh(target.ssh.take(), &Some(new));
            if let Some(all) = &mut target.ssh {
                all.sort_by(|a, b| (&a.id, &a.paths).cmp(&(&b.id, &b.paths)));
            }
        }
        if let Some(new) = self.parsed::<Output>(extension, &words("output")) {
            target.outputs = merge_outputs(target.outputs.take(), new);
        }
        for (name, own) in [("pull", &mut target.pull), ("no-cache", &mut target.no_cache)] {
            match extension.get(name).and_then(Node::scalar).map(|text| text.to_lowercase()).as_deref() {
                Some("true" | "yes" | "on" | "y") => *own = Some(true),
                Some("false" | "no" | "off" | "n") => *own = Some(false),
                _ => {}
            }
        }
        if let Some(more) = self.contexts(extension.get("contexts")) {
            let own = target.contexts.get_or_insert_default();
            for (name, context) in more {
                own.entry(name).or_insert(context);
            }
        }
        target.attest = merge_attests(target.attest.take(), &None);
    }

    fn parsed<E: Entry>(&mut self, node: &Node, words: &[String]) -> Option<Vec<E>> {
        let mut all = Vec::new();
        for word in words.iter().filter(|word| !word.is_empty()) {
            all.extend(self.take(Some(node), E::from_text(word))?);
        }
        (!all.is_empty()).then_some(all)
    }
}

/// Four significant digits and a binary unit: `128MiB`, `1.465KiB`.
#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
fn shown_size(bytes: i64) -> String {
    let mut size = bytes as f64;
    let mut unit = 0;
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let number = crate::config::hcl::number::Number::from_f64(size);
    let rounded = number.general_text(Some(4));
    format!("{rounded}{}", units[unit])
}
