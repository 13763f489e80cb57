use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::bench::{Bench, Who};
use crate::support::survivors::names;

/// Something else in place of a buildkitd.
fn script(bench: &Bench, text: &str) -> OsString {
    let path = bench.path("fake");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its owner may");
    path.into_os_string()
}

/// Nothing is left of a failed start, whatever it failed of.
fn left_nothing(bench: &Bench) {
    assert_eq!(names(&bench.path("run")), Vec::<String>::new());
}

#[test]
fn d16_a_missing_runtime_is_named() {
    let bench = Bench::new(Who::Myself);
    // System folders are searched in any case: only where they are empty can it be missing.
    let mut owner = bench.owner_without_system_programs();
    let failure = owner.failure();
    assert!(failure.message.contains("there is no `runc` on the PATH"), "{failure:?}");
    assert!(failure.help.contains("apt-get install runc"), "{failure:?}");
    left_nothing(&bench);
}

#[test]
fn d16_a_daemon_that_exits_at_once_shows_its_last_words_and_its_log() {
    let bench = Bench::new(Who::Myself);
    let fake = script(&bench, "#!/bin/sh\necho 'some line'\necho 'buildkitd: the moon is full' >&2\nexit 3\n");
    let failure = bench.owner_with(&[("BINARY", fake)]).failure();
    assert_eq!(
        failure.message,
        "cannot start a builder: buildkitd ended with exit code 3 before it answered: the moon is full"
    );
    assert_eq!(failure.output, "some line\nbuildkitd: the moon is full");
    assert!(failure.help.contains("builder.log"), "{failure:?}");
    left_nothing(&bench);
}

#[test]
fn d16_a_daemon_that_crashes_tells_its_signal() {
    let bench = Bench::new(Who::Myself);
    let failure = bench.owner_with(&[("BINARY", script(&bench, "#!/bin/sh\nkill -SEGV $$\n"))]).failure();
    assert_eq!(failure.message, "cannot start a builder: buildkitd was ended by signal 11 before it answered");
    left_nothing(&bench);
}

#[test]
fn d16_a_file_that_is_no_program_is_named() {
    let bench = Bench::new(Who::Myself);
    let failure = bench.owner_with(&[("BINARY", script(&bench, "\x7fELF but not really"))]).failure();
    let named = format!("cannot start a builder: cannot run `{}`: Exec format error", bench.path("fake").display());
    assert!(failure.message.starts_with(&named), "{failure:?}");
    left_nothing(&bench);
}

#[test]
fn d16_a_daemon_that_never_answers_is_given_up() {
    let bench = Bench::new(Who::Myself);
    let fake = script(&bench, "#!/bin/sh\necho hello\nsleep 3600 & sleep 3600\n");
    let failure = bench.owner_with(&[("BINARY", fake), ("START_SECONDS", OsString::from("1"))]).failure();
    assert_eq!(failure.message, "cannot start a builder: buildkitd did not answer within 1 s");
    assert_eq!(failure.output, "hello");
    left_nothing(&bench);
}

#[test]
fn d16_a_root_that_cannot_be_written_is_named() {
    let bench = Bench::new(Who::Myself);
    fs::write(bench.path("state/builder"), "a file is in the way").expect("written");
    let failure = bench.owner().failure();
    let named = format!("cannot start a builder: cannot write `{}", bench.path("state/builder").display());
    assert!(failure.message.starts_with(&named), "{failure:?}");
    assert!(failure.help.contains("--state DIR"), "{failure:?}");
}

#[test]
fn d16_an_ordinary_user_is_told_which_folder_is_not_its_own() {
    let bench = Bench::new(Who::Ordinary);
    fs::create_dir(bench.path("locked")).expect("a folder");
    fs::set_permissions(bench.path("locked"), fs::Permissions::from_mode(0o555)).expect("its owner may");
    let failure = bench.owner_with(&[("ROOT", bench.path("locked/builder").into_os_string())]).failure();
    assert!(failure.message.contains("locked/builder"), "{failure:?}");
    assert!(failure.message.contains("Permission denied"), "{failure:?}");
}

#[test]
fn d16_a_path_too_long_for_a_socket_is_said_before_the_start() {
    let bench = Bench::new(Who::Myself);
    let deep = bench.path("run").join("d".repeat(100));
    let failure = bench.owner_with(&[("RUN_DIR", deep.into_os_string())]).failure();
    assert!(failure.message.contains("is no path for a socket"), "{failure:?}");
    assert!(failure.help.contains("XDG_RUNTIME_DIR"), "{failure:?}");
}

#[test]
fn d16_a_root_that_stays_in_use_is_given_up_with_the_name_of_its_user() {
    let bench = Bench::new(Who::Myself);
    let mut first = bench.owner();
    first.address();
    let mut second = bench.owner_with(&[("LOCK_SECONDS", OsString::from("1"))]);
    assert!(second.answer().starts_with("waiting "));
    let failure = second.failure();
    assert!(failure.message.contains("another buildkitd (process "), "{failure:?}");
    assert!(failure.help.contains("--state DIR"), "{failure:?}");
}

#[test]
fn d16_a_user_without_ids_is_told_how_to_get_them() {
    let bench = Bench::new(Who::WithoutRanges);
    let failure = bench.owner().failure();
    assert!(failure.message.contains("`/etc/subuid` has no range for the user `54321`"), "{failure:?}");
    assert!(failure.help.contains("usermod --add-subuids"), "{failure:?}");
    left_nothing(&bench);
}

#[test]
fn a_single_id_is_enough_for_images_that_only_copy() {
    let bench = Bench::new(Who::WithoutRanges);
    let mut owner = bench.owner_with(&[("SINGLE", OsString::from("1"))]);
    let warning = owner.answer();
    assert!(warning.contains("RUN steps and base images with several owners will fail"), "{warning}");
    let address = owner.address();
    let build = bench.build(&address, "FROM scratch\nCOPY busybox /bin/busybox\n");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    owner.tell("stop");
    assert_eq!(owner.answer(), "stopped");
    left_nothing(&bench);
}

/// `buildkitd` parses the machine's configuration even when it is given another one.
#[test]
fn a_broken_configuration_of_the_machine_does_not_matter() {
    let bench = Bench::new(Who::Myself);
    bench.owner_with_configuration("this = is [not toml").address();
}
