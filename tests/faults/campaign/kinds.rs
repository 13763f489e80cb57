//! What can go wrong.

use crate::support::builder::Lie;
use crate::support::dice::Dice;
use crate::support::scripted::{Act, error_body};

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The builder is killed.
    BuilderKilled,
    /// The stream to the builder is cut at some byte.
    Cut,
    /// A byte of what the builder sends is changed on the way.
    Changed,
    /// The builder hands over less than it says, or something else: truncated and wrong blobs, wrong platforms.
    Lie,
    /// A call to the kernel answers with EIO.
    InputOutput,
    /// A call to the kernel answers with ENOSPC.
    NoSpace,
    /// The file system is full.
    FullDisk,
    /// The program is killed.
    Killed,
    /// The clock jumps.
    Clock,
    /// The registry refuses, breaks off, or sends something else.
    Registry,
}

/// The order in which kinds come, again and again: by how many ways each has to go wrong.
pub(super) const ORDER: [Kind; 25] = {
    use Kind::{BuilderKilled, Changed, Clock, Cut, FullDisk, InputOutput, Killed, Lie, NoSpace, Registry};
    [
        Lie,
        Cut,
        InputOutput,
        Killed,
        Registry,
        FullDisk,
        Cut,
        Lie,
        NoSpace,
        Clock,
        InputOutput,
        Registry,
        Changed,
        Lie,
        BuilderKilled,
        Killed,
        InputOutput,
        Cut,
        Registry,
        Lie,
        NoSpace,
        FullDisk,
        Cut,
        Killed,
        InputOutput,
    ]
};

fn blob(dice: &mut Dice) -> usize {
    usize::try_from(dice.below(3)).expect("small")
}

fn part(dice: &mut Dice) -> usize {
    usize::try_from(dice.below(1000)).expect("small")
}

/// Lies of every kind.
pub(super) const LIES: [fn(&mut Dice) -> Lie; 13] = [
    |dice| Lie::Truncated(blob(dice), part(dice)),
    |dice| Lie::Short(blob(dice), part(dice)),
    |dice| Lie::Altered(blob(dice), part(dice)),
    |dice| Lie::Skipped(blob(dice)),
    |dice| Lie::Uncommitted(blob(dice)),
    |_| Lie::OtherPlatform,
    |_| Lie::OtherInIndex,
    |_| Lie::OtherPrograms,
    |_| Lie::OtherCell,
    |_| Lie::Nothing,
    |_| Lie::Garbage,
    |dice| Lie::EndsSession(blob(dice)),
    |_| Lie::Refuses,
];

/// What the registry does, after how many requests, and how often.
pub(super) fn pick_act(dice: &mut Dice) -> (usize, usize, Act) {
    let small = |dice: &mut Dice, limit| usize::try_from(dice.below(limit)).expect("small");
    let refusal = |status, code: &str| Act::Answer(status, Vec::new(), error_body(code));
    let acts = [
        refusal(500, "UNKNOWN"),
        refusal(503, "UNAVAILABLE"),
        Act::Answer(429, vec![("retry-after", "0".to_owned())], error_body("TOOMANYREQUESTS")),
        refusal(403, "DENIED"),
        refusal(401, "UNAUTHORIZED"),
        refusal(404, "NAME_UNKNOWN"),
        refusal(507, "UNKNOWN"),
        Act::Answer(200, Vec::new(), b"something else".to_vec()),
        Act::Answer(201, Vec::new(), Vec::new()),
        Act::CutAfter(small(dice, 5000)),
        Act::CutKeeping(small(dice, 5000)),
        Act::DoneThenCut,
        Act::DoneBut(500),
        Act::HalfBody,
        Act::KeepsOnly(small(dice, 2000)),
        Act::LieAboutMount,
        Act::Header("docker-content-digest", format!("sha256:{}", "0".repeat(64))),
    ];
    let act = dice.pick(&acts).clone();
    let skip = small(dice, 60);
    // What is refused for good is refused for ever, too; waiting for what is said to pass would only take time.
    let forever = matches!(act, Act::Answer(403 | 401 | 404, ..)) && dice.below(2) == 0;
    (skip, if forever { usize::MAX } else { 1 }, act)
}
