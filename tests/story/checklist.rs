//! The rows that this program was begun for, D1 to D28: each has a test with its number, and some are shown here, on the tree itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::project::Project;

const ROWS: usize = 28;

/// Numbers of tests called `dNUMBER_…` in the sources below `folder`.
fn rows_below(folder: &Path, found: &mut Vec<usize>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            rows_below(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).expect("a source");
            let names = text.lines().filter_map(|line| line.split_once("fn d")?.1.split_once('_'));
            found.extend(names.filter_map(|(number, _)| number.parse::<usize>().ok()));
        }
    }
}

#[test]
fn every_row_has_a_test_with_its_number() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        rows_below(&root.join(folder), &mut found);
    }
    let missing: Vec<usize> = (1..=ROWS).filter(|row| !found.contains(row)).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
    assert!(found.iter().all(|row| (1..=ROWS).contains(row)), "{found:?}");
}

/// A copy of `fixtures/infra` with the project file that `init` writes.
fn infra() -> Project {
    let project = Project::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/infra");
    let copied = Command::new("cp").arg("-r").arg(fixture.join(".")).arg(project.root()).status().expect("cp runs");
    assert!(copied.success());
    for left in [".catamaran", "catamaran.toml", "catamaran.lock"] {
        drop((fs::remove_dir_all(project.path(left)), fs::remove_file(project.path(left))));
    }
    project.run(&["init"]).exits(0);
    project
}

fn append(project: &Project, path: &str, text: &str) {
    let known = fs::read_to_string(project.path(path)).expect("it is there");
    project.write(path, &(known + text));
}

#[test]
fn d4_a_thirteenth_folder_is_built_or_asked_about_or_left_out_with_a_reason() {
    let project = infra();
    let expected = |project: &Project| project.run(&["plan", "--json"]).exits(0).json()["expected"].clone();
    assert_eq!(expected(&project), 36);
    project.write("src/thirteenth/Dockerfile", "FROM scratch\nCOPY src/thirteenth/Dockerfile /\n");
    assert_eq!(expected(&project), 38, "nobody has to put it into a list");
    append(&project, "catamaran.toml", "\n[component.thirteenth]\nexclude = \"not yet\"\n");
    assert_eq!(expected(&project), 36);
    let plan = project.run(&["plan"]).exits(0).stdout;
    assert!(plan.contains("excluded  thirteenth  src/thirteenth/Dockerfile  \"not yet\"\n"), "{plan}");
    assert!(plan.contains("36 cells (24 built, 12 mirrored), 1 component excluded\n"), "{plan}");

    project.write("src/fourteenth/Dockerfile.old", "FROM scratch\n");
    for command in ["plan", "build"] {
        let refused = project.run(&[command]).exits(2).stderr;
        assert!(refused.contains("src/fourteenth/Dockerfile.old"), "{refused}");
    }
    let config = fs::read_to_string(project.path("catamaran.toml")).expect("it is there");
    let line = "[discover.exclude]\n";
    project.write(
        "catamaran.toml",
        &config.replace(line, &format!("{line}\"src/fourteenth/Dockerfile.old\" = \"before the move\"\n")),
    );
    assert_eq!(expected(&project), 36);
}

#[test]
fn d5_one_undefined_name_among_the_templates_ends_it_before_anything_is_built() {
    let project = infra();
    let lines = fs::read_to_string(project.path("src/gitea/Dockerfile.tpl")).expect("it is there").lines().count();
    append(&project, "src/gitea/Dockerfile.tpl", "LABEL of={{NOBODY}}\n");
    let refused = project.run(&["build", "--builder", Daemon::shared().address()]).exits(2).stderr;
    assert!(refused.contains("NOBODY"), "{refused}");
    assert!(refused.contains(&format!("src/gitea/Dockerfile.tpl:{}", lines + 1)), "{refused}");
    assert!(!project.path(".catamaran").exists(), "nothing was begun");
}

#[test]
fn d17_a_builder_without_an_emulator_is_told_with_its_cells_before_the_first_solve() {
    // No kernel of a test has one for this.
    let project = Project::with(
        "name = \"demo\"\nplatforms = [\"linux/ppc64\"]\n[component.one]\n[component.two]\n",
        &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\nRUN [\"/bin/busybox\"]\n")],
    );
    let ran = project.run(&["build", "--builder", Daemon::shared().address(), "--progress", "plain"]).exits(5);
    for text in ["linux/ppc64", "one/ppc64", "two/ppc64", "Dockerfile:3"] {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains(" | #"), "no step began: {}", ran.stderr);
}

/// The page goes from a script to this file, step by step; what it shows and names has to be so.
#[test]
fn d27_the_page_about_migrating_shows_the_file_that_init_writes_and_commands_that_work() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrating-from-shell.md"));
    let page = page.expect("it is there");
    let file = page.split_once("## The file\n").expect("its section").1;
    let file = file.split_once("```toml\n").expect("a block").1.split_once("```").expect("its end").0;
    let project = infra();
    let written = fs::read_to_string(project.path("catamaran.toml")).expect("init wrote it");
    // The name is the folder's, and `# added` are the lines that only a person can know.
    let lines = |text: &str| {
        let mine =
            |line: &&str| !line.starts_with("name") && !line.contains("# added") && !line.starts_with("# registry");
        text.lines().filter(mine).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(file), lines(&written));
    assert!(file.lines().count() <= 100);
    for command in [
        "catamaran plan",
        "catamaran plan --vars",
        "catamaran plan --graph mermaid",
        "catamaran why backend",
        "catamaran logs --failed",
    ] {
        assert!(page.contains(command), "{command}");
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        project.run(&arguments).exits(0);
    }
}
