//! HCL, the language of bake files: texts to syntax trees, and expressions to values.
//!
//! In: a text with its path. Out: a [`ast::Body`] whose every part knows where it stands, in native or JSON syntax alike; and,
//! given names and functions by [`eval::Names`], the [`value::Value`] of an expression. What a block means is not known
//! here. Source: the HCL native and JSON syntax specifications; numbers and conversions as in HCL's type system.
//!
//! All input is hostile: nesting, steps and sizes are bounded, nothing panics.

#![expect(
    clippy::unnecessary_box_returns,
    reason = "problems are large and travel through every `Result` of the evaluator"
)]

pub(crate) mod ast;
pub(crate) mod convert;
pub(crate) mod csv;
pub(crate) mod eval;
pub(crate) mod functions;
pub(crate) mod json;
pub(crate) mod natural;
pub(crate) mod number;
pub(crate) mod parser;
pub(crate) mod token;
pub(crate) mod type_expression;
pub(crate) mod types;
pub(crate) mod value;
