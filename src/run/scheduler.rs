use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// One unit of work in a [`Graph`], known by its position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Positions of the nodes that must be done before this one starts.
    pub needs: Vec<usize>,
    /// The lanes that it may run in, the one that it should take where all are as good first. One lane is one builder, with
    /// a limit of its own. Without any it runs in lane 0.
    pub ways: Vec<Way>,
}

/// One of the lanes that a node may run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// Which lane.
    pub lane: usize,
    /// What it is expected to take there; zero if nobody knows.
    pub takes: Duration,
}

impl Node {
    fn ways(&self) -> &[Way] {
        const ANY: [Way; 1] = [Way { lane: 0, takes: Duration::ZERO }];
        if self.ways.is_empty() { &ANY } else { &self.ways }
    }

    /// What it takes where it takes least. Something, also where nobody knows: a longer chain is longer.
    fn weight(&self) -> Duration {
        self.ways().iter().map(|way| way.takes).min().unwrap_or_default().max(Duration::from_millis(1))
    }
}

/// Nodes whose needs are known to exist and to contain no cycle.
#[derive(Debug, Clone)]
pub struct Graph {
    nodes: Vec<Node>,
    /// Who waits for each node.
    dependents: Vec<Vec<usize>>,
    /// What the longest chain takes that begins with each node.
    heights: Vec<Duration>,
}

/// Why nodes are not a graph that can be scheduled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGraph {
    /// A node needs a position that does not exist.
    #[error("node {node} needs node {need}, which does not exist")]
    UnknownNeed {
        /// Who needs it.
        node: usize,
        /// What is not there.
        need: usize,
    },
    /// Nodes wait for each other.
    #[error("nodes wait for each other: {}", .nodes.iter().map(usize::to_string).collect::<Vec<_>>().join(", "))]
    Cycle {
        /// The nodes in and behind the cycle.
        nodes: Vec<usize>,
    },
}

impl Graph {
    /// Checks `nodes`.
    pub fn new(nodes: Vec<Node>) -> Result<Self, InvalidGraph> {
        let mut dependents = vec![Vec::new(); nodes.len()];
        let mut open: Vec<usize> = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let needs: BTreeSet<usize> = node.needs.iter().copied().collect();
            for &need in &needs {
                let list = dependents.get_mut(need).ok_or(InvalidGraph::UnknownNeed { node: index, need })?;
                list.push(index);
            }
            open.push(needs.len());
        }
        // Kahn's order; what never gets free is in a cycle or behind one.
        let mut order: Vec<usize> = (0..nodes.len()).filter(|&index| open[index] == 0).collect();
        let mut next = 0;
        while let Some(&index) = order.get(next) {
            next += 1;
            for &dependent in &dependents[index] {
                open[dependent] -= 1;
                if open[dependent] == 0 {
                    order.push(dependent);
                }
            }
        }
        if order.len() < nodes.len() {
            return Err(InvalidGraph::Cycle { nodes: (0..nodes.len()).filter(|&index| open[index] > 0).collect() });
        }
        let mut heights = vec![Duration::ZERO; nodes.len()];
        for &index in order.iter().rev() {
            let behind = dependents[index].iter().map(|&dependent| heights[dependent]).max().unwrap_or_default();
            heights[index] = nodes[index].weight().saturating_add(behind);
        }
        Ok(Self { nodes, dependents, heights })
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// How much runs at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Over all lanes; at least one runs whatever this says.
    pub total: usize,
    /// By lane; a lane that is not listed, or listed with 0, runs one at a time.
    pub lanes: Vec<usize>,
}

/// What a failed node means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Only what needs it is blocked; everything else finishes.
    KeepGoing,
    /// Everything that has not ended is cancelled.
    Stop,
}

/// How one node's work ended, as its future reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped<E> {
    /// By its own fault.
    Failed(E),
    /// Because its token was cancelled.
    Cancelled,
}

/// A worker that ended by a panic: a bug, reported like any other failure so that the rest of the run goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the worker crashed: {message}")]
pub struct Crash {
    /// What the panic said.
    pub message: String,
}

/// What became of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<T, E> {
    /// Its work is done.
    Done(T),
    /// Its work failed.
    Failed(E),
    /// It never started: a node that it needs, directly or not, failed.
    Blocked {
        /// The node that failed.
        by: usize,
    },
    /// It was stopped, or never started because the run was.
    Cancelled,
}

/// Verdicts by position; `None` while a node waits or runs.
pub type Verdicts<T, E> = [Option<Verdict<T, E>>];

/// Watches and feeds a schedule: the seam between the order of work and the work itself.
pub trait Worker {
    /// What a node makes.
    type Output: Send + 'static;
    /// Why it does not.
    type Error: From<Crash> + Send + 'static;

    /// How long the run has been going on.
    fn now(&self) -> Duration;

    /// The work of `node` in `lane`, all of whose needs are `Done` in `so_far`. It must end soon after `cancel` is cancelled.
    fn start(
        &mut self,
        node: usize,
        lane: usize,
        so_far: &Verdicts<Self::Output, Self::Error>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Self::Output, Stopped<Self::Error>>> + Send + 'static;

    /// Told once for every node, when its verdict is known.
    fn ended(&mut self, node: usize, verdict: &Verdict<Self::Output, Self::Error>);
}

/// Runs every node of `graph` after its needs; returns one verdict for each, in their order.
///
/// Of the nodes that are ready, the one with the longest chain behind it (by what its nodes are expected to take) comes
/// first, then the one that stands first. It starts in the lane where it is expected to end first; where that is a busy one,
/// it waits for it, and what comes after it reckons with that. When `cancel` is cancelled nothing new starts, running work is awaited, and what is left is `Cancelled`.
pub async fn schedule<W: Worker>(
    graph: &Graph,
    limits: &Limits,
    on_failure: OnFailure,
    cancel: &CancellationToken,
    worker: &mut W,
) -> Vec<Verdict<W::Output, W::Error>> {
    // Stopping after a failure must not look like an interrupt to the caller: only the child is cancelled.
    let stop = cancel.child_token();
    let mut state = Schedule::new(graph, limits);
    loop {
        while let Some((node, way)) = state.next_ready(worker.now(), &stop) {
            let future = worker.start(node, way.lane, &state.verdicts, stop.child_token());
            state.launch(Started { node, way, at: worker.now() }, future);
        }
        if state.running.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            Some(joined) = state.tasks.join_next_with_id() => {
                let (node, verdict) = state.landed(joined);
                if on_failure == OnFailure::Stop && matches!(verdict, Verdict::Failed(_)) {
                    stop.cancel();
                }
                state.settle(node, verdict, worker);
            }
            // Wakes the loop so that nothing new starts; the running work has the same token.
            () = stop.cancelled(), if !state.stopping => state.stopping = true,
        }
    }
    state.finish(worker)
}

struct Schedule<'g, T, E> {
    graph: &'g Graph,
    limits: &'g Limits,
    verdicts: Vec<Option<Verdict<T, E>>>,
    /// Needs that are not done, by node.
    open: Vec<usize>,
    ready: BTreeSet<(Reverse<Duration>, usize)>,
    tasks: JoinSet<Result<T, Stopped<E>>>,
    running: HashMap<Id, Started>,
    stopping: bool,
}

/// A node that runs.
#[derive(Debug, Clone, Copy)]
struct Started {
    node: usize,
    way: Way,
    at: Duration,
}

impl Started {
    /// What it will go on to take. What has taken longer than expected has no end in sight: the longer, the less.
    fn rest(&self, now: Duration) -> Duration {
        let so_far = now.saturating_sub(self.at);
        self.way.takes.saturating_sub(so_far).max(so_far / 4)
    }
}

impl<'g, T: Send + 'static, E: From<Crash> + Send + 'static> Schedule<'g, T, E> {
    fn new(graph: &'g Graph, limits: &'g Limits) -> Self {
        let open: Vec<usize> =
            graph.nodes.iter().map(|node| node.needs.iter().collect::<BTreeSet<_>>().len()).collect();
        let ready = (0..graph.len()).filter(|&node| open[node] == 0).map(|node| (Reverse(graph.heights[node]), node));
        Self {
            ready: ready.collect(),
            graph,
            limits,
            verdicts: graph.nodes.iter().map(|_| None).collect(),
            open,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            stopping: false,
        }
    }

    /// Takes the most urgent node that may start now, and the way that it goes.
    fn next_ready(&mut self, now: Duration, stop: &CancellationToken) -> Option<(usize, Way)> {
        if stop.is_cancelled() || self.running.len() >= self.limits.total.max(1) {
            return None;
        }
        let mut lanes = Lanes::new(self.limits);
        for started in self.running.values() {
            lanes.take(started.way.lane, started.rest(now));
        }
        let mut found = None;
        for &(height, node) in &self.ready {
            let ends =
                |way: &Way| lanes.free_in(way.lane).map_or(Duration::ZERO, |wait| wait).saturating_add(way.takes);
            // The first of those that are as good: `min_by_key` takes that one.
            let way = *self.graph.nodes[node].ways().iter().min_by_key(|way| ends(way))?;
            if lanes.free_in(way.lane).is_none() {
                found = Some((height, node, way));
                break;
            }
            lanes.wait(way);
        }
        let (height, node, way) = found?;
        self.ready.remove(&(height, node));
        Some((node, way))
    }

    fn launch(&mut self, started: Started, work: impl Future<Output = Result<T, Stopped<E>>> + Send + 'static) {
        let id = self.tasks.spawn(work).id();
        self.running.insert(id, started);
    }

    /// Turns the end of a task into a verdict on its node.
    fn landed(&mut self, joined: Result<(Id, Result<T, Stopped<E>>), JoinError>) -> (usize, Verdict<T, E>) {
        let (id, verdict) = match joined {
            Ok((id, Ok(output))) => (id, Verdict::Done(output)),
            Ok((id, Err(Stopped::Failed(error)))) => (id, Verdict::Failed(error)),
            Ok((id, Err(Stopped::Cancelled))) => (id, Verdict::Cancelled),
            Err(error) => (error.id(), Verdict::Failed(Crash { message: panic_message(error) }.into())),
        };
        let started = self.running.remove(&id).expect("every task is entered when it is spawned");
        (started.node, verdict)
    }

    /// Records a verdict and what follows from it for the nodes behind it.
    fn settle(&mut self, node: usize, verdict: Verdict<T, E>, worker: &mut impl Worker<Output = T, Error = E>) {
        worker.ended(node, &verdict);
        let failed = matches!(verdict, Verdict::Failed(_));
        let done = matches!(verdict, Verdict::Done(_));
        self.verdicts[node] = Some(verdict);
        if failed {
            self.block_behind(node, worker);
        }
        if done {
            for &dependent in &self.graph.dependents[node] {
                self.open[dependent] -= 1;
                if self.open[dependent] == 0 && self.verdicts[dependent].is_none() {
                    self.ready.insert((Reverse(self.graph.heights[dependent]), dependent));
                }
            }
        }
    }

    /// Blocks everything that waits for `root`, naming `root` itself and not the node in between.
    fn block_behind(&mut self, root: usize, worker: &mut impl Worker<Output = T, Error = E>) {
        let mut stack = vec![root];
        while let Some(node) = stack.pop() {
            for &dependent in &self.graph.dependents[node] {
                if self.verdicts[dependent].is_none() {
                    let verdict = Verdict::Blocked { by: root };
                    worker.ended(dependent, &verdict);
                    self.verdicts[dependent] = Some(verdict);
                    stack.push(dependent);
                }
            }
        }
    }

    /// What has no verdict when nothing runs any more was stopped before its turn.
    fn finish(mut self, worker: &mut impl Worker<Output = T, Error = E>) -> Vec<Verdict<T, E>> {
        for node in 0..self.verdicts.len() {
            if self.verdicts[node].is_none() {
                worker.ended(node, &Verdict::Cancelled);
                self.verdicts[node] = Some(Verdict::Cancelled);
            }
        }
        self.verdicts.into_iter().flatten().collect()
    }
}

/// What is taken of the lanes, and for how long.
struct Lanes<'a> {
    limits: &'a Limits,
    /// By lane: what each place that is taken, now or by a node that waits for it, goes on to be.
    taken: HashMap<usize, Vec<Duration>>,
}

impl<'a> Lanes<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, taken: HashMap::new() }
    }

    fn limit(&self, lane: usize) -> usize {
        self.limits.lanes.get(lane).copied().unwrap_or(1).max(1)
    }

    fn take(&mut self, lane: usize, rest: Duration) {
        self.taken.entry(lane).or_default().push(rest);
    }

    /// How long it is until a place is free; `None` if one is now.
    fn free_in(&self, lane: usize) -> Option<Duration> {
        let taken = self.taken.get(&lane).map_or(&[][..], Vec::as_slice);
        if taken.len() < self.limit(lane) {
            return None;
        }
        taken.iter().min().copied()
    }

    /// Lets a node have the place that is free next.
    fn wait(&mut self, way: Way) {
        let taken = self.taken.entry(way.lane).or_default();
        if let Some(next) = taken.iter_mut().min() {
            *next = next.saturating_add(way.takes);
        }
    }
}

fn panic_message(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "it panicked without a message".to_owned()),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
