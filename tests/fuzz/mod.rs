//! A bounded part of the fuzzing that `scripts/campaign fuzz` does in full, and hostile input that was thought of.
//!
//! The inputs and what is done with them are those of `fuzz/`. `CATAMARAN_SEED` repeats a run, `CATAMARAN_FUZZ` is the number
//! of inputs per language.

#[path = "../../fuzz/src/bodies.rs"]
mod bodies;
#[path = "../../fuzz/src/expression.rs"]
mod expression;
#[path = "../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../fuzz/src/random.rs"]
mod random;
#[path = "../../fuzz/src/runner.rs"]
mod runner;
#[path = "../../fuzz/src/seeds.rs"]
mod seeds;

mod hostile;

use std::path::Path;
use std::time::Duration;

use bodies::Language;
use runner::{Campaign, LANGUAGES};

use crate::support::dice::{number, seed};

fn fuzz(language: Language, count: u64) {
    let name = seeds::folder(language);
    let seed = seed(&format!("fuzz {name}"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let campaign = Campaign {
        language,
        root,
        seed,
        first: 0,
        count: number("CATAMARAN_FUZZ").unwrap_or(count),
        // Other tests run beside this one, on a build without optimisation: this tells a hang, not a slow machine.
        patience: Duration::from_secs(60),
        memory: 6 << 30,
        keep: &root.join("target/fuzz"),
    };
    let summary = runner::run(&campaign);
    assert!(summary.failures.is_empty(), "CATAMARAN_SEED={seed} {name}:\n{}", summary.failures.join("\n"));
    assert_eq!(summary.inputs, campaign.count);
    // Mutations that are all refused at the first word would test nothing.
    assert!(summary.accepted > 0 || summary.inputs < 1000, "none of {} inputs was accepted", summary.inputs);
}

macro_rules! fuzzed {
    ($($name:ident: $language:ident, $count:literal;)*) => {
        $(#[test] fn $name() { fuzz(Language::$language, $count); })*

        #[test]
        fn every_language_is_fuzzed() {
            let here = [$(Language::$language),*];
            assert!(LANGUAGES.iter().all(|language| here.contains(language)));
        }
    };
}

fuzzed! {
    toml_project: Toml, 2_000;
    hcl_bake: Hcl, 2_000;
    json_bake: Json, 2_000;
    compose_file: Compose, 2_000;
    dockerfile: Dockerfile, 5_000;
    ignore_patterns: Ignore, 2_000;
    references: Reference, 20_000;
    platforms: Platform, 20_000;
    templates: Template, 5_000;
    variable_files: Vars, 1_000;
    layout_index: Layout, 2_000;
    manifests: Manifest, 10_000;
    bundle_files: Bundle, 2_000;
    build_conf_trees: Tree, 500;
}

/// A runner that finds nothing must be one that could find something.
#[test]
fn the_same_seed_gives_the_same_inputs() {
    let grammar = seeds::Grammar::of(Language::Hcl, Path::new(env!("CARGO_MANIFEST_DIR")));
    let inputs = |seed| (0..200).map(|at| runner::input(&grammar, Language::Hcl, seed, at)).collect::<Vec<_>>();
    assert_eq!(inputs(7), inputs(7));
    assert_ne!(inputs(7), inputs(8));
}
