use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Origin, Project};

/// A variable of the project and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedVariable {
    /// Its name.
    pub name: String,
    /// Its value; see [`PlannedVariable::shown`].
    pub value: String,
    /// Who set it.
    pub origin: Origin,
    /// The components whose templates or build arguments use it, and `project file`. Empty: nothing does.
    pub used_by: Vec<String>,
}

/// Words in a name that make its value one to keep to oneself.
const SENSITIVE: &[&str] = &["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE", "API_KEY", "ACCESS_KEY"];

impl PlannedVariable {
    /// The value as it may be shown: `***` where the name says that it is a secret.
    pub fn shown(&self) -> &str {
        let upper = self.name.to_uppercase();
        if SENSITIVE.iter().any(|word| upper.contains(word)) { "***" } else { &self.value }
    }
}

impl PlannedVariable {
    /// Who set it, in words: `deps.yaml:3`, `--set`.
    pub fn place(&self) -> String {
        match &self.origin {
            Origin::File(span) | Origin::Project(span) => span.to_string(),
            Origin::Environment => "environment".to_owned(),
            Origin::CommandLine => "--set".to_owned(),
            Origin::Default(span) => format!("default in {span}"),
        }
    }
}

/// Every variable with its uses, and the defaults that stand for names that nobody set.
pub(super) fn variables(project: &Project, mut used: BTreeMap<String, BTreeSet<String>>) -> Vec<PlannedVariable> {
    for name in &project.mentioned {
        used.entry(name.clone()).or_default().insert("project file".to_owned());
    }
    let mut users = |name: &String| used.remove(name).unwrap_or_default().into_iter().collect();
    let mut out: Vec<PlannedVariable> = project
        .vars
        .iter()
        .map(|(name, variable)| PlannedVariable {
            name: name.clone(),
            value: variable.value.clone(),
            origin: variable.origin.clone(),
            used_by: users(name),
        })
        .collect();
    for (name, variable) in &project.defaults {
        out.push(PlannedVariable {
            name: name.clone(),
            value: variable.value.clone(),
            origin: variable.origin.clone(),
            used_by: vec!["project file".to_owned()],
        });
    }
    out
}
