use std::collections::BTreeMap;

use crate::config::hcl::convert::convert;
use crate::config::hcl::csv;
use crate::config::hcl::types::{ObjectType, Type};
use crate::config::hcl::value::Value;

type Attributes = BTreeMap<String, String>;

/// An entry of `cache-from` or `cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheEntry {
    /// `registry`, `gha`, `local` and so on.
    pub(crate) kind: String,
    /// The rest, by name.
    pub(crate) attributes: Attributes,
}

/// An entry of `output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// `image`, `docker`, `oci`, `local` and so on.
    pub(crate) kind: String,
    /// `dest`; empty if there is none.
    pub(crate) destination: String,
    /// The rest, by name.
    pub(crate) attributes: Attributes,
}

/// An entry of `attest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attestation {
    /// `provenance` or `sbom`.
    pub(crate) kind: String,
    /// Switched off.
    pub(crate) disabled: bool,
    /// The rest, by name.
    pub(crate) attributes: Attributes,
}

/// An entry of `secret`; empty where a part is not given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Secret {
    /// The name that a build step asks for.
    pub(crate) id: String,
    /// A file with the value.
    pub(crate) source: String,
    /// A variable with the value.
    pub(crate) environment: String,
}

/// An entry of `ssh`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ssh {
    /// The name that a build step asks for.
    pub(crate) id: String,
    /// Sockets or keys; empty for the agent of the environment.
    pub(crate) paths: Vec<String>,
}

/// An entry of `policy`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Policy {
    /// Files with rules.
    pub(crate) files: Vec<String>,
    /// Forget the default rules.
    pub(crate) reset: bool,
    /// Switched off.
    pub(crate) disabled: bool,
    /// Whether a warning is an error.
    pub(crate) strict: Option<bool>,
    /// How much it says.
    pub(crate) log_level: Option<String>,
}

/// `resources`: limits of build steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Resources {
    /// `memory`, `memory-swap`, `cpuset-cpus`, `cpuset-mems`.
    pub(crate) texts: BTreeMap<&'static str, String>,
    /// `cpu-shares`, `cpu-period`, `cpu-quota`.
    pub(crate) numbers: BTreeMap<&'static str, i64>,
}

/// Names of the limits in the order in which they are printed.
pub(super) const RESOURCE_NAMES: [&str; 7] =
    ["memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems"];

/// An entry that can be written as a text or as an object.
pub(crate) trait Entry: Sized {
    /// From `key=value,…`; one text can be several entries.
    fn from_text(text: &str) -> Result<Vec<Self>, String>;

    /// From an object.
    fn from_object(value: &Value) -> Result<Self, String>;

    /// As an expression that refers to it sees it.
    fn to_value(&self) -> Value;
}

/// The entries of a list; empty texts do not count.
pub(super) fn entries<E: Entry>(value: &Value) -> Result<Vec<E>, String> {
    let items = match value {
        Value::Null(_) => return Err("null is not allowed here".to_owned()),
        Value::List(_, items) | Value::Tuple(items) => &items.values,
        other => return Err(format!("a list is required, this is {}", other.ty().name())),
    };
    let mut entries = Vec::new();
    for item in items {
        match item {
            Value::Null(_) => return Err("null is not allowed in this list".to_owned()),
            Value::Unknown(_) => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => entries.extend(E::from_text(text)?),
            object => entries.push(E::from_object(object)?),
        }
    }
    Ok(entries)
}

/// `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}

/// `key=value` of one field.
fn pair(field: &str) -> Result<(&str, &str), String> {
    field.split_once('=').ok_or_else(|| format!("`{field}` is no `key=value`"))
}

/// An object of texts; numbers and truth values become texts, null is refused.
fn texts(value: &Value) -> Result<Attributes, String> {
    let map = convert(value, &Type::map(Type::String))?;
    let entries = map.as_entries().ok_or("an object is required")?;
    entries
        .iter()
        .map(|(name, value)| match value.as_str() {
            Some(text) => Ok((name.clone(), text.to_owned())),
            None => Err(format!("`{name}` is null")),
        })
        .collect()
}

fn text_map(entries: impl IntoIterator<Item = (String, String)>) -> Value {
    Value::map(Type::String, entries.into_iter().map(|(name, text)| (name, Value::string(text))).collect())
}

impl Entry for CacheEntry {
    fn from_text(text: &str) -> Result<Vec<Self>, String> {
        let fields = csv::fields(text, ',')?;
        if !text.contains('=') {
            // References alone: each field is one.
            return Ok(fields.into_iter().map(Self::reference).collect());
        }
        if let [single] = &fields[..]
            && !single.contains('=')
        {
            return Ok(vec![Self::reference(single.clone())]);
        }
        let mut attributes = Attributes::new();
        for field in &fields {
            let (key, value) = pair(field)?;
            attributes.insert(key.to_lowercase(), value.to_owned());
        }
        Self::from_attributes(attributes).map(|entry| vec![entry])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        Self::from_attributes(texts(value)?)
    }

    fn to_value(&self) -> Value {
        text_map(self.attributes.clone().into_iter().chain([("type".to_owned(), self.kind.clone())]))
    }
}

impl CacheEntry {
    fn reference(reference: String) -> Self {
        Self { kind: "registry".to_owned(), attributes: [("ref".to_owned(), reference)].into() }
    }

    fn from_attributes(mut attributes: Attributes) -> Result<Self, String> {
        match attributes.remove("type").filter(|kind| !kind.is_empty()) {
            Some(kind) => Ok(Self { kind, attributes }),
            None => Err("`type` is required".to_owned()),
        }
    }
}

impl Entry for Output {
    fn from_text(text: &str) -> Result<Vec<Self>, String> {
        let fields = csv::fields(text, ',')?;
        if matches!(&fields[..], [single] if single == text) && !text.starts_with("type=") {
            let kind = if text == "-" { "tar" } else { "local" };
            return Ok(vec![Self {
                kind: kind.to_owned(),
                destination: text.to_owned(),
                attributes: Attributes::new(),
            }]);
        }
        let mut attributes = Attributes::new();
        for field in &fields {
            let (key, value) = pair(field)?;
            attributes.insert(key.to_lowercase().trim().to_owned(), value.to_owned());
        }
        Self::from_attributes(attributes).map(|output| vec![output])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        Self::from_attributes(texts(value)?)
    }

    fn to_value(&self) -> Value {
        let own = [("type".to_owned(), self.kind.clone()), ("dest".to_owned(), self.destination.clone())];
        text_map(self.attributes.clone().into_iter().chain(own))
    }
}

impl Output {
    pub(super) fn of_kind(kind: &str) -> Self {
        Self { kind: kind.to_owned(), destination: String::new(), attributes: Attributes::new() }
    }

    fn from_attributes(mut attributes: Attributes) -> Result<Self, String> {
        let destination = attributes.remove("dest").unwrap_or_default();
        match attributes.remove("type").filter(|kind| !kind.is_empty()) {
            Some(kind) => Ok(Self { kind, destination, attributes }),
            None => Err("`type` is required".to_owned()),
        }
    }
}

impl Entry for Attestation {
    fn from_text(text: &str) -> Result<Vec<Self>, String> {
        let mut attestation = Self { kind: String::new(), disabled: false, attributes: Attributes::new() };
        for field in &csv::fields(text, ',')? {
            let (key, value) = pair(field)?;
            match key.to_lowercase().trim() {
                "type" => value.clone_into(&mut attestation.kind),
                "disabled" => attestation.disabled = parse_bool(value)?,
                _ => {
                    attestation.attributes.insert(key.to_owned(), value.to_owned());
                }
            }
        }
        if attestation.kind.is_empty() { Err("`type` is required".to_owned()) } else { Ok(vec![attestation]) }
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        let mut attributes = texts(value)?;
        let kind = attributes.remove("type").unwrap_or_default();
        let disabled = attributes.remove("disabled").map_or(Ok(false), |text| parse_bool(&text))?;
        Ok(Self { kind, disabled, attributes })
    }

    fn to_value(&self) -> Value {
        let disabled = self.disabled.then(|| ("disabled".to_owned(), "true".to_owned()));
        let own = [("type".to_owned(), self.kind.clone())].into_iter().chain(disabled);
        text_map(self.attributes.clone().into_iter().chain(own))
    }
}

impl Attestation {
    /// What `--provenance=…` and compose's `provenance:` mean: a truth value, or attributes.
    pub(crate) fn from_flag(kind: &str, text: &str) -> Result<Self, String> {
        let csv = match parse_bool(text) {
            Ok(enabled) => format!("type={kind},disabled={}", !enabled),
            Err(_) => format!("type={kind},{text}"),
        };
        Self::from_text(&csv)?.pop().ok_or_else(|| "`type` is required".to_owned())
    }
}

impl Entry for Secret {
    fn from_text(text: &str) -> Result<Vec<Self>, String> {
        let mut secret = Self::default();
        let mut kind = String::new();
        for field in &csv::fields(text, ',')? {
            let (key, value) = pair(field)?;
            match key.to_lowercase().as_str() {
                "type" if matches!(value, "file" | "env") => value.clone_into(&mut kind),
                "type" => return Err(format!("a secret is of type `file` or `env`, not `{value}`")),
                "id" => value.clone_into(&mut secret.id),
                "source" | "src" => value.clone_into(&mut secret.source),
                "env" => value.clone_into(&mut secret.environment),
                other => return Err(format!("unknown key `{other}`; there are id, src, env and type")),
            }
        }
        if kind == "env" && secret.environment.is_empty() {
            secret.environment = std::mem::take(&mut secret.source);
        }
        Ok(vec![secret])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        let object = optional_object(value, &[("id", Type::String), ("src", Type::String), ("env", Type::String)])?;
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { id: text("id"), source: text("src"), environment: text("env") })
    }

    fn to_value(&self) -> Value {
        let parts = [("id", &self.id), ("src", &self.source), ("env", &self.environment)];
        Value::object(parts.map(|(name, text)| (name.to_owned(), Value::string(text))).into())
    }
}

/// The named attributes of an object, none of them required; others are left out.
fn optional_object(value: &Value, attributes: &[(&str, Type)]) -> Result<BTreeMap<String, Value>, String> {
    let wanted = Type::Object(ObjectType {
        attributes: attributes.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect(),
        optional: attributes.iter().map(|(name, _)| (*name).to_owned()).collect(),
    });
    // A map with attributes beyond the wanted ones converts, too.
    Ok(convert(value, &wanted)?.as_entries().cloned().unwrap_or_default())
}

impl Entry for Ssh {
    fn from_text(text: &str) -> Result<Vec<Self>, String> {
        let (id, paths) = text.split_once('=').map_or((text, None), |(id, paths)| (id, Some(paths)));
        let paths = paths.map(|paths| paths.split(',').map(str::to_owned).collect()).unwrap_or_default();
        Ok(vec![Self { id: id.to_owned(), paths }])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        let object = optional_object(value, &[("id", Type::String), ("paths", Type::list(Type::String))])?;
        let id = object.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let paths = object.get("paths").and_then(Value::as_items).unwrap_or_default();
        let paths = paths.iter().map(|path| path.as_str().map(str::to_owned).ok_or("a path is null"));
        Ok(Self { id, paths: paths.collect::<Result<_, _>>()? })
    }

    fn to_value(&self) -> Value {
        let parts = [("id".to_owned(), Value::string(&self.id)), ("paths".to_owned(), Value::strings(&self.paths))];
        Value::object(parts.into())
    }
}

impl Entry for Policy {
    fn from_text(text: &str) -> Result<Vec<Self>, String> {
        let fields = csv::fields(text, ',')?;
        Self::from_fields(fields.iter().map(String::as_str)).map(|policy| vec![policy])
    }

    fn from_object(value: &Value) -> Result<Self, String> {
        let entries =
            value.as_entries().ok_or_else(|| format!("an object is required, this is {}", value.ty().name()))?;
        let mut fields = Vec::new();
        for (name, value) in entries {
            if value.is_null() || value.as_str() == Some("") {
                continue;
            }
            let text = convert(value, &Type::String).map_err(|error| format!("`{name}`: {error}"))?;
            fields.push(format!("{name}={}", text.as_str().unwrap_or_default()));
        }
        Self::from_fields(fields.iter().map(String::as_str))
    }

    fn to_value(&self) -> Value {
        let mut parts = Attributes::new();
        if let Some(file) = self.files.first() {
            parts.insert("filename".to_owned(), file.clone());
        }
        for (name, set) in [("reset", self.reset), ("disabled", self.disabled)] {
            if set {
                parts.insert(name.to_owned(), "true".to_owned());
            }
        }
        if let Some(strict) = self.strict {
            parts.insert("strict".to_owned(), strict.to_string());
        }
        if let Some(level) = &self.log_level {
            parts.insert("log-level".to_owned(), level.clone());
        }
        text_map(parts)
    }
}

impl Policy {
    fn from_fields<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut policy = Self::default();
        for field in fields {
            let (key, value) = pair(field)?;
            match key.to_lowercase().trim() {
                "filename" if !value.is_empty() => policy.files.push(value.to_owned()),
                "reset" => policy.reset = parse_bool(value)?,
                "disabled" => policy.disabled = parse_bool(value)?,
                "strict" => policy.strict = Some(parse_bool(value)?),
                "log-level" => policy.log_level = Some(log_level(value)?),
                _ => return Err(format!("`{field}` has no meaning here")),
            }
        }
        Ok(policy)
    }
}

fn log_level(text: &str) -> Result<String, String> {
    let level = text.to_lowercase();
    match level.as_str() {
        "warn" => Ok("warning".to_owned()),
        "panic" | "fatal" | "error" | "warning" | "info" | "debug" | "trace" => Ok(level),
        _ => Err(format!("`{text}` is no log level")),
    }
}

impl Resources {
    pub(super) fn from_value(value: &Value) -> Result<Self, String> {
        if value.is_null() {
            return Err("null is not allowed here".to_owned());
        }
        let wanted =
            RESOURCE_NAMES.map(|name| (name, if name.starts_with("cpu-") { Type::Number } else { Type::String }));
        let object = optional_object(value, &wanted)?;
        let mut resources = Self::default();
        for name in RESOURCE_NAMES {
            match object.get(name) {
                Some(Value::String(text)) => {
                    resources.texts.insert(name, text.to_string());
                }
                Some(Value::Number(number)) => {
                    let value = number.to_i64().ok_or_else(|| format!("`{name}` must be a whole number"))?;
                    resources.numbers.insert(name, value);
                }
                _ => {}
            }
        }
        Ok(resources)
    }

    /// Sets one limit from a text.
    pub(super) fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let Some(name) = RESOURCE_NAMES.into_iter().find(|known| *known == name) else {
            return Err(format!("there is no resource `{name}`; there are {}", RESOURCE_NAMES.join(", ")));
        };
        if name.starts_with("cpu-") {
            let value = text.parse().map_err(|_| format!("`{text}` is no whole number"))?;
            self.numbers.insert(name, value);
        } else {
            self.texts.insert(name, text.to_owned());
        }
        Ok(())
    }

    pub(super) fn overlay(&mut self, other: &Self) {
        self.texts.extend(other.texts.iter().map(|(name, text)| (*name, text.clone())));
        self.numbers.extend(other.numbers.iter().map(|(name, value)| (*name, *value)));
    }

    pub(super) fn to_value(&self) -> Value {
        let entries = RESOURCE_NAMES.map(|name| {
            let value = match (self.texts.get(name), self.numbers.get(name)) {
                (Some(text), _) => Value::string(text),
                (_, Some(number)) => Value::Number(crate::config::hcl::number::Number::from_i64(*number)),
                _ if name.starts_with("cpu-") => Value::Null(Type::Number),
                _ => Value::Null(Type::String),
            };
            (name.to_owned(), value)
        });
        Value::object(entries.into())
    }
}
