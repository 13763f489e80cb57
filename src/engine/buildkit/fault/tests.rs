//! Details in the forms that daemons send them in.

use prost_types::Any;

use super::*;

fn detail(name: &str, value: &str) -> Any {
    Any { type_url: format!("github.com/moby/buildkit/{name}"), value: value.as_bytes().to_vec() }
}

fn status(code: Code, message: &str, details: Vec<Any>) -> Status {
    let envelope = rpc::Status { code: code.into(), message: message.to_owned(), details };
    Status::with_details(code, message, envelope.encode_to_vec().into())
}

#[test]
fn details_are_read_and_ornaments_are_not() {
    let status = status(
        Code::Unknown,
        "process \"x\" did not complete successfully: exit code: 3",
        vec![
            detail("stack.Stack+json", "{\"frames\":[]}"),
            detail("errdefs.Vertex+json", "{\"digest\":\"sha256:ab\"}"),
            detail("errdefs.Source+json", "not json"),
            detail(
                "errdefs.Source+json",
                "{\"info\":{\"filename\":\"Dockerfile\",\"data\":\"RlJPTSB4ClJVTiB5Cg==\",\"definition\":{}},\"ranges\":[{\"start\":{\"line\":2},\"end\":{\"line\":2}},{\"start\":{\"line\":3},\"end\":{}}]}",
            ),
            detail("gatewayapi.ExitMessage+json", "{\"Code\":3}"),
            detail("errdefs.Unheard+json", "{}"),
            Any { type_url: "type.googleapis.com/other.Message".to_owned(), value: vec![1, 2, 3] },
        ],
    );
    let details = Details::of(&status);
    assert_eq!(details.vertex.as_deref(), Some("sha256:ab"));
    assert_eq!(details.exit_code, Some(3));
    assert_eq!(details.sources.len(), 1);
    assert_eq!(details.sources[0].lines(), Some((2, 3)));
    assert!(!is_loss(&status));
}

#[test]
fn rubbish_for_details_is_no_details() {
    let status = Status::with_details(Code::Unknown, "x", vec![0xff; 100].into());
    let details = Details::of(&status);
    assert!(details.vertex.is_none() && details.sources.is_empty() && details.exit_code.is_none());
}

#[test]
fn a_broken_connection_is_told_from_an_error_of_the_daemon() {
    assert!(is_loss(&Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe)))));
    assert!(is_loss(&Status::unavailable("transport is closing")));
    let registry = status(Code::Unavailable, "503 from a registry", vec![detail("stack.Stack+json", "{}")]);
    assert!(!is_loss(&registry));
    assert!(!is_loss(&Status::unknown("exit code: 1")));
}

#[test]
fn wrapping_is_taken_off() {
    assert_eq!(strip("failed to solve: x"), "x");
    assert_eq!(strip("failed to solve with frontend dockerfile.v0: y"), "y");
    assert_eq!(strip("z"), "z");
}

#[test]
fn resolving_a_base_names_it() {
    let message = "r.example/a:1: failed to resolve source metadata for r.example/a:1: not found";
    assert_eq!(base_image(None, message).as_deref(), Some("r.example/a:1"));
    assert_eq!(base_image(None, "exit code: 1"), None);
}

#[test]
fn a_snapshot_of_a_killed_daemon_is_told_from_other_renames() {
    let place = "/s/builder/root/runc-overlayfs/snapshots";
    let words = format!(
        "failed to prepare x as y: failed to rename: rename {place}/new-1027 {place}/snapshots/41: file exists"
    );
    assert!(is_stale_snapshot(&words));
    assert!(!is_stale_snapshot(&words.replace("file exists", "no space left on device")));
    assert!(!is_stale_snapshot("failed to rename: rename /a /b: file exists"));
}

#[test]
fn a_full_disk_of_the_builder_is_told_from_one_that_a_step_speaks_of() {
    assert!(is_disk_full("failed to read dockerfile: write /root/cache.db: no space left on device"));
    assert!(!is_disk_full(
        "process \"/bin/sh -c echo no space left on device\" did not complete successfully: exit code: 1"
    ));
}
