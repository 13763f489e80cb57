use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants requests to be authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with every request (RFC 7617).
    Basic,
    /// A token from somewhere else (the distribution project's token specification).
    Bearer {
        /// Where: a URL, unchecked.
        realm: String,
        /// The registry's name at the token server.
        service: Option<String>,
        /// What the refused request would have needed; several are separated by spaces.
        scope: Option<String>,
    },
}

/// Headers beyond this are not looked at.
const LIMIT: usize = 16 << 10;

/// The challenge to answer: bearer where it is offered, else basic; `None` where there is nothing that we know.
pub(super) fn challenge_in(headers: &HeaderMap) -> Option<Challenge> {
    let offered: Vec<Challenge> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|value| value.len() <= LIMIT)
        .flat_map(parse)
        .collect();
    offered
        .iter()
        .find(|challenge| matches!(challenge, Challenge::Bearer { .. }))
        .or_else(|| offered.iter().find(|challenge| matches!(challenge, Challenge::Basic)))
        .cloned()
}

/// Parses one header value, which may hold several challenges (RFC 9110, section 11.6.1).
///
/// `Bearer realm="https://a/t",service="r", Basic realm="x"`: a comma separates parameters and challenges alike; what
/// starts a challenge is a word that no `=` follows. Anything that does not fit ends the parse: what was read before counts.
fn parse(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = value;
    let mut current: Option<(String, Vec<(String, String)>)> = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((word, after)) = token(rest) else { break };
        let after_word = after.trim_start_matches([' ', '\t']);
        if let Some(value) = after_word.strip_prefix('=') {
            let Some((value, after)) = parameter_value(value.trim_start_matches([' ', '\t'])) else { break };
            if let Some((_, parameters)) = &mut current {
                parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            found.extend(current.take().and_then(|(scheme, parameters)| finish(&scheme, &parameters)));
            current = Some((word.to_ascii_lowercase(), Vec::new()));
            rest = after;
        }
    }
    found.extend(current.and_then(|(scheme, parameters)| finish(&scheme, &parameters)));
    found
}

fn finish(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let value = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            Some(Challenge::Bearer { realm: value("realm")?, service: value("service"), scope: value("scope") })
        }
        _ => None,
    }
}

/// A token of RFC 9110, section 5.6.2, and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(text.len());
    if end == 0 { None } else { Some(text.split_at(end)) }
}

/// A quoted string with its escapes undone, or everything up to the next comma: realms are written without quotes too.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn reads_what_registries_send() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            parse(hub),
            [bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"))]
        );
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Negotiate, Basic realm="a, Bearer realm=x" , bearer service=s,realm=https://a/t"#),
            [Challenge::Basic, bearer("https://a/t", Some("s"), None)]
        );
        assert_eq!(parse(r#"Bearer realm="a\"b""#), [bearer("a\"b", None, None)]);
    }

    #[test]
    fn ignores_what_it_cannot_use() {
        for text in ["", "Bearer", "Bearer realm=\"open", "=x", "Bearer service=\"s\"", ",,,", "\u{7f}"] {
            assert_eq!(parse(text), [], "{text}");
        }
    }

    #[test]
    fn bearer_is_preferred() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=\"a\"".parse().expect("a header"));
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://a/\"".parse().expect("a header"));
        assert_eq!(challenge_in(&headers), Some(bearer("https://a/", None, None)));
        headers.remove(WWW_AUTHENTICATE);
        assert_eq!(challenge_in(&headers), None);
    }

    proptest! {
        #[test]
        fn never_panics_and_reads_back_what_was_quoted(noise in ".{0,80}", realm in "[ -~]{1,40}") {
            drop(parse(&noise));
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(parse(&format!("Bearer realm=\"{quoted}\"")), [bearer(&realm, None, None)]);
        }
    }
}
