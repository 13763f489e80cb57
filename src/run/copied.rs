use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::cell::ignore_candidates;
use crate::base::{Failure, SourceText, did_you_mean};
use crate::dockerfile::ignore::DockerIgnore;
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, expand};
use crate::plan::{CellBuild, ContextSource};

/// Names of a folder that are compared with one that is not there.
const NEIGHBOURS: usize = 2000;
/// An ignore file that is larger is not one.
const IGNORE_LIMIT: u64 = 1 << 20;

/// What to do about a COPY or ADD that failed, where one of its sources is not in the context of this machine: it is left
/// out by the ignore file, or it is not there and something else has nearly its name.
///
/// The builder's details say which instruction failed; whether a source is there is asked of the disk, not of its words.
pub(super) fn advice(build: &CellBuild, error: &dyn Failure) -> Option<String> {
    let (text, first, _) = error.excerpt()?;
    let ContextSource::Directory(context) = &build.context else { return None };
    sources(&text, first, &build.args)?.iter().find_map(|source| look(context, &ignore_file(build, context)?, source))
}

/// The sources of the COPY or ADD that begins on this line, from the main context, variables with the values that are known.
fn sources(text: &SourceText, line: usize, args: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let file = Dockerfile::parse(text).ok()?;
    let escape = file.directives.escape;
    let instruction = file
        .stages
        .iter()
        .flat_map(|stage| &stage.instructions)
        .find(|instruction| text.line_column(instruction.range.start).0 == line)?;
    let InstructionKind::Copy { sources, .. } = &instruction.kind else { return None };
    if instruction.flag("from").is_some() {
        return None;
    }
    let known = |name: &str| args.get(name).cloned();
    let plain =
        |text: &String| !text.contains("://") && !text.starts_with("<<") && !text.contains(['*', '?', '[', '$']);
    let whole =
        sources.iter().filter_map(|word| expand(&word.text, escape, &known).ok().filter(|word| word.unset.is_empty()));
    Some(whole.map(|word| word.text).filter(plain).collect())
}

/// What of a Dockerfile is sure to fail a build of the stage that is wanted, each with its place (`Dockerfile:3`), what is
/// wrong and what to do: sources of COPY, ADD and bind mounts that are not in the context, secrets and agents that a step
/// requires and nobody declares. What cannot be told without building (variables, globs, exceptions to an ignored folder) is
/// left out.
pub(super) fn lacking(build: &CellBuild) -> Vec<(String, String)> {
    let Some((name, text)) = text_of(build) else { return Vec::new() };
    let text = SourceText::new(&name, &text);
    let Ok(file) = Dockerfile::parse(&text) else { return Vec::new() };
    // Another frontend may mean something else by the same words.
    if file.directives.is_foreign() {
        return Vec::new();
    }
    // Files that templates become are in no context of this machine.
    let context = match &build.context {
        ContextSource::Directory(context) if build.templates.is_empty() => Some(context),
        _ => None,
    };
    let ignored = context.and_then(|context| Some((context, ignore_file(build, context)?)));
    let mut found = Vec::new();
    // A named context stands in for the stage of its name.
    let replaced = |name: &str| build.contexts.iter().any(|context| context.name.eq_ignore_ascii_case(name));
    for instruction in needed(&file, build.target.as_deref(), replaced) {
        let place = || format!("{name}:{}", text.line_column(instruction.range.start).0);
        if let Some((context, ignore)) = &ignored {
            let excepts = ignore.1.patterns().iter().any(|pattern| pattern.starts_with('!'));
            for source in from_context(instruction) {
                if excepts && context.join(source.trim_matches('/')).is_dir() {
                    continue;
                }
                found.extend(look(context, ignore, source).map(|advice| (place(), advice)));
            }
        }
        found.extend(undeclared(instruction, build).map(|advice| (place(), advice)));
    }
    found
}

/// The Dockerfile as it is built, and the name that people know it by.
fn text_of(build: &CellBuild) -> Option<(String, String)> {
    if build.fetched.is_some() {
        return None;
    }
    let name = build.dockerfile.file_name()?.to_string_lossy().into_owned();
    match &build.rendered {
        None => Some((name, std::fs::read_to_string(&build.dockerfile).ok()?)),
        Some(text) if build.dockerfile.extension().is_none_or(|extension| extension != "tpl") => {
            Some(("dockerfile-inline".to_owned(), text.to_string()))
        }
        // The lines of what is rendered need not be those of the template.
        Some(_) => None,
    }
}

/// What an instruction takes from the main context, as far as it is written out.
fn from_context(instruction: &Instruction) -> Vec<&str> {
    let literal =
        |source: &&str| !source.contains([':', '@', '*', '?', '[', '$', '\\', '"', '\'']) && !source.starts_with("<<");
    match &instruction.kind {
        InstructionKind::Copy { sources, .. } if instruction.flag("from").is_none() => {
            sources.iter().map(|word| word.text.as_str()).filter(literal).collect()
        }
        InstructionKind::Run => {
            let binds = instruction.mounts().filter(|mount| mount.kind() == "bind" && mount.field(&["from"]).is_none());
            binds.filter_map(|mount| mount.field(&["source", "src"])).filter(literal).collect()
        }
        _ => Vec::new(),
    }
}

/// Secrets and ssh agents that a step requires and the component does not have, in the form of the other findings.
fn undeclared(instruction: &Instruction, build: &CellBuild) -> impl Iterator<Item = String> {
    let runs = matches!(instruction.kind, InstructionKind::Run);
    instruction.mounts().filter(move |mount| runs && mount.is_required()).filter_map(|mount| match mount.kind() {
        "secret" => {
            // moby/buildkit dockerfile2llb, dispatchSecret: the last part of the target where there is no id.
            let id = mount.field(&["id"]).filter(|id| !id.is_empty());
            let id = id.or_else(|| mount.field(&["target", "dst", "destination"])?.rsplit('/').next())?;
            let missing = !id.is_empty() && !id.contains('$') && !build.secrets.contains_key(id);
            missing.then(|| {
                format!(
                    "the step requires the secret `{id}`, and the component has none of that name: \
                     add it, `secrets = {{ {id} = {{ file = \"FILE\" }} }}` in catamaran.toml, or take out `required`"
                )
            })
        }
        "ssh" => {
            let id = mount.field(&["id"]).filter(|id| !id.is_empty()).unwrap_or("default");
            let missing = !id.contains('$') && !build.ssh.contains_key(id);
            missing.then(|| {
                format!(
                    "the step requires the ssh agent `{id}`, and the component has none of that name: \
                     add it, `ssh = [\"{id}\"]` in catamaran.toml, or take out `required`"
                )
            })
        }
        _ => None,
    })
}

/// The instructions of the stage that is built and of those that it is seen to need.
fn needed<'a>(
    file: &'a Dockerfile,
    target: Option<&str>,
    replaced: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &'a Instruction> {
    let number = |name: &str, before: usize| {
        if replaced(name) {
            return None;
        }
        let named =
            file.stages[..before].iter().rposition(|stage| stage.name.as_deref() == Some(&*name.to_lowercase()));
        named.or_else(|| name.parse().ok().filter(|at| *at < before))
    };
    let all = file.stages.len();
    let mut needed = BTreeSet::new();
    let mut open: Vec<usize> = target.map_or(all.checked_sub(1), |target| number(target, all)).into_iter().collect();
    while let Some(at) = open.pop() {
        if !needed.insert(at) {
            continue;
        }
        let stage = &file.stages[at];
        open.extend(number(&stage.image.text, at));
        for instruction in &stage.instructions {
            open.extend(instruction.flag("from").and_then(|from| number(&from.text, at)));
            open.extend(instruction.mounts_from().filter_map(|from| number(&from.text, at)));
        }
    }
    needed.into_iter().flat_map(|at| &file.stages[at].instructions)
}

/// The ignore file that applies: the Dockerfile's own, else the context's.
fn ignore_file(build: &CellBuild, context: &Path) -> Option<(PathBuf, DockerIgnore)> {
    let inside = context.join(".dockerignore");
    let mut candidates = ignore_candidates(&build.dockerfile).into_iter().chain([inside.clone()]);
    let Some(path) = candidates.find(|path| path.is_file()) else {
        return Some((inside, DockerIgnore::parse("").ok()?));
    };
    if std::fs::metadata(&path).ok()?.len() > IGNORE_LIMIT {
        return None;
    }
    let ignore = DockerIgnore::parse(&std::fs::read_to_string(&path).ok()?).ok()?;
    Some((path, ignore))
}

fn look(context: &Path, (file, ignore): &(PathBuf, DockerIgnore), source: &str) -> Option<String> {
    let source = source.trim_start_matches("./").trim_matches('/');
    if source.is_empty() || source.split('/').any(|part| part == "..") {
        return None;
    }
    if context.join(source).symlink_metadata().is_ok() {
        let left_out = ignore.matcher().ok()?.matches(source);
        return left_out.then(|| {
            let shown = file.strip_prefix(context).unwrap_or(file).display();
            format!("`{source}` is there, and `{shown}` keeps it out of the context: except it with a line `!{source}`")
        });
    }
    // The first part of the path that is not there is the one that is misspelt.
    let mut found = PathBuf::new();
    for part in source.split('/') {
        if context.join(&found).join(part).symlink_metadata().is_err() {
            let names: Vec<String> = std::fs::read_dir(context.join(&found))
                .ok()?
                .take(NEIGHBOURS)
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .collect();
            let shown = context.display();
            let near = did_you_mean(part, names.iter().map(String::as_str));
            return Some(match near {
                Some(near) => {
                    let near = source.replacen(part, near, 1);
                    format!("there is no `{source}` in the context `{shown}`: did you mean `{near}`?")
                }
                None => format!("there is no `{source}` in the context `{shown}`: look at the path and at `context`"),
            });
        }
        found.push(part);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_left_out_are_told_apart() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let context = directory.path();
        std::fs::create_dir_all(context.join("src/app")).expect("a folder");
        std::fs::write(context.join("src/app/main.go"), "").expect("a file");
        std::fs::write(context.join("requirements.txt"), "").expect("a file");
        let ignore = (context.join(".dockerignore"), DockerIgnore::parse("src/app/*.go\n").expect("patterns"));
        let told = |source: &str| look(context, &ignore, source).unwrap_or_default();
        assert!(told("requirments.txt").contains("did you mean `requirements.txt`?"));
        assert!(told("./src/ap/main.go").contains("did you mean `src/app/main.go`?"));
        assert!(told("src/app/main.go").contains("`.dockerignore` keeps it out"), "{}", told("src/app/main.go"));
        assert!(told("zzzzzz/y").contains("there is no `zzzzzz/y`"));
        assert!(look(context, &ignore, "requirements.txt").is_none());
        assert!(look(context, &ignore, "../outside").is_none());
    }

    #[test]
    fn only_stages_that_are_needed_count() {
        let text = "FROM a AS one\nCOPY 1 /\nFROM b AS two\nCOPY 2 /\nFROM c AS three\nCOPY 3 /\n\
                    FROM one\nCOPY --from=1 x /\nCOPY 4 /\nFROM d AS last\nCOPY 5 /\n";
        let file = Dockerfile::parse(&SourceText::new("Dockerfile", text)).expect("a Dockerfile");
        let told = |target| {
            let copied = needed(&file, target, |_| false).filter_map(|instruction| match &instruction.kind {
                InstructionKind::Copy { sources, .. } if instruction.flag("from").is_none() => Some(&*sources[0].text),
                _ => None,
            });
            copied.collect::<String>()
        };
        assert_eq!(told(None), "5");
        assert_eq!(told(Some("3")), "124");
        assert_eq!(told(Some("Two")), "2");
        assert_eq!(told(Some("nowhere")), "");
    }

    #[test]
    fn only_files_of_the_context_are_looked_for() {
        let text = "FROM scratch\nARG N=x\nCOPY a-$N b ./c* http://h/d /\nCOPY --from=y a b /\nRUN true\n";
        let text = SourceText::new("Dockerfile", text);
        let args = BTreeMap::from([("N".to_owned(), "1".to_owned())]);
        assert_eq!(sources(&text, 3, &args), Some(vec!["a-1".to_owned(), "b".to_owned()]));
        assert_eq!(sources(&text, 4, &args), None);
        assert_eq!(sources(&text, 5, &args), None);
    }

    #[test]
    fn only_bind_mounts_of_the_context_take_from_it() {
        let text = "FROM scratch\nRUN --mount=source=a,target=/a --mount=type=bind,src=b,target=/b \\\n\
                    --mount=type=bind,from=x,source=c,target=/c --mount=type=cache,source=d,target=/d \\\n\
                    --mount=type=bind,source=$E,target=/e --mount=target=/all true\n";
        let file = Dockerfile::parse(&SourceText::new("Dockerfile", text)).expect("a Dockerfile");
        assert_eq!(from_context(&file.stages[0].instructions[0]), ["a", "b"]);
    }
}
