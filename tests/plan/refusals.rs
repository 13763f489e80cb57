use std::fmt::Write as _;

use catamaran::plan::PlanOptions;

use super::{Folder, project};

const DOCKERFILE: (&str, &str) = ("Dockerfile", "FROM scratch\nCOPY x /\n");

/// One folder that must be refused: what is wrong with it, its `catamaran.toml`, other files.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// Refused because of the project file alone.
const FILES: &[Case<'_>] = &[
    ("syntax", "name = \"demo\"\nplatforms = [\"linux/amd64\"\n[component.a]\n", &[]),
    ("two keys", "name = \"demo\"\nname = \"other\"\n", &[]),
    ("platform", "platforms = [\"linux/amd65\", \"linux/arm64\"]\n[component.a]\n", &[DOCKERFILE]),
    ("no platform like it", "platforms = [\"vax\"]\n[component.a]\n", &[DOCKERFILE]),
    ("empty platforms", "platforms = []\n[component.a]\n", &[DOCKERFILE]),
    ("no platforms", "name = \"demo\"\n[component.a]\n", &[DOCKERFILE]),
    ("text for a list", "platforms = \"linux/amd64\"\n[component.a]\n", &[DOCKERFILE]),
    ("misspelt key", "platforms = [\"amd64\"]\nregistrys = []\n[component.a]\n", &[DOCKERFILE]),
    ("unknown key", "platforms = [\"amd64\"]\n[component.a]\ncolour = \"red\"\n", &[DOCKERFILE]),
    ("misspelt table", "platforms = [\"amd64\"]\n[componet.a]\n", &[DOCKERFILE]),
    ("component name", "platforms = [\"amd64\"]\n[component.Slurm_Master]\n", &[DOCKERFILE]),
    ("variable", "platforms = [\"amd64\"]\ntag = \"v${VERSION}\"\n[component.a]\n", &[DOCKERFILE]),
    (
        "variable with a message",
        "platforms = [\"amd64\"]\ntag = \"${TAG:?give the release}\"\n[component.a]\n",
        &[DOCKERFILE],
    ),
    ("substitution", "platforms = [\"amd64\"]\ntag = \"${TAG!x}\"\n[component.a]\n", &[DOCKERFILE]),
    ("tag", "platforms = [\"amd64\"]\ntag = \"-v1\"\n[component.a]\n", &[DOCKERFILE]),
    ("tag template", "platforms = [\"amd64\"]\ntag = \"{gti}\"\n[component.a]\n", &[DOCKERFILE]),
    ("git outside a repository", "platforms = [\"amd64\"]\nepoch = \"now\"\n[component.a]\n", &[DOCKERFILE]),
    (
        "registry with a scheme",
        "platforms = [\"amd64\"]\nregistry = [\"https://r.example.com\"]\n[component.a]\n",
        &[DOCKERFILE],
    ),
    ("image name", "platforms = [\"amd64\"]\nimage = \"Infra-{component}\"\n[component.a]\n", &[DOCKERFILE]),
    ("exclude without a reason", "platforms = [\"amd64\"]\n[component.a]\nexclude = true\n", &[DOCKERFILE]),
    ("number for a text", "platforms = [\"amd64\"]\ntag = 1\n[component.a]\n", &[DOCKERFILE]),
    (
        "context of another tool",
        "platforms = [\"amd64\"]\n[component.a]\ncontexts = { b = \"target:b\" }\n",
        &[DOCKERFILE],
    ),
    ("secret", "platforms = [\"amd64\"]\n[component.a]\nsecrets = { t = \"x\" }\n", &[DOCKERFILE]),
    ("external without image", "platforms = [\"amd64\"]\n[external.redis]\n", &[]),
    (
        "external with a digest",
        "platforms = [\"amd64\"]\n[external.r]\nimage = \"r@sha256:0123456789012345678901234567890123456789012345678901234567890123\"\n",
        &[],
    ),
    (
        "service probe",
        "platforms = [\"amd64\"]\n[component.a]\n[service.a]\nready = \"a:80\"\nport = 0\n",
        &[DOCKERFILE],
    ),
    ("builder", "platforms = [\"amd64\"]\n[component.a]\n[builder.x]\ncert = \"c.pem\"\n", &[DOCKERFILE]),
    (
        "vars file",
        "platforms = [\"amd64\"]\n[vars]\nfiles = [\"deps.yaml\", \"no.env\"]\n[component.a]\n",
        &[DOCKERFILE, ("deps.yaml", "golang: 1.25\nnested:\n  a: 1\n")],
    ),
    ("several at once", "platforms = [\"amd65\"]\ntag = \"a b\"\n[component.a]\ndockerfle = \"x\"\n", &[]),
];

/// Refused because things do not fit together.
const WHOLES: &[Case<'_>] = &[
    ("no components", "name = \"demo\"\nplatforms = [\"amd64\"]\n", &[]),
    ("missing Dockerfile", "platforms = [\"amd64\"]\n[component.a]\ndockerfile = \"src/a/Dockerfile\"\n", &[]),
    (
        "the template is beside it",
        "platforms = [\"amd64\"]\n[component.a]\ndockerfile = \"src/a/Dockerfile\"\n",
        &[("src/a/Dockerfile.tpl", "FROM scratch\n")],
    ),
    (
        "relative to the context",
        "platforms = [\"amd64\"]\n[component.a]\ncontext = \"src\"\ndockerfile = \"a/Dockerfile\"\n",
        &[("src/a/Dockerfile", "FROM scratch\n")],
    ),
    (
        "missing context",
        "platforms = [\"amd64\"]\n[component.a]\ndockerfile = \"Dockerfile\"\ncontext = \"sorce\"\n",
        &[DOCKERFILE],
    ),
    ("unknown need", "platforms = [\"amd64\"]\n[component.a]\nneeds = [\"bse\"]\n[component.base]\n", &[DOCKERFILE]),
    (
        "unknown context",
        "platforms = [\"amd64\"]\n[component.a]\ncontexts = { x = \"component:zzz\" }\n[component.base]\n",
        &[DOCKERFILE],
    ),
    ("unknown service", "platforms = [\"amd64\"]\n[component.apphub]\n[service.aphub]\n", &[DOCKERFILE]),
    (
        "needs an excluded one",
        "platforms = [\"amd64\"]\n[component.a]\nneeds = [\"old\"]\n[component.old]\nexclude = \"retired\"\n",
        &[DOCKERFILE],
    ),
    (
        "cycle",
        "platforms = [\"amd64\"]\n[component.a]\nneeds = [\"c\"]\n[component.b]\nneeds = [\"a\"]\n[component.c]\ncontexts = { x = \"component:b\" }\n",
        &[DOCKERFILE],
    ),
    ("needs itself", "platforms = [\"amd64\"]\n[component.a]\nneeds = [\"a\"]\n", &[DOCKERFILE]),
    ("one name for two", "platforms = [\"amd64\"]\nimage = \"app\"\n[component.a]\n[component.b]\n", &[DOCKERFILE]),
    (
        "case",
        "platforms = [\"amd64\"]\nimage = \"app\"\n[component.a]\ntag = \"V1\"\n[component.b]\ntag = \"v1\"\n",
        &[DOCKERFILE],
    ),
    ("wider than the project", "platforms = [\"amd64\"]\n[component.a]\nplatforms = [\"arm64\"]\n", &[DOCKERFILE]),
    (
        "context not built for this platform",
        "platforms = [\"amd64\", \"arm64\"]\n[component.a]\nplatforms = [\"amd64\"]\n[component.b]\ncontexts = { a = \"component:a\" }\n",
        &[DOCKERFILE],
    ),
    (
        "component and external",
        "platforms = [\"amd64\"]\n[component.a]\n[external.a]\nimage = \"a:1\"\n",
        &[DOCKERFILE],
    ),
    (
        "target",
        "platforms = [\"amd64\", \"arm64\"]\n[component.a]\ntarget = \"bulid\"\n",
        &[("Dockerfile", "FROM a AS build\nFROM b AS final\n")],
    ),
    ("no FROM", "platforms = [\"amd64\"]\n[component.a]\n", &[("Dockerfile", "# nothing\n")]),
    (
        "instruction",
        "platforms = [\"amd64\"]\n[component.a]\n",
        &[("Dockerfile", "FROM alpine\nRUN apk add x\n  && apk del y\nCOPPY a b\n")],
    ),
    ("heredoc", "platforms = [\"amd64\"]\n[component.a]\n", &[("Dockerfile", "FROM alpine\nRUN <<EOF\napk add x\n")]),
    ("FROM without image", "platforms = [\"amd64\"]\n[component.a]\n", &[("Dockerfile", "FROM \nRUN x\n")]),
    (
        "FROM with an empty variable",
        "platforms = [\"amd64\", \"arm64\"]\n[component.a]\n",
        &[("Dockerfile", "ARG BASE\nFROM ${BASE}\n")],
    ),
    (
        "FROM with no reference",
        "platforms = [\"amd64\", \"arm64\"]\n[component.a]\n",
        &[("Dockerfile", "FROM Alpine:3\n")],
    ),
    (
        "platform of a stage",
        "platforms = [\"amd64\"]\n[component.a]\n",
        &[("Dockerfile", "FROM --platform=linux/adm64 alpine\n")],
    ),
    (
        "template",
        "platforms = [\"amd64\"]\n[vars]\nset = { GO_VERSION = \"1.25\" }\n[component.a]\ndockerfile = \"Dockerfile.tpl\"\n",
        &[("Dockerfile.tpl", "FROM golang:{{GO_VERSON}}\nRUN x {{MIRROR}}\n")],
    ),
    (
        "two candidates",
        "platforms = [\"amd64\"]\n[component.a]\nimage = \"x\"\nregistry = [\"one.example.com\"]\n[component.b]\nimage = \"x\"\nregistry = [\"two.example.com\"]\n[component.c]\ndockerfile = \"c/Dockerfile\"\n",
        &[DOCKERFILE, ("c/Dockerfile", "FROM x\n")],
    ),
];

fn refusals(cases: &[Case<'_>]) -> String {
    let mut out = String::new();
    for (title, toml, files) in cases {
        let folder = Folder::new(files);
        folder.write("catamaran.toml", toml);
        let Err(text) = folder.plan(&folder.request(), &PlanOptions::default()) else {
            panic!("not refused: {title}");
        };
        let _ = writeln!(out, "## {title}\n{text}");
    }
    out
}

#[test]
fn project_files_are_refused_in_these_words() {
    snapbox::assert_data_eq!(refusals(FILES), snapbox::file!["refused_files.txt"].raw());
}

#[test]
fn projects_are_refused_in_these_words() {
    snapbox::assert_data_eq!(refusals(WHOLES), snapbox::file!["refused_wholes.txt"].raw());
}

#[test]
fn names_and_platforms_of_the_command_line_are_refused_in_these_words() {
    let folder = project("[component.old]\nexclude = \"retired\"\n", &["backend", "old"]);
    let mut out = String::new();
    for (names, platforms) in [
        (vec!["bakend"], None),
        (vec!["old"], None),
        (vec!["backend/amd65"], None),
        (vec!["backend/s390x"], None),
        (vec!["z*", "q"], None),
        (vec![], Some(vec!["s390x"])),
    ] {
        let options = PlanOptions {
            names: names.iter().map(|name| name.parse().expect("any text")).collect(),
            platforms: platforms.as_ref().map(|all| all.iter().map(|one| one.parse().expect("a platform")).collect()),
            ..PlanOptions::default()
        };
        let text = folder.plan(&folder.request(), &options).expect_err("refused");
        let _ = writeln!(out, "## {names:?} {platforms:?}\n{text}");
    }
    let empty = Folder::new(&[]);
    let text = empty.plan(&empty.request(), &PlanOptions::default()).expect_err("refused");
    let _ = writeln!(out, "## no project\n{text}");
    snapbox::assert_data_eq!(out, snapbox::file!["refused_names.txt"].raw());
}
