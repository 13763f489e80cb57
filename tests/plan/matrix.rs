use std::collections::BTreeMap;

use catamaran::config::{DiskFiles, LoadRequest, load};
use catamaran::plan::{Cell, ContextSource, NeedReason, Plan, PlanOptions, Selection, plan};
use catamaran::report::{Style, plan_document, plan_table};

use super::{Folder, fixture, project};

fn ids<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Vec<String> {
    cells.into_iter().map(|cell| cell.id.to_string()).collect()
}

fn cell<'a>(plan: &'a Plan, id: &str) -> &'a Cell {
    plan.cells.iter().find(|cell| cell.id.to_string() == id).unwrap_or_else(|| panic!("no cell {id}"))
}

fn needs(plan: &Plan, id: &str) -> Vec<String> {
    cell(plan, id).needs.iter().map(ToString::to_string).collect()
}

/// Every cell comes after all that it needs.
fn assert_ordered(plan: &Plan) {
    let place: BTreeMap<_, _> = plan.cells.iter().enumerate().map(|(at, cell)| (cell.id.clone(), at)).collect();
    for (at, cell) in plan.cells.iter().enumerate() {
        for need in &cell.needs {
            assert!(place[need] < at, "{} before its need {need}", cell.id);
        }
    }
}

#[test]
fn the_fleet_is_26_cells() {
    let request = LoadRequest { directory: fixture("fleet"), ..LoadRequest::default() };
    let project = load(&request).expect("loads");
    let planned = plan(&project, &PlanOptions::default(), &DiskFiles).expect("plans");
    let expect: toml::Table =
        std::fs::read_to_string(fixture("fleet/expect.toml")).expect("readable").parse().expect("TOML");
    assert_eq!(i64::try_from(planned.cells.len()).ok(), expect["cells"].as_integer());
    assert_eq!(i64::try_from(planned.components.len()).ok(), expect["indexes"].as_integer());
    assert_eq!(planned.tag, expect["tag"].as_str().expect("a text"));
    assert_ordered(&planned);
    assert_eq!(ids(&planned.cells[..2]), ["base/amd64", "base/arm64"]);
    assert_eq!(needs(&planned, "nightingale/arm64"), ["base/arm64", "prometheus/arm64"]);
    assert_eq!(planned.components[1].references[0].to_string(), "127.0.0.1:5000/fleet/apphub:v0.3.8");
    let base = cell(&planned, "base/arm64").build().expect("is built");
    assert!(base.bases.is_empty(), "nothing from outside");
    assert_eq!(base.executes.len(), 1);
    assert_eq!(base.executes[0].1.to_string(), "src/base/Dockerfile:5");
    let backend = planned.components.iter().find(|component| component.name.as_str() == "backend").expect("backend");
    assert_eq!(backend.phase, 3, "base, then apphub, then backend");
    let args = &cell(&planned, "backend/amd64").build().expect("is built").args;
    assert_eq!(args.get("VERSION").map(String::as_str), Some("v0.3.8"));
}

#[test]
fn d11_an_image_of_the_project_is_an_edge_and_never_pulled() {
    let folder = project(
        "tag = \"v1\"\nregistry = [\"r.example.com/team\", \"other.example.com\"]\nimage = \"ai-{component}\"\n\n[component.app]\nargs = { BASE = \"ai-base\" }\n",
        &["app", "base", "tool"],
    );
    folder.write(
        "src/app/Dockerfile",
        "ARG BASE\nARG T=v1\nFROM --platform=$BUILDPLATFORM r.example.com/team/ai-tool:v1 AS gen\nRUN gen\n\
         FROM other.example.com/${BASE}:$T\nCOPY --from=gen /x /x\nCOPY --from=alpine:3 /etc /etc\n\
         COPY --from=r.example.com/team/ai-base:v0 /old /old\n",
    );
    let options = PlanOptions { build_platform: "amd64".parse().ok(), ..PlanOptions::default() };
    let planned = folder.plan(&folder.request(), &options).expect("plans");
    assert_ordered(&planned);
    assert_eq!(needs(&planned, "app/amd64"), ["tool/amd64", "base/amd64"]);
    assert_eq!(needs(&planned, "app/arm64"), ["tool/amd64", "base/arm64"]);
    let build = cell(&planned, "app/arm64").build().expect("is built");
    let contexts: Vec<_> = build
        .contexts
        .iter()
        .map(|context| match &context.source {
            ContextSource::Cell(id) => format!("{} = {id}", context.name),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(contexts, ["r.example.com/team/ai-tool:v1 = tool/amd64", "other.example.com/ai-base:v1 = base/arm64"]);
    let bases: Vec<String> = build.bases.iter().map(|base| base.reference.to_string()).collect();
    assert_eq!(bases, ["alpine:3", "r.example.com/team/ai-base:v0"], "another tag is another image");
    assert!(build.executes.is_empty(), "what runs on the builder's platform needs no emulator");
    let app = &planned.components[0];
    assert!(matches!(&app.needs[1].reason, NeedReason::Inferred(name) if name == "other.example.com/ai-base:v1"));
}

#[test]
fn where_a_release_goes_does_not_change_what_it_is_made_from() {
    let folder = project("tag = \"v1\"\nregistry = [\"r.example.com/team\"]\n", &["app", "base"]);
    folder.write("src/app/Dockerfile", "FROM r.example.com/team/base:v1\n");
    let to = |prefix: &str| PlanOptions { to: vec![prefix.parse().expect("a prefix")], ..PlanOptions::default() };
    let planned = folder.plan(&folder.request(), &to("stage.example.com/x")).expect("plans");
    assert_eq!(needs(&planned, "app/amd64"), ["base/amd64"]);
    assert_eq!(planned.components[1].references[0].to_string(), "stage.example.com/x/base:v1");
}

#[test]
fn a_name_of_this_project_but_for_the_tag_is_told() {
    let config = "tag = \"v2\"\nregistry = [\"r.example.com/team\"]\n";
    let folder = project(config, &["app", "base", "nginx"]);
    let digest = format!("r.example.com/team/base@sha256:{}", "0".repeat(64));
    folder.write(
        "src/app/Dockerfile",
        &format!(
            "FROM r.example.com/team/base:v1\nCOPY --from=nginx:1.27 / /\nCOPY --from={digest} / /\n\
             COPY --from=docker.io/library/nginx:1.28 / /\n"
        ),
    );
    // An earlier image of the component itself is nothing to wonder at.
    folder.write("src/base/Dockerfile", "FROM r.example.com/team/base:v1\n");
    let told = |plan: &Plan| plan.warnings.iter().map(|warning| warning.message.clone()).collect::<Vec<_>>();
    assert_eq!(
        told(&folder.planned()),
        [
            "component `app` is made from `r.example.com/team/base:v1` from outside, not from `r.example.com/team/base:v2` of this project",
            "component `app` is made from `nginx:1.27` from outside, not from `r.example.com/team/nginx:v2` of this project",
        ]
    );
    let refused = |folder: &Folder, dockerfile: &str| {
        folder.write("src/app/Dockerfile", dockerfile);
        folder.plan(&folder.request(), &PlanOptions::default()).expect_err("is no image of this project")
    };
    let text = refused(&folder, "FROM base\n");
    assert_eq!(
        text,
        "error: component `app`: `base` is no image of this project, which makes `r.example.com/team/base:v2`\n  \
         where   src/app/Dockerfile:1:6\n          > 1 | FROM base\n              |      ^^^^\n  \
         fix     for the component: contexts = { \"base\" = \"component:base\" }; for one\n          \
         from outside: `docker.io/library/base:TAG`                      exit 2\n"
    );
    refused(&folder, "FROM r.example.com/team/base\n");
    let folder = project(&format!("image = \"ai-{{component}}\"\n{config}"), &["app", "base"]);
    refused(&folder, "FROM ai-base:v1\n");
    folder.write("src/app/Dockerfile", "FROM ai-base:v2\nCOPY --from=base:1 / /\n");
    let planned = folder.planned();
    assert_eq!((needs(&planned, "app/amd64"), told(&planned)), (vec!["base/amd64".to_owned()], Vec::new()));
}

#[test]
fn an_image_behind_a_named_context_is_a_base_or_an_edge() {
    let folder = project(
        "tag = \"v1\"\nregistry = [\"r.example.com\"]\n[component.app.contexts]\nown = \"docker-image://r.example.com/base:v1\"\n\
         Other = \"docker-image://alpine:3\"\nidle = \"docker-image://alpine:2\"\n",
        &["app", "base"],
    );
    folder.write("src/app/Dockerfile", "FROM other\nCOPY --from=own / /\n");
    let planned = folder.planned();
    assert_eq!(needs(&planned, "app/arm64"), ["base/arm64"]);
    let build = cell(&planned, "app/arm64").build().expect("is built");
    let bases: Vec<_> = build.bases.iter().map(|base| (base.reference.to_string(), base.context.as_deref())).collect();
    assert_eq!(bases, [("alpine:3".to_owned(), Some("other"))]);
    let own: Vec<_> =
        build.contexts.iter().filter(|context| context.name == "own").map(|context| &context.source).collect();
    assert!(matches!(own.as_slice(), [ContextSource::Cell(id)] if id.to_string() == "base/arm64"), "{own:?}");
    assert_eq!(planned.components[0].bases, ["alpine:3"]);
}

#[test]
fn a_trigger_that_takes_from_the_project_is_refused() {
    let folder = project("tag = \"v1\"\nregistry = [\"r.example.com\"]\n", &["app", "base"]);
    for trigger in ["COPY --from=r.example.com/base:v1 / /", "RUN --mount=type=bind,from=base:v1 true"] {
        folder.write("src/app/Dockerfile", &format!("FROM scratch\nONBUILD {trigger}\n"));
        let error = folder.plan(&folder.request(), &PlanOptions::default()).expect_err("is not followed");
        assert!(error.contains("`base` makes: that is not followed"), "{error}");
    }
    folder.write("src/app/Dockerfile", "FROM scratch\nONBUILD COPY --from=alpine:3 / /\n");
    folder.planned();
}

#[test]
fn an_image_of_its_own_name_comes_from_outside() {
    let folder = project("tag = \"1.27\"\n", &["nginx", "web"]);
    folder.write("src/nginx/Dockerfile", "FROM nginx:1.27\n");
    folder.write("src/web/Dockerfile", "FROM docker.io/library/nginx:1.27\n");
    let planned = folder.planned();
    assert_eq!(cell(&planned, "nginx/amd64").build().expect("is built").bases.len(), 1);
    assert_eq!(needs(&planned, "web/amd64"), ["nginx/amd64"]);
}

#[test]
fn names_select_and_pull_in_what_they_need() {
    let folder = project(
        "[component.app]\nneeds = [\"lib\"]\n[component.lib]\n[component.other]\nexclude = \"old\"\n[group]\nall = [\"app\", \"lib\"]\n",
        &["app", "lib", "other", "third"],
    );
    let selected = |names: &[&str], wanted: Selection| {
        let names = names.iter().map(|name| name.parse().expect("any text")).collect();
        let planned = folder.plan(&folder.request(), &PlanOptions { names, ..PlanOptions::default() });
        ids(planned.expect("plans").cells.iter().filter(|cell| cell.selection == wanted))
    };
    assert_eq!(selected(&["app/arm64"], Selection::Selected), ["app/arm64"]);
    assert_eq!(selected(&["app/arm64"], Selection::Required), ["lib/arm64"]);
    assert_eq!(selected(&["*/aarch64"], Selection::Selected), ["lib/arm64", "app/arm64", "third/arm64"]);
    assert_eq!(selected(&["all"], Selection::Selected).len(), 4);
    assert_eq!(selected(&["t*/linux/amd64"], Selection::Selected), ["third/amd64"]);
    assert_eq!(selected(&[], Selection::Selected).len(), 6, "excluded cells are never selected");
}

#[test]
fn groups_hold_groups_and_the_combinations_of_a_matrix() {
    let folder = project(
        "[component.a]\n[component.b.matrix]\naxes = { n = [\"1\", \"2\"] }\n[group]\ntools = [\"a\", \"loop\"]\nall = [\"tools\", \"b\", \"a\"]\n\
         loop = [\"tools\"]\n",
        &["a", "b", "c"],
    );
    let options = PlanOptions { names: vec!["all".parse().expect("any text")], ..PlanOptions::default() };
    let planned = folder.plan(&folder.request(), &options).expect("plans");
    let selected = ids(planned.cells.iter().filter(|cell| cell.selection == Selection::Selected));
    assert_eq!(selected.len(), 6, "{selected:?}");
}

#[test]
fn narrower_platforms_are_no_cells_and_platform_makes_a_subset() {
    let folder = project("[component.a]\nplatforms = [\"amd64\"]\n[component.b]\nneeds = [\"a\"]\n", &["a", "b"]);
    let planned = folder.planned();
    assert_eq!(ids(&planned.cells), ["a/amd64", "b/amd64", "b/arm64"]);
    assert!(needs(&planned, "b/arm64").is_empty(), "there is nothing to wait for on this platform");
    let options = PlanOptions { platforms: Some(vec!["arm64".parse().expect("ok")]), ..PlanOptions::default() };
    let subset = folder.plan(&folder.request(), &options).expect("plans");
    assert_eq!(ids(&subset.cells), ["b/arm64"]);
    assert!(subset.subset.platforms);
}

#[test]
fn d9_a_service_is_one_cell_that_others_need() {
    let folder = project(
        "[component.hub]\n[component.app]\nneeds = [\"hub\"]\n[service.hub]\nport = 80\nready = \"http://hub:80/health\"\n",
        &["hub", "app"],
    );
    let options = PlanOptions { build_platform: "arm64".parse().ok(), ..PlanOptions::default() };
    let planned = folder.plan(&folder.request(), &options).expect("plans");
    assert_eq!(needs(&planned, "app/amd64"), ["hub/arm64"]);
    assert_eq!(cell(&planned, "app/amd64").services[0].as_str(), "hub");
    assert_eq!(planned.services[0].cell.to_string(), "hub/arm64");
    assert!(planned.components[1].needs[0].service);
    let table = plan_table(&planned, &Style::plain(folder.path()));
    let line = "service   hub  arm64  port 80  ready when http://hub:80/health answers\n";
    assert!(table.contains(line), "{table}");
    let document: serde_json::Value = serde_json::from_str(&plan_document(Some(&planned), None)).expect("JSON");
    let expected = serde_json::json!([{"service": "hub", "component": "hub", "platform": "linux/arm64", "port": 80,
        "ready": {"http": "http://hub:80/health"}, "hosts": [], "needs": []}]);
    assert_eq!(document["services"], expected);
}

#[test]
fn a_service_runs_from_the_same_cell_whatever_platforms_are_asked_for() {
    let folder = project(
        "[component.base]\n[component.hub]\n[component.app]\nneeds = [\"hub\"]\n[service.hub]\nport = 80\n",
        &["base", "hub", "app"],
    );
    folder.write("src/hub/Dockerfile", "FROM base:latest\nRUN x\n");
    let narrowed = |native: &str, names: &[&str]| {
        let options = PlanOptions {
            build_platform: native.parse().ok(),
            platforms: Some(vec!["arm64".parse().expect("ok")]),
            names: names.iter().map(|name| name.parse().expect("ok")).collect(),
            ..PlanOptions::default()
        };
        folder.plan(&folder.request(), &options).expect("plans")
    };
    let planned = narrowed("amd64", &[]);
    assert_eq!(ids(&planned.cells), ["base/arm64", "hub/arm64", "base/amd64", "hub/amd64", "app/arm64"]);
    assert_eq!(needs(&planned, "app/arm64"), ["hub/amd64"]);
    assert_eq!(needs(&planned, "hub/amd64"), ["base/amd64"], "what it is made from comes along");
    assert_eq!(needs(&planned, "hub/arm64"), ["base/arm64"]);
    // It is built, and no part of what was asked for.
    assert_eq!(planned.expected().count(), 3);
    for (id, selection) in [("hub/amd64", Selection::Required), ("hub/arm64", Selection::Selected)] {
        assert_eq!(cell(&planned, id).selection, selection, "{id}");
    }
    assert!(planned.components.iter().all(|component| component.platforms.len() == 1));
    let table = plan_table(&planned, &Style::plain(folder.path()));
    assert!(table.contains("needed    hub/amd64, left out by --platform, for a service\n"), "{table}");
    assert!(table.contains("\n3 cells"), "{table}");
    // A name means nothing that was left out.
    let named = narrowed("amd64", &["hub"]);
    assert_eq!(cell(&named, "hub/amd64").selection, Selection::Unselected);
    assert_eq!(ids(&narrowed("arm64", &[]).cells), ["base/arm64", "hub/arm64", "app/arm64"]);
}

#[test]
fn a_native_service_is_of_the_platform_of_the_builder_that_it_runs_on() {
    let folder = project(
        "[component.hub]\nplatforms = [\"amd64\", \"arm64\"]\n[component.app]\nneeds = [\"hub\"]\n\
         [service.hub]\nport = 80\n[builder.arm]\naddress = \"tcp://arm:1\"\nplatforms = [\"arm64\"]\n",
        &["hub", "app"],
    );
    let config = std::fs::read_to_string(folder.path().join("catamaran.toml")).expect("it is there");
    let config = config.replacen("\"linux/arm64\"]", "\"linux/arm64\", \"riscv64\"]", 1);
    folder.write("catamaran.toml", &config);
    let needed = |folder: &Folder, of: &str| {
        let options = PlanOptions { build_platform: "amd64".parse().ok(), ..PlanOptions::default() };
        let planned = folder.plan(&folder.request(), &options).expect("plans");
        needs(&planned, of)
    };
    assert_eq!(needed(&folder, "app/amd64"), ["hub/amd64"]);
    assert_eq!(needed(&folder, "app/riscv64"), ["hub/amd64"]);
    assert_eq!(needed(&folder, "app/arm64"), ["hub/arm64"], "there, nothing of it is emulated");
    folder.write("catamaran.toml", &config.replace("port = 80", "port = 80\nplatform = \"amd64\""));
    assert_eq!(needed(&folder, "app/arm64"), ["hub/amd64"], "what was asked for stands");
}

#[test]
fn externals_keep_their_own_tag() {
    let folder = project(
        "registry = [\"r.example.com/t\"]\ntag = \"v9\"\n[external.redis]\nimage = \"redis:7-alpine\"\n[external.db]\nimage = \"quay.io/x/pg@sha256:0123456789012345678901234567890123456789012345678901234567890123\"\nas = \"data/pg:16\"\nplatforms = [\"amd64\"]\n",
        &[],
    );
    let planned = folder.planned();
    let names: Vec<String> = planned.components.iter().map(|component| component.references[0].to_string()).collect();
    assert_eq!(names, ["r.example.com/t/redis:7-alpine", "r.example.com/t/data/pg:16"]);
    assert_eq!(ids(&planned.cells), ["redis/amd64", "redis/arm64", "db/amd64"]);
}

#[test]
fn templates_are_rendered_and_variables_reach_the_args_that_name_them() {
    let folder = project(
        "tag = \"${IMAGE_TAG:-v1}\"\n[vars]\nfiles = [\"deps.yaml\", \".env\"]\nset = { MIRROR = \"m.example.com\", FULL = \"https://${MIRROR}/${UP:-x}\" }\n\
         [component.a]\ndockerfile = \"Dockerfile.tpl\"\nargs = { OWN = \"${FULL}\" }\n",
        &[],
    );
    folder.write("deps.yaml", "golang: 1.25\n");
    folder.write(".env", "IMAGE_TAG=v2\nNOBODY=asks\n");
    folder.write(
        "Dockerfile.tpl",
        "FROM golang:{{GOLANG_VERSION}}\nARG MIRROR\nARG OWN\nARG FREE=1\nRUN x {{ MIRROR }}\n",
    );
    let planned = folder.planned();
    assert_eq!(planned.tag, "v2");
    let build = cell(&planned, "a/amd64").build().expect("is built");
    assert_eq!(
        build.rendered.as_deref(),
        Some("FROM golang:1.25\nARG MIRROR\nARG OWN\nARG FREE=1\nRUN x m.example.com\n")
    );
    let args: Vec<String> = build.args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(args, ["MIRROR=m.example.com", "OWN=https://m.example.com/x"]);
    let mut request = folder.request();
    request.environment.insert("IMAGE_TAG".to_owned(), "v3".to_owned());
    assert_eq!(folder.plan(&request, &PlanOptions::default()).expect("plans").tag, "v3");
    request.sets.push(("IMAGE_TAG".to_owned(), "v4".to_owned()));
    assert_eq!(folder.plan(&request, &PlanOptions::default()).expect("plans").tag, "v4");
}

#[test]
fn the_project_is_found_from_below_and_named_files_are_laid_over_each_other() {
    let folder = Folder::new(&[
        (
            "catamaran.toml",
            "platforms = [\"amd64\"]\nregistry = [\"r.example.com\"]\n[component.a]\ndockerfile = \"Dockerfile\"\n",
        ),
        ("Dockerfile", "FROM scratch\nCOPY a /\n"),
        ("deep/er/x", ""),
        ("ci/more.toml", "tag = \"ci\"\n[component.a]\nargs = { A = 1 }\n[component.b]\ndockerfile = \"Dockerfile\"\n"),
        ("ci/Dockerfile", "FROM scratch\nARG A\nCOPY b /\n"),
    ]);
    let mut request = folder.request();
    request.directory.push("deep/er");
    assert_eq!(ids(&folder.plan(&request, &PlanOptions::default()).expect("plans").cells), ["a/amd64"]);
    let mut request = folder.request();
    request.files = vec!["catamaran.toml".into(), "ci/more.toml".into()];
    let planned = folder.plan(&request, &PlanOptions::default()).expect("plans");
    assert_eq!(planned.tag, "ci");
    assert_eq!(
        planned.components[1].dockerfile.as_deref().map(|path| path.to_string_lossy().into_owned()),
        Some("ci/Dockerfile".to_owned())
    );
    assert_eq!(planned.root, folder.path());
}

#[test]
fn to_takes_the_place_of_the_registry() {
    let folder = project("registry = [\"r.example.com/t\"]\n", &["a"]);
    let to = vec!["127.0.0.1:5000".parse().expect("ok"), "x.example.com/y".parse().expect("ok")];
    let planned = folder.plan(&folder.request(), &PlanOptions { to, ..PlanOptions::default() }).expect("plans");
    let names: Vec<String> = planned.components[0].references.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["127.0.0.1:5000/a:latest", "x.example.com/y/a:latest"]);
    let local = project("", &["a"]).planned();
    assert_eq!(local.components[0].references[0].to_string(), "a:latest");
    assert!(local.require_registries().is_err());
    assert!(planned.require_registries().is_ok());
}
