use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Runs `work` on every job, as many at once as the machine has cores, in the order given; returns when all are done.
///
/// Plain threads and no runtime: hashing and inflating never wait for anything but the disk.
pub(super) fn on_all_cores<J: Sync>(jobs: &[J], work: impl Fn(&J) + Sync) {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(jobs.len().max(1));
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(job);
        }
    };
    thread::scope(|scope| {
        for _ in 1..cores {
            scope.spawn(worker);
        }
        worker();
    });
}
