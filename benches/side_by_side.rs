//! Two things that do the same, run in turn on the same machine: only their ratio means anything.

use std::process::Command;
use std::time::{Duration, Instant};

const RUNS: usize = 5;

/// Runs both once to warm the caches, then [`RUNS`] times in turn; prints medians and ratio.
pub(crate) fn compare(name: &str, target: f64, ours: impl FnMut(), theirs: impl FnMut()) {
    let ratio = ratio_of(name, ours, theirs);
    let verdict = if ratio <= target { "reached" } else { "missed" };
    println!("{name}: ratio {ratio:.2}, target {target:.2}: {verdict}");
}

fn ratio_of(name: &str, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> f64 {
    ours();
    theirs();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        left.push(timed(&mut ours));
        right.push(timed(&mut theirs));
    }
    let (left, right) = (median(left), median(right));
    println!("{name}: {:.3} s / {:.3} s", left.as_secs_f64(), right.as_secs_f64());
    left.as_secs_f64() / right.as_secs_f64()
}

fn timed(work: &mut impl FnMut()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Runs a shell command that must succeed.
pub(crate) fn shell(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().expect("sh can be started");
    assert!(status.success(), "{command}: {status}; `scripts/setup bench` installs the parts");
}

/// The number after `--megabytes`.
pub(crate) fn megabytes(default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--megabytes");
    arguments.nth(1).map_or(default, |number| number.parse().expect("a number of megabytes"))
}
