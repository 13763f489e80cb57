//! Files that are there and cannot be read: whose fault that is decides the exit code.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::project::Project;
use crate::support::registry::system_program;

const CONFIG: &str = "platforms = [\"linux/amd64\"]\n[component.web]\n";

#[test]
fn what_is_no_text_file_is_a_mistake_and_what_the_disk_does_not_give_is_not() {
    let project = Project::new();
    for (name, fails) in [("Dockerfile", "cannot read `Dockerfile`"), ("catamaran.toml", "catamaran.toml`")] {
        project.write("catamaran.toml", CONFIG);
        project.write("Dockerfile", "FROM scratch\n");
        let path = project.path(name);
        let refused = |code: i32, cause: &str| {
            let ran = project.run(&["-f", "catamaran.toml", "plan"]).exits(code);
            assert!(ran.stderr.contains(fails) && ran.stderr.contains(cause), "{}", ran.stderr);
        };
        fs::remove_file(&path).expect("it was there");
        fs::create_dir(&path).expect("a folder");
        refused(2, "not a regular file");
        fs::remove_dir(&path).expect("it was there");
        let made = std::process::Command::new(system_program("mkfifo")).arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        refused(2, "not a regular file");
        fs::remove_file(&path).expect("it was there");
        fs::File::create(&path).and_then(|file| file.set_len(20 << 20)).expect("a file");
        refused(2, "larger than 16 MiB");
        // The kernel answers EIO to whoever reads the first page of a process, which is what a broken disk says too.
        fs::remove_file(&path).expect("it was there");
        symlink("/proc/self/mem", &path).expect("a link");
        refused(1, "Input/output error");
        fs::remove_file(&path).expect("it was there");
    }
}
