use std::process::Command;

use super::project::Project;
use crate::support::daemon::Daemon;
use crate::support::images;

/// The layout's file system has no room for what is built: the run says so with code 1, and goes on once there is room.
///
/// The small file system is mounted in a mount namespace of the test's own, which needs no privilege.
#[test]
fn d15_a_full_disk_ends_the_run_with_1_and_a_rerun_completes() {
    let project = Project::new("");
    project.write("app/payload", images::noise(7, 6 << 20));
    std::fs::create_dir(project.path(".catamaran")).expect("a folder");
    let script = "mount -t tmpfs -o size=4m none .catamaran\n\
        \"$0\" build --builder \"$1\" >out1 2>err1; echo $? >code1\n\
        mount -o remount,size=200m .catamaran\n\
        \"$0\" build --builder \"$1\" >out2 2>err2; echo $? >code2\n\
        \"$0\" status >out3 2>err3; echo $? >code3\n\
        \"$0\" verify >out4 2>err4; echo $? >code4\n";
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["sh", "-c", script, env!("CARGO_BIN_EXE_catamaran"), Daemon::shared().address()]);
    command.current_dir(project.path(""));
    Project::surroundings(&mut command);
    assert!(command.status().expect("unshare runs").success());
    let read = |name: &str| std::fs::read_to_string(project.path(name)).expect("written by the script");
    let shown = read("err1");
    assert_eq!(read("code1").trim(), "1", "{shown}{}", read("out1"));
    assert!(shown.contains("No space left on device"), "{shown}");
    for step in ["2", "3", "4"] {
        let all = format!("{}{}", read(&format!("out{step}")), read(&format!("err{step}")));
        assert_eq!(read(&format!("code{step}")).trim(), "0", "{all}");
    }
}
