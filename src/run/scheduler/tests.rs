use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Succeed,
    Fail,
    Panic,
    UntilCancelled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Note {
    Start(usize, usize),
    End(usize),
}

struct Script {
    acts: Vec<Act>,
    notes: Arc<Mutex<Vec<Note>>>,
    told: Vec<usize>,
    /// Cancels the run when this node starts.
    cancel_at: Option<(usize, CancellationToken)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault(String);

impl From<Crash> for Fault {
    fn from(crash: Crash) -> Self {
        Self(crash.message)
    }
}

impl Worker for Script {
    type Output = usize;
    type Error = Fault;

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn start(
        &mut self,
        node: usize,
        lane: usize,
        so_far: &Verdicts<usize, Fault>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<usize, Stopped<Fault>>> + Send + 'static {
        self.notes.lock().expect("no panics while noting").push(Note::Start(node, lane));
        if let Some((at, token)) = &self.cancel_at
            && *at == node
        {
            token.cancel();
        }
        assert!(so_far[node].is_none(), "a node starts once");
        let act = self.acts[node].clone();
        let notes = Arc::clone(&self.notes);
        async move {
            tokio::task::yield_now().await;
            if act == Act::UntilCancelled {
                cancel.cancelled().await;
            }
            notes.lock().expect("no panics while noting").push(Note::End(node));
            match act {
                Act::Succeed => Ok(node),
                Act::Fail => Err(Stopped::Failed(Fault(format!("node {node}")))),
                Act::Panic => panic!("node {node} panics"),
                Act::UntilCancelled => Err(Stopped::Cancelled),
            }
        }
    }

    fn ended(&mut self, node: usize, _verdict: &Verdict<usize, Fault>) {
        self.told.push(node);
    }
}

fn node(needs: &[usize]) -> Node {
    Node { needs: needs.to_vec(), ways: Vec::new() }
}

fn run(
    nodes: Vec<Node>,
    acts: Vec<Act>,
    limits: &Limits,
    on_failure: OnFailure,
    cancel_at: Option<usize>,
) -> (Vec<Verdict<usize, Fault>>, Vec<Note>) {
    let graph = Graph::new(nodes).expect("the tests' graphs have no cycle");
    let notes = Arc::new(Mutex::new(Vec::new()));
    let cancel = CancellationToken::new();
    let cancel_at = cancel_at.map(|node| (node, cancel.clone()));
    let mut script = Script { acts, notes: Arc::clone(&notes), told: Vec::new(), cancel_at };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let verdicts = runtime.block_on(schedule(&graph, limits, on_failure, &cancel, &mut script));
    let mut told = script.told;
    told.sort_unstable();
    assert_eq!(told, (0..graph.len()).collect::<Vec<_>>(), "every node is told exactly once");
    let notes = notes.lock().expect("no panics while noting").clone();
    (verdicts, notes)
}

const WIDE: Limits = Limits { total: usize::MAX, lanes: Vec::new() };

fn wide() -> Limits {
    Limits { lanes: vec![usize::MAX], ..WIDE }
}

#[test]
fn d11_only_what_needs_the_failed_node_is_blocked() {
    // 0 <- 1 <- 2, and 3 alone.
    let nodes = vec![node(&[]), node(&[0]), node(&[1]), node(&[])];
    let acts = vec![Act::Fail, Act::Succeed, Act::Succeed, Act::Succeed];
    let (verdicts, _) = run(nodes, acts, &wide(), OnFailure::KeepGoing, None);
    assert_eq!(
        verdicts,
        [
            Verdict::Failed(Fault("node 0".to_owned())),
            Verdict::Blocked { by: 0 },
            Verdict::Blocked { by: 0 },
            Verdict::Done(3)
        ]
    );
}

#[test]
fn a_panic_fails_its_node_and_nothing_else() {
    let (verdicts, _) =
        run(vec![node(&[]), node(&[])], vec![Act::Panic, Act::Succeed], &wide(), OnFailure::KeepGoing, None);
    assert_eq!(verdicts, [Verdict::Failed(Fault("node 0 panics".to_owned())), Verdict::Done(1)]);
}

#[test]
fn stopping_at_the_first_failure_cancels_the_rest() {
    let nodes = vec![node(&[]), node(&[0]), node(&[]), node(&[2])];
    let acts = vec![Act::Fail, Act::Succeed, Act::UntilCancelled, Act::Succeed];
    let (verdicts, _) = run(nodes, acts, &wide(), OnFailure::Stop, None);
    assert_eq!(
        verdicts,
        [
            Verdict::Failed(Fault("node 0".to_owned())),
            Verdict::Blocked { by: 0 },
            Verdict::Cancelled,
            Verdict::Cancelled
        ]
    );
}

#[test]
fn an_interrupt_starts_nothing_new() {
    let nodes = vec![node(&[]), node(&[0])];
    let (verdicts, notes) = run(nodes, vec![Act::UntilCancelled, Act::Succeed], &wide(), OnFailure::KeepGoing, Some(0));
    assert_eq!(verdicts, [Verdict::Cancelled, Verdict::Cancelled]);
    assert_eq!(notes, [Note::Start(0, 0), Note::End(0)]);
}

#[test]
fn the_longest_chain_starts_first() {
    // 1 heads a chain of three, 0 stands alone: with one place, 1 goes first.
    let nodes = vec![node(&[]), node(&[]), node(&[1]), node(&[2])];
    let one = Limits { total: 1, lanes: vec![1] };
    let (_, notes) = run(nodes, vec![Act::Succeed; 4], &one, OnFailure::KeepGoing, None);
    assert_eq!(notes[0], Note::Start(1, 0));
}

#[test]
fn a_node_waits_for_the_lane_where_it_ends_first_and_takes_another_one_otherwise() {
    let ways = |first: u64, second: u64| {
        [first, second]
            .iter()
            .enumerate()
            .map(|(lane, takes)| Way { lane, takes: Duration::from_secs(*takes) })
            .collect()
    };
    let lanes = |second| {
        let nodes = (0..3).map(|_| Node { needs: Vec::new(), ways: ways(10, second) }).collect();
        let limits = Limits { total: 9, lanes: vec![1, 1] };
        let (_, notes) = run(nodes, vec![Act::Succeed; 3], &limits, OnFailure::KeepGoing, None);
        let lane = |note: &Note| if let Note::Start(_, lane) = note { Some(*lane) } else { None };
        notes.iter().filter_map(lane).collect::<Vec<_>>()
    };
    // By an emulator it would take longer than to wait for all others.
    assert_eq!(lanes(50), [0, 0, 0]);
    assert_eq!(lanes(15)[..2], [0, 1]);
}

#[test]
fn cycles_and_unknown_needs_are_refused() {
    assert_eq!(
        Graph::new(vec![node(&[1]), node(&[0]), node(&[])]).err(),
        Some(InvalidGraph::Cycle { nodes: vec![0, 1] })
    );
    assert_eq!(Graph::new(vec![node(&[7])]).err(), Some(InvalidGraph::UnknownNeed { node: 0, need: 7 }));
}

/// Graphs without cycles: a node needs only nodes before it, then positions are left as they are.
fn graphs() -> impl Strategy<Value = (Vec<Node>, Vec<Act>)> {
    let way = (0..3_usize, 0..100_u64).prop_map(|(lane, takes)| Way { lane, takes: Duration::from_millis(takes) });
    let ways = proptest::collection::vec(way, 1..4);
    let one = (proptest::collection::vec(any::<prop::sample::Index>(), 0..4), ways, 0..10_u8);
    proptest::collection::vec(one, 1..24).prop_map(|raw| {
        let nodes = raw.iter().enumerate().map(|(at, (needs, ways, _))| Node {
            needs: if at == 0 { Vec::new() } else { needs.iter().map(|need| need.index(at)).collect() },
            ways: ways.clone(),
        });
        let acts = raw.iter().map(|(_, _, act)| match act {
            0 => Act::Fail,
            1 => Act::Panic,
            _ => Act::Succeed,
        });
        (nodes.collect(), acts.collect())
    })
}

proptest! {
    #[test]
    fn d8_no_node_starts_before_its_needs_and_no_limit_is_passed(
        (nodes, acts) in graphs(),
        total in 1..6_usize,
        lanes in proptest::collection::vec(1..4_usize, 3),
        stop in any::<bool>(),
        cancel_at in proptest::option::of(0..24_usize),
    ) {
        let limits = Limits { total, lanes: lanes.clone() };
        let on_failure = if stop { OnFailure::Stop } else { OnFailure::KeepGoing };
        let (verdicts, notes) = run(nodes.clone(), acts.clone(), &limits, on_failure, cancel_at);
        prop_assert_eq!(verdicts.len(), nodes.len());

        let mut running: Vec<(usize, usize)> = Vec::new();
        let mut over: Vec<usize> = Vec::new();
        for note in &notes {
            match *note {
                Note::Start(at, lane) => {
                    running.push((at, lane));
                    prop_assert!(running.len() <= total);
                    let same_lane = running.iter().filter(|(_, other)| *other == lane).count();
                    prop_assert!(same_lane <= lanes[lane]);
                    prop_assert!(nodes[at].ways.iter().any(|way| way.lane == lane));
                    for need in &nodes[at].needs {
                        prop_assert!(over.contains(need), "{} started before {}", at, need);
                        prop_assert!(matches!(verdicts[*need], Verdict::Done(_)));
                    }
                }
                Note::End(at) => {
                    running.retain(|(other, _)| *other != at);
                    over.push(at);
                }
            }
        }
        for (at, verdict) in verdicts.iter().enumerate() {
            let started = over.contains(&at);
            match verdict {
                Verdict::Done(_) => prop_assert!(started && acts[at] == Act::Succeed),
                Verdict::Failed(_) => prop_assert!(started && matches!(acts[at], Act::Fail | Act::Panic)),
                Verdict::Blocked { by } => {
                    prop_assert!(!started);
                    prop_assert!(matches!(verdicts[*by], Verdict::Failed(_)));
                }
                Verdict::Cancelled => prop_assert!(!started && (stop || cancel_at.is_some())),
            }
        }
    }
}
