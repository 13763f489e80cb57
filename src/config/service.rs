use std::time::Duration;

use indexmap::IndexMap;

use super::document::{Entry, Node, Value};
use super::native::{names_list, texts};
use super::project::{Readiness, ServicePlatform, ServicePort, ServiceSpec};
use super::reader::{Reading, TableReader};
use crate::base::Spanned;

/// How long a service may take to be up, where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time that may be asked for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Time between two probes, where nothing is said.
const INTERVAL: Duration = Duration::from_millis(200);

/// Reads `[service.NAME]`.
pub(super) fn service(reading: &mut Reading<'_>, name: &str, entry: &Entry) -> Option<ServiceSpec> {
    let table = reading.table(name, &entry.node)?;
    let mut reader = TableReader::new(format!("[service.{name}]"), table);
    let port = reader.take("port").and_then(|node| port(reading, node));
    let ready_node = reader.take("ready");
    let exec = reader.take("exec").and_then(|node| command(reading, "exec", node));
    let ready = ready_node.and_then(|node| ready(reading, node));
    if let (Some(node), true) = (ready_node, exec.is_some()) {
        reading.invalid(&node.span, "both `ready` and `exec`".to_owned(), "keep one of them".to_owned());
    }
    let spec = ServiceSpec {
        span: Some(entry.key.clone()),
        port,
        ready: exec.map(|words| Spanned { value: Readiness::Exec(words.value), span: words.span }).or(ready),
        command: reader.take("command").and_then(|node| command(reading, "command", node)),
        env: reader.take("env").map(|node| texts(reading, "env", node)).unwrap_or_default(),
        files: reader.take("files").map(|node| files(reading, node)).unwrap_or_default(),
        hosts: reader.take("hosts").map(|node| hosts(reading, node)).unwrap_or_default(),
        platform: reader.take("platform").and_then(|node| platform(reading, node)).unwrap_or_default(),
        needs: reader.take("needs").map(|node| names_list(reading, "needs", node)).unwrap_or_default(),
        interval: reader.take("interval").and_then(|node| duration(reading, "interval", node)).unwrap_or(INTERVAL),
        timeout: reader.take("timeout").and_then(|node| duration(reading, "timeout", node)).unwrap_or(TIMEOUT),
    };
    reader.finish(reading);
    Some(spec)
}

fn port(reading: &mut Reading<'_>, node: &Node) -> Option<ServicePort> {
    match &node.value {
        Value::Integer(number) if (1..=65535).contains(number) => {
            return u16::try_from(*number).ok().map(ServicePort::Fixed);
        }
        Value::Text(text) if text == "auto" => return Some(ServicePort::Auto),
        _ => {}
    }
    reading.invalid(&node.span, "`port` must be a number from 1 to 65535, or \"auto\"".to_owned(), None);
    None
}

fn ready(reading: &mut Reading<'_>, node: &Node) -> Option<Spanned<Readiness>> {
    let text = reading.nonempty("ready", node)?;
    let value = match text.value.split_once("://") {
        Some(("http" | "https", _)) => Readiness::Http(text.value),
        Some(("tcp", rest)) => {
            let port = rest.rsplit_once(':').and_then(|(host, port)| port.parse().ok().filter(|_| !host.is_empty()));
            let Some(port) = port.filter(|port| *port > 0) else {
                reading.invalid(
                    &node.span,
                    format!("`ready`: `{}` has no port", text.value),
                    "write \"tcp://host:port\"".to_owned(),
                );
                return None;
            };
            Readiness::Tcp(port)
        }
        _ => {
            let help = "write \"http://…\", \"tcp://host:port\", or exec = [\"command\"]".to_owned();
            reading.invalid(&node.span, format!("`ready` cannot be `{}`", text.value), help);
            return None;
        }
    };
    Some(Spanned { value, span: text.span })
}

/// Words of a command; a text is one for the shell.
fn command(reading: &mut Reading<'_>, key: &str, node: &Node) -> Option<Spanned<Vec<String>>> {
    if let Value::Text(_) = &node.value {
        let text = reading.nonempty(key, node)?;
        let words = vec!["/bin/sh".to_owned(), "-c".to_owned(), text.value];
        return Some(Spanned { value: words, span: text.span });
    }
    let words = reading.list(key, node).iter().filter_map(|item| reading.text(key, item));
    let words: Vec<String> = words.map(|word| word.value).collect();
    if words.is_empty() {
        reading.invalid(&node.span, format!("`{key}` is empty"), None);
        return None;
    }
    Some(Spanned::new(words, node.span.clone()))
}

/// `files = { "/etc/app.conf" = "path/here" }`.
fn files(reading: &mut Reading<'_>, node: &Node) -> IndexMap<String, Spanned<std::path::PathBuf>> {
    let Some(table) = reading.table("files", node) else { return IndexMap::new() };
    let mut out = IndexMap::new();
    for (place, entry) in &table.entries {
        let parts = || place.split('/').skip(1);
        if !place.starts_with('/') || place.ends_with('/') || parts().any(|part| matches!(part, "" | "." | "..")) {
            let help = "write files = { \"/etc/app.conf\" = \"path/here\" }".to_owned();
            reading.invalid(&entry.key, format!("`{place}` is no absolute path of a file"), help);
            continue;
        }
        if let Some(path) = reading.path(place, &entry.node) {
            out.insert(place.clone(), path);
        }
    }
    out
}

fn hosts(reading: &mut Reading<'_>, node: &Node) -> Vec<Spanned<String>> {
    let mut out = Vec::new();
    for item in reading.list("hosts", node) {
        let Some(host) = reading.nonempty("hosts", item) else { continue };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if host.value.len() > 253 || !host.value.split('.').all(label) {
            reading.invalid(&item.span, format!("`hosts`: `{}` is no host name", host.value), None);
            continue;
        }
        out.push(host);
    }
    out
}

fn platform(reading: &mut Reading<'_>, node: &Node) -> Option<ServicePlatform> {
    match reading.nonempty("platform", node)?.value.as_str() {
        "native" => Some(ServicePlatform::Native),
        "same" => Some(ServicePlatform::Same),
        _ => reading.parsed("platform", node).map(|platform| ServicePlatform::One(platform.value)),
    }
}

/// A number of seconds, or a text such as `500ms`, `30s`, `2m`.
fn duration(reading: &mut Reading<'_>, key: &str, node: &Node) -> Option<Duration> {
    let found = match &node.value {
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        _ => parse_duration(&reading.nonempty(key, node)?.value),
    };
    let found = found.filter(|found| !found.is_zero() && *found <= LONGEST);
    if found.is_none() {
        let help = format!("write {key} = \"30s\" (units: ms, s, m; at most a day)");
        reading.invalid(&node.span, format!("`{key}` is no duration"), help);
    }
    found
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, expected) in
            [("500ms", Some(500)), ("30s", Some(30_000)), ("2m", Some(120_000)), ("5", None), ("s", None), ("1h", None)]
        {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
