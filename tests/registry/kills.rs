//! SIGKILL at any moment of a release over an older one: no mix outlives the next push, and nothing complete is sent again.

use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::built::{build, images, project};
use crate::support::dice::{Dice, number, seed};
use crate::support::project::Project;
use crate::support::proxy::{Proxy, Weather};
use crate::support::registry::{Make, Registry, Setup};
use crate::support::release::TWELVE;

/// Repositories of the release.
const REPOSITORIES: usize = TWELVE.len() + 1;
/// How many kills one run of the tests makes. The campaign makes a thousand.
const SAMPLE: u64 = 6;

fn names() -> Vec<&'static str> {
    [&["base"][..], &TWELVE].concat()
}

/// What every tag shows, by the registry's disk.
fn shown(registry: &Registry) -> Vec<Option<String>> {
    names().iter().map(|name| registry.tag_on_disk(&format!("fleet/{name}"), "stable")).collect()
}

/// Waits until the tags of the running push begin to move, or it ends.
fn until_tags_move(project: &Project, child: &mut std::process::Child) {
    let journal = project.path(".catamaran/journal/push.jsonl");
    let moving = |journal: &Path| {
        let text = std::fs::read_to_string(journal).unwrap_or_default();
        text.rfind("\"moving\"").is_some_and(|at| !text[at..].contains("\"settled\""))
    };
    let end = Instant::now() + Duration::from_secs(120);
    while !moving(&journal) && child.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < end, "no tag moves");
        thread::sleep(Duration::from_micros(200));
    }
}

/// Blobs of the project that the registry's disk lacks.
fn lacking(project: &Project, registry: &Registry) -> u64 {
    let blobs = std::fs::read_dir(project.path(".catamaran/layout/blobs/sha256")).expect("blobs");
    let names = blobs.map(|entry| entry.expect("an entry").file_name().into_string().expect("a digest"));
    names.filter(|hex| !registry.blob_on_disk(hex).exists()).count() as u64
}

/// `CATAMARAN_SEED` repeats a run, `CATAMARAN_KILLS` makes it longer.
#[test]
fn d22_sigkill_at_any_moment_of_a_release_leaves_no_mix() {
    let seed = seed("kills of releases");
    let mut dice = Dice(seed);
    let registry = Registry::start(Make::Reference, &Setup::default());
    let project = project(&names(), &registry.reference("fleet"));
    let shared = images(&project).layer("shared", 1 << 20);
    build(&project, &names(), "first", std::slice::from_ref(&shared), 20_000);
    let begin = Instant::now();
    project.run(&["push"]).exits(0);
    let whole = u64::try_from(begin.elapsed().as_millis()).expect("some seconds");
    let mut old = shown(&registry);
    let mut mixes = 0;
    for round in 0..number("CATAMARAN_KILLS").unwrap_or(SAMPLE) {
        build(&project, &names(), &format!("{seed} {round}"), std::slice::from_ref(&shared), 20_000);
        let mut run = project.spawn(&["push"]);
        // Every other time in the few milliseconds that matter most.
        if round % 2 == 0 {
            until_tags_move(&project, &mut run);
            thread::sleep(Duration::from_micros(dice.below(30_000)));
        } else {
            thread::sleep(Duration::from_millis(dice.below(whole)));
        }
        run.kill().expect("a child");
        run.wait().expect("a child");
        // What the registry had whole in its hands it may still be storing.
        thread::sleep(Duration::from_millis(100));
        let now = shown(&registry);
        let moved = now.iter().zip(&old).filter(|(now, old)| now != old).count();
        let mixed = moved > 0 && moved < REPOSITORIES;
        mixes += u32::from(mixed);
        let place = format!("round {round}, seed {seed}, {moved} tags moved");
        if mixed {
            let status = project.run(&["status"]);
            assert!(status.stderr.contains("interrupted while its 13 tags moved"), "{place}: {}", status.stderr);
            // Whatever is pushed next ends the mix, also something else in another place.
            let to = registry.reference("aside");
            project.run(&["push", "base", "--to", &to]).exits(0);
            let after = shown(&registry);
            let changed = after.iter().zip(&old).filter(|(after, old)| after != old).count();
            assert!(changed == 0 || changed == REPOSITORIES, "{place}: a mix is left");
            let status = project.run(&["status"]);
            assert!(!status.stderr.contains("interrupted"), "{place}: {}", status.stderr);
        }
        let lacking = lacking(&project, &registry);
        let rerun = project.run(&["push", "--json"]).exits(0).json();
        let sent = rerun["uploaded"].as_u64().expect("a number");
        assert!(sent <= lacking, "{place}: {sent} blobs were sent, {lacking} were missing");
        let new = shown(&registry);
        assert!(new.iter().zip(&old).all(|(new, old)| new != old), "{place}: not all tags moved in the end");
        old = new;
    }
    writeln!(std::io::stderr(), "{mixes} of the kills left a mix, none outlived the next push").expect("a log");
}

#[test]
fn a_killed_upload_goes_on_at_its_byte_in_the_next_process() {
    let registry = Registry::start(Make::Reference, &Setup::default());
    let weather = Weather { rate: 10 << 20, life: Duration::from_secs(600), refused: 0 };
    let proxy = Proxy::start(&registry.address, weather);
    let project = project(&["web"], &format!("{}/fleet", proxy.address));
    let large = images(&project).layer("large", 24 << 20);
    build(&project, &["web"], "1", std::slice::from_ref(&large), 1000);
    for step in 1..=2 {
        let mut run = project.spawn(&["push"]);
        let end = Instant::now() + Duration::from_secs(120);
        while proxy.up() < step * (7 << 20) {
            assert!(run.try_wait().expect("a child").is_none() && Instant::now() < end, "{} bytes went", proxy.up());
            thread::sleep(Duration::from_millis(5));
        }
        run.kill().expect("a child");
        run.wait().expect("a child");
        // What it had given to the kernel is on its way still, and the registry keeps it.
        let mut before = 0;
        while proxy.up() > before {
            before = proxy.up();
            thread::sleep(Duration::from_millis(300));
        }
    }
    project.run(&["push"]).exits(0);
    assert!(registry.tag_on_disk("fleet/web", "stable").is_some());
    let slack = 2 << 20;
    assert!(proxy.up() < large.size + slack, "{} bytes went for a layer of {}", proxy.up(), large.size);
}
