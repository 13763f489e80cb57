//! The conductor with engines that make images out of nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;

use super::cells::Cells;
use super::fingerprint::{Contents, TICK};
use super::indexes::name_complete_indexes;
use super::mirror::Mirror;
use super::outside::Outside;
use super::*;
use crate::base::{
    CellId, CellState, Descriptor, Digest, ErrorClass, Failure as _, Platform, Reference, SolveOptions, SourceText,
    media_type,
};
use crate::engine::{
    BuildRequest, BuiltImage, Capabilities, ContextReads, Engine, EngineError, NamedContext, ServiceHandle,
    ServiceRequest,
};
use crate::event::{Event, EventSink as _, NoEvents};
use crate::image::names;
use crate::plan::{
    Cell, CellBuild, CellWork, Component, ComponentKind, ContextSource, Plan, PlannedContext, Selection, Subset,
};
use crate::registry::{NoCredentials, RegistryClient, RegistryOptions};
use crate::store::Layout;

fn platform(text: &str) -> Platform {
    text.parse().expect("a platform")
}

fn id(text: &str) -> CellId {
    let (name, arch) = text.split_once('/').expect("NAME/ARCH");
    CellId::new(name.parse().expect("a name"), platform(arch))
}

/// A component named `name` that starts from `base`, on both platforms.
fn plan_of(components: &[(&str, Option<&str>)]) -> Plan {
    let platforms = vec![platform("amd64"), platform("arm64")];
    let mut cells = Vec::new();
    for (name, base) in components {
        for platform in &platforms {
            let needs: Vec<CellId> =
                base.iter().map(|base| CellId::new(base.parse().expect("a name"), platform.clone())).collect();
            let span = SourceText::new("/p/Dockerfile", "RUN true\n").span(0..3);
            let build = CellBuild {
                context: ContextSource::Directory("/p".into()),
                dockerfile: "/p/Dockerfile".into(),
                rendered: None,
                fetched: None,
                templates: Vec::new(),
                target: None,
                args: BTreeMap::new(),
                labels: BTreeMap::new(),
                contexts: needs
                    .iter()
                    .map(|need| PlannedContext { name: "base".to_owned(), source: ContextSource::Cell(need.clone()) })
                    .collect(),
                secrets: BTreeMap::new(),
                ssh: BTreeMap::new(),
                extra_hosts: Vec::new(),
                no_cache: false,
                options: SolveOptions::default(),
                entry_annotations: BTreeMap::new(),
                executes: vec![(platform.clone(), span)],
                native: Vec::new(),
                stands_on: None,
                bases: Vec::new(),
                frontend: None,
            };
            cells.push(Cell {
                id: CellId::new(name.parse().expect("a name"), platform.clone()),
                needs,
                services: Vec::new(),
                work: CellWork::Build(Box::new(build)),
                selection: Selection::Selected,
            });
        }
    }
    let component = |(name, base): &(&str, Option<&str>)| Component {
        name: name.parse().expect("a name"),
        kind: ComponentKind::Built,
        references: vec![format!("registry.example.com/{name}:v1").parse().expect("a reference")],
        addressed: true,
        intermediate: false,
        path: String::new(),
        dockerfile: None,
        fetched: None,
        platforms: platforms.clone(),
        foreign: Vec::new(),
        excluded: None,
        phase: 1 + usize::from(base.is_some()),
        bases: Vec::new(),
        needs: Vec::new(),
        annotations: BTreeMap::new(),
        span: None,
    };
    Plan {
        project: "p".to_owned(),
        tag: "v1".to_owned(),
        file: "/p/catamaran.toml".into(),
        root: "/p".into(),
        components: components.iter().map(component).collect(),
        platforms,
        registries: Vec::new(),
        arch_tags: false,
        epoch: None,
        cells,
        services: IndexMap::new(),
        builders: IndexMap::new(),
        subset: Subset::default(),
        finds: Vec::new(),
        vars: Vec::new(),
        unselected: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Makes an image of one layer that names its cell and its base; fails where it is told to.
struct Maker {
    capabilities: Capabilities,
    layout: Layout,
    fails: BTreeSet<CellId>,
    started: Mutex<Vec<CellId>>,
}

impl Maker {
    fn new(layout: &Layout, fails: &[&str]) -> Self {
        Self {
            capabilities: Capabilities {
                address: "unix:///fake".to_owned(),
                version: "fake 1".to_owned(),
                native: platform("amd64"),
                platforms: vec![platform("amd64"), platform("arm64")],
                parallelism: 2,
            },
            layout: layout.clone(),
            fails: fails.iter().map(|cell| id(cell)).collect(),
            started: Mutex::new(Vec::new()),
        }
    }

    fn make(&self, request: &BuildRequest) -> Result<BuiltImage, EngineError> {
        self.started.lock().expect("not poisoned").push(request.cell.clone());
        if self.fails.contains(&request.cell) {
            return Err(EngineError::Build {
                step: Some("step 2 of 4: RUN false".to_owned()),
                message: "exit code: 1".to_owned(),
                exit_code: Some(1),
                excerpt: None,
                output: vec!["no".to_owned()],
            });
        }
        let bases: Vec<String> = request
            .contexts
            .iter()
            .filter_map(|context| match context {
                NamedContext::Image { descriptor, .. } => Some(descriptor.digest.to_string()),
                NamedContext::Directory { .. } | NamedContext::Remote { .. } => None,
            })
            .collect();
        let put = |media_type: &str, bytes: &[u8]| self.layout.put(media_type, bytes).map_err(EngineError::Store);
        // An empty archive; readers take whatever follows its end.
        let mut layer = vec![0; 1024];
        layer.extend(format!("{} on {bases:?}", request.cell).into_bytes());
        let layer = put(media_type::LAYER, &layer)?;
        let arch = request.cell.platform.architecture();
        let config = format!(
            r#"{{"architecture":"{arch}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            layer.digest
        );
        let config = put(media_type::CONFIG, config.as_bytes())?;
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": config, "layers": [layer],
        });
        let manifest = put(media_type::MANIFEST, manifest.to_string().as_bytes())?;
        Ok(BuiltImage {
            manifest,
            platform: request.cell.platform.clone(),
            attestations: Vec::new(),
            builder: self.capabilities.address.clone(),
            received: 1,
            sent: 1,
            reads: ContextReads { since: std::time::SystemTime::now(), asked: None },
        })
    }
}

impl Engine for Maker {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn build(&self, request: BuildRequest) -> BoxFuture<'_, Result<BuiltImage, EngineError>> {
        async move { self.make(&request) }.boxed()
    }

    fn serve(&self, request: ServiceRequest) -> BoxFuture<'_, Result<ServiceHandle, EngineError>> {
        let reason = "this engine runs none".to_owned();
        async move { Err(EngineError::Service { service: request.name, reason, help: None, output: Vec::new() }) }
            .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// What a build moves out of the way before anything else.
fn healed(plan: &Plan, state: &StateDir, layout: &Layout) -> Vec<Digest> {
    let contents = Contents::open(state);
    let healed = heal::heal(plan, state, layout, &contents, &CancellationToken::new());
    contents.save().expect("it can be written");
    healed.expect("nothing stands in the way").moved
}

/// Runs the cells of `plan` as `build` does, with a fake builder in place of a connected one.
async fn run_cells(plan: &Plan, state: &StateDir, fails: &[&str]) -> Outcome {
    state.create().expect("the state directory can be made");
    let layout = Layout::create(state.layout()).expect("the layout can be made");
    drop(healed(plan, state, &layout));
    let maker: Arc<dyn Engine> = Arc::new(Maker::new(&layout, fails));
    let builders = Builders::of(vec![(maker, plan.platforms.clone())]);
    let selected: Vec<&Cell> = plan.cells.iter().filter(|cell| cell.selection > Selection::Unselected).collect();
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = RegistryClient::new(RegistryOptions::new(Arc::new(NoCredentials))).expect("a client");
    let mirror = Arc::new(Mirror::new(client, layout.clone(), Outside::default(), plan));
    let prepared = build::prepare(plan, &selected, state, &Inputs::default()).expect("it can be prepared");
    let scans = Arc::new(scans::Scans::load(plan, state, &layout));
    let services =
        Arc::new(services::Services::new(plan, &selected, state, Arc::new(NoEvents), &CancellationToken::new()));
    let shared = task::Shared { mirror, scans, services, dependents: Arc::default() };
    let mut cells = Cells::new(&selected, prepared, &builders, shared, state, Arc::new(NoEvents));
    cells.run(None, OnFailure::KeepGoing, &CancellationToken::new()).await.expect("the graph has no cycle");
    let mut outcome = cells.outcome(plan);
    outcome.matrix.indexes = name_complete_indexes(plan, state, &layout).expect("the layout takes them").reports;
    outcome
}

fn three() -> Plan {
    plan_of(&[("base", None), ("web", Some("base")), ("job", None)])
}

fn state_in(directory: &Path) -> StateDir {
    StateDir::at(directory.join(".catamaran"))
}

#[tokio::test]
async fn a_whole_run_leaves_a_whole_matrix() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (plan, state) = (three(), state_in(directory.path()));
    let outcome = run_cells(&plan, &state, &[]).await;
    assert!(outcome.matrix.is_complete(), "{:?}", outcome.matrix);
    assert_eq!((outcome.matrix.expected(), outcome.matrix.present()), (6, 6));
    assert_eq!(outcome.matrix.indexes.len(), 3);
    assert_eq!(outcome.class(), None);
    let emulated = |cell: &CellReport| cell.emulated == (cell.cell.platform == platform("arm64"));
    assert!(outcome.matrix.cells.iter().all(emulated));

    let matrix = status(&plan, &state).expect("it can be read");
    assert!(matrix.is_complete(), "{matrix:?}");
    assert_eq!(matrix.indexes, outcome.matrix.indexes);
    let text = std::fs::read_to_string(state.root().join(".gitignore")).expect("it ignores itself");
    assert_eq!(text, "*\n");
}

#[tokio::test]
async fn d13_equal_inputs_give_equal_index_digests() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let plan = three();
    let first = run_cells(&plan, &state_in(&directory.path().join("a")), &[]).await;
    let second = run_cells(&plan, &state_in(&directory.path().join("b")), &[]).await;
    assert_eq!(first.matrix.indexes, second.matrix.indexes);
    let platforms = vec![platform("amd64"), platform("arm64")];
    assert!(first.matrix.indexes.iter().all(|index| index.platforms == platforms));
}

#[tokio::test]
async fn d11_a_failed_cell_blocks_what_needs_it_and_takes_its_name_away() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (plan, state) = (three(), state_in(directory.path()));
    drop(run_cells(&plan, &state, &[]).await);
    // The images of the first run are all there, but not what the sources make now.
    let outcome = run_cells(&plan, &state, &["base/arm64"]).await;
    let state_of =
        |cell: &str| outcome.matrix.cells.iter().find(|report| report.cell == id(cell)).map(|report| report.state);
    assert_eq!(state_of("base/arm64"), Some(CellState::Failed));
    assert_eq!(state_of("web/arm64"), Some(CellState::Blocked));
    assert_eq!(state_of("job/arm64"), Some(CellState::Built));
    assert_eq!(outcome.class(), Some(ErrorClass::Build));
    assert_eq!(outcome.failures.len(), 1);
    assert_eq!(outcome.failures[0].to_string(), "base/arm64 failed at step 2 of 4: RUN false");
    let layout = Layout::open(state.layout()).expect("a layout");
    let names: Vec<String> = names(&layout).expect("it can be read").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["registry.example.com/job:v1"]);
    let holes: Vec<String> =
        status(&plan, &state).expect("it can be read").holes().map(|cell| cell.cell.to_string()).collect();
    assert_eq!(holes, ["base/arm64", "web/arm64"]);
}

#[tokio::test]
async fn d18_a_hole_is_found_and_nothing_is_exported() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (plan, state) = (three(), state_in(directory.path()));
    drop(run_cells(&plan, &state, &[]).await);
    let record = CellRecord::load(&state, &id("web/arm64")).expect("it can be read").expect("it is there");
    let blob = state.layout().join("blobs/sha256").join(record.manifest.digest.hex());
    std::fs::remove_file(blob).expect("it was there");

    let matrix = status(&plan, &state).expect("it can be read");
    let holes: Vec<String> = matrix.holes().map(|cell| cell.cell.to_string()).collect();
    assert_eq!(holes, ["web/arm64"]);
    let file = directory.path().join("release.tar");
    let cancel = CancellationToken::new();
    let request = |allowed| ExportRequest { plan: &plan, whole: &plan, destination: &file, allowed };
    let refused = export(&request(&[]), &state, Arc::new(NoEvents), &cancel).await;
    let error = refused.expect_err("it has a hole");
    assert_eq!(error.class(), ErrorClass::Incomplete);
    assert!(error.to_string().contains("web/arm64"), "{error}");
    assert!(!file.exists());

    let holes = |cell| AllowedHoles { pattern: "typed".to_owned(), cells: BTreeSet::from([id(cell)]) };
    let idle = [holes("web/arm64"), holes("job/arm64")];
    let error =
        export(&request(&idle), &state, Arc::new(NoEvents), &cancel).await.expect_err("nothing is missing there");
    assert_eq!((error.class(), file.exists()), (ErrorClass::Config, false), "{error}");
    let allowed = [holes("web/arm64")];
    let report = export(&request(&allowed), &state, Arc::new(NoEvents), &cancel).await.expect("it is allowed").report;
    assert!(!report.lock.complete);
    assert_eq!(report.lock.missing.len(), 1);

    // The next build makes it whole.
    drop(run_cells(&plan, &state, &[]).await);
    assert!(status(&plan, &state).expect("it can be read").is_complete());
}

#[tokio::test]
async fn a_name_for_another_image_or_for_two_is_found_by_status_and_verify() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (plan, state) = (three(), state_in(directory.path()));
    drop(run_cells(&plan, &state, &[]).await);
    let layout = Layout::open(state.layout()).expect("a layout");
    let file = directory.path().join("release.tar");
    let cancel = CancellationToken::new();
    let (job, web) = ("registry.example.com/job:v1", "registry.example.com/web:v1");
    let named = |name: &str| names(&layout).expect("readable").into_iter().find(|one| one.0 == name).expect(name).1;
    let name = "org.opencontainers.image.ref.name";
    for case in ["another", "foreign", "same"] {
        let mut foreign = named(web);
        foreign.annotations = Some([(name.to_owned(), job.to_owned())].into_iter().collect());
        let twin = named(job);
        layout
            .update_index(|entries| match case {
                "another" => {
                    entries.retain(|entry| entry.annotation(name) != Some(job));
                    entries.push(foreign);
                }
                "foreign" => entries.insert(0, foreign),
                _ => entries.push(twin),
            })
            .expect("writable");
        let matrix = status(&plan, &state).expect("it can be read");
        assert_eq!(matrix.unindexed, ["job".parse().expect("a name")], "{case}");
        let found = verify(&plan, &plan, &state, crate::verify::Depth::Blobs, &cancel).await.expect("it can be read");
        let shown: Vec<String> = found.report.findings.iter().map(|finding| finding.problem.to_string()).collect();
        let expected = if case == "another" { "under this name" } else { "has this name more than once" };
        assert!(shown.len() == 1 && shown[0].contains(expected), "{case}: {shown:?}");
        if case != "another" {
            let request = ExportRequest { plan: &plan, whole: &plan, destination: &file, allowed: &[] };
            let error = export(&request, &state, Arc::new(NoEvents), &cancel).await.expect_err("a doubled name");
            assert_eq!((error.class(), file.exists()), (ErrorClass::Incomplete, false), "{error}");
            assert!(error.to_string().contains("`job` more than once"), "{error}");
        }
        drop(run_cells(&plan, &state, &[]).await);
        assert!(status(&plan, &state).expect("it can be read").is_complete(), "{case}: the next build mends it");
        let found = verify(&plan, &plan, &state, crate::verify::Depth::Blobs, &cancel).await.expect("it can be read");
        assert!(found.report.is_whole() && found.unnamed.is_empty(), "{case}: {found:?}");
    }
    // Without its record, nothing says which image is meant.
    std::fs::remove_file(state.record(&id("job/arm64"))).expect("it was there");
    assert!(!status(&plan, &state).expect("it can be read").is_complete());
    let found = verify(&plan, &plan, &state, crate::verify::Depth::Blobs, &cancel).await.expect("it can be read");
    assert_eq!(found.unnamed, ["job".parse().expect("a name")]);
}

/// Overwrites a blob with bytes of the same length.
fn corrupt(state: &StateDir, descriptor: &Descriptor) {
    let path = state.layout().join("blobs/sha256").join(descriptor.digest.hex());
    let length = std::fs::metadata(&path).expect("it is there").len();
    std::fs::write(&path, vec![b'x'; usize::try_from(length).expect("small")]).expect("it can be written");
}

#[tokio::test]
async fn corrupt_blobs_heal_with_the_next_build() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (plan, state) = (three(), state_in(directory.path()));
    drop(run_cells(&plan, &state, &[]).await);
    let layout = Layout::open(state.layout()).expect("a layout");
    let record = CellRecord::load(&state, &id("job/amd64")).expect("it can be read").expect("it is there");
    let all = crate::image::closure(&layout, &record.manifest).expect("it is whole");
    let cancel = CancellationToken::new();
    let depth = crate::verify::Depth::Blobs;
    for blob in &all {
        corrupt(&state, blob);
        let found = verify(&plan, &plan, &state, depth, &cancel).await.expect("it can be read");
        assert!(found.report.findings.iter().any(|finding| finding.digest == blob.digest), "{found:?}");
        drop(run_cells(&plan, &state, &[]).await);
        let found = verify(&plan, &plan, &state, depth, &cancel).await.expect("it can be read");
        assert!(found.report.is_whole() && found.unnamed.is_empty(), "{:?} {found:?}", blob.media_type);
    }
    assert!(state.layout().join("corrupt").is_dir());
}

#[tokio::test]
async fn whatever_changes_in_the_layout_is_found_by_the_next_build() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (plan, state) = (three(), state_in(directory.path()));
    let outcome = run_cells(&plan, &state, &[]).await;
    let layout = Layout::open(state.layout()).expect("a layout");
    let index = outcome.matrix.indexes[0].digest;
    let base = layout.put("application/octet-stream", b"brought by a prefetch").expect("stored");
    std::thread::sleep(TICK * 2);
    assert_eq!(healed(&plan, &state, &layout), []);
    let written: Vec<Digest> = std::fs::read_dir(state.blobs())
        .expect("a folder")
        .map(|entry| format!("sha256:{}", entry.expect("a name").file_name().display()).parse().expect("a digest"))
        .collect();
    assert!(written.contains(&index) && written.contains(&base.digest));
    for digest in written {
        let path = state.blobs().join(digest.hex());
        let bytes = std::fs::read(&path).expect("it is there");
        let time = std::fs::metadata(&path).expect("it is there").modified().expect("a time");
        let mut flipped = bytes.clone();
        flipped[0] ^= 1;
        std::fs::write(&path, flipped).expect("it can be written");
        // As a copy with its times kept has it.
        std::fs::File::options().write(true).open(&path).expect("a file").set_modified(time).expect("ours");
        assert_eq!(healed(&plan, &state, &layout), [digest]);
        std::fs::write(&path, bytes).expect("it can be written");
        assert_eq!(healed(&plan, &state, &layout), []);
    }
}

#[test]
fn a_blob_that_is_as_it_was_is_not_read_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = state_in(directory.path());
    state.create().expect("a state directory");
    let layout = Layout::create(state.layout()).expect("a layout");
    let before = layout.put("application/octet-stream", b"before").expect("stored");
    let contents = Contents::open(&state);
    // Whoever may read nothing knows no more than what is remembered.
    let seen = contents.blobs(&state.blobs(), &|| true).expect("it can be listed");
    assert_eq!(seen.present, HashSet::from([before.digest]));
    let after = layout.put("application/octet-stream", b"after").expect("stored");
    std::thread::sleep(TICK * 2);
    contents.vouch(&state.blobs(), &seen.present);
    let seen = contents.blobs(&state.blobs(), &|| true).expect("it can be listed");
    assert_eq!(seen.present, HashSet::from([before.digest, after.digest]));
    assert_eq!(seen.doubtful, [before.digest], "only what the layout wrote meanwhile is vouched for");
}

#[tokio::test]
async fn a_torn_index_file_is_written_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (plan, state) = (three(), state_in(directory.path()));
    let before = run_cells(&plan, &state, &[]).await.matrix.indexes;
    std::fs::write(state.layout().join("index.json"), b"{\"schemaVersion\":2,\"mani").expect("it can be written");
    let matrix = status(&plan, &state).expect("a torn index is a finding, not an error");
    assert!(!matrix.is_complete());
    assert_eq!(matrix.unindexed.len(), 3);
    let layout = heal::open_layout(&state).expect("it is moved aside");
    assert_eq!(name_complete_indexes(&plan, &state, &layout).expect("it is written again").reports, before);
}

#[test]
fn d17_a_missing_emulator_is_said_with_its_cells() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layout = Layout::create(directory.path().join("layout")).expect("a layout");
    let mut maker = Maker::new(&layout, &[]);
    maker.capabilities.platforms = vec![platform("amd64")];
    let mut plan = three();
    let builders = Builders::of(vec![(Arc::new(maker) as Arc<dyn Engine>, plan.platforms.clone())]);
    let error = builders.check_emulation(&plan.cells).expect_err("arm64 cannot run");
    assert_eq!(error.class(), ErrorClass::Preflight);
    assert_eq!(
        error.to_string(),
        "no emulator for linux/arm64 on the builder `unix:///fake`: base/arm64, web/arm64, job/arm64 cannot be built"
    );
    // An image in which nothing of the platform runs needs no emulator.
    for cell in &mut plan.cells {
        if let CellWork::Build(build) = &mut cell.work {
            build.executes.clear();
        }
    }
    builders.check_emulation(&plan.cells).expect("nothing has to run");
}

#[tokio::test]
async fn names_that_were_not_asked_for_are_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (whole, state) = (three(), state_in(directory.path()));
    let mut asked = whole.clone();
    for cell in &mut asked.cells {
        cell.selection = match cell.id.component.as_str() {
            "web" => Selection::Selected,
            "base" => Selection::Required,
            _ => Selection::Unselected,
        };
    }
    asked.subset.names = true;
    let outcome = run_cells(&asked, &state, &[]).await;
    assert_eq!((outcome.matrix.expected(), outcome.matrix.present()), (4, 4));
    assert!(outcome.matrix.subset);
    assert_eq!(outcome.class(), None);
    let missing = status(&whole, &state).expect("it can be read");
    assert_eq!((missing.expected(), missing.present()), (6, 4));
}

#[tokio::test]
async fn old_tags_leave_index_json() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut plan, state) = (three(), state_in(directory.path()));
    drop(run_cells(&plan, &state, &[]).await);
    for component in &mut plan.components {
        let reference: Reference = format!("registry.example.com/{}:v2", component.name).parse().expect("a reference");
        component.references = vec![reference];
    }
    drop(run_cells(&plan, &state, &[]).await);
    let layout = Layout::open(state.layout()).expect("a layout");
    let names: Vec<String> = names(&layout).expect("it can be read").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.ends_with(":v2")), "{names:?}");
}

#[tokio::test]
async fn every_cell_has_a_whole_log() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = state_in(directory.path());
    let told = Arc::new(Mutex::new(0));
    let next = {
        let told = Arc::clone(&told);
        Arc::new(move |_: Event| *told.lock().expect("not poisoned") += 1)
    };
    let logs = logs::CellLogs::new(state.clone(), next);
    let cell = id("web/arm64");
    logs.emit(Event::CellStarted { cell: cell.clone(), builder: "unix:///fake".to_owned(), attempt: 1 });
    logs.emit(Event::CellFinished {
        cell: cell.clone(),
        state: CellState::Built,
        execution: None,
        took: std::time::Duration::from_secs(2),
        reason: None,
    });
    let text = std::fs::read_to_string(state.log(&cell)).expect("it is there");
    assert_eq!(text, "builder unix:///fake\nbuilt 2.0 s\n");
    assert_eq!(*told.lock().expect("not poisoned"), 2);
}

#[tokio::test]
async fn projects_on_one_state_directory_keep_each_others_names() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let state = state_in(directory.path());
    let project = |name: &str, file: &str| {
        let mut plan = plan_of(&[(name, None)]);
        plan.file = directory.path().join(file);
        std::fs::write(&plan.file, "").expect("writable");
        plan
    };
    let (mut first, second) = (project("web", "catamaran.toml"), project("job", "docker-bake.hcl"));
    let named = || {
        let layout = Layout::open(state.layout()).expect("a layout");
        names(&layout).expect("it can be read").into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    drop(run_cells(&first, &state, &[]).await);
    drop(run_cells(&second, &state, &[]).await);
    let both = ["registry.example.com/job:v1", "registry.example.com/web:v1"];
    assert_eq!(named(), both);
    // Its own old names go all the same, and so do those of a project that is gone.
    first.components[0].references = vec!["registry.example.com/web:v2".parse().expect("a reference")];
    drop(run_cells(&first, &state, &[]).await);
    assert_eq!(named(), ["registry.example.com/job:v1", "registry.example.com/web:v2"]);
    std::fs::remove_file(&second.file).expect("it is there");
    drop(run_cells(&first, &state, &[]).await);
    assert_eq!(named(), ["registry.example.com/web:v2"]);
    let layout = Layout::open(state.layout()).expect("a layout");
    let third = project("web", "other.toml");
    drop(run_cells(&third, &state, &[]).await);
    first.components[0].references.clone_from(&third.components[0].references);
    let shared = name_complete_indexes(&first, &state, &layout).expect("the layout takes them").shared;
    assert!(shared.len() == 1 && shared[0].contains("other.toml"), "{shared:?}");
}

#[tokio::test]
async fn a_torn_marker_is_written_again_and_another_version_is_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (plan, state) = (three(), state_in(directory.path()));
    drop(run_cells(&plan, &state, &[]).await);
    let marker = state.layout().join("oci-layout");
    for torn in ["", "{\"imageLayoutVer", "[]"] {
        std::fs::write(&marker, torn).expect("writable");
        heal::open_layout(&state).expect("it is put right");
        assert!(status(&plan, &state).expect("it can be read").is_complete());
    }
    std::fs::write(&marker, "{\"imageLayoutVersion\":\"2.0.0\"}").expect("writable");
    assert!(heal::open_layout(&state).is_err());
    assert!(std::fs::read_to_string(&marker).expect("it is there").contains("2.0.0"));
}

#[tokio::test]
async fn what_belongs_to_an_image_heals_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (plan, state) = (three(), state_in(directory.path()));
    drop(run_cells(&plan, &state, &[]).await);
    let layout = Layout::open(state.layout()).expect("a layout");
    let mut record = CellRecord::load(&state, &id("job/amd64")).expect("it can be read").expect("it is there");
    let config = layout.put(media_type::CONFIG, b"{}").expect("stored");
    let attestation = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::MANIFEST, "config": config, "layers": [],
    });
    let attestation = layout.put(media_type::MANIFEST, attestation.to_string().as_bytes()).expect("stored");
    // Names a platform that was never brought.
    let absent = Descriptor::of(media_type::MANIFEST, b"elsewhere");
    let upstream = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [absent]});
    let upstream = layout.put(media_type::INDEX, upstream.to_string().as_bytes()).expect("stored");
    record.attestations = vec![attestation.clone()];
    record.upstream = Some(upstream.clone());
    record.save(&state).expect("it can be written");
    assert_eq!(healed(&plan, &state, &layout), []);
    corrupt(&state, &attestation);
    corrupt(&state, &upstream);
    let moved = healed(&plan, &state, &layout);
    assert_eq!(BTreeSet::from_iter(moved), BTreeSet::from([attestation.digest, upstream.digest]));
}

#[test]
fn a_place_that_cannot_be_written_is_answered_with_another() {
    let source = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
    let error = RunError::state("create", Path::new("/p/.catamaran"), source);
    assert!(error.help().is_some_and(|help| help.contains("`--state DIR`")));
}
