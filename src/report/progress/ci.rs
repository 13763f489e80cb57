/// A system that shows logs with headings that can be folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folds {
    /// GitHub Actions, and what understands its workflow commands (Gitea, Forgejo).
    GitHub,
    /// GitLab, whose sections carry the time.
    GitLab {
        /// Seconds since 1970 when the run began.
        epoch: u64,
    },
}

impl Folds {
    /// The line that begins a section.
    pub(super) fn open(self, id: &str, heading: &str, seconds: u64) -> String {
        match self {
            // docs.github.com: Workflow commands, Grouping log lines.
            Self::GitHub => format!("::group::{}\n", data(heading)),
            // docs.gitlab.com: Custom collapsible sections. A name has letters, digits, `_`, `.` and `-` only.
            Self::GitLab { epoch } => {
                format!("\x1b[0Ksection_start:{}:{id}[collapsed=true]\r\x1b[0K{heading}\n", epoch + seconds)
            }
        }
    }

    /// The line that ends it.
    pub(super) fn close(self, id: &str, seconds: u64) -> String {
        match self {
            Self::GitHub => "::endgroup::\n".to_owned(),
            Self::GitLab { epoch } => format!("\x1b[0Ksection_end:{}:{id}\r\x1b[0K\n", epoch + seconds),
        }
    }

    /// A line of foreign text that the system takes for nothing but text. `::` counts at the start of a line only, where our
    /// prefix stands; the older `##[` counts anywhere.
    pub(super) fn harmless(self, line: &str) -> String {
        match self {
            Self::GitHub => line.replace("##[", "# #["),
            Self::GitLab { .. } => line.to_owned(),
        }
    }
}

/// Text as the message of a workflow command.
pub(in crate::report) fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text as a property of a workflow command.
pub(in crate::report) fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
