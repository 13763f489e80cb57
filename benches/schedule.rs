//! The scheduler with four builders of unlike speed, in simulated time: how much longer than the shortest schedule there can
//! be. `cargo bench --bench schedule`; nothing is built, so the numbers are the same everywhere.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../tests/support/simulated.rs"]
mod simulated;

use std::process::ExitCode;

use simulated::{BUILDERS, made_up, recorded, run};

/// At most so many times the bound.
const TARGET: f64 = 1.15;

fn main() -> ExitCode {
    let traces = [
        ("fleet, recorded, 26 cells", recorded(include_str!("traces/fleet.txt"))),
        ("wide, 400 cells", made_up(1, &[4, 196], 1)),
        ("layers, 240 cells", made_up(2, &[3, 17, 40, 60], 2)),
        ("deep, 160 cells", made_up(3, &[10, 10, 10, 10, 10, 10, 10, 10], 2)),
        ("large, 1000 cells", made_up(4, &[5, 95, 400], 2)),
    ];
    let mut reached = true;
    for (name, cells) in &traces {
        for error in [0.0, 0.2] {
            let (took, bound) = run(cells, &BUILDERS, error);
            let ratio = took / bound;
            let verdict = if ratio <= TARGET { "reached" } else { "missed" };
            reached &= ratio <= TARGET;
            println!(
                "{name}, {:2.0} % wrong about times: {took:.0} s, no schedule is under {bound:.0} s: ratio {ratio:.3}, \
                 target {TARGET}: {verdict}",
                error * 100.0
            );
        }
    }
    ExitCode::from(u8::from(!reached))
}
