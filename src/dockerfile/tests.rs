use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::base::{Failure as _, Platform, SourceText};

fn parsed(text: &str) -> Dockerfile {
    Dockerfile::parse(&SourceText::new("Dockerfile", text)).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every problem as `line: message -> help`.
fn problems(text: &str) -> Vec<String> {
    let Err(error) = Dockerfile::parse(&SourceText::new("Dockerfile", text)) else { return Vec::new() };
    error
        .into_problems()
        .map(|problem| {
            format!("{}: {} -> {}", problem.span.line(), problem.message, problem.help().unwrap_or_default())
        })
        .collect()
}

fn platform(text: &str) -> Platform {
    text.parse().expect("a platform")
}

struct Build<'a> {
    target: Option<&'a str>,
    args: &'a [(&'a str, &'a str)],
    platform: &'a str,
    contexts: &'a [&'a str],
}

const PLAIN: Build<'_> = Build { target: None, args: &[], platform: "arm64", contexts: &[] };

fn facts(text: &str, build: &Build<'_>) -> Facts {
    try_facts(text, build).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn try_facts(text: &str, build: &Build<'_>) -> Result<Facts, DockerfileError> {
    let args: BTreeMap<_, _> = build.args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let contexts: BTreeSet<_> = build.contexts.iter().map(|name| context_name(name)).collect();
    parsed(text).facts(&BuildInputs {
        target: build.target,
        args: &args,
        platform: &platform(build.platform),
        build_platform: &platform("amd64"),
        contexts: &contexts,
    })
}

/// `name@platform` of every use; the builder's own platform is `builder`.
fn uses(facts: &Facts) -> Vec<String> {
    facts.uses.iter().map(|used| format!("{}@{}", used.name, shown(&used.platform))).collect()
}

fn executes(facts: &Facts) -> Vec<String> {
    facts.executes.iter().map(|(platform, span)| format!("{}:{}", shown(platform), span.line())).collect()
}

fn shown(platform: &StagePlatform) -> String {
    match platform {
        StagePlatform::Fixed(platform) => platform.short(),
        StagePlatform::Builder => "builder".to_owned(),
    }
}

#[test]
fn joins_lines_and_passes_comments_over() {
    let text = "FROM a\n# note\nRUN one \\\n  # between\n\n  two \\  \n  three\nENV A=b\\\\\nCMD x\n";
    let file = parsed(text);
    let names: Vec<&str> = file.stages[0].instructions.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["RUN", "ENV", "CMD"], "a doubled escape does not continue a line");
    let run = &file.stages[0].instructions[0];
    assert_eq!(&text[run.range.clone()], "RUN one \\\n  # between\n\n  two \\  \n  three");
}

#[test]
fn words_know_their_place_across_lines() {
    let text = "FROM a AS x\nFROM \\\n  b \\\n  AS y\nCOPY --from=x \\\n  /one \\\n  /two\n";
    let file = parsed(text);
    assert_eq!(&text[file.stages[1].image.range.clone()], "b");
    let copy = &file.stages[1].instructions[0];
    assert_eq!(&text[copy.flag("from").expect("a flag").range.clone()], "x");
    let InstructionKind::Copy { sources, destination } = &copy.kind else { panic!("a copy") };
    assert_eq!((&text[sources[0].range.clone()], &text[destination.range.clone()]), ("/one", "/two"));
}

#[test]
fn reads_directives() {
    let file =
        parsed("# syntax = docker/dockerfile:1\n# ESCAPE=`\n#check=error=true\n# other=x\nFROM a\nRUN a `\n b\n");
    assert_eq!(file.directives.escape, '`');
    assert!(!file.directives.is_foreign());
    assert_eq!(file.stages[0].instructions.len(), 1);
    assert_eq!(parsed("\u{feff}# escape=`\nFROM a\n").directives.escape, '`', "a byte order mark is passed over");
    assert_eq!(parsed("\n# escape=`\nFROM a\n").directives.escape, '\\', "a directive after a blank line is a comment");
    assert!(parsed("#!/usr/bin/env x\n# syntax=other/frontend\nnonsense\n").directives.is_foreign());
    for own in ["docker/dockerfile", "docker.io/docker/dockerfile:1.7-labs", "docker/dockerfile-upstream@sha256:00"] {
        assert!(!parsed(&format!("# syntax={own}\nFROM a\n")).directives.is_foreign(), "{own}");
    }
}

#[test]
fn takes_heredocs_whole() {
    let text = "FROM a\nRUN <<A cat <<-'B'\nFROM inside\nA\n\tRUN x\n\tB\nCOPY <<C /c\nC\nUSER u\n";
    let file = parsed(text);
    let run = &file.stages[0].instructions[0];
    let bodies: Vec<_> = run.heredocs.iter().map(|h| (h.name.as_str(), h.expand, &text[h.body.clone()])).collect();
    assert_eq!(bodies, [("A", true, "FROM inside\n"), ("B", false, "\tRUN x\n")]);
    let names: Vec<&str> = file.stages[0].instructions.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["RUN", "COPY", "USER"]);
}

#[test]
fn reads_flags_and_leaves_unknown_ones_alone() {
    let text = "FROM --platform=$BUILDPLATFORM --new a\nRUN --mount=type=bind,from=b --mount=\"type=cache,target=/c\" --x=\"1 2\" run --not\nCOPY [\"a b\", \"/c d\"]\n";
    let file = parsed(text);
    assert_eq!(file.stages[0].platform.as_ref().map(|word| word.text.as_str()), Some("$BUILDPLATFORM"));
    let run = &file.stages[0].instructions[0];
    assert_eq!(run.flags.len(), 3);
    assert_eq!(run.mounts_from().map(|word| word.text).collect::<Vec<_>>(), ["b"]);
    let InstructionKind::Copy { sources, .. } = &file.stages[0].instructions[1].kind else { panic!("a copy") };
    assert_eq!(sources[0].text, "a b");
}

#[test]
fn says_what_is_plainly_broken() {
    let table: &[(&str, &[&str])] = &[
        ("", &["1: nothing to build in this Dockerfile -> begin with FROM and an image"]),
        ("ARG A\n", &["1: no `FROM` in this Dockerfile -> begin with FROM and an image"]),
        ("RUN x\nFROM a\n", &["1: `RUN` before the first `FROM` -> begin with FROM; only ARG may stand before it"]),
        ("FROM a\nCOPPY a b\n", &["2: unknown instruction `COPPY` -> did you mean `COPY`?"]),
        (
            "FROM a\n&& apt update\n",
            &[
                "2: unknown instruction `&&` -> a line of the instruction before must end in `\\`, or a `# syntax=` line must say who knows it",
            ],
        ),
        ("FROM\n", &["1: `FROM` without an image -> write FROM and an image, a stage or `scratch`"]),
        (
            "FROM a b\n",
            &["1: `FROM` takes an image and may give the stage a name -> write `FROM a` or `FROM a AS name`"],
        ),
        (
            "FROM a AS 9x\n",
            &["1: `9x` cannot be the name of a stage -> begin with a letter, then letters, digits, `-`, `_`, `.`"],
        ),
        ("FROM a\nRUN\n", &["2: `RUN` without arguments -> write what RUN is to do, or take it out"]),
        ("FROM a\nCOPY x\n", &["2: `COPY` has a source and no destination -> write COPY SOURCE… DESTINATION"]),
        (
            "FROM a\nRUN <<EOF\nx\n",
            &["2: the heredoc `EOF` does not end -> end the heredoc with a line that is only `EOF`"],
        ),
        ("# escape=x\nFROM a\n", &["1: `x` cannot be the escape character -> write `\\` or a backtick"]),
        (
            "FROM a\nCOPY x\nUSR root\n",
            &[
                "2: `COPY` has a source and no destination -> write COPY SOURCE… DESTINATION",
                "3: unknown instruction `USR` -> did you mean `USER`?",
            ],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(problems(text), *expected, "{text:?}");
    }
    assert_eq!(
        problems("# syntax=docker/dockerfile:labs\nFROM a\nNEWTHING x\n"),
        [""; 0],
        "a newer frontend may know it"
    );
    assert_eq!(problems("# syntax=some/frontend\n\nlet x = 1\n"), [""; 0], "another language is not judged");
}

#[test]
fn counts_only_stages_that_the_target_needs() {
    let text = "ARG V=1\nFROM golang:$V AS build\nRUN make\nFROM alpine AS debug\nRUN debug\nFROM busybox AS final\n\
                COPY --from=build /x /x\nCOPY --from=nginx:1 /y /y\nRUN --mount=type=bind,from=tools,target=/t x\n";
    let all = facts(text, &PLAIN);
    assert_eq!(uses(&all), ["golang:1@arm64", "busybox@arm64", "nginx:1@arm64", "tools@arm64"]);
    assert_eq!(executes(&all), ["arm64:3"]);
    let debug = facts(text, &Build { target: Some("DEBUG"), args: &[("V", "2")], ..PLAIN });
    assert_eq!(uses(&debug), ["alpine@arm64"]);
    let build = facts(text, &Build { target: Some("0"), args: &[("V", "2")], ..PLAIN });
    assert_eq!(uses(&build), ["golang:2@arm64"]);
}

#[test]
fn cross_compiled_images_need_no_emulator() {
    let text = "FROM --platform=$BUILDPLATFORM golang AS build\nRUN go build\nFROM scratch\nCOPY --from=build /x /x\n";
    let found = facts(text, &PLAIN);
    assert_eq!(uses(&found), ["golang@builder"]);
    assert_eq!(executes(&found), ["builder:2"]);
    let fixed = facts("FROM --platform=linux/s390x a AS b\nRUN x\nFROM b\nRUN y\n", &PLAIN);
    assert_eq!(executes(&fixed), ["s390x:2"], "a stage has the platform of the stage it starts from");
    let chosen = facts("FROM a AS t-amd64\nRUN x\nFROM b AS t-arm64\nFROM t-${TARGETARCH}\n", &PLAIN);
    assert_eq!((uses(&chosen), executes(&chosen)), (vec!["b@arm64".to_owned()], vec![]));
}

#[test]
fn named_contexts_stand_in() {
    let text = "FROM base AS deps\nRUN make\nFROM scratch\nCOPY --from=deps /x /\nCOPY --from=docker.io/library/redis:latest /r /\n";
    let replaced = facts(text, &Build { contexts: &["deps"], ..PLAIN });
    assert_eq!(uses(&replaced), ["deps@arm64", "docker.io/library/redis:latest@arm64"]);
    assert!(replaced.executes.is_empty());
    for (written, name) in [
        ("docker.io/library/redis:latest", "redis"),
        ("redis:7", "redis:7"),
        ("docker.io/me/app", "me/app"),
        ("quay.io/library/x:latest", "quay.io/library/x"),
        ("Not An Image", "not an image"),
        ("Base", "base"),
        ("registry.example.com/Team/Tool:RC1", "registry.example.com/team/tool:RC1"),
    ] {
        assert_eq!(context_name(written), name);
    }
}

#[test]
fn says_which_names_cannot_be_made_out() {
    let failed = |text: &str, build: &Build<'_>| {
        let error = try_facts(text, build).expect_err("fails");
        format!("{}: {error} -> {}", error.span().expect("a place").line(), error.help().unwrap_or_default())
    };
    assert_eq!(
        failed("ARG BASE\nFROM $BASE\n", &PLAIN),
        "2: `FROM $BASE` names no image -> give `BASE` a value: `ARG BASE=…` before the first FROM, or in the component's args"
    );
    assert_eq!(
        failed("FROM a AS builder\nFROM b\n", &Build { target: Some("bulder"), ..PLAIN }),
        "2: there is no stage `bulder` -> did you mean `builder`?"
    );
    assert_eq!(
        failed("FROM --platform=linux/amd65 a\n", &PLAIN),
        "1: unknown platform `linux/amd65` -> did you mean `linux/amd64`?"
    );
    assert_eq!(failed("FROM a:${V\n", &PLAIN), "1: `a:${V` cannot be expanded: `{` is not closed -> ");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn parsing_is_total(text in "([ \t]*(FROM|from|RUN|COPY|ARG|ADD|ONBUILD|#|# escape=`|<<EOF|EOF|--from=|--mount=|\\\\|\"|'|\\$|a|=|AS|\n|\r\n|\u{feff}|é)){0,60}") {
        let source = SourceText::new("Dockerfile", text.clone());
        if let Ok(file) = Dockerfile::parse(&source) {
            // Ranges lie in the text and on character borders, in order.
            let mut last = 0;
            for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
                prop_assert!(instruction.range.start >= last);
                prop_assert!(text.get(instruction.range.clone()).is_some());
                for heredoc in &instruction.heredocs {
                    prop_assert!(text.get(heredoc.body.clone()).is_some());
                }
                last = instruction.range.end;
            }
            drop(try_facts(&text, &PLAIN));
        }
    }

    #[test]
    fn any_bytes_are_taken(text in ".{0,200}") {
        if let Err(error) = Dockerfile::parse(&SourceText::new("Dockerfile", text)) {
            for problem in error.into_problems() {
                let _ = problem.span.line();
            }
        }
    }
}
