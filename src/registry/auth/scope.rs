/// What a request needs to be allowed: pull or push in one repository, and pull in those that blobs are mounted from.
///
/// Kept sorted and without repetition, so that equal needs are equal values and share one token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(in crate::registry) struct Scopes(Vec<(String, Access)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Access {
    Pull,
    Push,
    Delete,
}

impl Scopes {
    /// Reading in the repository at `path`.
    pub(in crate::registry) fn pull(path: &str) -> Self {
        Self(vec![(path.to_owned(), Access::Pull)])
    }

    /// Reading and writing in the repository at `path`.
    pub(in crate::registry) fn push(path: &str) -> Self {
        Self(vec![(path.to_owned(), Access::Push)])
    }

    /// Reading, writing and deleting in the repository at `path`.
    pub(in crate::registry) fn delete(path: &str) -> Self {
        Self(vec![(path.to_owned(), Access::Delete)])
    }

    /// The same, and reading in `path`: what a mount needs, in one token.
    #[must_use]
    pub(in crate::registry) fn and_pull(mut self, path: &str) -> Self {
        if !self.0.iter().any(|(known, _)| known == path) {
            self.0.push((path.to_owned(), Access::Pull));
            self.0.sort();
        }
        self
    }

    /// Whether anything is written.
    pub(in crate::registry) fn write(&self) -> bool {
        self.0.iter().any(|(_, access)| *access >= Access::Push)
    }

    /// Whether whoever may do this may do `other` too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(path, access)| self.0.iter().any(|(own, allowed)| own == path && allowed >= access))
    }

    /// The scopes in the words of the token specification.
    pub(super) fn texts(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(path, access)| match access {
                Access::Pull => format!("repository:{path}:pull"),
                Access::Push => format!("repository:{path}:pull,push"),
                Access::Delete => format!("repository:{path}:pull,push,delete"),
            })
            .collect()
    }

    /// The repository that is written to, or else read: the one whose path-scoped credentials count.
    pub(super) fn repository(&self) -> Option<&str> {
        let written = self.0.iter().find(|(_, access)| *access >= Access::Push);
        written.or_else(|| self.0.first()).map(|(path, _)| path.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_scope_covers_a_narrower_one() {
        let mount = Scopes::push("b").and_pull("a");
        assert_eq!(mount.texts(), ["repository:a:pull", "repository:b:pull,push"]);
        assert_eq!(mount.repository(), Some("b"));
        for narrower in [Scopes::push("b"), Scopes::pull("b"), Scopes::pull("a"), mount.clone()] {
            assert!(mount.covers(&narrower), "{narrower:?}");
        }
        assert!(!mount.covers(&Scopes::push("a")));
        assert!(!Scopes::push("b").covers(&mount));
        assert_eq!(Scopes::push("b").and_pull("b"), Scopes::push("b"));
    }
}
