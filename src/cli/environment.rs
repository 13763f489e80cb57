use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use hyper_util::client::proxy::matcher::Matcher;

use crate::report::Folds;

/// Everything that this program takes from its surroundings, read once when it starts.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    /// Variables whose names and values are text.
    variables: BTreeMap<String, String>,
    /// The working directory.
    pub(super) directory: PathBuf,
    /// Whether stdout is a terminal.
    pub(super) stdout_terminal: bool,
    /// Whether stderr is a terminal.
    pub(super) stderr_terminal: bool,
    path: Option<OsString>,
}

impl Environment {
    /// Reads the surroundings of this process.
    pub(super) fn read() -> std::io::Result<Self> {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Ok(Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            directory: std::env::current_dir()?,
            stdout_terminal: std::io::stdout().is_terminal(),
            stderr_terminal: std::io::stderr().is_terminal(),
            path: std::env::var_os("PATH"),
        })
    }

    /// All variables, for projects that name some.
    pub(super) const fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// The entries of PATH.
    pub(super) fn path(&self) -> Vec<PathBuf> {
        self.path.as_ref().map(|path| std::env::split_paths(path).collect()).unwrap_or_default()
    }

    /// Where `scripts/setup` puts the tools of this program.
    pub(super) fn tools(&self) -> Option<PathBuf> {
        Some(self.cache()?.join("tools/bin"))
    }

    /// The user's cache for this program.
    pub(super) fn cache(&self) -> Option<PathBuf> {
        let cache = self.folder("XDG_CACHE_HOME").or_else(|| Some(self.folder("HOME")?.join(".cache")))?;
        Some(cache.join("catamaran"))
    }

    /// A folder for files that go before the process does.
    #[expect(clippy::unused_self, reason = "what surrounds the process is asked here and nowhere else")]
    pub(super) fn scratch(&self) -> PathBuf {
        std::env::temp_dir()
    }

    /// A folder for sockets, with a short name.
    pub(super) fn runtime_folder(&self) -> PathBuf {
        self.folder("XDG_RUNTIME_DIR").filter(|path| path.is_dir()).unwrap_or_else(std::env::temp_dir)
    }

    /// The files in which docker and podman keep credentials, the most specific first.
    pub(super) fn credential_files(&self) -> Vec<PathBuf> {
        let home = self.folder("HOME");
        let docker = self
            .get("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(home.clone()?.join(".docker")))
            .map(|folder| folder.join("config.json"));
        let runtime = self.folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
        let config = self
            .folder("XDG_CONFIG_HOME")
            .or_else(|| Some(home?.join(".config")))
            .map(|folder| folder.join("containers/auth.json"));
        let explicit = self.get("REGISTRY_AUTH_FILE").map(PathBuf::from);
        [explicit, docker, runtime, config].into_iter().flatten().collect()
    }

    /// The files that say where to pull from (containers-registries.conf(5)): one that is named in place of the user's,
    /// that in place of the system's, then the folders of additions.
    pub(super) fn registry_files(&self) -> Vec<PathBuf> {
        let system = PathBuf::from("/etc/containers");
        let home = self.folder("HOME").map(|home| home.join(".config"));
        let user = self.folder("XDG_CONFIG_HOME").or(home).map(|folder| folder.join("containers"));
        if let Some(named) = self.get("CONTAINERS_REGISTRIES_CONF") {
            return vec![PathBuf::from(named)];
        }
        let own = user.as_ref().map(|folder| folder.join("registries.conf")).filter(|path| path.is_file());
        let mut files = vec![own.unwrap_or_else(|| system.join("registries.conf"))];
        for folder in [Some(system), user].into_iter().flatten() {
            let Ok(entries) = std::fs::read_dir(folder.join("registries.conf.d")) else { continue };
            let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
            let mut more: Vec<PathBuf> =
                paths.filter(|path| path.extension().is_some_and(|extension| extension == "conf")).collect();
            more.sort();
            files.extend(more);
        }
        files
    }

    /// The folders with certificates of single registries, those of podman before docker's (containers-certs.d(5)).
    pub(super) fn certificate_folders(&self) -> Vec<PathBuf> {
        let home = self.folder("HOME").map(|home| home.join(".config"));
        let user = self.folder("XDG_CONFIG_HOME").or(home).map(|folder| folder.join("containers/certs.d"));
        let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        user.into_iter().chain(system).collect()
    }

    /// The variable that should name a proxy and does not, if there is one. What it is set to may hold a password.
    ///
    /// The HTTP library goes past a proxy that it cannot understand, where nobody meant it to.
    pub(super) fn broken_proxy(&self) -> Option<&str> {
        const NAMES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
        let target = http::Uri::from_static("https://registry.example");
        let usable = |value: &str| Matcher::builder().all(value.to_owned()).build().intercept(&target).is_some();
        let read = |name: &str| NAMES.iter().any(|known| *known == name || known.to_lowercase() == name);
        let proxies = self.variables.iter().filter(|(name, _)| read(name));
        let mut broken = proxies.filter(|(_, value)| !value.is_empty() && !usable(value));
        broken.next().map(|(name, _)| name.as_str())
    }

    /// What a builder that is started gets of the environment: how to reach the network, and nothing else.
    pub(super) fn for_builder(&self) -> Vec<(OsString, OsString)> {
        const NAMES: [&str; 6] =
            ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"];
        let wanted = |name: &str| NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
        let pairs = self.variables.iter().filter(|(name, value)| wanted(name) && !value.is_empty());
        pairs.map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    /// Whether characters beyond ASCII are shown as they are.
    pub(super) fn unicode(&self) -> bool {
        // The first of these that is set decides, as for every C program (setlocale(3)).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| self.get(name)).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    }

    /// Whether colour is wanted on a stream that is (or is not) a terminal: <https://no-color.org>, then the terminal.
    pub(super) fn color(&self, terminal: bool) -> bool {
        terminal && self.get("NO_COLOR").is_none() && self.get("TERM") != Some("dumb")
    }

    /// Seconds since 1970-01-01.
    pub(super) fn now() -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or_default()
    }

    /// The system whose log stderr goes to, if it is one that folds headings.
    pub(super) fn folds(&self) -> Option<Folds> {
        if self.get("GITHUB_ACTIONS") == Some("true") {
            return Some(Folds::GitHub);
        }
        let epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        (self.get("GITLAB_CI") == Some("true")).then_some(Folds::GitLab { epoch })
    }

    /// Where GitHub Actions has the sources, if it is what runs this.
    pub(super) fn github_workspace(&self) -> Option<PathBuf> {
        (self.get("GITHUB_ACTIONS") == Some("true"))
            .then(|| self.folder("GITHUB_WORKSPACE").unwrap_or_else(|| self.directory.clone()))
    }

    /// The file whose Markdown GitHub Actions shows on the page of the job.
    pub(super) fn job_summary(&self) -> Option<PathBuf> {
        self.folder("GITHUB_STEP_SUMMARY")
    }

    /// Whether a live view makes sense on stderr.
    pub(super) fn live(&self) -> bool {
        self.stderr_terminal && self.get("CI").is_none() && !matches!(self.get("TERM"), None | Some("dumb"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            directory: PathBuf::from("/"),
            stdout_terminal: true,
            stderr_terminal: true,
            path: None,
        }
    }

    #[test]
    fn colour_and_live_views_are_for_terminals_that_can() {
        assert!(environment(&[("TERM", "xterm")]).live());
        assert!(!environment(&[("TERM", "xterm"), ("CI", "true")]).live());
        assert!(!environment(&[("TERM", "dumb")]).live());
        assert!(!environment(&[("NO_COLOR", "1")]).color(true));
        assert!(environment(&[("NO_COLOR", "")]).color(true));
        assert!(!environment(&[]).color(false));
    }

    #[test]
    fn a_proxy_that_is_none_is_found() {
        let broken = |value: &str| environment(&[("HTTPS_PROXY", value)]).broken_proxy().map(str::to_owned);
        for value in ["", "http://user:secret@proxy.example:3128", "proxy.example:3128", "https://[::1]:1"] {
            assert_eq!(broken(value), None, "{value}");
        }
        assert_eq!(broken("::::bad").as_deref(), Some("HTTPS_PROXY"));
    }

    #[test]
    fn a_builder_gets_the_proxy_and_no_secret() {
        let given =
            environment(&[("https_proxy", "http://p:1"), ("AWS_SECRET", "x"), ("HTTP_PROXY", "")]).for_builder();
        assert_eq!(given, [(OsString::from("https_proxy"), OsString::from("http://p:1"))]);
    }
}
