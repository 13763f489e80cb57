//! A `Project` to cells in an order; pure.
//!
//! In: a [`Project`](crate::config::Project) and the texts of its Dockerfiles, through a reader. Out: a [`Plan`], in which every component is a
//! set of cells or excluded with its reason, every cell knows what it waits for, and every name is checked. Nothing is
//! contacted and nothing is written. What a Dockerfile means beyond its graph is the builder's to judge.

mod bake;
mod draft;
mod error;
mod explain;
mod graph;
mod matrix;
mod model;
mod names;
mod needs;
mod platforms;
mod produced;
mod references;
mod select;
mod services;
mod source;
mod uses;
mod vars;

pub use bake::bake_document;
pub use error::{PlanError, PlanProblem};
pub use explain::{Setting, explain};
pub use matrix::plan;
pub use model::{
    Base, Cell, CellBuild, CellWork, Component, ComponentKind, ContextSource, Need, NeedReason, Plan, PlanOptions,
    PlannedContext, PlannedService, RenderedTemplate, Selection, Selector, Subset, Unselected,
};
pub use names::arch_reference;
pub use vars::PlannedVariable;
// What a planned service says of itself.
pub use crate::config::{Readiness, ServicePort};

#[cfg(test)]
mod tests;
