//! Values to the attributes of targets and groups, and back for expressions that refer to them.

use std::collections::BTreeMap;

use crate::config::hcl::convert::convert;
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

use super::entries::{Entry, Resources, entries};
use super::target::{Target, Texts};

/// Every attribute that a target has, in no particular order.
pub(super) const TARGET_ATTRIBUTES: [&str; 29] = [
    "description",
    "inherits",
    "annotations",
    "attest",
    "context",
    "contexts",
    "dockerfile",
    "dockerfile-inline",
    "args",
    "labels",
    "tags",
    "cache-from",
    "cache-to",
    "target",
    "secret",
    "ssh",
    "platforms",
    "output",
    "pull",
    "no-cache",
    "network",
    "no-cache-filter",
    "shm-size",
    "ulimits",
    "resources",
    "call",
    "entitlements",
    "extra-hosts",
    "policy",
];

/// Every attribute that a group has.
pub(super) const GROUP_ATTRIBUTES: [&str; 2] = ["description", "targets"];

/// Sets one attribute of a target from the value of its expression; the error is the end of a sentence.
pub(super) fn set_attribute(target: &mut Target, name: &str, value: &Value) -> Result<(), String> {
    match name {
        "description" => target.description = text(value)?.ok_or("null is not allowed here")?,
        "inherits" => target.inherits = texts(value)?.unwrap_or_default(),
        "annotations" => target.annotations = texts(value)?,
        "attest" => target.attest = Some(entries(value)?),
        "context" => target.context = text(value)?,
        "contexts" => {
            let contexts = text_map(value)?.map(|contexts| {
                let all = contexts.into_iter().map(|(name, context)| match context {
                    Some(context) => Ok((name, context)),
                    None => Err(format!("`{name}` is null")),
                });
                all.collect::<Result<BTreeMap<_, _>, _>>()
            });
            target.contexts = contexts.transpose()?;
        }
        "dockerfile" => target.dockerfile = text(value)?,
        "dockerfile-inline" => target.dockerfile_inline = text(value)?,
        "args" => target.args = text_map(value)?,
        "labels" => target.labels = text_map(value)?,
        "tags" => target.tags = texts(value)?,
        "cache-from" => target.cache_from = Some(entries(value)?),
        "cache-to" => target.cache_to = Some(entries(value)?),
        "target" => target.target = text(value)?,
        "secret" => target.secrets = Some(entries(value)?),
        "ssh" => target.ssh = Some(entries(value)?),
        "platforms" => target.platforms = texts(value)?,
        "output" => target.outputs = Some(entries(value)?),
        "pull" => target.pull = truth(value)?,
        "no-cache" => target.no_cache = truth(value)?,
        "network" => target.network = text(value)?,
        "no-cache-filter" => target.no_cache_filter = texts(value)?,
        "shm-size" => target.shm_size = text(value)?,
        "ulimits" => target.ulimits = texts(value)?,
        "resources" => target.resources = Some(Resources::from_value(value)?),
        "call" => target.call = text(value)?,
        "entitlements" => target.entitlements = texts(value)?,
        "extra-hosts" => target.extra_hosts = text_map(value)?,
        "policy" => target.policy = Some(entries(value)?),
        _ => {}
    }
    Ok(())
}

/// One attribute of a target as an expression that refers to it sees it: typed even if it is not set.
pub(super) fn attribute_value(target: &Target, name: &str) -> Value {
    match name {
        "name" => Value::string(&target.name),
        "description" => Value::string(&target.description),
        "inherits" => text_list(Some(&target.inherits).filter(|inherits| !inherits.is_empty())),
        "annotations" => text_list(target.annotations.as_ref()),
        "attest" => entry_list(target.attest.as_ref()),
        "context" => text_value(target.context.as_ref()),
        "contexts" => match &target.contexts {
            Some(contexts) => Value::map(
                Type::String,
                contexts.iter().map(|(name, context)| (name.clone(), Value::string(context))).collect(),
            ),
            None => Value::Null(Type::map(Type::String)),
        },
        "dockerfile" => text_value(target.dockerfile.as_ref()),
        "dockerfile-inline" => text_value(target.dockerfile_inline.as_ref()),
        "args" => texts_value(target.args.as_ref()),
        "labels" => texts_value(target.labels.as_ref()),
        "tags" => text_list(target.tags.as_ref()),
        "cache-from" => entry_list(target.cache_from.as_ref()),
        "cache-to" => entry_list(target.cache_to.as_ref()),
        "target" => text_value(target.target.as_ref()),
        "secret" => entry_list(target.secrets.as_ref()),
        "ssh" => entry_list(target.ssh.as_ref()),
        "platforms" => text_list(target.platforms.as_ref()),
        "output" => entry_list(target.outputs.as_ref()),
        "pull" => target.pull.map_or(Value::Null(Type::Bool), Value::Bool),
        "no-cache" => target.no_cache.map_or(Value::Null(Type::Bool), Value::Bool),
        "network" => text_value(target.network.as_ref()),
        "no-cache-filter" => text_list(target.no_cache_filter.as_ref()),
        "shm-size" => text_value(target.shm_size.as_ref()),
        "ulimits" => text_list(target.ulimits.as_ref()),
        "resources" => target.resources.as_ref().map_or_else(Value::null, Resources::to_value),
        "call" => text_value(target.call.as_ref()),
        "entitlements" => text_list(target.entitlements.as_ref()),
        "extra-hosts" => texts_value(target.extra_hosts.as_ref()),
        "policy" => entry_list(target.policy.as_ref()),
        _ => Value::null(),
    }
}

/// A text; `None` for null.
pub(super) fn text(value: &Value) -> Result<Option<String>, String> {
    Ok(convert(value, &Type::String)?.as_str().map(str::to_owned))
}

fn truth(value: &Value) -> Result<Option<bool>, String> {
    Ok(convert(value, &Type::Bool)?.as_bool())
}

/// A list of texts; `None` for null.
pub(super) fn texts(value: &Value) -> Result<Option<Vec<String>>, String> {
    let list = convert(value, &Type::list(Type::String))?;
    let Some(items) = list.as_items() else { return Ok(None) };
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| "null is not allowed in this list".to_owned()))
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}

fn text_map(value: &Value) -> Result<Option<Texts>, String> {
    let map = convert(value, &Type::map(Type::String))?;
    Ok(map
        .as_entries()
        .map(|entries| entries.iter().map(|(name, value)| (name.clone(), value.as_str().map(str::to_owned))).collect()))
}

fn text_value(text: Option<&String>) -> Value {
    text.map_or(Value::Null(Type::String), Value::string)
}

pub(super) fn text_list(texts: Option<&Vec<String>>) -> Value {
    texts.map_or_else(|| Value::Null(Type::list(Type::String)), Value::strings)
}

fn texts_value(texts: Option<&Texts>) -> Value {
    let Some(texts) = texts else { return Value::Null(Type::map(Type::String)) };
    let entries = texts.iter().map(|(name, text)| (name.clone(), text_value(text.as_ref())));
    Value::map(Type::String, entries.collect())
}

fn entry_list<E: Entry>(entries: Option<&Vec<E>>) -> Value {
    let values: Vec<Value> = entries.into_iter().flatten().map(Entry::to_value).collect();
    let element = values.first().map_or_else(|| Type::map(Type::String), Value::ty);
    Value::list(element, values)
}
