use std::path::PathBuf;
use std::process::Command;

/// An authority, and certificates of it for a daemon of this machine and a client of it.
pub(crate) struct Certificates(tempfile::TempDir);

impl Certificates {
    pub(crate) fn make() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let script = "exec 2>/dev/null
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
            for name in daemon client; do
              openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
              printf 'subjectAltName=DNS:builder.example,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' >$name.ext
              openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
            done";
        let status = Command::new("sh").arg("-ec").arg(script).current_dir(directory.path()).status().expect("a shell");
        assert!(status.success(), "openssl is missing: run scripts/setup test");
        Self(directory)
    }

    /// `ca.pem`, and for `daemon` and `client` the certificate `.pem` and the `.key`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What makes a buildkitd speak TLS; whether it asks for the client's certificate too.
    pub(crate) fn flags(&self, of_both: bool) -> Vec<String> {
        let flag = |name: &str, file: &str| [format!("--{name}"), self.path(file).display().to_string()];
        let mut flags = [flag("tlscert", "daemon.pem"), flag("tlskey", "daemon.key")].concat();
        if of_both {
            flags.extend(flag("tlscacert", "ca.pem"));
        }
        flags
    }
}
