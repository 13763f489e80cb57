//! The real parts that tests run against, and the files that they run on.

pub(crate) mod builder;
pub(crate) mod built;
pub(crate) mod certificates;
pub(crate) mod cutter;
pub(crate) mod daemon;
pub(crate) mod dice;
pub(crate) mod files;
pub(crate) mod images;
pub(crate) mod project;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod release;
pub(crate) mod scripted;
pub(crate) mod simulated;
pub(crate) mod survivors;
pub(crate) mod tiny;
pub(crate) mod tokens;
pub(crate) mod tools;
