//! A registry within the test, which keeps everything in memory, remembers every request, and does what a script says.
//!
//! Left alone it follows distribution-spec 1.1 and is strict where real registries are: manifests only with everything they
//! refer to, mounts only with both scopes, uploads only in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use base64::Engine as _;
use catamaran::base::{Digest, media_type};
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::registry::{PASSWORD, USER};

/// What happens instead of the ordinary.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Reads the request and answers this, having done nothing: an answer to half a request may be lost with its connection.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Does what was asked, and answers this all the same.
    DoneBut(u16),
    /// Does what was asked, and sets or (empty) removes a header of the answer.
    Header(&'static str, String),
    /// Does what was asked, and makes the `Location` relative.
    RelativeLocation,
    /// Reads so many bytes of the body, then the connection is gone.
    CutAfter(usize),
    /// Reads so many bytes of the body and keeps them, as the reference registry does, then the connection is gone.
    CutKeeping(usize),
    /// Does what was asked, then the connection is gone instead of an answer.
    DoneThenCut,
    /// Neither reads nor answers.
    Stall,
    /// Answers 200 and then a byte every 20 ms without end.
    Trickle,
    /// Answers with half of the body that its length promises.
    HalfBody,
    /// Answers 413 to bodies over so many bytes, as a proxy does; does what was asked with others.
    TooLargeOver(u64),
    /// Takes only so many bytes of what is sent.
    KeepsOnly(usize),
    /// Says that it mounted and did not.
    LieAboutMount,
    /// Forgets all tokens that it gave.
    ForgetTokens,
    /// Does what was asked; afterwards the tag of the repository shows this.
    MoveTag(&'static str, &'static str, Digest),
}

/// When it happens.
#[derive(Debug, Clone)]
struct Rule {
    method: &'static str,
    path: String,
    skip: usize,
    times: usize,
    act: Act,
}

/// Who may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Login {
    /// Anybody everything.
    #[default]
    None,
    /// Basic authentication.
    Basic,
    /// A token from `/token`, which wants the password.
    Token,
    /// A token from `/token`, given for the refresh token `refresh-me` in a POST.
    IdentityToken,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// The status it was answered with; 0 while, or if, it was not.
    pub(crate) status: u16,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, (String, Vec<u8>)>,
    tags: BTreeMap<String, Digest>,
}

#[derive(Default)]
struct Inner {
    address: String,
    login: Login,
    /// The host and port that tokens come from; its own if empty.
    realm: String,
    repositories: BTreeMap<String, Repository>,
    blobs: HashMap<Digest, Bytes>,
    uploads: BTreeMap<String, (String, Vec<u8>)>,
    rules: Vec<Rule>,
    /// Whether it lists referrers, as registries of version 1.1 of the specification do.
    lists: bool,
    seen: Vec<Seen>,
    tokens: BTreeMap<String, Vec<String>>,
    numbers: usize,
}

/// A scripted registry; ends with this value.
pub(crate) struct Scripted {
    inner: Arc<Mutex<Inner>>,
    serving: JoinHandle<()>,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
}

impl Scripted {
    pub(crate) async fn start(login: Login) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let inner = Arc::new(Mutex::new(Inner { address: address.clone(), login, ..Inner::default() }));
        let app = Router::new().fallback(handle).with_state(Arc::clone(&inner));
        let service = app.into_make_service_with_connect_info::<Wire>();
        let serving = tokio::spawn(async move {
            axum::serve(Cuttable(listener), service).await.expect("serving does not end");
        });
        Self { inner, serving, address }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds this")
    }

    /// The next request of this method, whose path and query hold this text, is handled like this.
    pub(crate) fn next(&self, method: &'static str, path: &str, act: Act) {
        self.script(method, path, 0, 1, act);
    }

    /// From now on.
    pub(crate) fn always(&self, method: &'static str, path: &str, act: Act) {
        self.script(method, path, 0, usize::MAX, act);
    }

    /// After `skip` such requests, `times` of them.
    pub(crate) fn script(&self, method: &'static str, path: &str, skip: usize, times: usize, act: Act) {
        self.lock().rules.push(Rule { method, path: path.to_owned(), skip, times, act });
    }

    /// Like [`Scripted::next`], before everything that was scripted already.
    pub(crate) fn first(&self, method: &'static str, path: &str, act: Act) {
        self.lock().rules.insert(0, Rule { method, path: path.to_owned(), skip: 0, times: 1, act });
    }

    /// Does this with every request after the first `skip`, whatever it is.
    pub(crate) fn script_all(&self, skip: usize, act: Act) {
        self.script("", "", skip, usize::MAX, act);
    }

    /// Forgets the script and what was seen.
    pub(crate) fn calm_down(&self) {
        let mut inner = self.lock();
        inner.rules.clear();
        inner.seen.clear();
    }

    /// Waits until more than `number` requests came.
    pub(crate) async fn wait_for(&self, number: usize) {
        self.wait_until(|seen| seen.len() > number).await;
    }

    /// Waits until such a request came.
    pub(crate) async fn wait_for_request(&self, method: &str, path: &str) {
        self.wait_until(|seen| seen.iter().any(|seen| seen.method == method && seen.target.contains(path))).await;
    }

    async fn wait_until(&self, enough: impl Fn(&[Seen]) -> bool) {
        for _ in 0..3000 {
            if enough(&self.lock().seen) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the request that was waited for did not come: {:?}", self.seen());
    }

    /// Lists referrers from now on, and says so when it takes one.
    pub(crate) fn lists_referrers(&self) {
        self.lock().lists = true;
    }

    /// Sends clients to this host and port for their tokens.
    pub(crate) fn tokens_from(&self, realm: &str) {
        realm.clone_into(&mut self.lock().realm);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// Requests of this method whose path and query hold this text.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.method == method && seen.target.contains(path)).count()
    }

    pub(crate) fn tag(&self, repository: &str, tag: &str) -> Option<Digest> {
        self.lock().repositories.get(repository)?.tags.get(tag).copied()
    }

    pub(crate) fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        self.lock().repositories.get(repository).is_some_and(|repository| repository.blobs.contains(digest))
    }

    /// Has a blob from now on.
    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) {
        let (digest, bytes) = (Digest::of(bytes), Bytes::copy_from_slice(bytes));
        let mut inner = self.lock();
        inner.blobs.insert(digest, bytes);
        inner.repositories.entry(repository.to_owned()).or_default().blobs.insert(digest);
    }

    /// Has a manifest or index from now on, under a tag if one is given.
    pub(crate) fn put_manifest(&self, repository: &str, media_type: &str, bytes: &[u8], tag: Option<&str>) {
        let digest = Digest::of(bytes);
        let mut inner = self.lock();
        let repository = inner.repositories.entry(repository.to_owned()).or_default();
        repository.manifests.insert(digest, (media_type.to_owned(), bytes.to_vec()));
        if let Some(tag) = tag {
            repository.tags.insert(tag.to_owned(), digest);
        }
    }

    /// Whether a tag leads to the manifests and blobs that it leads to in a layout, all of them there. `Err` says what is not.
    pub(crate) fn is_whole(&self, repository: &str, tag: &str, layout: &std::path::Path) -> Result<(), String> {
        let inner = self.lock();
        let here = inner.repositories.get(repository).ok_or("has no repository")?;
        let root = here.tags.get(tag).ok_or("has no tag")?;
        let (mut open, blob) = (vec![*root], |digest: &Digest| layout.join("blobs/sha256").join(digest.hex()));
        while let Some(digest) = open.pop() {
            let (_, bytes) = here.manifests.get(&digest).ok_or_else(|| format!("lacks manifest {digest}"))?;
            if std::fs::read(blob(&digest)).ok().as_ref() != Some(bytes) {
                return Err(format!("has another manifest {digest} than the layout"));
            }
            let document: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
            let digest_of = |value: &serde_json::Value| value["digest"].as_str().and_then(|digest| digest.parse().ok());
            open.extend(list("manifests").iter().filter_map(digest_of));
            for blob in list("layers").iter().chain(document.get("config")).filter_map(digest_of) {
                let there = here.blobs.contains(&blob) && inner.blobs.get(&blob).is_some_and(|b| Digest::of(b) == blob);
                if !there {
                    return Err(format!("lacks blob {blob}"));
                }
            }
        }
        Ok(())
    }

    /// Loses a manifest or blob.
    pub(crate) fn lose(&self, repository: &str, digest: &Digest) {
        self.lock().lose(repository, digest);
    }

    /// Points a tag at a manifest that is there, as somebody else's push does.
    pub(crate) fn move_tag(&self, repository: &str, tag: &str, digest: Digest) {
        let mut inner = self.lock();
        inner.repositories.get_mut(repository).expect("a repository").tags.insert(tag.to_owned(), digest);
    }

    pub(crate) fn open_uploads(&self) -> usize {
        self.lock().uploads.len()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Accepts connections that can be cut from within a handler.
struct Cuttable(TcpListener);

struct CuttableStream {
    stream: TcpStream,
    cut: Arc<AtomicBool>,
}

/// The scissors for one connection.
#[derive(Clone)]
struct Wire(Arc<AtomicBool>);

impl Listener for Cuttable {
    type Io = CuttableStream;
    type Addr = ();

    async fn accept(&mut self) -> (CuttableStream, ()) {
        loop {
            if let Ok((stream, _)) = self.0.accept().await {
                return (CuttableStream { stream, cut: Arc::default() }, ());
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Connected<IncomingStream<'_, Cuttable>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Cuttable>) -> Self {
        Self(Arc::clone(&stream.io().cut))
    }
}

impl CuttableStream {
    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::SeqCst) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

type Shared = Arc<Mutex<Inner>>;

async fn handle(State(inner): State<Shared>, ConnectInfo(wire): ConnectInfo<Wire>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let (number, act) = {
        let mut inner = inner.lock().expect("the registry's state");
        inner.seen.push(Seen {
            method: parts.method.to_string(),
            target: target.clone(),
            headers: parts.headers.clone(),
            status: 0,
        });
        let act = inner.scripted(&parts.method, &target);
        (inner.seen.len() - 1, act)
    };
    let asked = Asked { method: parts.method, target, headers: parts.headers };
    let response = act_out(&inner, &wire, asked, body, act).await;
    if let Some(seen) = inner.lock().expect("the registry's state").seen.get_mut(number) {
        seen.status = response.status().as_u16();
    }
    response
}

/// A request whose body is elsewhere.
struct Asked {
    method: Method,
    target: String,
    headers: HeaderMap,
}

/// The answer with half of the body that its length promises.
async fn half(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX).await.expect("bytes in memory");
    let half = whole.slice(..whole.len() / 2);
    let rest = futures_util::stream::once(async {
        // The half must be on its way before the end comes.
        tokio::time::sleep(Duration::from_millis(30)).await;
        Err(io::Error::other("cut"))
    });
    let half = futures_util::stream::iter([Ok(half)]);
    Response::from_parts(parts, Body::from_stream(half.chain(rest)))
}

async fn act_out(inner: &Shared, wire: &Wire, asked: Asked, body: Body, act: Option<Act>) -> Response {
    let cut = || {
        wire.0.store(true, Ordering::SeqCst);
        answer(500)
    };
    match act {
        Some(Act::Answer(status, headers, text)) => {
            drop(axum::body::to_bytes(body, usize::MAX).await);
            let mut response = answer(status);
            for (name, value) in headers {
                response.headers_mut().insert(name, HeaderValue::from_str(&value).expect("a header"));
            }
            *response.body_mut() = Body::from(text);
            return response;
        }
        Some(Act::CutAfter(bytes)) => {
            let mut body = body.into_data_stream();
            let mut seen = 0;
            while seen < bytes
                && let Some(Ok(piece)) = body.next().await
            {
                seen += piece.len();
            }
            return cut();
        }
        Some(Act::CutKeeping(bytes)) => {
            let mut body = body.into_data_stream();
            let mut kept = Vec::new();
            while kept.len() < bytes
                && let Some(Ok(piece)) = body.next().await
            {
                kept.extend_from_slice(&piece);
            }
            kept.truncate(bytes);
            inner.lock().expect("the registry's state").keep(&asked.target, &kept);
            return cut();
        }
        Some(Act::TooLargeOver(limit)) => {
            let length = asked.headers.get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            if length.is_none_or(|length| length > limit) {
                // The body is read: a proxy that just closes would be a cut connection, which is another test.
                drop(axum::body::to_bytes(body, usize::MAX).await);
                return answer(413);
            }
        }
        Some(Act::Stall) => std::future::pending().await,
        Some(Act::Trickle) => {
            let drops = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b"{")), ()))
            });
            return Response::new(Body::from_stream(drops));
        }
        Some(Act::ForgetTokens) => inner.lock().expect("the registry's state").tokens.clear(),
        _ => {}
    }
    let lie = matches!(act, Some(Act::LieAboutMount));
    let mut body = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(_) => return answer(400),
        }
    }
    if let Some(Act::KeepsOnly(kept)) = act {
        bytes.truncate(kept);
    }
    let mut response = inner.lock().expect("the registry's state").respond(&asked, &bytes, lie);
    match act {
        Some(Act::DoneBut(status)) => answer(status),
        Some(Act::DoneThenCut) => cut(),
        Some(Act::Header(name, value)) if value.is_empty() => {
            response.headers_mut().remove(name);
            response
        }
        Some(Act::Header(name, value)) => {
            response.headers_mut().insert(name, HeaderValue::from_str(&value).expect("a header"));
            response
        }
        Some(Act::MoveTag(repository, tag, digest)) => {
            let mut inner = inner.lock().expect("the registry's state");
            inner.repositories.get_mut(repository).expect("a repository").tags.insert(tag.to_owned(), digest);
            response
        }
        Some(Act::RelativeLocation) => {
            let location = response.headers()["location"].to_str().expect("text").to_owned();
            let relative = &location[location.find("/v2/").expect("a path")..];
            response.headers_mut().insert("location", HeaderValue::from_str(relative).expect("a header"));
            response
        }
        Some(Act::HalfBody) => half(response).await,
        _ => response,
    }
}

impl Inner {
    fn scripted(&mut self, method: &Method, target: &str) -> Option<Act> {
        for rule in &mut self.rules {
            let meant = rule.method.is_empty() || rule.method == method.as_str();
            if !meant || !target.contains(&rule.path) || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= usize::from(rule.times != usize::MAX);
            return Some(rule.act.clone());
        }
        None
    }

    /// Adds bytes to an open upload.
    fn keep(&mut self, target: &str, bytes: &[u8]) {
        let id = target.split_once("/blobs/uploads/").map_or("", |(_, id)| id);
        let id = id.split('?').next().unwrap_or_default();
        if let Some((_, held)) = self.uploads.get_mut(id) {
            held.extend_from_slice(bytes);
        }
    }

    /// Loses a manifest, or a blob of one repository, as a garbage collection that went wrong does.
    fn lose(&mut self, repository: &str, digest: &Digest) {
        let repository = self.repositories.get_mut(repository).expect("a repository");
        assert!(repository.manifests.remove(digest).is_some() || repository.blobs.remove(digest), "nothing was lost");
    }

    fn respond(&mut self, asked: &Asked, body: &[u8], lie: bool) -> Response {
        let url = url::Url::parse(&format!("http://{}{}", self.address, asked.target)).expect("a URL");
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        if url.path() == "/token" {
            return self.token(asked, &url, body);
        }
        let path = url.path().strip_prefix("/v2/").map(str::to_owned);
        let Some(path) = path else { return answer(404) };
        if let Some(refusal) = self.refuses(asked, &path, &query) {
            return refusal;
        }
        let rest = |kind: &str| {
            let at = path.find(kind)?;
            Some((path[..at].to_owned(), path[at + kind.len()..].to_owned()))
        };
        if path.is_empty() {
            answer(200)
        } else if let Some((name, rest)) = rest("/blobs/uploads/") {
            self.uploads(asked, &name, &rest, &query, body, lie)
        } else if let Some((name, digest)) = rest("/blobs/") {
            self.blob(asked, &name, &digest)
        } else if let Some((name, reference)) = rest("/manifests/") {
            self.manifest(asked, &name, &reference, body)
        } else if let Some((name, subject)) = rest("/referrers/").filter(|_| self.lists) {
            self.referrers(&name, &subject)
        } else {
            answer(404)
        }
    }

    /// The scopes that a request needs, in the words of the token specification.
    fn needed(asked: &Asked, path: &str, query: &HashMap<String, String>) -> Vec<String> {
        let name = ["/blobs/", "/manifests/"].iter().find_map(|kind| path.find(kind).map(|at| &path[..at]));
        let Some(name) = name else { return Vec::new() };
        let reads = matches!(asked.method, Method::GET | Method::HEAD);
        let mut needed = vec![format!("repository:{name}:{}", if reads { "pull" } else { "push" })];
        needed.extend(query.get("from").map(|from| format!("repository:{from}:pull")));
        needed
    }

    fn refuses(&self, asked: &Asked, path: &str, query: &HashMap<String, String>) -> Option<Response> {
        let authorization = asked.headers.get("authorization").and_then(|value| value.to_str().ok());
        let needed = Self::needed(asked, path, query);
        let (allowed, challenge) = match self.login {
            Login::None => return None,
            Login::Basic => (authorization == Some(&basic()), "Basic realm=\"test\"".to_owned()),
            Login::Token | Login::IdentityToken => {
                let granted = authorization
                    .and_then(|value| value.strip_prefix("Bearer "))
                    .and_then(|token| self.tokens.get(token));
                let allowed = granted.is_some_and(|granted| {
                    needed.iter().all(|scope| granted.iter().any(|granted| covers(granted, scope)))
                });
                let realm = if self.realm.is_empty() { &self.address } else { &self.realm };
                let scope = needed.join(" ");
                (allowed, format!("Bearer realm=\"http://{realm}/token\",service=\"test\",scope=\"{scope}\""))
            }
        };
        if allowed {
            return None;
        }
        let mut response = error(401, "UNAUTHORIZED");
        response.headers_mut().insert("www-authenticate", HeaderValue::from_str(&challenge).expect("a header"));
        Some(response)
    }

    /// One token per request, good for exactly the scopes that were asked for.
    fn token(&mut self, asked: &Asked, url: &url::Url, body: &[u8]) -> Response {
        let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
        let value = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let authorization = asked.headers.get("authorization").and_then(|value| value.to_str().ok());
        let known = match self.login {
            Login::IdentityToken => {
                asked.method == Method::POST
                    && value("grant_type") == Some("refresh_token")
                    && value("refresh_token") == Some("refresh-me")
                    && authorization.is_none()
            }
            _ => asked.method == Method::GET && authorization == Some(&basic()),
        };
        if !known {
            return error(401, "UNAUTHORIZED");
        }
        let scopes: Vec<String> = match value("scope") {
            Some(scope) => scope.split(' ').map(str::to_owned).collect(),
            None => url.query_pairs().filter(|(key, _)| key == "scope").map(|(_, value)| value.into_owned()).collect(),
        };
        self.numbers += 1;
        let token = format!("token-{}", self.numbers);
        self.tokens.insert(token.clone(), scopes);
        json(200, &serde_json::json!({"token": token, "expires_in": "300"}))
    }

    fn uploads(
        &mut self,
        asked: &Asked,
        name: &str,
        rest: &str,
        query: &HashMap<String, String>,
        body: &[u8],
        lie: bool,
    ) -> Response {
        if asked.method == Method::POST {
            if let (Some(digest), Some(from)) = (digest_in(query, "mount"), query.get("from"))
                && (lie || self.repositories.get(from).is_some_and(|from| from.blobs.contains(&digest)))
            {
                if !lie {
                    self.repositories.entry(name.to_owned()).or_default().blobs.insert(digest);
                }
                return located(201, &format!("http://{}/v2/{name}/blobs/{digest}", self.address));
            }
            self.numbers += 1;
            let id = format!("upload-{}", self.numbers);
            self.uploads.insert(id.clone(), (name.to_owned(), Vec::new()));
            return located(202, &self.session(name, &id));
        }
        let Some((owner, held)) = self.uploads.get_mut(rest).filter(|(owner, _)| owner == name) else {
            return error(404, "BLOB_UPLOAD_UNKNOWN");
        };
        let _ = owner;
        if asked.method == Method::DELETE {
            self.uploads.remove(rest);
            return answer(204);
        }
        if asked.method == Method::PATCH || asked.method == Method::PUT {
            let range = asked.headers.get("content-range").and_then(|value| value.to_str().ok());
            if let Some(start) = range.and_then(|range| range.split('-').next()?.parse::<usize>().ok())
                && start != held.len()
            {
                return error(416, "BLOB_UPLOAD_INVALID");
            }
            held.extend_from_slice(body);
        }
        let end = held.len().saturating_sub(1);
        if asked.method != Method::PUT {
            let mut response = located(if asked.method == Method::GET { 204 } else { 202 }, &self.session(name, rest));
            response.headers_mut().insert("range", HeaderValue::from_str(&format!("0-{end}")).expect("a header"));
            return response;
        }
        let expected = digest_in(query, "digest");
        let found = Digest::of(&held);
        if expected != Some(found) {
            held.clear();
            return error(400, "DIGEST_INVALID");
        }
        let bytes = Bytes::from(std::mem::take(held));
        self.uploads.remove(rest);
        self.blobs.insert(found, bytes);
        self.repositories.entry(name.to_owned()).or_default().blobs.insert(found);
        let mut response = located(201, &format!("http://{}/v2/{name}/blobs/{found}", self.address));
        set_digest(&mut response, found);
        response
    }

    /// With a query of its own, which clients must keep.
    fn session(&self, name: &str, id: &str) -> String {
        format!("http://{}/v2/{name}/blobs/uploads/{id}?_state=a%2Fb%3D", self.address)
    }

    fn blob(&self, asked: &Asked, name: &str, digest: &str) -> Response {
        let digest: Option<Digest> = digest.parse().ok();
        let there = digest.filter(|digest| self.repositories.get(name).is_some_and(|it| it.blobs.contains(digest)));
        let Some((digest, bytes)) = there.and_then(|digest| Some((digest, self.blobs.get(&digest)?))) else {
            return error(404, "BLOB_UNKNOWN");
        };
        let range = asked.headers.get("range").and_then(|value| value.to_str().ok());
        let start: Option<usize> =
            range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
        let mut response = match start {
            Some(start) if start < bytes.len() => {
                let mut response = with_body(206, asked, bytes.slice(start..));
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                response.headers_mut().insert("content-range", HeaderValue::from_str(&range).expect("a header"));
                response
            }
            _ => with_body(200, asked, bytes.clone()),
        };
        set_digest(&mut response, digest);
        response
    }

    fn manifest(&mut self, asked: &Asked, name: &str, reference: &str, body: &[u8]) -> Response {
        if asked.method == Method::PUT {
            return self.put_manifest(asked, name, reference, body);
        }
        if asked.method == Method::DELETE {
            // As distribution v3 does: a tag goes, and what it showed stays.
            let gone = self.repositories.get_mut(name).and_then(|repository| repository.tags.remove(reference));
            return gone.map_or_else(|| error(404, "MANIFEST_UNKNOWN"), |_| answer(202));
        }
        let found = self.repositories.get(name).and_then(|repository| {
            let digest = repository.tags.get(reference).copied().or_else(|| reference.parse().ok())?;
            Some((digest, repository.manifests.get(&digest)?))
        });
        let Some((digest, (media_type, bytes))) = found else { return error(404, "MANIFEST_UNKNOWN") };
        // As docker-registry 2.8 does: a type that the client did not name is not there.
        let accepted = asked.headers.get("accept").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !accepted.contains(media_type.as_str()) {
            return error(404, "MANIFEST_UNKNOWN");
        }
        let mut response = with_body(200, asked, Bytes::from(bytes.clone()));
        response.headers_mut().insert("content-type", HeaderValue::from_str(media_type).expect("a header"));
        set_digest(&mut response, digest);
        response
    }

    fn referrers(&self, name: &str, subject: &str) -> Response {
        let Some(repository) = self.repositories.get(name) else { return error(404, "NAME_UNKNOWN") };
        let manifests = repository.manifests.iter().filter_map(|(digest, (media_type, bytes))| {
            let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
            (document["subject"]["digest"] == subject).then(|| {
                serde_json::json!({"mediaType": media_type, "digest": digest, "size": bytes.len(),
                    "artifactType": document["artifactType"], "annotations": document["annotations"]})
            })
        });
        let list = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::INDEX,
            "manifests": manifests.collect::<Vec<_>>()});
        json(200, &list)
    }

    fn put_manifest(&mut self, asked: &Asked, name: &str, reference: &str, body: &[u8]) -> Response {
        let digest = Digest::of(body);
        if reference.parse::<Digest>().is_ok_and(|asked| asked != digest) {
            return error(400, "DIGEST_INVALID");
        }
        let Ok(document) = serde_json::from_slice::<serde_json::Value>(body) else {
            return error(400, "MANIFEST_INVALID");
        };
        let repository = self.repositories.entry(name.to_owned()).or_default();
        let needs = |key: &str| document[key].as_array().cloned().unwrap_or_default();
        let mut blobs = needs("layers");
        blobs.extend(document.get("config").cloned());
        let digest_of = |value: &serde_json::Value| value["digest"].as_str().and_then(|digest| digest.parse().ok());
        if !blobs.iter().all(|blob| digest_of(blob).is_some_and(|digest| repository.blobs.contains(&digest))) {
            return error(400, "MANIFEST_BLOB_UNKNOWN");
        }
        let children = needs("manifests");
        if !children.iter().all(|it| digest_of(it).is_some_and(|digest| repository.manifests.contains_key(&digest))) {
            return error(404, "MANIFEST_UNKNOWN");
        }
        let media_type = asked.headers["content-type"].to_str().expect("text").to_owned();
        repository.manifests.insert(digest, (media_type, body.to_vec()));
        if reference.parse::<Digest>().is_err() {
            repository.tags.insert(reference.to_owned(), digest);
        }
        let mut response = located(201, &format!("http://{}/v2/{name}/manifests/{digest}", self.address));
        set_digest(&mut response, digest);
        if let Some(subject) = document["subject"]["digest"].as_str().filter(|_| self.lists) {
            response.headers_mut().insert("oci-subject", HeaderValue::from_str(subject).expect("a header"));
        }
        response
    }
}

/// Whether a granted scope (`repository:a:pull,push`) covers a needed one (`repository:a:push`).
fn covers(granted: &str, needed: &str) -> bool {
    let (Some((name, actions)), Some((needed_name, action))) = (granted.rsplit_once(':'), needed.rsplit_once(':'))
    else {
        return false;
    };
    name == needed_name && actions.split(',').any(|granted| granted == action)
}

fn basic() -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

fn digest_in(query: &HashMap<String, String>, key: &str) -> Option<Digest> {
    query.get(key)?.parse().ok()
}

fn answer(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

fn located(status: u16, location: &str) -> Response {
    let mut response = answer(status);
    response.headers_mut().insert("location", HeaderValue::from_str(location).expect("a header"));
    response
}

fn json(status: u16, value: &serde_json::Value) -> Response {
    let mut response = answer(status);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(value.to_string());
    response
}

pub(crate) fn error_body(code: &str) -> Vec<u8> {
    serde_json::json!({"errors": [{"code": code, "message": "as the script says"}]}).to_string().into_bytes()
}

fn error(status: u16, code: &str) -> Response {
    json(status, &serde_json::from_slice(&error_body(code)).expect("JSON"))
}

fn with_body(status: u16, asked: &Asked, bytes: Bytes) -> Response {
    let mut response = answer(status);
    response.headers_mut().insert("content-length", HeaderValue::from(bytes.len()));
    if asked.method == Method::GET {
        *response.body_mut() = Body::from(bytes);
    }
    response
}

fn set_digest(response: &mut Response, digest: Digest) {
    let value = HeaderValue::from_str(&digest.to_string()).expect("a header");
    response.headers_mut().insert("docker-content-digest", value);
}
