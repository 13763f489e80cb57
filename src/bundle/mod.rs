//! One offline file that every importer can read.
//!
//! In: a layout and the indexes of a release. Out: one plain tar that is an OCI layout and a docker archive at once, and a
//! reader that finds every blob in it without unpacking anything. Equal inputs give equal bytes. This room must not know
//! engines or registries. Follows image-spec "image-layout"; the docker view is what `docker load` has read since 1.10.
//!
//! The format, in the order of the file: `oci-layout`, `index.json` (one entry per image, under its full reference),
//! `manifest.json` (the docker view), `catamaran.json` (the contents lock), then all blobs by digest. USTAR headers without
//! times, owners or extensions (a size that octal digits cannot hold is in base 256, as GNU tar has it), regular files only, two zero blocks at the end and nothing after them.

mod contents;
mod destination;
mod docker_view;
mod error;
mod header;
mod part;
mod plan;
mod reader;
mod section;
mod writer;

pub use contents::{ContentsLock, LOCK_NAME, LockedBlob, LockedFile, LockedImage, LockedPlatform, MissingCell};
pub use destination::check_destination;
pub use error::BundleError;
pub use reader::BundleReader;
pub use writer::{BundleContents, BundleEntry, BundleReport, write_bundle};
