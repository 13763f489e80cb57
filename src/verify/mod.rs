//! Is everything there, whole, and of the right architecture?
//!
//! In: a layout or bundle and the indexes it must hold. Out: findings, each naming the blob and every component, platform
//! and part that it breaks. Read-only: what to do about a finding is for others to decide. This room must not know engines,
//! registries or the network.

mod elf;
mod finding;
mod layer;
mod look;
mod names;
mod pool;
mod presence;
mod report;
mod tar_stream;
mod walk;
mod zstd;

pub use finding::{Affected, Finding, Part, Problem};
pub use layer::{Foreign, ForeignProgram};
pub use look::{LayerFacts, look_into};
pub use names::verify_names;
pub use presence::{Presence, presence};
pub use report::{Depth, ExpectedIndex, Report};
pub use walk::verify_layout;
