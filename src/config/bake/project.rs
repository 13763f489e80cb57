use crate::config::error::ConfigProblem;
use crate::config::project::Project;

use super::load::{BakeRequest, Resolved};
use super::resolve::refused;

/// The components of the resolved targets.
pub(super) fn project_of(_request: &BakeRequest, _resolved: &Resolved) -> Result<Project, Vec<ConfigProblem>> {
    Err(vec![refused("bake files cannot be planned yet")])
}
