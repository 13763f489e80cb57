//! Chance that can be had again: `CATAMARAN_SEED` repeats a run.
//!
//! Without it a run takes the same seed each time, so that a change is judged by what it changes; campaigns throw new ones.

use std::io::Write as _;

/// What a run takes where no seed is given.
const USUAL_SEED: u64 = 20_240_229;

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: `{text}`")))
}

/// The seed of this run, which is told at once: a test that is killed cannot tell it.
pub(crate) fn seed(of: &str) -> u64 {
    let seed = number("CATAMARAN_SEED").unwrap_or(USUAL_SEED);
    // Not by a macro, whose output is only shown when the test fails.
    writeln!(std::io::stderr(), "{of}: CATAMARAN_SEED={seed}").expect("a terminal or a log");
    seed
}

/// `SplitMix64`, by Steele, Lea and Flood.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From 0 to just below `limit`; 0 if that is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % limit.max(1)
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.below(u64::try_from(items.len()).expect("64 bits"));
        &items[usize::try_from(at).expect("below a length")]
    }
}
