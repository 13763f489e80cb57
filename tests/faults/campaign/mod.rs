//! Run after run with one fault in each: never exit 0 with a hole, never a hang, and a rerun always completes.

mod bench;
mod fleet;
mod kinds;
mod look;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bench::{Bench, Told};
use kinds::{Kind, ORDER};

use crate::support::dice::{number, seed};

/// How many runs are made with the tests: each kind comes. The campaign makes thousands.
const SAMPLE: u64 = 25;

/// What came of the runs of one kind.
#[derive(Default)]
struct Tally {
    runs: u64,
    /// In which the fault did not come about; not among the `runs`.
    missed: u64,
    /// By exit code; -1 is an end by a signal.
    codes: BTreeMap<i32, u64>,
}

#[derive(Default)]
struct Record {
    kinds: BTreeMap<Kind, Tally>,
    broken: Vec<String>,
}

impl Record {
    fn take(&mut self, kind: Kind, number: u64, told: &Told) {
        let tally = self.kinds.entry(kind).or_default();
        if told.fired {
            tally.runs += 1;
            *tally.codes.entry(told.code.unwrap_or(-1)).or_default() += 1;
        } else {
            tally.missed += 1;
        }
        for text in &told.broken {
            let text = format!("run {number}, {kind:?}, {}: {text}", told.what);
            writeln!(std::io::stderr(), "BROKEN: {text}").expect("a log");
            self.broken.push(text);
        }
    }

    fn show(&self) {
        let mut log = std::io::stderr();
        for (kind, tally) in &self.kinds {
            let codes: Vec<String> = tally.codes.iter().map(|(code, runs)| format!("{runs} x {code}")).collect();
            let (name, codes) = (format!("{kind:?}"), codes.join(", "));
            writeln!(log, "{name:14} {:5} runs, exit {codes}; {} more missed", tally.runs, tally.missed)
                .expect("a log");
        }
    }
}

/// `CATAMARAN_SEED` repeats a run, `CATAMARAN_FAULTS` makes it longer, `CATAMARAN_FAULT` makes just the one of this number.
#[test]
fn one_fault_never_makes_a_green_run_with_a_hole_nor_a_hang_and_a_rerun_completes() {
    let seed = seed("faults");
    let wanted = number("CATAMARAN_FAULTS").unwrap_or(SAMPLE);
    let only = number("CATAMARAN_FAULT");
    let (next, done, record) = (AtomicU64::new(only.unwrap_or(0)), AtomicU64::new(0), Mutex::new(Record::default()));
    let row = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let mut bench = Bench::new(runtime.expect("a runtime"));
        while done.load(Ordering::Relaxed) < wanted {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let kind = ORDER[usize::try_from(number).expect("64 bits") % ORDER.len()];
            let told = bench.run(kind, number, seed);
            println!(
                "run {number}: {kind:?}, {}: {:?}, {}",
                told.what,
                told.code,
                if told.fired { "met" } else { "missed" }
            );
            record.lock().expect("no panic").take(kind, number, &told);
            let all = done.fetch_add(u64::from(told.fired), Ordering::Relaxed) + u64::from(told.fired);
            if told.fired && all.is_multiple_of(100) {
                writeln!(std::io::stderr(), "{all} runs").expect("a log");
            }
            if only.is_some() {
                break;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..number("CATAMARAN_FAULT_ROWS").unwrap_or(1) {
            scope.spawn(row);
        }
    });
    let record = record.into_inner().expect("no panic");
    record.show();
    assert!(
        record.broken.is_empty(),
        "seed {seed}: {} promises were broken:\n{}",
        record.broken.len(),
        record.broken.join("\n")
    );
}
