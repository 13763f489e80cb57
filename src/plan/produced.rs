use std::collections::BTreeSet;

use super::arch_reference;
use super::matrix::Planner;
use crate::base::{ComponentName, Platform, Reference};
use crate::config::Project;

impl Planner<'_> {
    /// Every name under which something of this project is published, with and without its registry.
    pub(super) fn index_names(&mut self) {
        for (name, found) in &self.references {
            let written = self.project.components.get(name).is_some_and(|spec| spec.references.is_some());
            let mut names: BTreeSet<(String, Option<Platform>)> = BTreeSet::new();
            for reference in &found.all {
                let mut both = vec![reference.clone()];
                if !written && let Some(local) = local_name(self.project, name, reference) {
                    both.push(local);
                }
                for reference in both {
                    if self.project.arch_tags {
                        for platform in self.declared.get(name).into_iter().flatten() {
                            if let Ok(single) = arch_reference(&reference, platform) {
                                names.insert((single.familiar(), Some(platform.clone())));
                            }
                        }
                    }
                    names.insert((reference.familiar(), None));
                }
            }
            for (familiar, platform) in names {
                self.produced.entry(familiar).or_default().push((name.clone(), platform));
            }
        }
    }
}

/// The name without a registry that a reference has locally: IMAGE:TAG.
pub(super) fn local_name(project: &Project, name: &ComponentName, reference: &Reference) -> Option<Reference> {
    let tag = reference.tag()?;
    let path = match (project.components.get(name), project.externals.get(name)) {
        (Some(spec), _) => spec.image.as_ref().unwrap_or(&project.image).value.replace("{component}", name.as_str()),
        (None, Some(spec)) => spec.published.as_ref().map_or_else(|| name.to_string(), |p| p.value.0.path().to_owned()),
        (None, None) => return None,
    };
    path.parse::<crate::base::Repository>().ok().map(|repository| repository.tagged(tag.clone()))
}
