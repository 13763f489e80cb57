//! What bake checks before it builds, and so before it prints: the shape of values, and that secret files exist.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::error::ConfigProblem;
use crate::config::paths::{clean_path, is_remote};

use super::entries::parse_bool;
use super::resolve::Selection;
use super::target::Target;

/// What a check may look at.
pub(super) struct Surroundings<'a> {
    pub(super) directory: &'a Path,
    pub(super) environment: &'a BTreeMap<String, String>,
    /// Whether files and sockets that are named must be there.
    pub(super) look: bool,
}

/// Checks every target and brings its context into the form that is printed; all problems are in the list.
pub(super) fn check(selection: &mut Selection, surroundings: &Surroundings<'_>) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    for target in selection.targets.values_mut() {
        let mut findings = Vec::new();
        check_target(target, surroundings, &mut findings);
        for (attribute, message) in findings {
            let span = target.span(attribute).filter(|span| !span.source.text().is_empty()).cloned();
            let message = format!("target `{}`: {message}", target.name);
            problems.push(ConfigProblem::Invalid { message, help: None, span });
        }
    }
    problems
}

type Findings = Vec<(&'static str, String)>;

fn check_target(target: &mut Target, surroundings: &Surroundings<'_>, findings: &mut Findings) {
    check_paths(target, findings);
    if let Some(Err(error)) = target.shm_size.as_deref().map(parse_size) {
        findings.push(("shm-size", error));
    }
    for platform in target.platforms.iter().flatten() {
        for part in platform.split(',') {
            if let Err(error) = check_platform(part) {
                findings.push(("platforms", error));
            }
        }
    }
    check_secrets(target, surroundings, findings);
    check_ssh(target, surroundings, findings);
    check_outputs(target, surroundings, findings);
    for annotation in target.annotations.iter().flatten() {
        if let Err(error) = check_annotation(annotation) {
            findings.push(("annotations", error));
        }
    }
    for limit in target.ulimits.iter().flatten() {
        if let Err(error) = check_ulimit(limit) {
            findings.push(("ulimits", error));
        }
    }
    for (name, size) in target.resources.iter().flat_map(|resources| &resources.texts) {
        let sized = *name == "memory" || *name == "memory-swap" && size.trim() != "-1";
        if sized && let Err(error) = parse_size(size.trim()) {
            findings.push(("resources", format!("`{name}`: {error}")));
        }
    }
}

fn check_paths(target: &mut Target, findings: &mut Findings) {
    let context = target.context.clone().unwrap_or_else(|| ".".to_owned());
    if context == "-" {
        findings.push(("context", "a context from standard input is not possible here".to_owned()));
    }
    if target.dockerfile.as_deref() == Some("-") {
        findings.push(("dockerfile", "a Dockerfile from standard input is not possible here".to_owned()));
    }
    target.context = Some(match context.strip_prefix("cwd://") {
        Some(local) => clean_path(local),
        None if is_remote(&context) => context,
        None => clean_path(&context),
    });
}

/// `10`, `128m`, `1.5 GiB`: docker/go-units.
pub(crate) fn parse_size(text: &str) -> Result<i64, String> {
    let refused = || format!("`{text}` is no size, such as `128m`");
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(refused)?;
    let (number, suffix) = if text[last..].starts_with(' ') {
        (&text[..last], &text[last + 1..])
    } else {
        (&text[..=last], &text[last + 1..])
    };
    let size: f64 = number.parse().map_err(|_| refused())?;
    let suffix = suffix.to_lowercase();
    let scale: f64 = match suffix.chars().next() {
        None => 1.0,
        Some('b') if suffix.len() == 1 => 1.0,
        Some(unit) => {
            let power = "kmgtp".find(unit).ok_or_else(refused)?;
            if !["", "b", "ib"].contains(&&suffix[1..]) {
                return Err(refused());
            }
            1024f64.powi(i32::try_from(power).unwrap_or(0) + 1)
        }
    };
    if !(0.0..1e30).contains(&size) {
        return Err(refused());
    }
    #[expect(clippy::cast_possible_truncation, reason = "sizes beyond 2^63 become 2^63, which is refused by builders")]
    Ok((size * scale) as i64)
}

const SYSTEMS: [&str; 18] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
    "macos",
];
const ARCHITECTURES: [&str; 35] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
    "i386",
    "x86_64",
    "x86-64",
    "aarch64",
    "armhf",
    "armel",
    "i486",
    "i586",
    "i686",
    "x86",
    "armv7l",
];

/// containerd/platforms: the form is checked, and a single word must be known.
fn check_platform(text: &str) -> Result<(), String> {
    let refused = |why: &str| Err(format!("`{text}` is no platform: {why}"));
    if text.eq_ignore_ascii_case("local") {
        return Ok(());
    }
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 3 {
        return refused("it has more than three parts");
    }
    let word = |part: &str, more: &[u8]| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let system = parts[0].split('(').next().unwrap_or_default();
    if !word(system, b"_-.") || !parts[1..].iter().all(|part| word(part, b"_-.")) {
        return refused("it is written as `os/architecture/variant`");
    }
    let single = parts[0].to_lowercase();
    let known = SYSTEMS.contains(&single.as_str()) || ARCHITECTURES[..31].contains(&single.as_str());
    if parts.len() == 1 && !known {
        return refused("neither a system nor an architecture is called that");
    }
    Ok(())
}

/// Secrets over this size are refused by the builder.
const MAX_SECRET: u64 = 500 * 1024;

fn check_secrets(target: &Target, surroundings: &Surroundings<'_>, findings: &mut Findings) {
    for secret in target.secrets.iter().flatten() {
        if secret.id.is_empty() {
            findings.push(("secret", "a secret without an `id`".to_owned()));
            continue;
        }
        let from_environment = surroundings.environment.contains_key(&secret.id);
        let file = match (secret.source.as_str(), secret.environment.as_str()) {
            ("", "") if from_environment => continue,
            ("", "") => secret.id.as_str(),
            ("", _) => continue,
            (file, _) => file,
        };
        if !surroundings.look {
            continue;
        }
        match std::fs::metadata(surroundings.directory.join(file)) {
            Ok(metadata) if metadata.len() > MAX_SECRET => {
                findings.push(("secret", format!("the secret `{}` is larger than 500 KiB", secret.id)));
            }
            Ok(_) => {}
            Err(error) => {
                findings.push(("secret", format!("the secret `{}`: cannot read `{file}`: {error}", secret.id)));
            }
        }
    }
}

#[expect(clippy::single_match_else, reason = "what is there and what is not are told in two arms")]
fn check_ssh(target: &Target, surroundings: &Surroundings<'_>, findings: &mut Findings) {
    if !surroundings.look {
        return;
    }
    let agent = surroundings.environment.get("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
    // A repository over ssh is fetched with the agent, even if none is declared.
    let over_ssh = target.context.as_deref().is_some_and(|context| {
        is_remote(context) && (context.starts_with("ssh://") || !context.contains("://") && context.contains('@'))
    });
    if agent.is_none() && over_ssh && target.ssh.as_ref().is_none_or(Vec::is_empty) {
        findings.push(("context", "a repository over ssh needs an agent, and SSH_AUTH_SOCK is not set".to_owned()));
    }
    for ssh in target.ssh.iter().flatten() {
        let from_agent = ssh.paths.is_empty() || matches!(&ssh.paths[..], [path] if path.is_empty());
        let paths: Vec<PathBuf> = if from_agent {
            match agent {
                Some(agent) => vec![PathBuf::from(agent)],
                None => {
                    findings.push(("ssh", format!("`{}`: SSH_AUTH_SOCK is not set", ssh.id)));
                    continue;
                }
            }
        } else {
            ssh.paths.iter().map(|path| surroundings.directory.join(path)).collect()
        };
        for path in paths {
            if let Err(error) = std::fs::metadata(&path) {
                findings.push(("ssh", format!("`{}`: cannot read `{}`: {error}", ssh.id, path.display())));
            }
        }
    }
}

fn check_outputs(target: &mut Target, surroundings: &Surroundings<'_>, findings: &mut Findings) {
    let mut stdout_used = false;
    for output in target.outputs.iter_mut().flatten() {
        let kind = output.kind.as_str();
        let tar = output.attributes.get("tar").and_then(|text| parse_bool(text).ok()).unwrap_or(true);
        let folder = kind == "local" || matches!(kind, "oci" | "docker") && !tar;
        let file = kind == "tar" || matches!(kind, "oci" | "docker") && tar;
        let destination = surroundings.directory.join(&output.destination);
        if folder {
            if output.destination.is_empty() || output.destination == "-" {
                findings.push(("output", format!("`type={kind}` needs a folder as `dest`")));
            } else if destination.exists() && !destination.is_dir() {
                findings.push(("output", format!("`{}` is a file, a folder is needed", output.destination)));
            }
        }
        if file {
            if output.destination.is_empty() && kind != "docker" {
                "-".clone_into(&mut output.destination);
            }
            if output.destination == "-" {
                if stdout_used {
                    findings.push(("output", "two outputs go to standard output".to_owned()));
                }
                stdout_used = true;
            } else if !output.destination.is_empty() && destination.is_dir() {
                findings.push(("output", format!("`{}` is a folder, a file is needed", output.destination)));
            }
        }
    }
}

/// `[type[platform],…:]key=value`.
fn check_annotation(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let (key, _) = text.split_once('=').ok_or_else(|| format!("the annotation `{text}` has no `=`"))?;
    let Some((kinds, _)) = key.split_once(':') else { return Ok(()) };
    for kind in kinds.split(',') {
        let (name, platform) = match kind.split_once('[') {
            Some((name, rest)) => match rest.strip_suffix(']') {
                Some(platform) => (name, Some(platform)),
                None => return Err(format!("the annotation type `{kind}` has no `]`")),
            },
            None => (kind, None),
        };
        if !["index", "index-descriptor", "manifest", "manifest-descriptor"].contains(&name) {
            return Err(format!("there is no annotation type `{name}`"));
        }
        if let Some(platform) = platform {
            check_platform(platform)?;
        }
    }
    Ok(())
}

const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `name=soft[:hard]`.
pub(crate) fn check_ulimit(text: &str) -> Result<(i64, i64), String> {
    let refused = |why: &str| format!("`{text}` is no limit: {why}");
    let (name, values) = text.split_once('=').ok_or_else(|| refused("it is written as `name=soft:hard`"))?;
    if !LIMITS.contains(&name) {
        return Err(refused(&format!("the names are {}", LIMITS.join(", "))));
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| refused("a whole number is required"));
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(values)?, number(values)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(refused("the soft limit is above the hard one"));
    }
    Ok((soft, hard))
}
