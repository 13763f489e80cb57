use std::collections::HashMap;

use prost::Message;

use crate::base::{Digest, Platform};
use crate::engine::buildkit::proto::pb::{self, file_action, op};
use crate::engine::buildkit::session::LAYOUT_STORE;

/// An image of the layout, served by our session (moby/buildkit client/llb/source.go: `OCILayout`).
pub(super) fn image(digest: &Digest, platform: &Platform, session: &str) -> pb::Definition {
    let attributes = [("oci.session", session), ("oci.store", LAYOUT_STORE)];
    // The name is only a label, but has to be one of an image.
    source(&format!("oci-layout://localhost/{LAYOUT_STORE}/service@{digest}"), &attributes, Some(platform))
}

/// What a URL answers, fetched by the daemon itself. `name` makes the request another one than those before: the daemon
/// keeps answers, failures too, as long as the build is open.
pub(super) fn http(url: &str, name: &str) -> pb::Definition {
    source(url, &[("http.filename", name)], None)
}

/// A directory with `files`: (absolute path without folders, content), all of them with this `mode`.
pub(super) fn files(files: &[(String, Vec<u8>)], mode: i32) -> pb::Definition {
    let action = |(at, (path, bytes)): (usize, &(String, Vec<u8>))| {
        let before = i64::try_from(at).unwrap_or(i64::MAX);
        let last = at + 1 == files.len();
        pb::FileAction {
            // The first starts from nothing, each other from the one before it.
            input: before - 1,
            secondary_input: -1,
            output: if last { 0 } else { -1 },
            action: Some(file_action::Action::Mkfile(pb::FileActionMkFile {
                path: path.clone(),
                mode,
                data: bytes.clone().into(),
                timestamp: 0,
            })),
        }
    };
    let actions = files.iter().enumerate().map(action).collect();
    let op = pb::Op { op: Some(op::Op::File(pb::FileOp { actions })), ..pb::Op::default() };
    define(&op)
}

fn source(identifier: &str, attributes: &[(&str, &str)], platform: Option<&Platform>) -> pb::Definition {
    let attrs = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let source = pb::SourceOp { identifier: identifier.to_owned(), attrs };
    define(&pb::Op { op: Some(op::Op::Source(source)), platform: platform.map(message), ..pb::Op::default() })
}

/// A definition whose result is that of one operation.
fn define(op: &pb::Op) -> pb::Definition {
    let bytes = op.encode_to_vec();
    let digest = Digest::of(&bytes).to_string();
    let result = pb::Op { inputs: vec![pb::Input { digest: digest.clone(), index: 0 }], ..pb::Op::default() };
    let result = result.encode_to_vec();
    let metadata = HashMap::from([
        (digest, pb::OpMetadata::default()),
        (Digest::of(&result).to_string(), pb::OpMetadata::default()),
    ]);
    pb::Definition { def: vec![bytes.into(), result.into()], metadata, source: None }
}

/// A platform in the daemon's words.
pub(super) fn message(platform: &Platform) -> pb::Platform {
    pb::Platform {
        os: platform.os().to_owned(),
        architecture: platform.architecture().to_owned(),
        variant: platform.variant().unwrap_or_default().to_owned(),
        ..pb::Platform::default()
    }
}
