use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use super::RegistryError;

/// A try that failed: the error it becomes if it was the last, and whether another one makes sense.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: Box<RegistryError>,
    /// Whether the same thing may go well later.
    pub(super) transient: bool,
    /// Whether the host asked to slow down.
    pub(super) limited: bool,
    /// How long it asked to wait.
    pub(super) retry_after: Option<Duration>,
    /// How many tries it counts as: a host that is not there is not asked as often as one that stumbles.
    pub(super) weight: u32,
}

impl Trouble {
    /// An error that no further try can mend.
    pub(super) fn last(error: RegistryError) -> Self {
        Self { error: Box::new(error), transient: false, limited: false, retry_after: None, weight: 1 }
    }

    /// An error that may go away.
    pub(super) fn passing(error: RegistryError) -> Self {
        Self { error: Box::new(error), transient: true, limited: false, retry_after: None, weight: 1 }
    }

    /// The error, where no further try is made.
    pub(super) fn into_error(self) -> RegistryError {
        *self.error
    }

    /// The same, where it is a proxy that the connection ended at.
    pub(super) fn on_the_way(mut self, proxy: Option<&str>) -> Self {
        if let (Some(proxy), RegistryError::Network { host, reason, help, .. }) = (proxy, &mut *self.error) {
            *reason = format!("{reason}, on the way through the proxy `{proxy}`");
            // What TLS says, which no further try mends, is about the other end or what stands in for it: its advice holds.
            if self.transient {
                *help = Some(format!(
                    "correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or name `{host}` in NO_PROXY if no proxy leads there"
                ));
            }
        }
        self
    }

    /// What a failed exchange means.
    pub(super) fn of_reqwest(host: &str, action: &str, error: reqwest::Error) -> Self {
        // URLs may hold signatures of an object store: they are taken off before anything is kept.
        let error = error.without_url();
        let tls = find::<rustls::Error>(&error);
        let reason = tls.map_or_else(|| innermost(&error), tls_reason);
        let (transient, help) = match tls {
            _ if wants_certificate(&reason) => (false, Some(certificate_help(host))),
            Some(tls) => (false, Some(tls_help(host, tls))),
            None if error.is_builder() => (false, None),
            // Within an upload it is the way that broke.
            None if !action.starts_with("send") && ended(&reason, &error) => (true, Some(closed_help(host))),
            None => (true, nobody_help(host, &error)),
        };
        let weight = if error.is_connect() { 2 } else { 1 };
        let error = RegistryError::Network { host: host.to_owned(), action: action.to_owned(), reason, help };
        Self { error: Box::new(error), transient, limited: false, retry_after: None, weight }
    }
}

/// The TLS library's words, where they are words.
fn tls_reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            format!("its certificate is none that a server can have ({other})")
        }
        error => error.to_string(),
    }
}

/// Whether these are the words for what a server says that asked for our certificate and got none, or not one it knows
/// (RFC 8446, section 6.2). In HTTP/2 the words are all that is left of it.
fn wants_certificate(reason: &str) -> bool {
    let alert = reason.split_once("received fatal alert: ").map_or("", |(_, alert)| alert);
    ["CertificateRequired", "BadCertificate", "CertificateUnknown", "UnknownCA", "AccessDenied"]
        .iter()
        .any(|known| alert.starts_with(known))
}

/// What to do where nobody listens: to try again helps only if somebody starts it.
fn nobody_help(host: &str, error: &(dyn StdError + 'static)) -> Option<String> {
    let refused = find::<io::Error>(error)?.kind() == io::ErrorKind::ConnectionRefused;
    refused.then(|| format!("nothing listens at `{host}`: start the registry, or correct its address and port"))
}

/// Whether the other side ended the connection. What the libraries for HTTP say by themselves has no type that they show.
fn ended(reason: &str, error: &(dyn StdError + 'static)) -> bool {
    let kinds = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof];
    ["connection closed", "stream closed"].iter().any(|words| reason.starts_with(words))
        || find::<io::Error>(error).is_some_and(|error| kinds.contains(&error.kind()))
}

/// What to do where a connection ends without an answer. A server of TLS 1.3 that wants a certificate of ours says so only
/// after the handshake, and its words may get lost with the connection.
fn closed_help(host: &str) -> String {
    format!(
        "`{host}` ends connections without an answer; if it asks for client certificates, put NAME.cert and NAME.key into \
         `~/.config/containers/certs.d/{host}/` or `/etc/docker/certs.d/{host}/`, else run the same command again"
    )
}

fn certificate_help(host: &str) -> String {
    format!(
        "`{host}` asks for a client certificate: put NAME.cert and NAME.key into \
         `~/.config/containers/certs.d/{host}/` or `/etc/docker/certs.d/{host}/`"
    )
}

fn tls_help(host: &str, error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => {
            format!(
                "`{host}` does not speak TLS there; allow plain HTTP with `--plain-http {host}` if you trust the way"
            )
        }
        // What the library has no name for is in practice the certificate of an authority, used as a server's.
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(_)) => {
            "a certificate that signed itself as an authority (`openssl req -x509` makes one) cannot be a server's:\n\
             make it with `-addext basicConstraints=CA:FALSE`, or let an authority sign it, and trust that with `--ca FILE`"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "trust its authority with `--ca FILE` (or SSL_CERT_FILE)".to_owned()
        }
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::Expired
            | rustls::CertificateError::ExpiredContext { .. }
            | rustls::CertificateError::NotValidYet
            | rustls::CertificateError::NotValidYetContext { .. },
        ) => "renew the registry's certificate, or set this machine's clock right".to_owned(),
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. },
        ) => "use the name that the registry's certificate is for".to_owned(),
        _ => "check the registry's TLS settings".to_owned(),
    }
}

/// Whether a failed exchange shows that the other side does not speak TLS at all: no certificate was ever seen.
pub(super) fn speaks_no_tls(error: &reqwest::Error) -> bool {
    match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidMessage(_)) => true,
        Some(_) => false,
        None => find::<io::Error>(error).is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
            )
        }),
    }
}

/// The first error of type `E` in the chain, also inside an `io::Error`, whose `source` skips what it wraps.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find::<E>(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The words of the deepest cause: `error sending request` is of no use to anybody.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// How long a `Retry-After` value asks to wait: seconds, or an HTTP date compared with `now` (distribution-spec leaves the
/// form to RFC 9110, section 10.2.3). A date that is past means now; nonsense means that nothing was said.
pub(super) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let seconds = date.timestamp().as_second().saturating_sub(now.as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2026-11-24T08:00:00Z".parse().expect("a time");
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 08:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Tue, 24 Nov 2026 07:00:00 GMT", now), Some(Duration::ZERO));
        for nonsense in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(retry_after(nonsense, now), None, "{nonsense}");
        }
    }
}
