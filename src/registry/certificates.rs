use std::io;
use std::path::{Path, PathBuf};

use super::RegistryError;
use super::host::DOCKER_HUB_API;

/// Where certificates of single registries are: folders in the layout that docker and podman share (containers-certs.d(5)).
///
/// Below each stands a folder `HOST[:PORT]`. In it every `NAME.crt` is an authority that is trusted for this registry
/// beside the system's, and `NAME.cert` with `NAME.key` the certificate that we show to it. The first folder that exists
/// counts alone, as with these programs.
#[derive(Debug, Clone, Default)]
pub struct HostCertificates {
    folders: Vec<PathBuf>,
}

/// What is there for one registry.
#[derive(Debug, Default)]
pub(super) struct OfHost {
    /// Files with authorities (PEM), and what is in them.
    pub(super) authorities: Vec<(PathBuf, Vec<u8>)>,
    /// Our certificate and its key, one after the other (PEM).
    pub(super) identity: Option<(PathBuf, Vec<u8>)>,
}

/// No certificate file is larger.
const LIMIT: u64 = 1 << 20;

impl HostCertificates {
    /// Looks into `folders` in this order, as `~/.config/containers/certs.d`, `/etc/containers/certs.d` and
    /// `/etc/docker/certs.d`. Folders that are not there hold nothing.
    pub const fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// The files with authorities for `host`, and those with our certificate and its key, for a program that reads them
    /// itself.
    ///
    /// # Errors
    /// [`RegistryError::Ca`] if the folder of the host cannot be used.
    pub fn files_of(&self, host: &str) -> Result<(Vec<PathBuf>, Option<[PathBuf; 2]>), RegistryError> {
        let found = self.of(host)?.unwrap_or_default();
        let identity = found.identity.map(|(certificate, _)| {
            let key = certificate.with_extension("key");
            [certificate, key]
        });
        Ok((found.authorities.into_iter().map(|(path, _)| path).collect(), identity))
    }

    /// Everything for the registry at `authority` (`host`, `host:port`); `None` if there is no folder for it.
    ///
    /// A certificate without its key, and a key without its certificate, are errors: a connection without them would be
    /// refused for a reason that nobody could see.
    pub(super) fn of(&self, authority: &str) -> Result<Option<OfHost>, RegistryError> {
        let Some(folder) = self.folder(authority) else { return Ok(None) };
        let failed = |path: &Path, source: io::Error| RegistryError::Ca { path: path.to_owned(), source };
        let entries = std::fs::read_dir(&folder).map_err(|source| failed(&folder, source))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        paths.sort();
        let mut found = OfHost::default();
        for path in &paths {
            let partner = |extension: &str, what: &str| {
                let partner = path.with_extension(extension);
                if paths.contains(&partner) {
                    return Ok(partner);
                }
                let reason = format!("{what} `{}` is not beside it", partner.display());
                Err(failed(path, io::Error::new(io::ErrorKind::NotFound, reason)))
            };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    found.authorities.push((path.clone(), read(path).map_err(|source| failed(path, source))?));
                }
                Some("cert") if found.identity.is_none() => {
                    let key = partner("key", "its key")?;
                    let mut pem = read(path).map_err(|source| failed(path, source))?;
                    pem.push(b'\n');
                    pem.extend(read(&key).map_err(|source| failed(&key, source))?);
                    found.identity = Some((path.clone(), pem));
                }
                Some("key") => drop(partner("cert", "its certificate")?),
                _ => {}
            }
        }
        Ok(Some(found))
    }

    fn folder(&self, authority: &str) -> Option<PathBuf> {
        // A name of a host is never a way out of the folder.
        if authority.is_empty() || authority.starts_with('.') || authority.contains(['/', '\\']) {
            return None;
        }
        // References say `docker.io` for what is asked elsewhere.
        let names = [Some(authority), (authority == DOCKER_HUB_API).then_some("docker.io")];
        let names = || names.into_iter().flatten();
        self.folders.iter().flat_map(|folder| names().map(|name| folder.join(name))).find(|path| path.is_dir())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, names: &[&str]) {
        std::fs::create_dir_all(folder).expect("a folder");
        for name in names {
            std::fs::write(folder.join(name), name).expect("a file");
        }
    }

    #[test]
    fn the_first_folder_of_a_host_counts_alone() {
        let root = tempfile::tempdir().expect("a folder");
        let (own, system) = (root.path().join("own"), root.path().join("system"));
        put(&own.join("a.example:5000"), &["b.crt", "a.crt", "me.cert", "me.key", "readme.txt"]);
        put(&system.join("a.example:5000"), &["system.crt"]);
        put(&system.join("docker.io"), &["hub.crt"]);
        let all = HostCertificates::new(vec![root.path().join("none"), own.clone(), system]);
        let names = |host: &str| -> Vec<String> {
            let found = all.of(host).expect("readable").unwrap_or_default();
            found.authorities.iter().map(|(_, pem)| String::from_utf8_lossy(pem).into_owned()).collect()
        };
        assert_eq!(names("a.example:5000"), ["a.crt", "b.crt"]);
        let identity = all.of("a.example:5000").expect("readable").and_then(|found| found.identity);
        assert_eq!(identity, Some((own.join("a.example:5000/me.cert"), b"me.cert\nme.key".to_vec())));
        assert_eq!(names("registry-1.docker.io"), ["hub.crt"]);
        for nothing in ["a.example", "b.example", "..", "../own/a.example:5000", ""] {
            assert!(all.of(nothing).expect("nothing").is_none(), "{nothing}");
        }
    }

    #[test]
    fn half_a_certificate_is_an_error() {
        for (name, other) in [("me.cert", "me.key"), ("me.key", "me.cert")] {
            let root = tempfile::tempdir().expect("a folder");
            put(&root.path().join("a.example"), &["ca.crt", name]);
            let error = HostCertificates::new(vec![root.path().to_owned()]).of("a.example").expect_err("half");
            let RegistryError::Ca { path, source } = error else { panic!("{error}") };
            assert!(path.ends_with(name) && source.to_string().contains(other), "{}: {source}", path.display());
        }
    }
}
