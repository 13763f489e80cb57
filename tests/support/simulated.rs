//! The scheduler in a world whose time is a number: what a run takes by builders that nobody has.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use catamaran::run::{Crash, Graph, Limits, Node, OnFailure, Stopped, Verdict, Verdicts, Way, Worker, schedule};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A cell of a run.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// Positions of those that it waits for.
    pub(crate) needs: Vec<usize>,
    /// 0 or 1: which of two platforms.
    pub(crate) platform: usize,
    /// What it takes natively, on a machine of the ordinary speed.
    pub(crate) seconds: f64,
}

/// A builder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Builder {
    /// Cells at once.
    pub(crate) capacity: u32,
    /// How many times as long as natively on a machine of the ordinary speed a cell takes, by its platform.
    pub(crate) slowness: [Option<f64>; 2],
}

/// Four of unlike speed: two for amd64, one for arm64, and a fast one for both that emulates arm64.
pub(crate) const BUILDERS: [Builder; 4] = [
    Builder { capacity: 4, slowness: [Some(1.0), None] },
    Builder { capacity: 2, slowness: [Some(2.0), None] },
    Builder { capacity: 4, slowness: [None, Some(1.25)] },
    Builder { capacity: 3, slowness: [Some(0.7), Some(4.0)] },
];

/// `NAME PLATFORM SECONDS NEED,NEED…` by line, as a run was recorded; needs are of the same platform.
pub(crate) fn recorded(text: &str) -> Vec<Cell> {
    let lines: Vec<Vec<&str>> =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect()).collect();
    let at = |name: &str, platform: &str| lines.iter().position(|line| line[0] == name && line[1] == platform);
    let cell = |line: &Vec<&str>| Cell {
        needs: line[3].split(',').filter_map(|name| at(name, line[1])).collect(),
        platform: usize::from(line[1] == "arm64"),
        seconds: line[2].parse().expect("seconds"),
    };
    lines.iter().map(cell).collect()
}

/// The same every time: `SplitMix64`.
fn roll(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from((value ^ (value >> 31)) >> 32).expect("32 bits")
}

/// A part of 1.
fn chance(state: &mut u64) -> f64 {
    f64::from(roll(state)) / f64::from(u32::MAX)
}

/// A number below this, or 0.
fn below(state: &mut u64, limit: usize) -> usize {
    let limit = u64::try_from(limit).expect("64 bits");
    usize::try_from(u64::from(roll(state)) * limit / u64::from(u32::MAX)).expect("below a length")
}

/// Components in layers, each for both platforms: in each of `layers` so many, which need up to `needs` of the layer before.
pub(crate) fn made_up(seed: u64, layers: &[usize], needs: usize) -> Vec<Cell> {
    let mut state = seed;
    let (mut cells, mut before): (Vec<Cell>, Vec<usize>) = (Vec::new(), Vec::new());
    for &width in layers {
        let first = cells.len();
        for _ in 0..width {
            // Many that are short and few that are long, as builds are.
            let seconds = 4.0 + 200.0 * chance(&mut state).powi(4);
            let pick = |state: &mut u64| before[below(state, before.len() - 1)];
            let chosen: Vec<usize> =
                if before.is_empty() { Vec::new() } else { (0..needs).map(|_| pick(&mut state)).collect() };
            for platform in 0..2 {
                let seconds = seconds * (0.9 + 0.3 * chance(&mut state));
                cells.push(Cell { needs: chosen.iter().map(|need| need + platform).collect(), platform, seconds });
            }
        }
        before = (first..cells.len()).step_by(2).collect();
    }
    cells
}

struct Clock {
    now: Duration,
    /// When who ends.
    ends: BinaryHeap<Reverse<(Duration, usize)>>,
    waiting: HashMap<usize, oneshot::Sender<()>>,
    /// How many were told to end, and how many the scheduler has seen to.
    fired: usize,
    ended: usize,
}

/// Cells that only take time.
struct Simulated {
    clock: Arc<Mutex<Clock>>,
    /// What each takes in each lane in the end, whatever was expected.
    takes: Vec<Vec<Duration>>,
}

#[derive(Debug)]
struct Broken;

impl From<Crash> for Broken {
    fn from(_: Crash) -> Self {
        Self
    }
}

fn lock(clock: &Mutex<Clock>) -> MutexGuard<'_, Clock> {
    clock.lock().expect("nobody panics")
}

impl Worker for Simulated {
    type Output = ();
    type Error = Broken;

    fn now(&self) -> Duration {
        lock(&self.clock).now
    }

    fn start(
        &mut self,
        node: usize,
        lane: usize,
        _: &Verdicts<(), Broken>,
        _: CancellationToken,
    ) -> impl Future<Output = Result<(), Stopped<Broken>>> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        let mut clock = lock(&self.clock);
        let end = clock.now + self.takes[node][lane];
        clock.ends.push(Reverse((end, node)));
        clock.waiting.insert(node, sender);
        async move { receiver.await.map_err(|_| Stopped::Cancelled) }
    }

    fn ended(&mut self, _: usize, _: &Verdict<(), Broken>) {
        lock(&self.clock).ended += 1;
    }
}

/// Lets one after the other end, each as soon as the scheduler has seen to the one before.
async fn pass_time(clock: Arc<Mutex<Clock>>) {
    loop {
        let next = {
            let mut clock = lock(&clock);
            let quiet = clock.fired == clock.ended;
            quiet.then(|| clock.ends.pop()).flatten().and_then(|Reverse((at, node))| {
                (clock.now, clock.fired) = (at, clock.fired + 1);
                clock.waiting.remove(&node)
            })
        };
        if let Some(sender) = next {
            sender.send(()).expect("it is waited for");
        }
        tokio::task::yield_now().await;
    }
}

/// What a run takes, in seconds, where cells take `error` more or less than expected.
pub(crate) fn run(cells: &[Cell], builders: &[Builder], error: f64) -> (f64, f64) {
    let seconds = |seconds: f64| Duration::from_secs_f64(seconds);
    let mut state = 11;
    let real: Vec<Cell> = cells
        .iter()
        .map(|cell| Cell { seconds: cell.seconds * (1.0 + error * (2.0 * chance(&mut state) - 1.0)), ..cell.clone() })
        .collect();
    let node = |cell: &Cell| Node {
        needs: cell.needs.clone(),
        ways: builders
            .iter()
            .enumerate()
            .filter_map(|(lane, builder)| {
                Some(Way { lane, takes: seconds(cell.seconds * builder.slowness[cell.platform]?) })
            })
            .collect(),
    };
    let graph = Graph::new(cells.iter().map(node).collect()).expect("no cycle");
    let capacity = |builder: &Builder| usize::try_from(builder.capacity).expect("small");
    let limits = Limits { total: usize::MAX, lanes: builders.iter().map(capacity).collect() };
    let takes = |cell: &Cell| {
        builders.iter().map(|builder| seconds(cell.seconds * builder.slowness[cell.platform].unwrap_or(1e6))).collect()
    };
    let clock = Clock { now: Duration::ZERO, ends: BinaryHeap::new(), waiting: HashMap::new(), fired: 0, ended: 0 };
    let clock = Arc::new(Mutex::new(clock));
    let mut worker = Simulated { clock: Arc::clone(&clock), takes: real.iter().map(takes).collect() };
    let cancel = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let verdicts = runtime.block_on(async {
        tokio::select! {
            biased;
            verdicts = schedule(&graph, &limits, OnFailure::KeepGoing, &cancel, &mut worker) => verdicts,
            () = pass_time(Arc::clone(&clock)) => unreachable!("time does not end"),
        }
    });
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Done(()))), "all cells are built");
    let took = lock(&clock).now.as_secs_f64();
    (took, bound(&real, builders))
}

/// No schedule is shorter: the longest chain, each cell where it is fastest; all work spread like a liquid; and a time within
/// which the cells do not fit into the builders that end them within it.
fn bound(cells: &[Cell], builders: &[Builder]) -> f64 {
    let fastest = |cell: &Cell| {
        cell.seconds * builders.iter().filter_map(|builder| builder.slowness[cell.platform]).fold(1e9, f64::min)
    };
    // What must be over before a cell begins, and what must follow when it has ended.
    let (mut heads, mut tails) = (vec![0.0_f64; cells.len()], vec![0.0_f64; cells.len()]);
    for (at, cell) in cells.iter().enumerate() {
        heads[at] = cell.needs.iter().map(|need| heads[*need] + fastest(&cells[*need])).fold(0.0, f64::max);
    }
    for (at, cell) in cells.iter().enumerate().rev() {
        let behind = tails[at] + fastest(cell);
        cell.needs.iter().for_each(|need| tails[*need] = tails[*need].max(behind));
    }
    let chain = cells.iter().zip(&heads).map(|(cell, head)| head + fastest(cell)).fold(0.0, f64::max);
    let work = |platform: usize| -> f64 {
        cells.iter().filter(|cell| cell.platform == platform).map(|cell| cell.seconds).sum()
    };
    let mut low = chain.max(liquid([work(0), work(1)], builders));
    let mut high = low * 2.0;
    for _ in 0..20 {
        let middle = f64::midpoint(low, high);
        if may_fit(cells, builders, (&heads, &tails), middle) { high = middle } else { low = middle }
    }
    low
}

/// Whether nothing speaks against an end within `time`: for every set of builders, the cells that must go to these, and the
/// time that is left for those that begin late or have much behind them.
fn may_fit(cells: &[Cell], builders: &[Builder], (heads, tails): (&[f64], &[f64]), time: f64) -> bool {
    // The builders that end a cell in time as a set of bits, and the least that it takes there.
    let places = cells.iter().enumerate().map(|(at, cell)| {
        let costs = builders.iter().enumerate().filter_map(|(lane, builder)| {
            let cost = cell.seconds * builder.slowness[cell.platform]?;
            (heads[at] + cost + tails[at] <= time).then_some((1_usize << lane, cost))
        });
        costs.fold((0_usize, f64::INFINITY), |(set, least), (bit, cost)| (set | bit, least.min(cost)))
    });
    let places: Vec<(usize, f64)> = places.collect();
    let sets = 1..1_usize << builders.len();
    let slots = |set: usize| -> u32 {
        builders.iter().enumerate().filter(|(lane, _)| set >> lane & 1 == 1).map(|(_, builder)| builder.capacity).sum()
    };
    let fits = |head: f64, tail: f64, set: usize| {
        let late = |at: &usize| heads[*at] >= head && tails[*at] >= tail && places[*at].0 & !set == 0;
        let work: f64 = (0..cells.len()).filter(late).map(|at| places[at].1).sum();
        work == 0.0 || work <= (time - head - tail) * f64::from(slots(set))
    };
    let (heads, tails) = (some_of(heads), some_of(tails));
    heads.iter().all(|head| tails.iter().all(|tail| sets.clone().all(|set| fits(*head, *tail, set))))
}

/// Ten of these at most, from the least to the greatest.
fn some_of(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.dedup();
    (0..10).map(|at| values[at * (values.len() - 1) / 9]).collect()
}

/// The least time in which so much work of two platforms is done if it can be cut at will: builders that are better at the
/// first do that, the others the second, and one at most does both.
fn liquid(work: [f64; 2], builders: &[Builder]) -> f64 {
    let rate = |builder: &Builder, platform: usize| {
        builder.slowness[platform].map_or(0.0, |slowness| f64::from(builder.capacity) / slowness)
    };
    let mut rates: Vec<[f64; 2]> = builders.iter().map(|builder| [rate(builder, 0), rate(builder, 1)]).collect();
    rates.sort_by(|left, right| (right[0] * left[1]).total_cmp(&(left[0] * right[1])));
    let mut best = f64::INFINITY;
    for (at, both) in rates.iter().enumerate() {
        let first: f64 = rates[..at].iter().map(|rates| rates[0]).sum();
        let second: f64 = rates[at + 1..].iter().map(|rates| rates[1]).sum();
        // A thousandth more or less of it for the first.
        let times = (0..=1000).map(|part| {
            let part = f64::from(part) / 1000.0;
            (work[0] / (first + part * both[0])).max(work[1] / (second + (1.0 - part) * both[1]))
        });
        best = times.fold(best, f64::min);
    }
    // What a thousandth can be off.
    best * 0.998
}
