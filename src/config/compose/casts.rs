use crate::config::error::ConfigProblem;

use super::yaml::{Kind, Node};

/// What a text at one of these places must be once `${…}` is replaced.
#[derive(Debug, Clone, Copy)]
enum Cast {
    Truth,
    Whole,
    Number,
}

/// compose-go `interpolateTypeCastMapping`. `*` is any name, `[]` any item of a list.
const CASTS: [(&str, Cast); 42] = [
    ("configs.*.external", Cast::Truth),
    ("networks.*.attachable", Cast::Truth),
    ("networks.*.enable_ipv4", Cast::Truth),
    ("networks.*.enable_ipv6", Cast::Truth),
    ("networks.*.external", Cast::Truth),
    ("networks.*.internal", Cast::Truth),
    ("secrets.*.external", Cast::Truth),
    ("volumes.*.external", Cast::Truth),
    ("services.*.cpu_count", Cast::Whole),
    ("services.*.cpu_percent", Cast::Number),
    ("services.*.cpu_period", Cast::Whole),
    ("services.*.cpu_quota", Cast::Whole),
    ("services.*.cpu_rt_period", Cast::Whole),
    ("services.*.cpu_rt_runtime", Cast::Whole),
    ("services.*.cpu_shares", Cast::Whole),
    ("services.*.cpus", Cast::Number),
    ("services.*.depends_on.*.required", Cast::Truth),
    ("services.*.depends_on.*.restart", Cast::Truth),
    ("services.*.deploy.placement.max_replicas_per_node", Cast::Whole),
    ("services.*.deploy.replicas", Cast::Whole),
    ("services.*.deploy.restart_policy.max_attempts", Cast::Whole),
    ("services.*.deploy.rollback_config.max_failure_ratio", Cast::Number),
    ("services.*.deploy.rollback_config.parallelism", Cast::Whole),
    ("services.*.deploy.update_config.max_failure_ratio", Cast::Number),
    ("services.*.deploy.update_config.parallelism", Cast::Whole),
    ("services.*.healthcheck.disable", Cast::Truth),
    ("services.*.healthcheck.retries", Cast::Whole),
    ("services.*.init", Cast::Truth),
    ("services.*.oom_kill_disable", Cast::Truth),
    ("services.*.oom_score_adj", Cast::Whole),
    ("services.*.pids_limit", Cast::Whole),
    ("services.*.ports.[].target", Cast::Whole),
    ("services.*.privileged", Cast::Truth),
    ("services.*.read_only", Cast::Truth),
    ("services.*.scale", Cast::Whole),
    ("services.*.stdin_open", Cast::Truth),
    ("services.*.tty", Cast::Truth),
    ("services.*.ulimits.*", Cast::Whole),
    ("services.*.ulimits.*.hard", Cast::Whole),
    ("services.*.ulimits.*.soft", Cast::Whole),
    ("services.*.volumes.[].read_only", Cast::Truth),
    ("services.*.volumes.[].volume.nocopy", Cast::Truth),
];

/// The longest place of the table.
const MAX_PARTS: usize = 5;

/// Reads texts as what their places ask for; `path` is where `node` stands.
///
/// Most of these say how a service runs, which has no meaning here. A text that is neither a number nor a truth value
/// where one must be is a mistake all the same: often a variable that is not set.
pub(super) fn cast<'a>(node: &'a mut Node, path: &mut Vec<&'a str>, problems: &mut Vec<ConfigProblem>) {
    if path.len() > MAX_PARTS {
        return;
    }
    if let Kind::Text(text) = &node.kind {
        let Some((_, wanted)) = CASTS.iter().find(|(place, _)| matches(place, path)) else { return };
        match read(*wanted, text) {
            Ok(kind) => node.kind = kind,
            Err(what) => problems.push(ConfigProblem::Invalid {
                message: format!("`{}` must be {what}, this is `{}`", path.join("."), text.escape_debug()),
                help: None,
                span: Some(node.span.clone()),
            }),
        }
        return;
    }
    match &mut node.kind {
        Kind::List(items) => {
            path.push("[]");
            for item in items {
                cast(item, path, problems);
            }
            path.pop();
        }
        Kind::Map(entries) => {
            for (name, value) in entries {
                path.push(name);
                cast(value, path, problems);
                path.pop();
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Whole(_) | Kind::Float(_) | Kind::Text(_) => {}
    }
}

fn matches(place: &str, path: &[&str]) -> bool {
    let mut own = path.iter();
    place.split('.').all(|part| own.next().is_some_and(|own| part == "*" || part == *own)) && own.next().is_none()
}

fn read(wanted: Cast, text: &str) -> Result<Kind, &'static str> {
    match wanted {
        Cast::Truth => match text.to_lowercase().as_str() {
            "true" | "y" | "yes" | "on" => Ok(Kind::Bool(true)),
            "false" | "n" | "no" | "off" => Ok(Kind::Bool(false)),
            _ => Err("a truth value"),
        },
        Cast::Whole => match text.parse::<i64>() {
            Ok(number) => Ok(Kind::Whole(number.to_string())),
            Err(_) => Err("a whole number"),
        },
        Cast::Number => match text.parse::<f64>() {
            Ok(number) => Ok(Kind::Float(number.to_string())),
            Err(_) => Err("a number"),
        },
    }
}
