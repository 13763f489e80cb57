use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use url::Url;

use super::auth::Scopes;
use super::call::Call;
use super::client::Target;
use super::journal::Journal;
use super::push::at_once;
use super::{RegistryClient, RegistryError};
use crate::base::{Descriptor, Digest, Repository};

/// Upload sessions that are open at registries, or were left behind broken.
///
/// Those of large blobs are in the journal, where there is one, so that another process can go on in them. The others are
/// closed in the end: a registry keeps their bytes for days otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    open: Arc<Mutex<Vec<Open>>>,
    journal: Option<Journal>,
}

#[derive(Debug, Clone)]
struct Open {
    target: Target,
    url: Url,
    /// The blob, if its session is worth going on with in another process.
    kept: Option<(Repository, Digest)>,
}

/// How long closing the sessions of a cancelled push may take in all.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);
/// Blobs from this size on are worth remembering where they stand.
const LARGE: u64 = 4 << 20;

impl Sessions {
    pub(super) fn new(journal: Option<Journal>) -> Self {
        Self { open: Arc::default(), journal }
    }

    /// Where an earlier process left this blob on its way.
    pub(super) fn left_behind(&self, target: &Target, blob: &Descriptor) -> Option<Url> {
        self.journal.as_ref()?.session(&target.repository()?, &blob.digest)
    }

    pub(super) fn open(&self, target: &Target, blob: &Descriptor, url: &Url) -> Result<(), RegistryError> {
        let journal = self.journal.as_ref().filter(|_| blob.size >= LARGE);
        let kept = journal.and_then(|_| target.repository()).map(|repository| (repository, blob.digest));
        if let (Some(journal), Some((repository, digest))) = (journal, &kept) {
            journal.open_session(repository, digest, url)?;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| kept.is_none() || other.kept != kept);
        open.push(Open { target: target.clone(), url: url.clone(), kept });
        Ok(())
    }

    /// An upload that is open for whatever blob comes first.
    pub(super) fn reserve(&self, target: &Target, url: &Url) {
        let open = Open { target: target.clone(), url: url.clone(), kept: None };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(open);
    }

    /// The blob is there, or the session is of no use any more.
    pub(super) fn close(&self, target: &Target, blob: &Descriptor, url: &Url) -> Result<(), RegistryError> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|open| open.url != *url);
        match (&self.journal, target.repository()) {
            (Some(journal), Some(repository)) => journal.close_session(&repository, &blob.digest),
            _ => Ok(()),
        }
    }

    /// Nobody will go on with this session, and its registry may still have it: it is closed in the end.
    pub(super) fn give_up(&self, target: &Target, blob: &Descriptor, url: &Url) -> Result<(), RegistryError> {
        for open in self.open.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().filter(|open| open.url == *url)
        {
            open.kept = None;
        }
        match (&self.journal, target.repository()) {
            (Some(journal), Some(repository)) => journal.close_session(&repository, &blob.digest),
            _ => Ok(()),
        }
    }

    /// All that are open, apart from those that another process may go on with.
    fn take(&self) -> Vec<Open> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extract_if(.., |open| open.kept.is_none()).collect()
    }
}

impl RegistryClient {
    /// Tells registries that uploads which are open will not be finished. Best effort: their answers change nothing.
    pub(super) async fn abandon(&self, sessions: &Sessions) {
        let deletions = at_once(sessions.take(), |open| async move {
            self.close_session(&open.target, open.url).await;
            Ok(())
        });
        drop(tokio::time::timeout(FAREWELL, deletions).await);
    }

    /// distribution-spec, "Canceling an upload": DELETE to the location.
    pub(super) async fn close_session(&self, target: &Target, session: Url) {
        let call = Call::new(Method::DELETE, session);
        drop(self.ask_once(&target.host, &call, &Scopes::push(&target.path), "close an upload").await);
    }
}
