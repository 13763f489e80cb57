use serde::{Deserialize, Serialize};

use crate::engine::buildkit::Selection;
use crate::engine::{Asked, ContextReads};

/// What a builder read of one directory of a cell.
///
/// What it left out is not kept: that follows from the ignore file as it is when one looks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::run) struct Read {
    /// The named context; nothing for the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<String>,
    /// As in [`Selection`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    include: Vec<String>,
    /// As in [`Selection`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    follow: Option<Vec<String>>,
}

/// The name by which the frontend looks for patterns in a context (moby/buildkit frontend/dockerui).
pub(super) const IGNORE_FILE: &str = ".dockerignore";

impl Read {
    /// All of a directory.
    pub(super) fn whole(context: Option<String>) -> Self {
        Self { context, include: Vec::new(), follow: None }
    }

    /// What was read, where it fits the patterns that the ignore files of the contexts say; else what does not fit.
    ///
    /// `excludes` tells the patterns for a context, `whole` are all contexts there are: these count where the builder does
    /// not tell.
    pub(super) fn of_build<'a>(
        reads: &ContextReads,
        whole: impl Iterator<Item = Option<&'a str>>,
        excludes: impl Fn(Option<&str>) -> Vec<String>,
    ) -> Result<Vec<Self>, String> {
        let Some(asked) = &reads.asked else {
            return Ok(whole.map(|name| Self::whole(name.map(str::to_owned))).collect());
        };
        let mut all = Vec::new();
        for Asked { context, selection } in asked {
            let patterns = excludes(context.as_deref());
            if is_look_for_patterns(selection) && !patterns.is_empty() {
                continue;
            }
            if !is_look_for_patterns(selection) && selection.exclude != patterns {
                return Err("the ignore file changed while it was built".to_owned());
            }
            all.push(Self {
                context: context.clone(),
                include: selection.include.clone(),
                follow: selection.follow.clone(),
            });
        }
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// The parts of it, which together select what it selects: its name for people, and the selection.
    ///
    /// Cells that read a folder in common then share it, whatever else each of them reads.
    pub(super) fn parts(&self, excludes: &[String]) -> Vec<(String, Selection)> {
        let exclude = || excludes.to_vec();
        let named = |path: &str| match &self.context {
            Some(name) => format!("{name}: {path}"),
            None => path.to_owned(),
        };
        let all = || (named("."), Selection { exclude: exclude(), ..Selection::default() });
        let restricted = !self.include.is_empty() || self.follow.is_some();
        if !restricted {
            return vec![all()];
        }
        // What is an exception depends on its neighbours: such a list is one part.
        if self.include.iter().any(|pattern| pattern.starts_with('!')) {
            let selection =
                Selection { include: self.include.clone(), exclude: exclude(), follow: self.follow.clone() };
            return vec![(named(&self.include.join(" ")), selection)];
        }
        let includes = self.include.iter().map(|pattern| {
            let selection = Selection { include: vec![pattern.clone()], exclude: exclude(), follow: None };
            (named(&format!("pattern {pattern}")), selection)
        });
        let follows = self.follow.iter().flatten().map(|path| {
            let selection = Selection { include: Vec::new(), exclude: exclude(), follow: Some(vec![path.clone()]) };
            (named(path), selection)
        });
        includes.chain(follows).collect()
    }
}

/// The frontend reads the ignore file by itself, before it knows any pattern. A COPY of it looks the same only where it has
/// no patterns, and then it is taken for one.
fn is_look_for_patterns(selection: &Selection) -> bool {
    selection.include.is_empty()
        && selection.exclude.is_empty()
        && selection.follow.as_ref().is_some_and(|follow| follow.len() == 1 && follow[0] == IGNORE_FILE)
}
