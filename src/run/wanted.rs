use std::collections::{BTreeMap, BTreeSet};

use super::RunError;
use crate::base::{ComponentName, Platform, Reference, Span};
use crate::plan::{Cell, CellWork, Plan};

/// An image that a plan takes from outside.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// As the project has it.
    pub(super) reference: Reference,
    /// The platforms that it must be there for.
    pub(super) platforms: BTreeSet<Platform>,
    /// Whether it is used on the builder too, for the builder's own platform.
    pub(super) builder: bool,
    /// Whether something is built from it; else it is only mirrored.
    pub(super) is_base: bool,
    /// Who uses it, in the order of the plan.
    users: Vec<User>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    component: ComponentName,
    /// None: for the builder's own.
    platform: Option<Platform>,
    span: Option<Span>,
}

impl Wanted {
    /// The components that use it, each once.
    pub(super) fn components(&self) -> Vec<String> {
        let mut names: Vec<String> = self.users.iter().map(|user| user.component.to_string()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// That it is not to be had, told of the first component that needs it (for `platform`, where one is at fault).
    pub(super) fn failed(&self, platform: Option<&Platform>, source: RunError) -> RunError {
        let user = self.users.iter().find(|user| platform.is_none() || user.platform.as_ref() == platform);
        let user = user.or(self.users.first());
        RunError::Base {
            component: user.map(|user| user.component.to_string()).unwrap_or_default(),
            platform: platform.cloned().map(Box::new),
            reference: Box::new(self.reference.clone()),
            span: user.and_then(|user| user.span.clone()),
            source: Box::new(source),
        }
    }
}

/// Everything that the cells of `plan` take from outside, by full reference.
pub(super) fn wanted(plan: &Plan) -> Vec<Wanted> {
    wanted_by(&plan.cells, plan)
}

/// Everything that `cells` of `plan` take from outside, by full reference.
pub(super) fn wanted_by<'a>(cells: impl IntoIterator<Item = &'a Cell>, plan: &Plan) -> Vec<Wanted> {
    let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
    let mut add = |reference: &Reference, user: User, is_base: bool| {
        let entry = all.entry(reference.familiar()).or_insert_with(|| Wanted {
            reference: reference.clone(),
            platforms: BTreeSet::new(),
            builder: false,
            is_base: false,
            users: Vec::new(),
        });
        entry.is_base |= is_base;
        match &user.platform {
            Some(platform) => {
                entry.platforms.insert(platform.clone());
            }
            None => entry.builder = true,
        }
        if !entry.users.contains(&user) {
            entry.users.push(user);
        }
    };
    for cell in cells {
        let component = cell.id.component.clone();
        match &cell.work {
            CellWork::Build(build) => {
                for base in build.frontend.iter().chain(&build.bases) {
                    let span = Some(base.span.clone());
                    let user = User { component: component.clone(), platform: base.platform.clone(), span };
                    add(&base.reference, user, true);
                }
            }
            CellWork::Mirror(reference) => {
                let span = plan.component(&component).and_then(|component| component.span.clone());
                let user = User { component, platform: Some(cell.id.platform.clone()), span };
                add(reference, user, false);
            }
            CellWork::Excluded(_) => {}
        }
    }
    all.into_values().collect()
}

/// Whether a name is only meant on this machine: asked about outside it would mean somebody else's image, or tell what this
/// project is called.
///
/// `localhost/…` is what podman calls images without a registry. Names of the project itself never get this far: the plan
/// has made edges of them, or refused them.
pub(super) fn is_local(reference: &Reference) -> bool {
    reference.repository().host() == "localhost"
}
