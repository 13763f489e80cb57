//! Runs many inputs of one language, with an eye on time and memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bodies::{self, Language};
use super::mutate;
use super::random::Random;
use super::seeds::{Grammar, folder};

/// Every language, in the order of the full run.
pub(crate) const LANGUAGES: [Language; 14] = [
    Language::Toml,
    Language::Hcl,
    Language::Json,
    Language::Compose,
    Language::Dockerfile,
    Language::Ignore,
    Language::Reference,
    Language::Platform,
    Language::Template,
    Language::Vars,
    Language::Layout,
    Language::Manifest,
    Language::Bundle,
    Language::Tree,
];

/// One run.
pub(crate) struct Campaign<'a> {
    pub(crate) language: Language,
    /// The repository.
    pub(crate) root: &'a Path,
    pub(crate) seed: u64,
    /// The first input; each follows from seed, language and its number alone.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// What one input may take.
    pub(crate) patience: Duration,
    /// What the process may grow by, in bytes.
    pub(crate) memory: u64,
    /// Where inputs that fail are kept.
    pub(crate) keep: &'a Path,
}

/// What came of a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Summary {
    pub(crate) inputs: u64,
    /// Those that were taken as right.
    pub(crate) accepted: u64,
    pub(crate) slowest: Duration,
    /// Each names the file that its input is kept in.
    pub(crate) failures: Vec<String>,
}

/// Further failures of one run are not told: they are mostly the same one.
const MAX_FAILURES: usize = 8;

/// What the worker is at.
#[derive(Default)]
struct Progress {
    summary: Summary,
    number: u64,
    input: Vec<u8>,
    since: Option<Instant>,
    done: bool,
}

/// The input of this number.
pub(crate) fn input(grammar: &Grammar, language: Language, seed: u64, number: u64) -> Vec<u8> {
    let mut mixed = seed ^ (number.wrapping_add(1)).wrapping_mul(0xd134_2543_de82_ef95);
    for byte in folder(language).bytes() {
        mixed = mixed.wrapping_mul(31).wrapping_add(u64::from(byte));
    }
    mutate::input(&mut Random::new(mixed), grammar)
}

/// Runs all inputs on a thread of their own; this one watches. A hang ends the run, since nothing can stop the thread.
pub(crate) fn run(campaign: &Campaign<'_>) -> Summary {
    let grammar = Grammar::of(campaign.language, campaign.root);
    let (language, seed, first, count) = (campaign.language, campaign.seed, campaign.first, campaign.count);
    let folder = tempfile::Builder::new().prefix("fuzz").tempdir_in(shared_memory()).expect("a folder");
    let place = folder.path().to_path_buf();
    let progress = Arc::new(Mutex::new(Progress::default()));
    let seen = Arc::clone(&progress);
    let keep = campaign.keep.to_path_buf();
    let thread = std::thread::Builder::new().stack_size(8 << 20);
    let worker = thread.spawn(move || work(language, &grammar, &place, seed, first..first + count, &keep, &seen));
    let worker = worker.expect("a thread");
    let before = resident();
    while !worker.is_finished() {
        std::thread::sleep(Duration::from_millis(10));
        let state = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = resident().saturating_sub(before);
        let took = state.since.map(|since| since.elapsed()).unwrap_or_default();
        let complaint = if state.done {
            None
        } else if took > campaign.patience {
            Some(format!("takes longer than {:?}", campaign.patience))
        } else {
            (grown > campaign.memory).then(|| format!("memory grew by {} MiB", grown >> 20))
        };
        if let Some(complaint) = complaint {
            let mut summary = state.summary.clone();
            let path = kept(language, seed, state.number, &state.input, campaign.keep);
            summary.failures.push(format!("input {} {complaint}: {}", state.number, path.display()));
            return summary;
        }
    }
    let state = progress.lock().unwrap_or_else(PoisonError::into_inner);
    state.summary.clone()
}

fn work(
    language: Language,
    grammar: &Grammar,
    place: &Path,
    seed: u64,
    numbers: std::ops::Range<u64>,
    keep: &Path,
    progress: &Mutex<Progress>,
) {
    let mut known: Vec<String> = Vec::new();
    for number in numbers {
        let input = input(grammar, language, seed, number);
        let start = Instant::now();
        {
            let mut state = progress.lock().unwrap_or_else(PoisonError::into_inner);
            state.number = number;
            state.input.clone_from(&input);
            state.since = Some(start);
        }
        let result = catch_unwind(AssertUnwindSafe(|| bodies::run(language, place, &input)));
        let took = start.elapsed();
        let mut state = progress.lock().unwrap_or_else(PoisonError::into_inner);
        state.since = None;
        state.summary.inputs += 1;
        state.summary.slowest = state.summary.slowest.max(took);
        match result {
            Ok(accepted) => state.summary.accepted += u64::from(accepted),
            Err(panic) => {
                let text = panic_text(&*panic);
                let short: String = text.chars().take(60).collect();
                if known.contains(&short) || known.len() >= MAX_FAILURES {
                    continue;
                }
                known.push(short);
                let path = kept(language, seed, number, &input, keep);
                state.summary.failures.push(format!("input {number} panics: {text}: {}", path.display()));
            }
        }
    }
    progress.lock().unwrap_or_else(PoisonError::into_inner).done = true;
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn kept(language: Language, seed: u64, number: u64, input: &[u8], keep: &Path) -> PathBuf {
    let path = keep.join(format!("{}-{seed}-{number}", folder(language)));
    std::fs::create_dir_all(keep).expect("a folder for inputs that fail");
    std::fs::write(&path, input).expect("a file");
    path
}

/// Memory of the process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// A file system that costs no disk, if there is one.
fn shared_memory() -> PathBuf {
    let path = PathBuf::from("/dev/shm");
    if path.is_dir() { path } else { std::env::temp_dir() }
}
