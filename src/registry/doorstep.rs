use reqwest::Method;

use super::auth::Scopes;
use super::call::Call;
use super::{RegistryClient, RegistryError};
use crate::base::Repository;

impl RegistryClient {
    /// How far this machine's clock is ahead of that of a registry, in seconds; `None` where the answer does not say.
    ///
    /// Asks for `/v2/` without any login: what it answers does not matter, that it answers shows that it is there and that
    /// its certificate is trusted. The `Date` header (RFC 9110, 6.6.1) of an answer out of a cache (`Age`) says nothing.
    ///
    /// # Errors
    /// [`RegistryError::Network`] where it cannot be reached, with what to do about a certificate that is not trusted.
    pub async fn clock_ahead(&self, host: &str) -> Result<Option<i64>, RegistryError> {
        let host = self.host(host);
        let url = self.url(&host, "").await?;
        let asked = self.follow(&host, &Call::new(Method::GET, url), None, "look whether it is there").await;
        let response = asked.map_err(super::trouble::Trouble::into_error)?;
        let date = response.header("date").filter(|_| response.header("age").is_none());
        let there = date.and_then(|date| jiff::fmt::rfc2822::parse(date.trim()).ok());
        let ahead = there.map(|there| jiff::Timestamp::now().as_second().saturating_sub(there.timestamp().as_second()));
        response.finish().await;
        Ok(ahead)
    }

    /// Whether the login at hand may push to a repository: an upload is begun there, and ended without a byte.
    ///
    /// distribution-spec has no request that only asks. Nothing is stored by this; registries that make repositories with
    /// the first push make none.
    ///
    /// # Errors
    /// [`RegistryError::Auth`] and [`RegistryError::Denied`] as for a push, [`RegistryError::NotFound`] where the
    /// repository has to be made first.
    pub async fn try_push(&self, repository: &Repository) -> Result<(), RegistryError> {
        let target = self.target(repository);
        let session = self.begin_upload(&target, &Scopes::push(&target.path)).await?;
        self.close_session(&target, session).await;
        Ok(())
    }
}
