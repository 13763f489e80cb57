use url::Url;

use crate::base::is_token_server_of;
use crate::registry::host::{authority_of, is_private_literal, names_host, without_port};

/// What the user allows, as far as token servers are concerned.
pub(super) struct RealmRules<'a> {
    /// The registry's own URL.
    pub(super) registry: &'a Url,
    /// Hosts that may be spoken to without TLS.
    pub(super) may_be_plain: &'a (dyn Fn(&str) -> bool + Sync),
    /// Hosts that may get credentials of other hosts.
    pub(super) trusted: &'a [String],
}

/// Checks where a registry sends us for a token. It is the registry's word alone, and credentials go there.
///
/// - Only `https`, or `http` where plain HTTP is allowed to that host anyway.
/// - No user name in it, and no address inside the private network unless the registry itself is there: else a public
///   registry could make us call anything that only this machine reaches.
/// - With credentials at hand it must belong to the registry by its name (same host, same parent domain, a documented
///   pair) or by the user's word.
pub(super) fn check(realm: &str, rules: &RealmRules<'_>, with_credentials: bool) -> Result<Url, String> {
    let url = Url::parse(realm).map_err(|_| "it names no usable token server".to_owned())?;
    let authority = authority_of(&url);
    let registry = authority_of(rules.registry);
    match url.scheme() {
        "https" => {}
        "http" if (rules.may_be_plain)(&authority) => {}
        "http" if rules.registry.scheme() == "http" && same_host(&authority, &registry) => {}
        "http" => return Err(format!("its token server `{authority}` is not spoken to over TLS")),
        other => return Err(format!("its token server has a `{other}:` address")),
    }
    if !url.username().is_empty() || url.password().is_some() || url.host_str().is_none() {
        return Err("the address of its token server holds a user name".to_owned());
    }
    if is_private_literal(&authority) && !is_private_literal(&registry) && !listed(rules.trusted, &authority) {
        return Err(format!("it sends us to the private address `{authority}` for a token"));
    }
    if with_credentials && !belongs(&authority, &registry) && !listed(rules.trusted, &authority) {
        return Err(format!(
            "it wants its credentials to be sent to `{authority}`, which has nothing to do with it by its name"
        ));
    }
    Ok(url)
}

fn listed(entries: &[String], authority: &str) -> bool {
    entries.iter().any(|entry| names_host(entry, authority))
}

fn same_host(one: &str, other: &str) -> bool {
    without_port(one).eq_ignore_ascii_case(without_port(other))
}

fn belongs(realm: &str, registry: &str) -> bool {
    is_token_server_of(without_port(realm), without_port(registry))
        || (is_private_literal(realm) && is_private_literal(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(registry: &str, realm: &str, with_credentials: bool) -> Result<Url, String> {
        let registry = Url::parse(registry).expect("a URL");
        let plain = |authority: &str| crate::registry::host::is_loopback(authority) || authority == "plain.example";
        let trusted = ["sso.elsewhere.example:8443".to_owned()];
        check(realm, &RealmRules { registry: &registry, may_be_plain: &plain, trusted: &trusted }, with_credentials)
    }

    #[test]
    fn tokens_come_from_where_the_registry_belongs() {
        for (registry, realm) in [
            ("https://registry-1.docker.io/v2/", "https://auth.docker.io/token"),
            ("https://registry.gitlab.com/v2/", "https://gitlab.com/jwt/auth"),
            ("https://ghcr.io/v2/", "https://ghcr.io/token"),
            ("https://registry.corp.example/v2/", "https://login.corp.example/t"),
            ("https://reg.example:5000/v2/", "https://reg.example:5001/t"),
            ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5001/t"),
            ("http://127.0.0.1:5000/v2/", "http://localhost:5001/t"),
            ("http://plain.example/v2/", "http://plain.example/t"),
            ("https://10.0.0.1/v2/", "https://10.0.0.2/t"),
            ("https://reg.example/v2/", "https://sso.elsewhere.example:8443/t"),
        ] {
            assert!(verdict(registry, realm, true).is_ok(), "{registry} {realm}: {:?}", verdict(registry, realm, true));
        }
    }

    #[test]
    fn tokens_do_not_come_from_anywhere_else() {
        let registry = "https://reg.example.com/v2/";
        for realm in [
            "https://evil.test/token",
            "https://evil-example.com/token",
            "https://reg.example.com.evil.test/t",
            "http://reg.example.com/token",
            "http://169.254.169.254/latest",
            "https://127.0.0.1/t",
            "http://127.0.0.1/t",
            "file:///etc/passwd",
            "https://user:pw@reg.example.com/t",
            "/token",
            "",
        ] {
            assert!(verdict(registry, realm, true).is_err(), "{realm}");
        }
        // Without credentials nothing is given away by asking a stranger; private addresses stay out of bounds.
        assert!(verdict(registry, "https://evil.test/token", false).is_ok());
        assert!(verdict(registry, "https://169.254.169.254/latest", false).is_err());
    }
}
