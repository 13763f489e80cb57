//! The shape of `catamaran.toml` as a JSON schema, for editors.
//!
//! The types below describe the file and hold nothing: values are read key by key, with their places, by `native`. A test
//! holds the two together: every key that is read is described, and nothing else.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};

/// The JSON schema of `catamaran.toml`, draft 2020-12.
pub fn project_schema() -> Schema {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let mut schema = settings.into_generator().into_root_schema_for::<ProjectFile>();
    schema.insert("title".to_owned(), "catamaran.toml".into());
    schema
}

/// What a repository produces: its image components, the platforms they are built for, and where they are published.
///
/// Every path is relative to the file itself. `${NAME}`, `${NAME:-default}` and `${NAME:?message}` work in every string.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "only their shape is used")]
struct ProjectFile {
    /// Shown in headlines; part of no reference. Default: the folder's name.
    name: Option<String>,
    /// What every component is built for, such as `linux/amd64`.
    platforms: Option<Vec<PlatformText>>,
    /// Repository name below each registry prefix; `{component}` stands for the component's name, which is the default.
    image: Option<String>,
    /// Tag of every component's index. `{git}` is `git describe`, `{date}` the day of the epoch. Default: `latest`.
    tag: Option<String>,
    /// Prefixes to push to, such as `registry.example.com/infra`.
    registry: Option<Vec<String>>,
    /// Build context of components that name none: a directory or a URL. Default: the file's folder.
    context: Option<String>,
    /// In registries, also publish each platform under `TAG-ARCH`.
    arch_tags: Option<bool>,
    /// Where the time of an image comes from.
    epoch: Option<EpochSource>,
    /// `"git"`: labels and annotations that say which commit it was.
    metadata: Option<MetadataSource>,
    /// Labels of every image.
    labels: Option<Texts>,
    /// Files with `{{NAME}}` in them that builders find rendered, under the name without `.tpl`: paths and globs.
    templates: Option<Vec<String>>,
    /// Variables for `${…}`, templates and build arguments.
    vars: Option<Vars>,
    /// Find components instead of listing them.
    discover: Option<Discover>,
    /// Settings that components share by `inherits`.
    settings: Option<BTreeMap<String, Component>>,
    /// The images to build.
    component: Option<BTreeMap<String, Component>>,
    /// Third-party images that are mirrored, not built.
    external: Option<BTreeMap<String, External>>,
    /// Components or externals that run while cells that need them build.
    service: Option<BTreeMap<String, Service>>,
    /// Addresses of buildkitd to build on.
    builder: Option<BTreeMap<String, Builder>>,
    /// Names for several components.
    group: Option<BTreeMap<String, Vec<String>>>,
}

/// `os/arch[/variant]`, or the architecture alone.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[expect(dead_code, reason = "only its shape is used")]
struct PlatformText(String);

/// Clamp times to the last commit, so that equal inputs give equal digests.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its shape is used")]
enum EpochSource {
    Git,
}

/// Where labels and annotations about the source come from.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its shape is used")]
enum MetadataSource {
    Git,
}

/// A text, or what has one text that it can mean.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its shape is used")]
enum Text {
    Quoted(String),
    Whole(i64),
    Flag(bool),
}

type Texts = BTreeMap<String, Text>;

/// `[vars]`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Vars {
    /// `.env` files, and lists of `name: version`, whose names become `NAME_VERSION`.
    files: Option<Vec<String>>,
    /// Names of the environment that templates may use.
    environment: Option<Vec<String>>,
    /// Values by name.
    set: Option<BTreeMap<String, Text>>,
}

/// `[discover]`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Discover {
    /// Globs of folders; `**` for any depth.
    roots: Option<Vec<String>>,
    /// Files that are left out, by path or glob, each with the reason.
    exclude: Option<BTreeMap<String, String>>,
}

/// One image to build.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its shape is used")]
struct Component {
    /// Names of settings or components whose keys are taken over; own keys win, tables are joined.
    inherits: Option<Vec<String>>,
    /// One component per combination.
    matrix: Option<Matrix>,
    /// The Dockerfile; one that ends in `.tpl` is rendered first.
    dockerfile: Option<String>,
    /// The text of a Dockerfile, in the place of a file.
    dockerfile_inline: Option<String>,
    /// The build context: a directory or a URL.
    context: Option<String>,
    /// The stage to build; the last one if absent.
    target: Option<String>,
    /// Components that must be there first, and services to have running.
    needs: Option<Vec<String>>,
    /// Named contexts: `component:NAME`, a directory or a URL.
    contexts: Option<BTreeMap<String, String>>,
    /// Build arguments, or names of variables that are passed under their own names.
    args: Option<Args>,
    /// Image labels.
    labels: Option<Texts>,
    /// Ignore the builder's cache.
    no_cache: Option<bool>,
    /// Narrower than the project's; what is left out is no hole.
    platforms: Option<Vec<PlatformText>>,
    /// Why it is left out of the matrix.
    exclude: Option<String>,
    /// Repository name in place of the project's `image`.
    image: Option<String>,
    /// Tag in place of the project's.
    tag: Option<String>,
    /// Further tags.
    tags: Option<Vec<String>>,
    /// Prefixes in place of the project's.
    registry: Option<Vec<String>>,
    /// What is different on single platforms.
    platform: Option<BTreeMap<String, Variation>>,
    /// Build secrets by id.
    secrets: Option<BTreeMap<String, Secret>>,
    /// Ids of ssh agents that are offered.
    ssh: Option<Vec<String>>,
    /// Extra lines of `/etc/hosts`: name to address.
    extra_hosts: Option<Texts>,
    /// Annotations of image and index, as in a bake file: `[TYPE:]KEY=VALUE`.
    annotations: Option<Vec<String>>,
    /// `default`, `none` or `host` for all steps.
    network: Option<String>,
    /// What the build needs beyond the usual, such as `network.host`.
    entitlements: Option<Vec<String>>,
    /// Size of `/dev/shm` in steps, such as `128m`.
    shm_size: Option<String>,
    /// Limits of steps: `NAME=SOFT[:HARD]`.
    ulimits: Option<Vec<String>>,
    /// Stages that ignore the builder's cache.
    no_cache_filter: Option<Vec<String>>,
    /// Ask registries again for images that the builder has.
    pull: Option<bool>,
    /// Caches to read, such as `type=registry,ref=…`.
    cache_from: Option<Vec<String>>,
    /// Caches to write.
    cache_to: Option<Vec<String>>,
    /// Attestations, such as `type=provenance,mode=max`.
    attest: Option<Vec<String>>,
    /// The control group that steps run in.
    cgroup_parent: Option<String>,
    /// Executables for another processor that belong in the image: globs of their paths.
    foreign: Option<Vec<String>>,
    /// Files with `{{NAME}}` in them that builders find rendered, under the name without `.tpl`: paths and globs.
    templates: Option<Vec<String>>,
}

/// Build arguments.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its shape is used")]
enum Args {
    Values(Texts),
    Names(Vec<String>),
}

/// `[component.NAME.matrix]`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Matrix {
    /// Values by axis; `{AXIS}` stands for the value in every string of the component.
    axes: Option<BTreeMap<String, Vec<Text>>>,
    /// Combinations that are left out.
    exclude: Option<Vec<Texts>>,
    /// Combinations that are added.
    include: Option<Vec<Texts>>,
    /// Names of the components. Default: `NAME-VALUE`.
    name: Option<String>,
}

/// What is different on one platform.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Variation {
    /// Another Dockerfile.
    dockerfile: Option<String>,
    /// Another target.
    target: Option<String>,
    /// Further or other build arguments.
    args: Option<Texts>,
    /// Why this platform alone is left out.
    exclude: Option<String>,
}

/// Where the value of a secret is found: one of the two.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Secret {
    /// A variable of the environment.
    env: Option<String>,
    /// A file.
    file: Option<String>,
}

/// One image that is mirrored.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct External {
    /// Where it comes from, such as `redis:7-alpine`.
    image: String,
    /// Narrower than the project's.
    platforms: Option<Vec<PlatformText>>,
    /// `repository:tag` to publish it under.
    r#as: Option<String>,
    /// Executables for another processor that belong in the image: globs of their paths.
    foreign: Option<Vec<String>>,
    /// Why it is left out.
    exclude: Option<String>,
}

/// A component or external that runs while others build.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Service {
    /// The port it listens on, or `"auto"`.
    port: Option<Port>,
    /// An `http://` URL that must answer, or `tcp://host:port` that must accept.
    ready: Option<String>,
    /// A command in its container that must exit with 0.
    exec: Option<Words>,
    /// In place of the image's own command.
    command: Option<Words>,
    /// Its environment.
    env: Option<Texts>,
    /// Files that are put into its container: path there to path here.
    files: Option<BTreeMap<String, String>>,
    /// Further names that it is reached by.
    hosts: Option<Vec<String>>,
    /// `native`, `same` as the cell that needs it, or a platform.
    platform: Option<String>,
    /// What must be there or run first.
    needs: Option<Vec<String>>,
    /// Time between two probes, such as `500ms`.
    interval: Option<Span>,
    /// How long it may take to be up, such as `30s`.
    timeout: Option<Span>,
}

/// A port, or `"auto"`.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its shape is used")]
enum Port {
    Number(#[schemars(range(min = 1, max = 65535))] u16),
    Text(String),
}

/// A command: its words, or one text for the shell.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its shape is used")]
enum Words {
    Words(Vec<String>),
    Shell(String),
}

/// A number of seconds, or a text such as `500ms`, `30s`, `2m`.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its shape is used")]
enum Span {
    Seconds(u64),
    Text(String),
}

/// A `buildkitd`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct Builder {
    /// `tcp://host:port` or `unix:///path`.
    address: String,
    /// The platforms it takes; every one that no other takes if absent.
    platforms: Option<Vec<PlatformText>>,
    /// How many cells it takes at once; as many as suit it if absent.
    capacity: Option<u16>,
    /// Certificate authority of its server.
    ca: Option<String>,
    /// Client certificate.
    cert: Option<String>,
    /// Key of the client certificate.
    key: Option<String>,
}
