use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::{PlanOptions, PlanProblem, Unselected, arch_reference};
use crate::base::{ComponentName, Platform, Reference, Span, Tag};
use crate::config::{ComponentSpec, ExternalSpec, Project};

/// What one component's index is published as.
#[derive(Debug, Clone, Default)]
pub(super) struct References {
    pub(super) all: Vec<Reference>,
    /// Whether they say where to push.
    pub(super) addressed: bool,
    /// The repository of the first one below its prefix.
    pub(super) path: String,
    /// Where the name comes from, for collisions.
    span: Option<Span>,
}

/// The references of a built component: whole ones where they are written, else PREFIX/IMAGE:TAG for each prefix.
pub(super) fn of_component(
    project: &Project,
    options: &PlanOptions,
    name: &ComponentName,
    spec: &ComponentSpec,
    problems: &mut Vec<PlanProblem>,
) -> References {
    let span = spec.span.clone();
    if let Some(written) = spec.references.as_ref().filter(|written| !written.is_empty()) {
        let mut all: Vec<Reference> = Vec::new();
        for reference in written {
            // `--to` takes the place of the registry; the path below it stays.
            let path = reference.value.repository().path();
            let tag = reference.value.tag().cloned().unwrap_or_else(Tag::latest);
            if options.to.is_empty() {
                all.push(reference.value.with_tag(tag));
                continue;
            }
            for prefix in &options.to {
                match prefix.join(path) {
                    Ok(repository) => all.push(repository.tagged(tag.clone())),
                    Err(error) => problems.push(PlanProblem::invalid(error.to_string(), None, reference.span.clone())),
                }
            }
        }
        dedup(&mut all);
        let path = written[0].value.repository().path().to_owned();
        return References { all, addressed: true, path, span };
    }
    let image = spec.image.as_ref().unwrap_or(&project.image);
    let tag = spec.tag.as_ref().unwrap_or(&project.tag);
    let path = image.value.replace("{component}", name.as_str());
    let place = image.span.clone().or_else(|| span.clone());
    if let Some(open) = path.find('{') {
        let message = format!("`{}` stands for nothing in `image`", &path[open..]);
        problems.push(PlanProblem::invalid(
            message,
            Some("only {component} can stand in braces here".to_owned()),
            place,
        ));
        return References { span, ..References::default() };
    }
    let tags = std::iter::once(&tag.value).chain(spec.tags.iter().map(|tag| &tag.value)).cloned().collect::<Vec<_>>();
    published(project, options, spec.registries.as_deref(), (&path, &tags), place, problems)
}

/// What the components would be published as that are not part of this project.
pub(super) fn unselected(project: &Project, options: &PlanOptions) -> Vec<Unselected> {
    let one = |(name, spec): (&ComponentName, &ComponentSpec)| {
        let references = of_component(project, options, name, spec, &mut Vec::new()).all;
        Unselected { name: name.clone(), references }
    };
    project.unselected.iter().map(one).collect()
}

/// The references of an external: PREFIX/NAME:ITS-OWN-TAG, or what `as` says.
pub(super) fn of_external(
    project: &Project,
    options: &PlanOptions,
    name: &ComponentName,
    spec: &ExternalSpec,
    problems: &mut Vec<PlanProblem>,
) -> References {
    let (path, tag) = match (&spec.published, spec.image.value.tag(), spec.image.value.digest()) {
        (Some(published), _, _) => (published.value.0.path().to_owned(), published.value.1.clone()),
        (None, Some(tag), _) => (name.to_string(), tag.clone()),
        (None, None, None) => (name.to_string(), Tag::latest()),
        (None, None, Some(_)) => {
            problems.push(PlanProblem::invalid(
                format!("external `{name}` has a digest and no tag to be published under"),
                Some("write as = \"repository:tag\"".to_owned()),
                spec.image.span.clone(),
            ));
            return References::default();
        }
    };
    published(project, options, None, (&path, &[tag]), spec.span.clone(), problems)
}

fn published(
    project: &Project,
    options: &PlanOptions,
    own: Option<&[crate::base::Spanned<crate::base::Prefix>]>,
    (path, tags): (&str, &[Tag]),
    span: Option<Span>,
    problems: &mut Vec<PlanProblem>,
) -> References {
    let declared = own.unwrap_or(&project.registries).iter().map(|prefix| &prefix.value);
    let prefixes: Vec<_> = if options.to.is_empty() { declared.collect() } else { options.to.iter().collect() };
    let joined: Vec<_> = if prefixes.is_empty() {
        vec![path.parse::<crate::base::Repository>()]
    } else {
        prefixes.iter().map(|prefix| prefix.join(path)).collect()
    };
    let mut all = Vec::new();
    for repository in joined {
        match repository {
            Ok(repository) => all.extend(tags.iter().map(|tag| repository.tagged(tag.clone()))),
            Err(error) => {
                problems.push(PlanProblem::invalid(error.to_string(), None, span.clone()));
                break;
            }
        }
    }
    dedup(&mut all);
    References { all, addressed: !prefixes.is_empty(), path: path.to_owned(), span }
}

fn dedup(references: &mut Vec<Reference>) {
    let mut seen = std::collections::BTreeSet::new();
    references.retain(|reference| seen.insert(reference.familiar()));
}

/// Reports names that two components would publish, also ones that differ only in the case of their tag, and with
/// `arch-tags` the names of single platforms.
pub(super) fn check_collisions(
    references: &IndexMap<ComponentName, References>,
    platforms: &IndexMap<ComponentName, Vec<Platform>>,
    arch_tags: bool,
    problems: &mut Vec<PlanProblem>,
) {
    let mut taken: BTreeMap<String, (&ComponentName, Reference)> = BTreeMap::new();
    let mut told = std::collections::BTreeSet::new();
    for (name, found) in references {
        for reference in &found.all {
            let mut names = vec![reference.clone()];
            for platform in platforms.get(name).into_iter().flatten().filter(|_| arch_tags) {
                match arch_reference(reference, platform) {
                    Ok(name) => names.push(name),
                    Err(error) => problems.push(PlanProblem::invalid(
                        format!("component `{name}`: {error}"),
                        Some("shorten the tag, or set arch-tags = false".to_owned()),
                        found.span.clone(),
                    )),
                }
            }
            for reference in names {
                let key = reference.familiar().to_lowercase();
                let Some((other, first)) = taken.get(&key) else {
                    taken.insert(key, (name, reference));
                    continue;
                };
                // One collision per pair: every prefix would repeat it.
                if *other == name || !told.insert((*other, name)) {
                    continue;
                }
                let message = if first.familiar() == reference.familiar() {
                    format!("`{other}` and `{name}` would both be published as `{reference}`")
                } else {
                    format!("`{first}` of `{other}` and `{reference}` of `{name}` differ only in case")
                };
                let help = "give one of them another image or tag; `image` may hold {component}".to_owned();
                problems.push(PlanProblem::invalid(message, Some(help), found.span.clone()));
            }
        }
    }
}
