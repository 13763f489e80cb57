use std::collections::BTreeMap;

use crate::base::{Platform, SolveOptions};

/// What a component is built with beside its inputs, the same for all platforms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SolveSpec {
    /// What the builder is asked for. Its `annotations` are empty: see below.
    pub options: SolveOptions,
    /// Annotations of all kinds, in the order of the file.
    pub annotations: Vec<AnnotationSpec>,
}

/// An annotation, `[TYPE[PLATFORM],…:]KEY=VALUE` as `docker buildx build --annotation` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationSpec {
    /// What is annotated.
    pub level: AnnotationLevel,
    /// Only for this platform.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What an annotation is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// The manifest of each platform: what an annotation without a type means.
    Manifest,
    /// The entry of each platform in the index.
    ManifestDescriptor,
    /// The index.
    Index,
    /// The entry of the index in `index.json` of a layout.
    IndexDescriptor,
}

impl SolveSpec {
    /// What the builder is asked for on `platform`. A component of `several` platforms has a cache of its own on each: they
    /// are solves of their own here, and one of them would write over the other's.
    pub fn on(&self, platform: &Platform, several: bool) -> SolveOptions {
        let mut options = self.options.clone();
        options.annotations = self.annotations_of(AnnotationLevel::Manifest, Some(platform));
        if several {
            super::cache::for_platform(&mut options, platform);
        }
        options
    }

    /// The annotations of one kind; those for another platform than the one that is given are left out.
    pub fn annotations_of(&self, level: AnnotationLevel, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let meant = self.annotations.iter().filter(|one| {
            one.level == level && (one.platform.is_none() || platform.is_none() || one.platform.as_ref() == platform)
        });
        meant.map(|one| (one.key.clone(), one.value.clone())).collect()
    }
}

/// Reads `[TYPE[PLATFORM],…:]KEY=VALUE`: one annotation for each type (docker/buildx util/buildflags/export.go).
pub(super) fn annotation(text: &str) -> Result<Vec<AnnotationSpec>, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("the annotation `{text}` has no `=`"))?;
    let one =
        |level, platform, key: &str| AnnotationSpec { level, platform, key: key.to_owned(), value: value.to_owned() };
    let Some((kinds, key)) = key.split_once(':') else {
        return Ok(vec![one(AnnotationLevel::Manifest, None, key)]);
    };
    let mut found = Vec::new();
    for kind in kinds.split(',') {
        let (name, platform) = match kind.split_once('[') {
            Some((name, rest)) => {
                let text = rest.strip_suffix(']').ok_or_else(|| format!("the annotation type `{kind}` has no `]`"))?;
                (name, Some(text.parse::<Platform>().map_err(|error| error.to_string())?))
            }
            None => (kind, None),
        };
        let level = match name {
            "manifest" => AnnotationLevel::Manifest,
            "manifest-descriptor" => AnnotationLevel::ManifestDescriptor,
            "index" => AnnotationLevel::Index,
            "index-descriptor" => AnnotationLevel::IndexDescriptor,
            _ => return Err(format!("there is no annotation type `{name}`")),
        };
        found.push(one(level, platform, key));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect("a platform")
    }

    #[test]
    fn annotations_have_levels_and_platforms() {
        let text = "manifest[linux/arm64],index:org.example.a=b=c";
        let spec = SolveSpec { annotations: annotation(text).expect("it is one"), ..SolveSpec::default() };
        let on = |text: &str| spec.on(&platform(text), true).annotations;
        assert_eq!(on("linux/arm64"), BTreeMap::from([("org.example.a".to_owned(), "b=c".to_owned())]));
        assert!(on("linux/amd64").is_empty());
        assert_eq!(spec.annotations_of(AnnotationLevel::Index, None).len(), 1);
        assert_eq!(annotation("k=v").expect("it is one")[0].level, AnnotationLevel::Manifest);
        for bad in ["k", "nothing:k=v", "manifest[linux:k=v", "manifest[a/b/c/d]:k=v"] {
            assert!(annotation(bad).is_err(), "{bad}");
        }
    }
}
