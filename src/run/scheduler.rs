use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// One unit of work in a [`Graph`], known by its position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Positions of the nodes that must be done before this one starts.
    pub needs: Vec<usize>,
    /// The lane that it runs in: one lane is one builder, with a limit of its own.
    pub lane: usize,
}

/// Nodes whose needs are known to exist and to contain no cycle.
#[derive(Debug, Clone)]
pub struct Graph {
    nodes: Vec<Node>,
    /// Who waits for each node.
    dependents: Vec<Vec<usize>>,
    /// Length of the longest chain of dependents that hangs on each node.
    heights: Vec<usize>,
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
        let mut heights = vec![0; nodes.len()];
        for &index in order.iter().rev() {
            heights[index] = dependents[index].iter().map(|&dependent| heights[dependent] + 1).max().unwrap_or(0);
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

    /// The work of `node`, all of whose needs are `Done` in `so_far`. It must end soon after `cancel` is cancelled.
    fn start(
        &mut self,
        node: usize,
        so_far: &Verdicts<Self::Output, Self::Error>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<Self::Output, Stopped<Self::Error>>> + Send + 'static;

    /// Told once for every node, when its verdict is known.
    fn ended(&mut self, node: usize, verdict: &Verdict<Self::Output, Self::Error>);
}

/// Runs every node of `graph` after its needs; returns one verdict for each, in their order.
///
/// Of the nodes that are ready, the one that most others wait for (by the longest chain) starts first, then the one that
/// stands first. When `cancel` is cancelled nothing new starts, running work is awaited, and what is left is `Cancelled`.
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
        while let Some(node) = state.next_ready(&stop) {
            let future = worker.start(node, &state.verdicts, stop.child_token());
            state.launch(node, future);
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
    ready: BTreeSet<(Reverse<usize>, usize)>,
    lanes: Vec<usize>,
    tasks: JoinSet<Result<T, Stopped<E>>>,
    running: HashMap<Id, usize>,
    stopping: bool,
}

impl<'g, T: Send + 'static, E: From<Crash> + Send + 'static> Schedule<'g, T, E> {
    fn new(graph: &'g Graph, limits: &'g Limits) -> Self {
        let open: Vec<usize> =
            graph.nodes.iter().map(|node| node.needs.iter().collect::<BTreeSet<_>>().len()).collect();
        let ready = (0..graph.len()).filter(|&node| open[node] == 0).map(|node| (Reverse(graph.heights[node]), node));
        let lanes = graph.nodes.iter().map(|node| node.lane + 1).max().unwrap_or(0);
        Self {
            ready: ready.collect(),
            graph,
            limits,
            verdicts: graph.nodes.iter().map(|_| None).collect(),
            open,
            lanes: vec![0; lanes],
            tasks: JoinSet::new(),
            running: HashMap::new(),
            stopping: false,
        }
    }

    /// Takes the most urgent node that may start now.
    fn next_ready(&mut self, stop: &CancellationToken) -> Option<usize> {
        if stop.is_cancelled() || self.running.len() >= self.limits.total.max(1) {
            return None;
        }
        let lane_free = |lane: usize| self.lanes[lane] < self.limits.lanes.get(lane).copied().unwrap_or(1).max(1);
        let entry = *self.ready.iter().find(|(_, node)| lane_free(self.graph.nodes[*node].lane))?;
        self.ready.remove(&entry);
        Some(entry.1)
    }

    fn launch(&mut self, node: usize, work: impl Future<Output = Result<T, Stopped<E>>> + Send + 'static) {
        let id = self.tasks.spawn(work).id();
        self.running.insert(id, node);
        self.lanes[self.graph.nodes[node].lane] += 1;
    }

    /// Turns the end of a task into a verdict on its node.
    fn landed(&mut self, joined: Result<(Id, Result<T, Stopped<E>>), JoinError>) -> (usize, Verdict<T, E>) {
        let (id, verdict) = match joined {
            Ok((id, Ok(output))) => (id, Verdict::Done(output)),
            Ok((id, Err(Stopped::Failed(error)))) => (id, Verdict::Failed(error)),
            Ok((id, Err(Stopped::Cancelled))) => (id, Verdict::Cancelled),
            Err(error) => (error.id(), Verdict::Failed(Crash { message: panic_message(error) }.into())),
        };
        let node = self.running.remove(&id).expect("every task is entered when it is spawned");
        self.lanes[self.graph.nodes[node].lane] -= 1;
        (node, verdict)
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
