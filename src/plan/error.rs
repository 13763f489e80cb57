use std::path::{Path, PathBuf};

use crate::base::{ComponentName, ErrorClass, Failure, Problem, Problems, Span};
use crate::config::ConfigProblem;
use crate::dockerfile::DockerfileProblem;

/// One thing that is wrong with a project as a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanProblem {
    /// There is no platform to build for.
    #[error("`{project}` has no platforms")]
    NoPlatforms {
        /// The project or component.
        project: String,
        /// Where the empty list stands, if it was written.
        span: Option<Span>,
    },
    /// There is nowhere to push to.
    #[error("there is no registry to push{} to", if *alone { String::new() } else { format!(" `{component}`") })]
    NoRegistry {
        /// The first component that is at fault.
        component: ComponentName,
        /// Whether no component says where it goes.
        alone: bool,
        /// The project file.
        file: PathBuf,
    },
    /// A name that no component, external or service has.
    #[error("unknown component `{name}`{}", place(wanted_by.as_ref()))]
    UnknownComponent {
        /// As written.
        name: String,
        /// What refers to it, in words.
        wanted_by: Option<String>,
        /// The name that was probably meant, or the names there are.
        help: String,
        /// Where.
        span: Option<Span>,
    },
    /// Components wait for each other in a circle.
    #[error("components need each other in a circle: {}", path.join(" -> "))]
    Cycle {
        /// The names, the first one again at the end.
        path: Vec<String>,
        /// Where one of the edges is declared.
        span: Option<Span>,
    },
    /// A Dockerfile is not there.
    #[error("component `{component}`: there is no `{}`", path.display())]
    MissingDockerfile {
        /// Whose.
        component: String,
        /// Where it should be.
        path: PathBuf,
        /// What to write instead.
        help: String,
        /// Where it is named.
        span: Option<Span>,
    },
    /// A file cannot be read.
    #[error("component `{component}`: cannot read `{}`", path.display())]
    Unreadable {
        /// Whose.
        component: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
        /// Where it is named.
        span: Option<Span>,
    },
    /// A Dockerfile is broken.
    #[error("component `{component}`: {problem}")]
    Dockerfile {
        /// Whose.
        component: String,
        /// What is wrong with it.
        problem: DockerfileProblem,
    },
    /// A template cannot be rendered.
    #[error("{0}")]
    Template(ConfigProblem),
    /// Anything else that does not fit together.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// What to write instead.
        help: Option<String>,
        /// Where.
        span: Option<Span>,
    },
}

impl PlanProblem {
    pub(super) fn invalid(message: impl Into<String>, help: Option<String>, span: Option<Span>) -> Self {
        Self::Invalid { message: message.into(), help, span }
    }
}

fn place(wanted_by: Option<&String>) -> String {
    wanted_by.map_or_else(String::new, |place| format!(" in {place}"))
}

/// Everything that was found wrong. Never empty.
pub type PlanError = Problems<PlanProblem>;

impl Problem for PlanProblem {
    fn unexplained() -> Self {
        Self::Invalid { message: "the plan was refused without a reason".to_owned(), help: None, span: None }
    }
}

/// How a component is told where to go, in the language of its file.
fn address(component: &ComponentName, file: &Path) -> String {
    let name = format!("registry.example.com/team/{component}:1.0");
    let what = match file.extension().and_then(|extension| extension.to_str()) {
        Some("hcl" | "json") => format!("give target `{component}` tags = [\"{name}\"]"),
        Some("yml" | "yaml") => format!("give service `{component}` image: {name}"),
        _ => "set registry = [\"registry.example.com/team\"]".to_owned(),
    };
    format!("{what} in `{}`, or give `--to PREFIX`", file.display())
}

impl Failure for PlanProblem {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unreadable { source, .. } => ErrorClass::of_unread(source.kind()),
            _ => ErrorClass::Config,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NoPlatforms { .. } => {
                Some("name what to build for, such as platforms = [\"linux/amd64\", \"linux/arm64\"]".to_owned())
            }
            Self::NoRegistry { component, file, .. } => Some(address(component, file)),
            Self::UnknownComponent { help, .. } | Self::MissingDockerfile { help, .. } => Some(help.clone()),
            Self::Cycle { .. } => Some("take one of these needs out".to_owned()),
            Self::Dockerfile { problem, .. } => problem.help(),
            Self::Template(problem) => problem.help(),
            Self::Invalid { help, .. } => help.clone(),
            Self::Unreadable { .. } => None,
        }
    }

    fn span(&self) -> Option<Span> {
        match self {
            Self::NoPlatforms { span, .. }
            | Self::UnknownComponent { span, .. }
            | Self::Cycle { span, .. }
            | Self::MissingDockerfile { span, .. }
            | Self::Unreadable { span, .. }
            | Self::Invalid { span, .. } => span.clone(),
            Self::Dockerfile { problem, .. } => problem.span(),
            Self::Template(problem) => problem.span(),
            Self::NoRegistry { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_machine_does_not_give_is_no_mistake_of_the_project() {
        let class = |source: std::io::Error| {
            let unread =
                PlanProblem::Unreadable { component: "web".to_owned(), path: "Dockerfile".into(), source, span: None };
            unread.class()
        };
        // EACCES, EIO, ENFILE
        for code in [13, 5, 23] {
            assert_eq!(class(std::io::Error::from_raw_os_error(code)), ErrorClass::Disk, "{code}");
        }
        // ENOENT, EISDIR
        for code in [2, 21] {
            assert_eq!(class(std::io::Error::from_raw_os_error(code)), ErrorClass::Config, "{code}");
        }
        assert_eq!(class(std::io::ErrorKind::FileTooLarge.into()), ErrorClass::Config);
    }
}
