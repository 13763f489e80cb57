use crate::base::{CacheSpec, Platform, Reference, SolveOptions};

/// The setting that keeps one cache apart from others of its kind: a tag, or a name.
fn distinction(kind: &str) -> Option<&'static str> {
    match kind {
        "registry" => Some("ref"),
        "gha" => Some("scope"),
        "s3" | "azblob" => Some("name"),
        _ => None,
    }
}

/// What buildx and the builder call a cache in GitHub's store where nobody named it (moby/buildkit cache/remotecache/gha).
const GHA_SCOPE: &str = "buildkit";

/// Gives every cache that is written a name of its own for `platform`, and reads that first.
pub(super) fn for_platform(options: &mut SolveOptions, platform: &Platform) {
    options.cache_to =
        options.cache_to.iter().map(|entry| own(entry, platform).unwrap_or_else(|| entry.clone())).collect();
    let both = options.cache_from.iter().flat_map(|entry| own(entry, platform).into_iter().chain([entry.clone()]));
    options.cache_from = both.collect();
}

/// The entry under the platform's own name.
fn own(entry: &CacheSpec, platform: &Platform) -> Option<CacheSpec> {
    let key = distinction(&entry.kind)?;
    let suffix = platform.short().replace('/', "-");
    let named = match (entry.attributes.get(key), key) {
        (Some(text), "ref") => {
            let reference = text.parse::<Reference>().ok()?;
            let tag = reference.tag().map_or("latest", |tag| tag.as_str());
            let own = format!("{tag}-{suffix}").parse().ok()?;
            reference.repository().clone().tagged(own).to_string()
        }
        (Some(text), _) => format!("{text}-{suffix}"),
        (None, "scope") => format!("{GHA_SCOPE}-{suffix}"),
        (None, _) => return None,
    };
    let mut own = entry.clone();
    own.attributes.insert(key.to_owned(), named);
    Some(own)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn caches_of_several_platforms_do_not_write_over_each_other() {
        let entry = |kind: &str, pairs: &[(&str, &str)]| CacheSpec {
            kind: kind.to_owned(),
            attributes: pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        };
        let all = vec![
            entry("registry", &[("ref", "r.example.com/app:cache"), ("mode", "max")]),
            entry("inline", &[]),
            entry("gha", &[]),
        ];
        let mut options = SolveOptions { cache_from: all.clone(), cache_to: all, ..SolveOptions::default() };
        for_platform(&mut options, &"linux/arm64".parse().expect("a platform"));
        assert_eq!(options.cache_to[0].attributes["ref"], "r.example.com/app:cache-arm64");
        assert_eq!(options.cache_to[0].attributes["mode"], "max");
        assert_eq!(options.cache_to[2].attributes["scope"], "buildkit-arm64");
        let refs: Vec<Option<&String>> = options.cache_from.iter().map(|entry| entry.attributes.get("ref")).collect();
        assert_eq!(refs[0].map(String::as_str), Some("r.example.com/app:cache-arm64"));
        assert_eq!(refs[1].map(String::as_str), Some("r.example.com/app:cache"), "one that somebody else wrote");
        assert_eq!(options.cache_from.len(), 5);
    }
}
