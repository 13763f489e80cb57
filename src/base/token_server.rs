/// Registries whose token server has another name than theirs, as their operators document.
const PAIRS: &[(&str, &str)] = &[("registry-1.docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// Whether the token server at `realm` belongs to the registry at `registry` by its name: the same host, the same parent
/// domain, or a documented pair. Both are hosts without a port.
///
/// A registry's challenge names the server that gets the user's credentials; its word alone is not enough.
pub fn is_token_server_of(realm: &str, registry: &str) -> bool {
    realm.eq_ignore_ascii_case(registry)
        || PAIRS.contains(&(registry, realm))
        || parent_domain(realm).is_some_and(|parent| parent_domain(registry) == Some(parent))
}

/// The last two labels of a name; `None` for addresses and single labels.
fn parent_domain(host: &str) -> Option<&str> {
    if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return None;
    }
    let (rest, _) = host.rsplit_once('.')?;
    Some(match rest.rfind('.') {
        Some(dot) => &host[dot + 1..],
        None => host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide() {
        assert!(is_token_server_of("auth.docker.io", "registry-1.docker.io"));
        assert!(is_token_server_of("gitlab.com", "registry.gitlab.com"));
        assert!(is_token_server_of("login.corp.example", "registry.corp.example"));
        assert!(!is_token_server_of("evil.example", "registry.corp.example"));
        assert!(!is_token_server_of("10.0.0.2", "10.0.0.1"));
    }
}
