use std::fs::File;
use std::io::Read;

use super::named::NamedImage;
use crate::base::{Platform, SourceText};
use crate::dockerfile::{BuildInputs, Dockerfile, InstructionKind, StagePlatform, Use, context_name};
use crate::engine::{BuildRequest, DockerfilePlace, EngineError, NamedContext};

/// A Dockerfile over this is the builder's to judge alone.
const SIZE_LIMIT: u64 = 8 << 20;

/// What a request's Dockerfile says that matters to how its solve is asked for and believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    /// What the image stands on.
    pub(super) base: Option<Use>,
    /// Everything that it takes from images and named contexts.
    uses: Vec<Use>,
    /// Names of named contexts that are names of stages too: the context stands in for the stage.
    replaced: Vec<String>,
    /// Whether another platform may need other files of the context.
    pub(super) differs_by_platform: bool,
}

impl Recipe {
    /// Reads the Dockerfile of `request`. `None` where it cannot be understood: the builder judges it, not we.
    pub(super) fn read(request: &BuildRequest, native: &Platform) -> Option<Self> {
        if request.dockerfile.place == DockerfilePlace::Context {
            return None;
        }
        let path = request.dockerfile.directory.join(&request.dockerfile.name);
        let mut text = String::new();
        File::open(&path).ok()?.take(SIZE_LIMIT + 1).read_to_string(&mut text).ok()?;
        if text.len() as u64 > SIZE_LIMIT {
            return None;
        }
        let file = Dockerfile::parse(&SourceText::new(request.dockerfile.written(), text)).ok()?;
        let named = request.contexts.iter().map(|context| match context {
            NamedContext::Image { name, .. }
            | NamedContext::Directory { name, .. }
            | NamedContext::Remote { name, .. } => context_name(name),
        });
        let contexts = named.collect();
        let inputs = BuildInputs {
            target: request.target.as_deref(),
            args: &request.args,
            platform: &request.cell.platform,
            build_platform: native,
            contexts: &contexts,
        };
        let facts = file.facts(&inputs).ok()?;
        let stages = file.stages.iter().filter_map(|stage| Some(context_name(stage.name.as_deref()?)));
        Some(Self {
            base: facts.base,
            uses: facts.uses,
            replaced: stages.filter(|name| contexts.contains(name)).collect(),
            differs_by_platform: differs(&file),
        })
    }

    /// Refuses a stage that wants an image of the layout for a platform that the request has none for: the builder would
    /// take the name for one of an image in a registry.
    pub(super) fn check_contexts(&self, request: &BuildRequest, native: &Platform) -> Result<(), EngineError> {
        for used in &self.uses {
            let name = context_name(&used.name);
            let given: Vec<&Platform> = request
                .contexts
                .iter()
                .filter_map(|context| match context {
                    NamedContext::Image { name: known, platform, .. } => {
                        (context_name(known) == name).then_some(platform)
                    }
                    NamedContext::Directory { .. } | NamedContext::Remote { .. } => None,
                })
                .collect();
            let wanted = match &used.platform {
                StagePlatform::Fixed(platform) => platform,
                StagePlatform::Builder => native,
            };
            if !given.is_empty() && !given.contains(&wanted) {
                return Err(EngineError::NoContext {
                    name: used.name.clone(),
                    wanted: Box::new(wanted.clone()),
                    given: given.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                    span: Box::new(used.span.clone()),
                });
            }
        }
        Ok(())
    }

    /// Names for images beside those with their platform.
    ///
    /// A context that stands in for a stage without a platform of its own is looked up under the platform of the daemon's
    /// machine and then under none, never under the one that is built for (moby/buildkit dockerfile2llb, where the
    /// stage's platform is not set yet).
    pub(super) fn plain_names(&self, request: &BuildRequest, images: &[NamedImage]) -> Vec<NamedImage> {
        let own = format!("::{}", request.cell.platform);
        let plain = images.iter().filter_map(|image| {
            let name = image.key.strip_suffix(&own)?;
            let replaced = self.replaced.iter().any(|stage| stage == name);
            replaced.then(|| NamedImage { key: name.to_owned(), root: image.root.clone() })
        });
        plain.collect()
    }

    /// Refuses a base that is for another platform by its own words.
    ///
    /// The frontend gives the config of the result the platform that was asked for, whatever is in it: afterwards nothing
    /// but the programs inside would tell.
    pub(super) fn check_base(&self, wanted: &Platform, native: &Platform) -> Result<(), EngineError> {
        let Some(base) = &self.base else { return Ok(()) };
        let found = match &base.platform {
            StagePlatform::Fixed(platform) => platform,
            StagePlatform::Builder => native,
        };
        if found == wanted { Ok(()) } else { Err(wrong_base(base, wanted, found.to_string())) }
    }
}

/// The base of an image is for another platform than the image.
pub(super) fn wrong_base(base: &Use, wanted: &Platform, found: String) -> EngineError {
    EngineError::WrongBase {
        name: base.name.clone(),
        wanted: Box::new(wanted.clone()),
        found,
        span: Some(Box::new(base.span.clone())),
    }
}

/// Whether what is copied may depend on the platform. One that is found too many costs a second transfer of the context;
/// one that is missed makes two platforms undo each other's copy of it in every run.
fn differs(file: &Dockerfile) -> bool {
    let text = file.source.text();
    let mentions = |text: &str| ["$TARGET", "${TARGET"].iter().any(|variable| text.contains(variable));
    let heads = file.stages.iter().map(|stage| stage.range.clone());
    let rest = file.global.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions));
    let lines = rest.filter(|instruction| instruction.kind != InstructionKind::Run).map(|i| i.range.clone());
    let mounts = file
        .stages
        .iter()
        .flat_map(|stage| &stage.instructions)
        .filter(|instruction| instruction.kind == InstructionKind::Run)
        .flat_map(|instruction| &instruction.flags)
        .filter_map(|flag| flag.value.as_ref());
    heads.chain(lines).filter_map(|range| text.get(range)).any(mentions)
        || mounts.map(|value| value.text.as_str()).any(mentions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs_in(text: &str) -> bool {
        differs(&Dockerfile::parse(&SourceText::new("Dockerfile", text)).unwrap())
    }

    #[test]
    fn sources_that_depend_on_the_platform_are_noticed() {
        for text in [
            "FROM scratch\nARG TARGETARCH\nCOPY bin-$TARGETARCH /bin\n",
            "FROM scratch AS x-amd64\nFROM x-${TARGETARCH}\n",
            "FROM a\nARG DIR=out/${TARGETPLATFORM}\nCOPY $DIR /\n",
            "FROM a\nRUN --mount=type=bind,source=bin-$TARGETARCH,target=/x true\n",
        ] {
            assert!(differs_in(text), "{text}");
        }
        for text in [
            "FROM a\nARG TARGETARCH\nRUN echo $TARGETARCH\nCOPY . /\n",
            "FROM --platform=$BUILDPLATFORM a AS b\nCOPY . /\nRUN make ARCH=${TARGETARCH}\nFROM a\nCOPY --from=b /x /\n",
        ] {
            assert!(!differs_in(text), "{text}");
        }
    }
}
