use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::posts::Reach;
use super::{BuilderSettings, Fallback};
use crate::base::Platform;
use crate::engine::buildkit::{BuildKitEngine, ConnectOptions, TlsFiles};
use crate::engine::{Engine, EngineError, Hindrance, Origin};
use crate::event::{Event, EventSink};
use crate::plan::Plan;
use crate::registry::{is_loopback, without_port};
use crate::store::Layout;

/// A builder that somebody named, before it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    address: String,
    by: By,
    /// Why it cannot be meant, and what to write instead.
    fault: Option<(String, String)>,
    tls: Option<TlsFiles>,
    /// Whether plain text will do where the daemon does not speak TLS.
    or_plain: bool,
    /// Whether what travels can be read on its way, and nobody has said that this is meant.
    exposed: bool,
    /// Empty: every platform that no other one lists.
    pub(super) platforms: Vec<Platform>,
    /// Whether it takes only what no builder of the project takes (`BUILDKIT_HOST`).
    pub(super) falls_back: bool,
    /// How many cells it takes at once, where the project says so.
    pub(super) capacity: Option<usize>,
}

/// Who named a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    /// A `[builder]` table of the project.
    Table(String),
    /// `--builder`.
    Flag,
    /// `BUILDKIT_HOST`.
    Environment,
}

impl Named {
    #[cfg(test)]
    pub(super) fn plain(address: &str, platforms: Vec<Platform>) -> Self {
        Self { platforms, ..Self::at(address, By::Flag) }
    }

    fn at(address: &str, by: By) -> Self {
        let falls_back = by == By::Environment;
        Self {
            address: address.to_owned(),
            by,
            fault: None,
            tls: None,
            or_plain: false,
            exposed: false,
            platforms: Vec::new(),
            falls_back,
            capacity: None,
        }
    }

    /// The builders that the command line, the project, and for `platforms` that these leave over the environment name.
    /// Nothing is contacted; what cannot be meant is told by [`Self::usable`].
    pub(super) fn all(plan: &Plan, platforms: &[Platform], settings: &BuilderSettings) -> Vec<Self> {
        if let Some(address) = &settings.forced {
            return vec![Self::new(address, By::Flag, None, None, settings)];
        }
        let of_project = plan.builders.iter().map(|(name, builder)| {
            let platforms = builder.platforms.iter().map(|platform| platform.value.clone()).collect();
            let (ca, identity) = (builder.ca.as_ref(), builder.identity.as_ref());
            let named = Self::new(&builder.address.value, By::Table(name.clone()), ca, identity, settings);
            Self { platforms, capacity: builder.capacity, ..named }
        });
        let mut all: Vec<Self> = of_project.collect();
        let takes = |platform: &Platform| {
            all.iter().any(|builder| builder.platforms.is_empty() || builder.platforms.contains(platform))
        };
        if let Fallback::Address(address) = &settings.fallback
            && !platforms.iter().all(takes)
        {
            all.push(Self::new(address, By::Environment, None, None, settings));
        }
        all
    }

    /// Whether it can be meant.
    ///
    /// # Errors
    /// [`EngineError::Settings`].
    pub(super) fn usable(&self) -> Result<(), EngineError> {
        match &self.fault {
            None => Ok(()),
            Some((reason, help)) => {
                Err(EngineError::Settings { address: self.address.clone(), reason: reason.clone(), help: help.clone() })
            }
        }
    }

    /// Works out how the builder is spoken to: over TLS where it has certificates or `--ca` was given, else in plain, as
    /// `buildctl` does.
    fn new(
        address: &str,
        by: By,
        ca: Option<&PathBuf>,
        identity: Option<&(PathBuf, PathBuf)>,
        settings: &BuilderSettings,
    ) -> Self {
        let mut named = Self::at(address, by);
        if let Err(EngineError::Settings { reason, help, .. }) = BuildKitEngine::check_address(address) {
            named.fault = Some((reason, help));
            return named;
        }
        let Some(authority) = address.strip_prefix("tcp://") else { return named };
        let own = ca.is_some() || identity.is_some();
        let plain = settings.plain_hosts.iter().any(|host| host == authority || host == without_port(authority));
        if !own && (plain || !settings.expects_tls) {
            named.exposed = !plain && !is_loopback(authority);
            return named;
        }
        let authorities = ca.map_or_else(|| settings.authorities.clone(), |ca| vec![ca.clone()]);
        if authorities.is_empty() {
            named.fault = Some((
                "it has a certificate for this side and no authority for the other".to_owned(),
                "add `ca = \"FILE\"` beside `cert` and `key`, or give `--ca FILE`".to_owned(),
            ));
            return named;
        }
        // `--ca` may be meant for a registry alone; on this machine it does not matter whether a builder is plain.
        named.or_plain = !own && is_loopback(authority);
        named.tls = Some(TlsFiles { authorities, identity: identity.cloned(), server_name: None });
        named
    }

    /// Tells a person what can be read on its way to the builder.
    pub(super) fn warn(&self, events: &dyn EventSink) {
        if self.exposed {
            let text = format!(
                "the connection to the builder `{}` is not encrypted: contexts, secrets and credentials of registries can \
                 be read on their way; give its authority with `--ca FILE` or `ca` in its [builder] table, or say that it \
                 is meant with `--plain-http HOST`",
                self.address
            );
            events.emit(Event::Warning { cell: None, text });
        }
    }

    /// Connects to it.
    pub(super) async fn connect(
        &self,
        settings: &BuilderSettings,
        layout: &Layout,
    ) -> Result<Arc<dyn Engine>, EngineError> {
        self.usable()?;
        let connected = connect(self.options(settings, layout), self.or_plain).await;
        connected.map_err(|error| self.named(error))
    }

    /// The error with who named the builder, and what to write there.
    fn named(&self, error: EngineError) -> EngineError {
        let EngineError::Unreachable { address, reason, hindrance, .. } = error else { return error };
        let (name, help) = match &self.by {
            By::Table(name) => {
                let name = format!("[builder.{name}]");
                let help = self.in_table(&name, hindrance);
                (name, help)
            }
            By::Flag => ("--builder".to_owned(), on_its_own("`--builder`", hindrance)),
            By::Environment => ("BUILDKIT_HOST".to_owned(), on_its_own("BUILDKIT_HOST", hindrance)),
        };
        EngineError::Unreachable { address, reason, hindrance, origin: Some(Box::new(Origin { name, help })) }
    }

    /// What to write into its table.
    fn in_table(&self, name: &str, hindrance: Hindrance) -> String {
        let authority = self.tls.as_ref().and_then(|files| files.authorities.first());
        match (hindrance, authority) {
            (Hindrance::Authority, Some(given)) => format!(
                "write the authority that signed the builder's certificate into {name}: `ca = \"FILE\"`; `{}` did not",
                given.display()
            ),
            (Hindrance::Certificate, _) => {
                format!(
                    "write a name or address that its certificate holds into `address` of {name}, or have it renewed"
                )
            }
            (Hindrance::Client, _) => format!(
                "write a certificate that it trusts, and its key, into {name}: `cert = \"FILE\"`, `key = \"FILE\"`"
            ),
            (Hindrance::Identity, _) => format!("write the `key` that belongs to `cert` into {name}"),
            (Hindrance::File, _) => {
                format!("write files in PEM form that can be read into {name}: `ca`, `cert`, `key`")
            }
            (Hindrance::WantsTls, _) => format!(
                "if it speaks TLS, write its authority into {name}: `ca = \"FILE\"` (`cert` and `key` too if it knows its \
                 clients); else see that buildkitd is what listens there"
            ),
            (Hindrance::SpeaksPlain, _) => {
                format!(
                    "leave out `ca`, `cert` and `key` in {name}, or start buildkitd with `--tlscert` and `--tlskey`"
                )
            }
            _ => format!("start buildkitd there, or correct `address` in {name}"),
        }
    }

    /// The way to it, for later.
    pub(super) fn reach(&self, settings: &BuilderSettings, layout: &Layout) -> Reach {
        let (options, or_plain) = (self.options(settings, layout), self.or_plain);
        Box::new(move || connect(options.clone(), or_plain).boxed())
    }

    fn options(&self, settings: &BuilderSettings, layout: &Layout) -> ConnectOptions {
        ConnectOptions {
            address: self.address.clone(),
            tls: self.tls.clone(),
            layout: layout.clone(),
            credentials: Arc::clone(&settings.credentials),
            token_client: settings.token_client.clone(),
            connect_timeout: settings.connect_timeout,
        }
    }
}

/// What to do about a builder that only its address names, by a flag or a variable.
fn on_its_own(by: &str, hindrance: Hindrance) -> String {
    let table = "[builder.NAME] address = \"tcp://…\" ca = \"FILE\" cert = \"FILE\" key = \"FILE\"";
    match hindrance {
        Hindrance::Authority => "give the authority that signed the builder's certificate with `--ca FILE`".to_owned(),
        Hindrance::Certificate => {
            format!("name it in {by} by what its certificate holds, or have the certificate renewed")
        }
        Hindrance::Client => format!("name it in the project, with a certificate that it trusts:\n{table}"),
        Hindrance::WantsTls => {
            "if it speaks TLS, give its authority with `--ca FILE`; else see that buildkitd is what \
                                listens there"
                .to_owned()
        }
        Hindrance::SpeaksPlain => {
            "leave out `--ca`, say `--plain-http HOST`, or start buildkitd with `--tlscert` and `--tlskey`".to_owned()
        }
        Hindrance::File => "give a file in PEM form that can be read with `--ca FILE`".to_owned(),
        _ => format!("start it, or leave out {by} to have one started for the run"),
    }
}

async fn connect(options: ConnectOptions, or_plain: bool) -> Result<Arc<dyn Engine>, EngineError> {
    let plain = or_plain.then(|| ConnectOptions { tls: None, ..options.clone() });
    let engine = match (BuildKitEngine::connect(options).await, plain) {
        (Err(error), Some(plain)) => BuildKitEngine::connect(plain).await.map_err(|_| error)?,
        (result, _) => result?,
    };
    Ok(Arc::new(engine))
}
