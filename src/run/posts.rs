use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::OnceCell;

use crate::base::Platform;
use crate::engine::{Engine, EngineError};
use crate::event::{Event, EventSink, Execution};
use crate::plan::CellBuild;

/// Reaches a builder: connects to it, or starts it.
pub(super) type Reach = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Engine>, EngineError>> + Send + Sync>;

/// One builder of a run, and what has become of it.
pub(super) struct Post {
    /// The platforms that it was named for; empty: every one.
    platforms: Vec<Platform>,
    /// Whether it may do the work of another one that was lost.
    stands_in: bool,
    /// How it is reached where it was not needed so far, or reached again. None: what was lost stays lost.
    reach: Option<Reach>,
    /// Whether it was started for this run and may be started once more. One that was named may come back by itself.
    restarts: bool,
    /// How many cells it takes at once, where somebody has said so.
    capacity: Option<usize>,
    first: OnceCell<Arc<dyn Engine>>,
    second: OnceCell<Arc<dyn Engine>>,
    /// Why it is of no use any more.
    loss: Mutex<Option<Loss>>,
}

#[derive(Clone)]
struct Loss {
    address: String,
    reason: String,
}

impl Loss {
    fn of(engine: &Arc<dyn Engine>, error: &EngineError) -> Self {
        match error {
            EngineError::Lost { address, reason } => Self { address: address.clone(), reason: reason.clone() },
            // A builder that is closed under a build: somebody else saw its loss first.
            other => Self { address: engine.capabilities().address.clone(), reason: other.to_string() },
        }
    }

    fn error(self) -> EngineError {
        EngineError::Lost { address: self.address, reason: self.reason }
    }
}

/// How long a builder that was named and went away may take to come back: its machine's supervisor starts it again within
/// seconds, or it is somebody's to look after.
const RETURN: Duration = Duration::from_secs(10);

/// Between two looks whether it is back.
const RETURN_POLL: Duration = Duration::from_millis(500);

/// Reaches a builder as soon as it answers.
async fn returned(reach: &Reach) -> Arc<dyn Engine> {
    loop {
        if let Ok(engine) = reach().await {
            return engine;
        }
        tokio::time::sleep(RETURN_POLL).await;
    }
}

impl Post {
    /// A builder that answered.
    pub(super) fn reached(engine: Arc<dyn Engine>) -> Self {
        let mut post = Self::unreached(Vec::new(), false, None);
        post.first = OnceCell::new_with(Some(engine));
        post
    }

    /// A builder that was named for `platforms` and was not needed so far.
    pub(super) const fn unreached(platforms: Vec<Platform>, stands_in: bool, reach: Option<Reach>) -> Self {
        Self {
            platforms,
            stands_in,
            reach,
            restarts: false,
            capacity: None,
            first: OnceCell::const_new(),
            second: OnceCell::const_new(),
            loss: Mutex::new(None),
        }
    }

    /// The same, with an engine that answered already.
    pub(super) fn with(mut self, engine: Arc<dyn Engine>) -> Self {
        self.first = OnceCell::new_with(Some(engine));
        self
    }

    /// The same, which takes so many cells at once.
    pub(super) const fn of(mut self, capacity: Option<usize>) -> Self {
        self.capacity = capacity;
        self
    }

    /// A builder that was started for this run: it may be started once more.
    pub(super) fn started(engine: Arc<dyn Engine>, reach: Reach) -> Self {
        let mut post = Self::unreached(Vec::new(), false, Some(reach)).with(engine);
        post.restarts = true;
        post
    }

    /// The address of the engine that answered.
    pub(super) fn address(&self) -> Option<&str> {
        self.current().map(|engine| engine.capabilities().address.as_str())
    }

    fn loss(&self) -> Option<Loss> {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the first cause: the ones that follow are its echoes.
    fn lose(&self, loss: Loss) -> Loss {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(loss).clone()
    }

    fn current(&self) -> Option<&Arc<dyn Engine>> {
        self.second.get().or_else(|| self.first.get())
    }

    fn holds(&self, engine: &Arc<dyn Engine>) -> bool {
        self.first.get().is_some_and(|first| Arc::ptr_eq(first, engine))
            || self.second.get().is_some_and(|second| Arc::ptr_eq(second, engine))
    }

    /// The engine that comes after `lost`, if there is to be one.
    async fn again(&self, lost: &Arc<dyn Engine>, events: &dyn EventSink) -> Option<Arc<dyn Engine>> {
        let reach = self.reach.as_ref().filter(|_| self.loss().is_none())?;
        let is_first = self.first.get().is_some_and(|first| Arc::ptr_eq(first, lost));
        if !is_first {
            // It was the second one; there is no third.
            return None;
        }
        // One cell brings it back, the others wait for that.
        let second = self.second.get_or_try_init(|| async {
            if let Some(loss) = self.loss() {
                return Err(loss.error());
            }
            let address = lost.capabilities().address.clone();
            if self.restarts {
                // Its last processes hold the lock of its root.
                lost.close().await;
                return reach().await.map_err(|error| {
                    let reason = format!("it was lost, and cannot be started again: {error}");
                    self.lose(Loss { address, reason }).error()
                });
            }
            let text = format!("builder `{address}` is gone: waiting up to {} s for it to come back", RETURN.as_secs());
            events.emit(Event::Waiting { text });
            let back = tokio::time::timeout(RETURN, returned(reach)).await;
            // What the builds say of the loss tells more than that nobody answers now.
            back.map_err(|_| EngineError::unreachable(address, "it does not come back"))
        });
        second.await.ok().cloned()
    }

    /// Its engine, reached now if it was not needed before.
    async fn reached_now(&self) -> Option<Arc<dyn Engine>> {
        if self.loss().is_some() {
            return None;
        }
        if let Some(engine) = self.current() {
            return Some(Arc::clone(engine));
        }
        let reach = self.reach.as_ref()?;
        let first = self.first.get_or_try_init(|| async {
            if let Some(loss) = self.loss() {
                return Err(loss.error());
            }
            reach().await.map_err(|error| self.lose(Loss { address: String::new(), reason: error.to_string() }).error())
        });
        first.await.ok().cloned()
    }
}

/// The builders of a run: one for each lane, and those that may take the place of one that is lost.
pub(super) struct Posts {
    /// By lane, then the ones that have none.
    posts: Vec<Post>,
}

impl Posts {
    pub(super) const fn new(posts: Vec<Post>) -> Self {
        Self { posts }
    }

    pub(super) fn push(&mut self, post: Post) {
        self.posts.push(post);
    }

    /// The engine of a lane as it was when the run began.
    pub(super) fn first(&self, lane: usize) -> Option<&Arc<dyn Engine>> {
        self.posts.get(lane)?.first.get()
    }

    /// How many cells the builder of a lane takes at once, where somebody has said so.
    pub(super) fn capacity(&self, lane: usize) -> Option<usize> {
        self.posts.get(lane)?.capacity
    }

    /// The engine that builds for `lane` now; where its builder was lost, one that takes its place for this cell.
    ///
    /// # Errors
    /// The loss of the builder, at once.
    pub(super) async fn engine(
        &self,
        lane: usize,
        platform: &Platform,
        build: &CellBuild,
    ) -> Result<Arc<dyn Engine>, EngineError> {
        let post = self.posts.get(lane);
        match post.and_then(Post::loss) {
            Some(loss) => self.stand_in(platform, build, post).await.ok_or_else(|| loss.error()),
            None => post
                .and_then(Post::current)
                .cloned()
                .ok_or_else(|| EngineError::unreachable(platform.to_string(), "no builder takes this platform")),
        }
    }

    /// `lost` went away under a cell: the engine that takes its place.
    ///
    /// A builder that was started for this run is started once more. For one that was named, another builder of the project
    /// that takes the platform; where there is none, it is waited for, a short while and once. Where nothing helps the builder
    /// is done with, and every cell that comes is told so at once.
    ///
    /// # Errors
    /// The loss, with its first cause.
    pub(super) async fn replace(
        &self,
        lost: &Arc<dyn Engine>,
        error: EngineError,
        platform: &Platform,
        build: &CellBuild,
        events: &dyn EventSink,
    ) -> Result<Arc<dyn Engine>, EngineError> {
        let post = self.posts.iter().find(|post| post.holds(lost));
        if let Some(post) = post.filter(|post| post.restarts)
            && let Some(second) = post.again(lost, events).await
        {
            return Ok(second);
        }
        // One that is there is quicker than one that may come back.
        let other = self.stand_in(platform, build, post).await;
        if let Some(post) = post.filter(|post| !post.restarts && other.is_none())
            && let Some(second) = post.again(lost, events).await
            && fits(&second, build)
        {
            return Ok(second);
        }
        let error = self.lose(lost, error);
        other.ok_or(error)
    }

    /// `lost` went away under a cell that is not tried again; returns the first cause.
    pub(super) fn lose(&self, lost: &Arc<dyn Engine>, error: EngineError) -> EngineError {
        match self.posts.iter().find(|post| post.holds(lost)) {
            Some(post) => post.lose(Loss::of(lost, &error)).error(),
            None => error,
        }
    }

    /// An engine of another builder than `lost` for this cell.
    async fn stand_in(&self, platform: &Platform, build: &CellBuild, lost: Option<&Post>) -> Option<Arc<dyn Engine>> {
        let is_lost = |post: &Post| lost.is_some_and(|lost| std::ptr::eq(lost, post));
        let takes = |post: &&Post| {
            post.stands_in && !is_lost(post) && (post.platforms.is_empty() || post.platforms.contains(platform))
        };
        for post in self.posts.iter().filter(takes) {
            if let Some(engine) = post.reached_now().await
                && fits(&engine, build)
            {
                return Some(engine);
            }
        }
        None
    }

    pub(super) async fn close(&self) {
        let engines = self.posts.iter().flat_map(|post| post.first.get().into_iter().chain(post.second.get()));
        join_all(engines.map(|engine| engine.close())).await;
    }
}

/// Whether an engine that the cell was not planned for can build it.
pub(super) fn fits(engine: &Arc<dyn Engine>, build: &CellBuild) -> bool {
    let capabilities = engine.capabilities();
    build.executes.iter().all(|(platform, _)| capabilities.execution(platform) != Execution::Absent)
        && build.native.iter().all(|(cell, _)| cell.platform == capabilities.native)
}

/// How the programs of a build's RUN steps run on an engine: emulated if any of them is.
///
/// A build without a RUN step of a foreign platform is native, whatever its platform: nothing of it is executed.
pub(super) fn execution_on(engine: &Arc<dyn Engine>, build: Option<&CellBuild>) -> Execution {
    let capabilities = engine.capabilities();
    let mut found = Execution::Native;
    for (platform, _) in build.map(|build| build.executes.as_slice()).unwrap_or_default() {
        match capabilities.execution(platform) {
            Execution::Absent => return Execution::Absent,
            emulated @ Execution::Emulated(_) => found = emulated,
            Execution::Native => {}
        }
    }
    found
}
