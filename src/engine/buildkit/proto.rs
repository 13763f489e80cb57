//! The messages and services of `proto/`, as modules named by their packages.

#[expect(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protocols.rs"));
}

pub(super) use generated::*;

#[cfg(test)]
mod tests;
