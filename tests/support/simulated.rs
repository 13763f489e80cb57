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
    pub(crate) capacity: usize,
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

/// The same every time: `SplitMix64`, as a part of 1.
fn chance(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from(u32::try_from((value ^ (value >> 31)) >> 32).expect("32 bits")) / f64::from(u32::MAX)
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
            let pick = |state: &mut u64| before[(chance(state) * (before.len() - 1) as f64) as usize];
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
    let limits = Limits { total: usize::MAX, lanes: builders.iter().map(|builder| builder.capacity).collect() };
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

/// No schedule is shorter: the longest chain, each cell where it is fastest, or all work spread like a liquid.
fn bound(cells: &[Cell], builders: &[Builder]) -> f64 {
    let fastest = |platform: usize| {
        builders.iter().filter_map(|builder| builder.slowness[platform]).fold(f64::INFINITY, f64::min)
    };
    let mut ends: Vec<f64> = Vec::new();
    for cell in cells {
        let begins = cell.needs.iter().map(|need| ends[*need]).fold(0.0, f64::max);
        ends.push(begins + cell.seconds * fastest(cell.platform));
    }
    let chain = ends.into_iter().fold(0.0, f64::max);
    let work = |platform: usize| -> f64 {
        cells.iter().filter(|cell| cell.platform == platform).map(|cell| cell.seconds).sum()
    };
    chain.max(liquid([work(0), work(1)], builders))
}

/// The least time in which so much work of two platforms is done if it can be cut at will: builders that are better at the
/// first do that, the others the second, and one at most does both.
fn liquid(work: [f64; 2], builders: &[Builder]) -> f64 {
    let rate = |builder: &Builder, platform: usize| {
        builder.slowness[platform].map_or(0.0, |slowness| builder.capacity as f64 / slowness)
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
