//! The seeded runner: `fuzz LANGUAGE|all [COUNT] [SEED] [FIRST]`, on the stable compiler.
//!
//! `fuzz show LANGUAGE SEED NUMBER` writes one input to standard output. Everything that is wrong is told at the end, and the
//! inputs are kept in `target/fuzz`.

mod bodies;
mod expression;
mod mutate;
mod random;
mod runner;
mod seeds;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use runner::{Campaign, LANGUAGES};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let number = |at: usize, default: u64| args.get(at).map_or(default, |text| text.parse().expect("a number"));
    let name = args.first().map_or("all", String::as_str);
    if name == "show" {
        let language = LANGUAGES.into_iter().find(|language| args.get(1).is_some_and(|name| seeds::folder(*language) == name));
        let language = language.expect("a language");
        let grammar = seeds::Grammar::of(language, root);
        let input = runner::input(&grammar, language, number(2, 0), number(3, 0));
        return if std::io::stdout().write_all(&input).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let chosen: Vec<_> = LANGUAGES.into_iter().filter(|own| name == "all" || seeds::folder(*own) == name).collect();
    if chosen.is_empty() {
        let known: Vec<&str> = LANGUAGES.into_iter().map(seeds::folder).collect();
        eprintln!("error: no language is called {name}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
    let (count, seed) = (number(1, 1_000_000), number(2, now));
    let keep = root.join("target/fuzz");
    let mut failed = false;
    for language in chosen {
        let start = Instant::now();
        let campaign = Campaign {
            language,
            root,
            seed,
            first: number(3, 0),
            count,
            patience: Duration::from_secs(5),
            memory: 1 << 30,
            keep: &keep,
        };
        let summary = runner::run(&campaign);
        eprintln!(
            "{:<13} CATAMARAN_SEED={seed} {} inputs, {} accepted, slowest {:.3} s, {:.0} s",
            seeds::folder(language),
            summary.inputs,
            summary.accepted,
            summary.slowest.as_secs_f64(),
            start.elapsed().as_secs_f64(),
        );
        for failure in &summary.failures {
            failed = true;
            eprintln!("  {failure}");
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
