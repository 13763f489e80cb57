//! What the program says and how it ends, whole: command line in, two streams and an exit code out.

mod builders;
mod check;
mod damaged;
mod explained;
mod failing;
mod foreign;
mod live;
mod page;
mod refusals;
mod shown;
mod usage;
