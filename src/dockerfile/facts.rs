use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::expand::{Expanded, expand};
use super::instruction::{Instruction, InstructionKind, Word};
use super::parser::{Dockerfile, Stage};
use super::{DockerfileError, DockerfileProblem};
use crate::base::{Platform, Reference, Span, did_you_mean};

/// What a Dockerfile is built with, as far as its graph depends on it.
pub struct BuildInputs<'a> {
    /// The stage to build; the last one if absent.
    pub target: Option<&'a str>,
    /// Build arguments; they win over the defaults of `ARG`.
    pub args: &'a BTreeMap<String, String>,
    /// `TARGETPLATFORM`.
    pub platform: &'a Platform,
    /// `BUILDPLATFORM`, as far as it is known.
    pub build_platform: &'a Platform,
    /// The names of the named contexts, as [`context_name`] writes them.
    pub contexts: &'a BTreeSet<String>,
}

/// The platform that a stage is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StagePlatform {
    /// This one.
    Fixed(Platform),
    /// The builder's own: what runs in it needs no emulator.
    Builder,
}

/// An image or named context that a build takes something from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The name as the build sees it: variables expanded.
    pub name: String,
    /// The platform that it is wanted for.
    pub platform: StagePlatform,
    /// How.
    pub by: UsedBy,
    /// Where.
    pub span: Span,
}

/// How an image is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedBy {
    /// `FROM`.
    From,
    /// `COPY --from`.
    Copy,
    /// `RUN --mount=…,from=`.
    Mount,
}

/// What one build of a Dockerfile involves: only stages that the target needs are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Images from outside and named contexts, each use once, in the order of the file.
    pub uses: Vec<Use>,
    /// What the target stands on in the end, through all stages between; nothing where that is `scratch`.
    pub base: Option<Use>,
    /// How many layers the stages between put on `base` at most: each RUN, COPY, ADD and WORKDIR makes one.
    pub own_layers: usize,
    /// Where the first RUN of each platform stands.
    pub executes: Vec<(StagePlatform, Span)>,
    /// Names of the ARGs that are declared in the file's head or in a stage that counts.
    pub args: BTreeSet<String>,
    /// Whether anything is copied, added or mounted from the main context.
    pub uses_context: bool,
}

/// The name under which a named context is looked up: the familiar form of an image name, `:latest` left out
/// (moby/buildkit frontend/dockerui). Names are taken in any case, tags in theirs.
pub fn context_name(name: &str) -> String {
    let path = name.rfind('/').map_or(0, |at| at + 1);
    let end = name[path..].find([':', '@']).map_or(name.len(), |at| path + at);
    let name = &format!("{}{}", name[..end].to_lowercase(), &name[end..]);
    let Ok(reference) = name.parse::<Reference>() else { return name.to_owned() };
    let full = reference.familiar();
    let short = full.strip_prefix("docker.io/").unwrap_or(&full);
    let short = short.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(short);
    short.strip_suffix(":latest").unwrap_or(short).to_owned()
}

impl Dockerfile {
    /// What building `inputs.target` for `inputs.platform` involves.
    ///
    /// Fails where a name cannot be made out: an unknown target, an expansion that does not work, a `FROM` that expands to
    /// nothing, a platform that is none. Under a foreign `# syntax` everything that cannot be made out is left out.
    pub fn facts(&self, inputs: &BuildInputs<'_>) -> Result<Facts, DockerfileError> {
        let mut named: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(name) = stage.name.as_deref() {
                named.entry(name).or_default().push(index);
            }
        }
        let mut reader = FactReader { file: self, named, inputs, problems: Vec::new(), facts: Facts::default() };
        reader.read();
        let FactReader { problems, facts, .. } = reader;
        let mut problems = problems.into_iter();
        match problems.next() {
            Some(first) if !self.directives.is_foreign() => Err(DockerfileError::new(first, problems.collect())),
            _ => Ok(facts),
        }
    }
}

/// A stage after expansion.
struct Resolved {
    /// The earlier stage it starts from; else the image `name`.
    base: Option<usize>,
    image: String,
    platform: StagePlatform,
    /// A named context of the stage's own name stands in for it: nothing of it is built.
    replaced: bool,
}

struct FactReader<'a> {
    file: &'a Dockerfile,
    /// The numbers of the stages of each name, ascending.
    named: HashMap<&'a str, Vec<usize>>,
    inputs: &'a BuildInputs<'a>,
    problems: Vec<DockerfileProblem>,
    facts: Facts,
}

impl FactReader<'_> {
    fn read(&mut self) {
        let globals = self.globals();
        let mut resolved: Vec<Resolved> = Vec::with_capacity(self.file.stages.len());
        for stage in &self.file.stages {
            let found = self.resolve(stage, &globals, &resolved);
            resolved.push(found);
        }
        let Some(target) = self.target() else { return };
        let mut needed = BTreeSet::new();
        let mut waiting = vec![target];
        while let Some(index) = waiting.pop() {
            if needed.insert(index) {
                waiting.extend(self.stage(index, &resolved));
            }
        }
        (self.facts.base, self.facts.own_layers) = self.base(target, &resolved);
        self.facts.uses.sort_by_key(|used| used.span.range.start);
        self.facts.executes.sort_by_key(|(_, span)| span.range.start);
        let mut seen = BTreeSet::new();
        self.facts.executes.retain(|(platform, _)| seen.insert(platform.clone()));
    }

    /// The variables that a FROM may use, with their values: predefined ones, and the ARGs in the head of the file.
    fn globals(&mut self) -> HashMap<String, String> {
        let mut globals = HashMap::new();
        for (side, platform) in [("TARGET", self.inputs.platform), ("BUILD", self.inputs.build_platform)] {
            globals.insert(format!("{side}PLATFORM"), platform.to_string());
            globals.insert(format!("{side}OS"), platform.os().to_owned());
            globals.insert(format!("{side}ARCH"), platform.architecture().to_owned());
            globals.insert(format!("{side}VARIANT"), platform.variant().unwrap_or_default().to_owned());
        }
        globals.insert("TARGETSTAGE".to_owned(), self.inputs.target.unwrap_or("default").to_owned());
        for (name, value) in &mut globals {
            if let Some(given) = self.inputs.args.get(name) {
                value.clone_from(given);
            }
        }
        for instruction in &self.file.global {
            let InstructionKind::Arg(declared) = &instruction.kind else { continue };
            for (name, default) in declared {
                self.facts.args.insert(name.text.clone());
                let value = match (self.inputs.args.get(&name.text), default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => {
                        let word = Word { text: default.clone(), range: instruction.range.clone() };
                        self.expanded(&word, &globals).map(|expanded| expanded.text)
                    }
                    (None, None) => None,
                };
                if let Some(value) = value {
                    globals.insert(name.text.clone(), value);
                }
            }
        }
        globals
    }

    /// The latest stage of this name among the first `end` ones.
    fn named_before(&self, end: usize, name: &str) -> Option<usize> {
        let numbers = self.named.get(name)?;
        numbers[..numbers.partition_point(|number| *number < end)].last().copied()
    }

    fn problem(&mut self, word: &Word, message: String, help: Option<String>) {
        let span = self.file.source.span(word.range.clone());
        self.problems.push(DockerfileProblem { message, help, span });
    }

    fn expanded(&mut self, word: &Word, globals: &HashMap<String, String>) -> Option<Expanded> {
        match expand(&word.text, self.file.directives.escape, &|name| globals.get(name).cloned()) {
            Ok(expanded) => Some(expanded),
            Err(error) => {
                self.problem(word, format!("`{}` cannot be expanded: {error}", word.text), None);
                None
            }
        }
    }

    fn resolve(&mut self, stage: &Stage, globals: &HashMap<String, String>, earlier: &[Resolved]) -> Resolved {
        let image = self.expanded(&stage.image, globals).map(|expanded| {
            if expanded.text.is_empty() {
                let message = format!("`FROM {}` names no image", stage.image.text);
                let help = expanded.unset.first().map(|name| {
                    format!("give `{name}` a value: `ARG {name}=…` before the first FROM, or in the component's args")
                });
                self.problem(&stage.image, message, help);
            }
            expanded.text
        });
        let image = image.unwrap_or_default();
        let base = self.named_before(earlier.len(), &image.to_lowercase());
        let own = stage.platform.as_ref().and_then(|word| self.platform(word, globals));
        let platform = own
            .or_else(|| base.map(|base| earlier[base].platform.clone()))
            .unwrap_or_else(|| StagePlatform::Fixed(self.inputs.platform.clone()));
        let replaced = stage.name.as_deref().is_some_and(|name| self.inputs.contexts.contains(&context_name(name)));
        Resolved { base, image, platform, replaced }
    }

    fn platform(&mut self, word: &Word, globals: &HashMap<String, String>) -> Option<StagePlatform> {
        // What the builder's platform is may be known only later; that it is the builder's is known from the text.
        if matches!(word.text.as_str(), "$BUILDPLATFORM" | "${BUILDPLATFORM}")
            && !self.inputs.args.contains_key("BUILDPLATFORM")
        {
            return Some(StagePlatform::Builder);
        }
        let expanded = self.expanded(word, globals)?;
        if expanded.text.is_empty() {
            let message = format!("`--platform={}` is empty here", word.text);
            self.problem(word, message, Some("name a platform, or take the flag out".to_owned()));
            return None;
        }
        match expanded.text.parse() {
            Ok(platform) => Some(StagePlatform::Fixed(platform)),
            Err(error) => {
                let help = error.suggestion().map(|near| format!("did you mean `{near}`?"));
                self.problem(word, error.to_string(), help);
                None
            }
        }
    }

    /// The number of the stage that is built.
    fn target(&mut self) -> Option<usize> {
        let last = self.file.stages.len().checked_sub(1)?;
        let Some(target) = self.inputs.target else { return Some(last) };
        let lower = target.to_lowercase();
        if let Some(index) = self.named_before(last + 1, &lower) {
            return Some(index);
        }
        if let Some(index) = lower.parse::<usize>().ok().filter(|index| *index <= last) {
            return Some(index);
        }
        let names: Vec<&str> = self.file.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let help = match did_you_mean(&lower, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => "name a stage with `FROM … AS name`".to_owned(),
            None => format!("its stages are {}", quoted_list(&names)),
        };
        let word = Word { text: String::new(), range: self.file.stages[last].range.clone() };
        self.problem(&word, format!("there is no stage `{target}`"), Some(help));
        None
    }

    /// What a stage stands on in the end, and how many layers are put on that.
    fn base(&self, target: usize, resolved: &[Resolved]) -> (Option<Use>, usize) {
        let own = |index: usize| {
            let makes = |one: &&Instruction| {
                matches!(one.kind, InstructionKind::Run | InstructionKind::Copy { .. }) || one.name == "WORKDIR"
            };
            if resolved[index].replaced { 0 } else { self.file.stages[index].instructions.iter().filter(makes).count() }
        };
        let mut index = target;
        let mut layers = own(index);
        while let (Some(base), false) = (resolved[index].base, resolved[index].replaced) {
            index = base;
            layers += own(index);
        }
        (self.end(index, resolved), layers)
    }

    /// What the first of a row of stages stands on.
    fn end(&self, index: usize, resolved: &[Resolved]) -> Option<Use> {
        let (stage, Resolved { image, platform, replaced, .. }) = (&self.file.stages[index], &resolved[index]);
        let name = if *replaced { stage.name.clone()? } else { image.clone() };
        let span = self.file.source.span(stage.image.range.clone());
        let used = Use { name, platform: platform.clone(), by: UsedBy::From, span };
        (!used.name.is_empty() && (*replaced || used.name != "scratch")).then_some(used)
    }

    /// Takes in a stage that counts; returns the stages it needs.
    fn stage(&mut self, index: usize, resolved: &[Resolved]) -> Vec<usize> {
        let file = self.file;
        let stage = &file.stages[index];
        let Resolved { base, image, platform, replaced } = &resolved[index];
        if *replaced {
            let name = stage.name.clone().unwrap_or_default();
            self.used(name, platform, UsedBy::From, &stage.image);
            return Vec::new();
        }
        let mut needs = Vec::new();
        match base {
            Some(base) => needs.push(*base),
            None if image == "scratch" || image.is_empty() => {}
            None => self.used(image.clone(), platform, UsedBy::From, &stage.image),
        }
        for instruction in &stage.instructions {
            self.instruction(index, instruction, platform, &mut needs);
        }
        needs
    }

    fn instruction(
        &mut self,
        index: usize,
        instruction: &Instruction,
        platform: &StagePlatform,
        needs: &mut Vec<usize>,
    ) {
        match &instruction.kind {
            InstructionKind::Run => {
                let span = self.file.source.span(instruction.range.clone());
                self.facts.executes.push((platform.clone(), span));
                self.facts.uses_context |= instruction.flags.iter().any(|flag| flag.name == "mount");
                for from in instruction.mounts_from() {
                    self.taken_from(index, &from, UsedBy::Mount, needs);
                }
            }
            InstructionKind::Copy { .. } => match instruction.flag("from") {
                Some(from) => self.taken_from(index, from, UsedBy::Copy, needs),
                None => self.facts.uses_context = true,
            },
            InstructionKind::Arg(declared) => {
                self.facts.args.extend(declared.iter().map(|(name, _)| name.text.clone()));
            }
            InstructionKind::From { .. }
            | InstructionKind::OnBuild
            | InstructionKind::Other
            | InstructionKind::Unknown => {}
        }
    }

    /// `--from=` or `from=`: an earlier stage by name or number, else an image. That image is for the target's platform,
    /// whatever the platform of the stage that takes from it (moby/buildkit dockerfile2llb: a stage without a flag).
    fn taken_from(&mut self, index: usize, word: &Word, by: UsedBy, needs: &mut Vec<usize>) {
        // The frontend refuses variables here with an advice of its own.
        if word.text.is_empty() || word.text.contains('$') {
            return;
        }
        let lower = word.text.to_lowercase();
        let earlier = self.named_before(index, &lower);
        let numbered = lower.parse::<usize>().ok().filter(|number| *number < index);
        match earlier.or(numbered) {
            Some(stage) => needs.push(stage),
            None if lower == "scratch" => {}
            None => {
                let platform = StagePlatform::Fixed(self.inputs.platform.clone());
                self.used(word.text.clone(), &platform, by, word);
            }
        }
    }

    fn used(&mut self, name: String, platform: &StagePlatform, by: UsedBy, word: &Word) {
        let span = self.file.source.span(word.range.clone());
        self.facts.uses.push(Use { name, platform: platform.clone(), by, span });
    }
}

fn quoted_list(names: &[&str]) -> String {
    names.iter().take(12).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
