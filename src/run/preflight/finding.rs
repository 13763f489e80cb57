use crate::base::{CellId, ErrorClass, Failure};

/// One thing that was looked at before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about, in a word or two: `builder`, `arm64`, a registry, a component.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
    /// The cells that it touches, in the order of the plan; empty where it touches all of them.
    pub cells: Vec<CellId>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Worth knowing.
    Note,
    /// Something may fail by it.
    Warning,
    /// Something would fail by it.
    Error(ErrorClass),
}

impl Finding {
    pub(super) fn new(level: Level, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { level, subject: subject.into(), text: text.into(), fix: None, cells: Vec::new() }
    }

    /// That this would fail a run.
    pub(super) fn failure(subject: impl Into<String>, error: &dyn Failure) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        // A base that is not to be had is nothing without the reason.
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self { fix: error.help(), ..Self::new(Level::Error(error.class()), subject, text) }
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    pub(super) fn cells(self, cells: impl IntoIterator<Item = CellId>) -> Self {
        let mut all: Vec<CellId> = Vec::new();
        for cell in cells {
            if !all.contains(&cell) {
                all.push(cell);
            }
        }
        Self { cells: all, ..self }
    }

    /// Whether something would fail by it.
    pub const fn is_error(&self) -> bool {
        matches!(self.level, Level::Error(_))
    }
}

/// Findings that say the same about different cells, as one.
pub(super) fn joined(findings: Vec<Finding>) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for mut finding in findings {
        if let Level::Error(class) = finding.level {
            finding.fix.get_or_insert_with(|| usual_fix(class).to_owned());
        }
        let same = |known: &&mut Finding| {
            known.level == finding.level
                && known.subject == finding.subject
                && known.text == finding.text
                && known.fix == finding.fix
        };
        match all.iter_mut().find(same) {
            Some(known) => {
                let cells = std::mem::take(&mut known.cells);
                *known = known.clone().cells(cells.into_iter().chain(finding.cells));
            }
            None => all.push(finding),
        }
    }
    all
}

/// What helps against most of a kind, where the error itself knows nothing better.
const fn usual_fix(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::NotFound => "correct the name, or put there what it names",
        ErrorClass::Network | ErrorClass::RateLimited => "see that it answers, then check again",
        ErrorClass::Auth | ErrorClass::Refused => "ask whoever runs it why it says so",
        ErrorClass::Integrity => "get or publish it again: what is there is not whole",
        ErrorClass::Builder => "look into the builder's log, or name another builder",
        ErrorClass::Disk => "look at the file or disk that is named, then check again",
        _ => "correct what is named, then check again",
    }
}

/// `1 cell`, `26 cells`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
