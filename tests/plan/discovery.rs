use std::fmt::Write as _;

use catamaran::config::FindOutcome;
use catamaran::plan::PlanOptions;

use super::Folder;

const HEAD: &str = "name = \"demo\"\nplatforms = [\"amd64\"]\n[discover]\nroots = [\"src/*\"]\n";

fn folder(toml: &str, files: &[&str]) -> Folder {
    let folder = Folder::new(&[("catamaran.toml", &format!("{HEAD}{toml}"))]);
    for path in files {
        let text =
            if path.contains("dependency.conf") { "# upstream\nredis:7-alpine\n" } else { "FROM scratch\nCOPY x /\n" };
        folder.write(path, text);
    }
    folder
}

#[test]
fn every_find_is_something() {
    let folder = folder(
        "exclude = { \"src/b/Dockerfile.old\" = \"before the move\" }\n\
         [component.b]\ntarget = \"0\"\n[component.c-prod]\nneeds = [\"a\"]\n[component.deep]\ndockerfile = \"src/d/build/Dockerfile\"\n\
         [component.gone]\ndockerfile = \"src/e/Dockerfile\"\nexclude = \"retired\"\n",
        &[
            "src/a/Dockerfile",
            "src/a/Dockerfile.dockerignore",
            "src/b/Containerfile",
            "src/b/Dockerfile.old",
            "src/c/Dockerfile.tpl",
            "src/c/Dockerfile.prod",
            "src/d/build/Dockerfile",
            "src/e/Dockerfile",
            "src/redis/dependency.conf",
            "src/docs/readme.md",
            "src/.hidden/Dockerfile",
        ],
    );
    let planned = folder.planned();
    let names: Vec<String> = planned.components.iter().map(|component| component.name.to_string()).collect();
    assert_eq!(names, ["b", "c-prod", "deep", "gone", "a", "c", "redis"]);
    let finds: Vec<String> = planned
        .finds
        .iter()
        .map(|find| match &find.outcome {
            FindOutcome::Component(name) => format!("{} = {name}", find.path.display()),
            FindOutcome::LeftOut(reason) => format!("{} - {reason}", find.path.display()),
        })
        .collect();
    assert_eq!(
        finds,
        [
            "src/a/Dockerfile = a",
            "src/b/Containerfile = b",
            "src/b/Dockerfile.old - before the move",
            "src/c/Dockerfile.prod = c-prod",
            "src/c/Dockerfile.tpl = c",
            "src/e/Dockerfile = gone",
            "src/redis/dependency.conf = redis",
        ]
    );
    assert_eq!(planned.expected().count(), 6);
}

#[test]
fn odd_names_are_asked_about_and_links_in_circles_end() {
    let odd = [
        "src/a/Containerfile.dev",
        "src/a/app.Dockerfile.tpl",
        "src/a/Dockerfile~",
        "src/a/Dockerfile.bak",
        "src/a/Dockerfile copy",
        "src/a/DOCKERFILE.OLD",
        "src/a/dockerfile-alpine",
        "src/a/old.containerfile",
    ];
    let folder = folder("", &["src/a/Dockerfile", "src/a/Dockerfile.dockerignore", "src/a/Dockerfiles.md"]);
    for path in odd {
        folder.write(path, "FROM scratch\nCOPY x /\n");
    }
    // A folder of itself, and two links that point at each other.
    std::os::unix::fs::symlink("..", folder.path().join("src/a/up")).expect("a link");
    std::os::unix::fs::symlink("there", folder.path().join("src/here")).expect("a link");
    std::os::unix::fs::symlink("here", folder.path().join("src/there")).expect("a link");
    let text = folder.plan(&folder.request(), &PlanOptions::default()).expect_err("they are asked about");
    for path in odd {
        assert!(text.contains(&format!("`{path}` belongs to nothing")), "{path}: {text}");
    }
    assert_eq!(text.matches("belongs to nothing").count(), odd.len(), "{text}");

    let excluded: Vec<String> = odd.iter().map(|path| format!("\"{path}\" = \"not ours\"")).collect();
    let head = HEAD.replace("src/*", "src/**");
    folder.write("catamaran.toml", &format!("{head}exclude = {{ {} }}\n", excluded.join(", ")));
    let planned = folder.planned();
    assert_eq!(planned.components.len(), 1, "one folder, whatever links lead to it");
    assert_eq!(planned.finds.len(), odd.len() + 1, "{:?}", planned.finds);
}

#[test]
fn roots_are_globs_over_folders() {
    let folder = Folder::new(&[
        ("catamaran.toml", "platforms = [\"amd64\"]\n[discover]\nroots = [\"services/**\", \"tools/build-?\"]\n"),
        ("services/one/Dockerfile", "FROM scratch\n"),
        ("services/group/two/Dockerfile", "FROM scratch\n"),
        ("services/.git/x/Dockerfile", "FROM scratch\n"),
        ("tools/build-1/Dockerfile", "FROM scratch\n"),
        ("tools/other/Dockerfile", "FROM scratch\n"),
    ]);
    let names: Vec<String> = folder.planned().components.iter().map(|component| component.name.to_string()).collect();
    assert_eq!(names, ["two", "one", "build-1"]);
}

#[test]
fn d4_what_belongs_to_nothing_is_asked_about_in_these_words() {
    let mut out = String::new();
    for (title, toml, files) in [
        (
            "backup and variant",
            "",
            &["src/nginx/Dockerfile", "src/nginx/Dockerfile.backup", "src/nginx/arm.Dockerfile"][..],
        ),
        ("file and template", "", &["src/nginx/Dockerfile", "src/nginx/Dockerfile.tpl"]),
        (
            "file beside its template",
            "[component.nginx]\ndockerfile = \"src/nginx/Dockerfile.tpl\"\n",
            &["src/nginx/Dockerfile", "src/nginx/Dockerfile.tpl"],
        ),
        ("folder is no name", "", &["src/My App/Dockerfile"]),
        ("image and dependency", "", &["src/redis/Dockerfile", "src/redis/dependency.conf"]),
        ("exclusion of nothing", "exclude = { \"src/x/Dockerfile\" = \"old\" }\n", &["src/a/Dockerfile"]),
        ("no root", "", &["sources/a/Dockerfile"]),
    ] {
        let folder = folder(toml, files);
        let text = folder.plan(&folder.request(), &PlanOptions::default()).expect_err(title);
        let _ = writeln!(out, "## {title}\n{text}");
    }
    let folder = folder("", &["src/redis/dependency.conf.tpl"]);
    folder.write("src/redis/dependency.conf.tpl", "redis:{{REDIS_VERSION}}\n");
    let text = folder.plan(&folder.request(), &PlanOptions::default()).expect_err("refused");
    let _ = writeln!(out, "## dependency template\n{text}");
    folder.write("src/redis/dependency.conf.tpl", "a\nb\n");
    let text = folder.plan(&folder.request(), &PlanOptions::default()).expect_err("refused");
    let _ = writeln!(out, "## two dependencies\n{text}");
    snapbox::assert_data_eq!(out, snapbox::file!["refused_finds.txt"].raw());
}

#[test]
fn a_hundred_thousand_files_are_read_by_name_only() {
    // Wide directories: what is counted is that the plan comes, and that no file but Dockerfiles is opened (unreadable ones
    // would be refused).
    let folder = folder("", &["src/a/Dockerfile"]);
    for number in 0..2_000 {
        folder.write(&format!("src/a/{number}.txt"), "");
    }
    assert_eq!(folder.planned().components.len(), 1);
}
