use crate::base::{InvalidReference, Platform, Reference};

/// `reference` for one platform alone: `app:v1` for `linux/arm64` is `app:v1-arm64`, for `linux/arm/v7` `app:v1-arm-v7`.
///
/// The one place where such names are made: `push` with `arch-tags` and the docker part of an exported file must agree.
/// A reference without a tag counts as `latest`. Fails if the tag becomes longer than a tag may be.
pub fn arch_reference(reference: &Reference, platform: &Platform) -> Result<Reference, InvalidReference> {
    let tag = reference.tag().map_or("latest", |tag| tag.as_str());
    let tag = format!("{tag}-{}", platform.short()).parse()?;
    Ok(reference.with_tag(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d12_one_name_per_platform() {
        let name = |reference: &str, platform: &str| {
            let reference: Reference = reference.parse().expect(reference);
            arch_reference(&reference, &platform.parse().expect(platform)).map(|name| name.to_string())
        };
        assert_eq!(name("r.io/a:v1", "arm64").as_deref(), Ok("r.io/a:v1-arm64"));
        assert_eq!(name("r.io/a:v1", "arm/v7").as_deref(), Ok("r.io/a:v1-arm-v7"));
        assert_eq!(name("a", "amd64").as_deref(), Ok("a:latest-amd64"));
        assert_eq!(name("a:v1", "windows/amd64").as_deref(), Ok("a:v1-windows-amd64"));
        assert!(name(&format!("a:{}", "t".repeat(125)), "amd64").is_err());
    }
}
