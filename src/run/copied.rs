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

/// Sources of COPY and ADD that are sure to fail a build of the stage that is wanted, each with its place (`Dockerfile:3`)
/// and what to do. What cannot be told without building (variables, globs, exceptions to an ignored folder) is left out.
pub(super) fn lacking(build: &CellBuild) -> Vec<(String, String)> {
    let ContextSource::Directory(context) = &build.context else { return Vec::new() };
    // What is rendered lies elsewhere, and may have another ignore file.
    if build.rendered.is_some() || !build.templates.is_empty() {
        return Vec::new();
    }
    let text = std::fs::read_to_string(&build.dockerfile).unwrap_or_default();
    let name = build.dockerfile.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let text = SourceText::new(&name, &text);
    let Ok(file) = Dockerfile::parse(&text) else { return Vec::new() };
    // Another frontend may mean something else by the same words.
    let Some(ignore) = ignore_file(build, context).filter(|_| !file.directives.is_foreign()) else { return Vec::new() };
    let excepts = ignore.1.patterns().iter().any(|pattern| pattern.starts_with('!'));
    let mut found = Vec::new();
    // A named context stands in for the stage of its name.
    let replaced = |name: &str| build.contexts.iter().any(|context| context.name.eq_ignore_ascii_case(name));
    for instruction in needed(&file, build.target.as_deref(), replaced) {
        let InstructionKind::Copy { sources, .. } = &instruction.kind else { continue };
        if instruction.flag("from").is_some() {
            continue;
        }
        let literal = |source: &&str| {
            !source.contains([':', '@', '*', '?', '[', '$', '\\', '"', '\'']) && !source.starts_with("<<")
        };
        for source in sources.iter().map(|word| word.text.as_str()).filter(literal) {
            if excepts && context.join(source.trim_matches('/')).is_dir() {
                continue;
            }
            if let Some(advice) = look(context, &ignore, source) {
                found.push((format!("{name}:{}", text.line_column(instruction.range.start).0), advice));
            }
        }
    }
    found
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
}
