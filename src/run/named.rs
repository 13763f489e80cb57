use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::BuilderSettings;
use super::posts::Reach;
use crate::base::Platform;
use crate::engine::buildkit::{BuildKitEngine, ConnectOptions, TlsFiles};
use crate::engine::{Engine, EngineError};
use crate::event::{Event, EventSink};
use crate::plan::Plan;
use crate::registry::{is_loopback, without_port};
use crate::store::Layout;

/// A builder that somebody named, before it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    address: String,
    tls: Option<TlsFiles>,
    /// Whether plain text will do where the daemon does not speak TLS.
    or_plain: bool,
    /// Whether what travels can be read on its way, and nobody has said that this is meant.
    exposed: bool,
    /// Empty: every platform that no other one lists.
    pub(super) platforms: Vec<Platform>,
    /// How many cells it takes at once, where the project says so.
    pub(super) capacity: Option<usize>,
}

impl Named {
    #[cfg(test)]
    pub(super) fn plain(address: &str, platforms: Vec<Platform>) -> Self {
        Self { address: address.to_owned(), tls: None, or_plain: false, exposed: false, platforms, capacity: None }
    }

    /// The builders that the command line or the project names.
    ///
    /// # Errors
    /// [`EngineError::Settings`] for an address or certificates that cannot be meant; nothing was contacted.
    pub(super) fn all(plan: &Plan, settings: &BuilderSettings) -> Result<Vec<Self>, EngineError> {
        if let Some(address) = &settings.forced {
            return Ok(vec![Self::by_address(address, settings)?]);
        }
        let of_project = plan.builders.values().map(|builder| {
            let platforms = builder.platforms.iter().map(|platform| platform.value.clone()).collect();
            let named = Self::new(&builder.address.value, builder.ca.as_ref(), builder.identity.as_ref(), settings)?;
            Ok(Self { platforms, capacity: builder.capacity, ..named })
        });
        of_project.collect()
    }

    /// The builder at an address that was given alone.
    pub(super) fn by_address(address: &str, settings: &BuilderSettings) -> Result<Self, EngineError> {
        Self::new(address, None, None, settings)
    }

    /// Works out how the builder is spoken to: over TLS where it has certificates or `--ca` was given, else in plain, as
    /// `buildctl` does.
    fn new(
        address: &str,
        ca: Option<&PathBuf>,
        identity: Option<&(PathBuf, PathBuf)>,
        settings: &BuilderSettings,
    ) -> Result<Self, EngineError> {
        BuildKitEngine::check_address(address)?;
        let mut named = Self {
            address: address.to_owned(),
            tls: None,
            or_plain: false,
            exposed: false,
            platforms: Vec::new(),
            capacity: None,
        };
        let Some(authority) = address.strip_prefix("tcp://") else { return Ok(named) };
        let own = ca.is_some() || identity.is_some();
        let plain = settings.plain_hosts.iter().any(|host| host == authority || host == without_port(authority));
        if !own && (plain || !settings.expects_tls) {
            named.exposed = !plain && !is_loopback(authority);
            return Ok(named);
        }
        let authorities = ca.map_or_else(|| settings.authorities.clone(), |ca| vec![ca.clone()]);
        if authorities.is_empty() {
            return Err(EngineError::Settings {
                address: address.to_owned(),
                reason: "it has a certificate for this side and no authority for the other".to_owned(),
                help: "add `ca = \"FILE\"` beside `cert` and `key`, or give `--ca FILE`".to_owned(),
            });
        }
        // `--ca` may be meant for a registry alone; on this machine it does not matter whether a builder is plain.
        named.or_plain = !own && is_loopback(authority);
        named.tls = Some(TlsFiles { authorities, identity: identity.cloned(), server_name: None });
        Ok(named)
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
        connect(self.options(settings, layout), self.or_plain).await
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

async fn connect(options: ConnectOptions, or_plain: bool) -> Result<Arc<dyn Engine>, EngineError> {
    let plain = or_plain.then(|| ConnectOptions { tls: None, ..options.clone() });
    let engine = match (BuildKitEngine::connect(options).await, plain) {
        (Err(error), Some(plain)) => BuildKitEngine::connect(plain).await.map_err(|_| error)?,
        (result, _) => result?,
    };
    Ok(Arc::new(engine))
}
