use std::borrow::Cow;

/// A URL as it may be shown: `***` in place of the user name and password in it, either of which may be a token.
///
/// `ssh://git@…` stays: without a password the name only says whom the key is for. What is no URL stays too.
pub fn shown_url(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Cow::Borrowed(url) };
    // RFC 3986, 3.2: the authority ends with the first of these.
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    match authority.rfind('@') {
        Some(at) if !scheme.ends_with("ssh") || authority[..at].contains(':') => {
            Cow::Owned(format!("{scheme}://***{}", &rest[at..]))
        }
        _ => Cow::Borrowed(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_in_urls_are_not_shown() {
        for (url, shown) in [
            ("https://me:s3cret@git.example/a.git#main", "https://***@git.example/a.git#main"),
            ("https://ghp_token@git.example/a.git", "https://***@git.example/a.git"),
            ("https://a:b@c@git.example", "https://***@git.example"),
            ("ssh://me:s3cret@git.example/a", "ssh://***@git.example/a"),
            ("https://:x@h:8443?q=a@b", "https://***@h:8443?q=a@b"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
        for same in ["ssh://git@git.example/a", "git@git.example:a.git", "https://git.example/a@b", "https://h#a@b", ""]
        {
            assert_eq!(shown_url(same), same);
        }
    }
}
