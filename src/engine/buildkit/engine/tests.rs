//! A daemon that says what no real one can be made to say.

use std::pin::Pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt, stream};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::base::media_type::{CONFIG, MANIFEST};
use crate::base::{CellId, CredentialFuture, CredentialSource};
use crate::engine::buildkit::ConnectOptions;
use crate::engine::buildkit::proto::moby::buildkit::v1::control_server::{Control, ControlServer};
use crate::engine::buildkit::proto::moby::buildkit::v1::{
    BytesMessage, InfoRequest, InfoResponse, ListWorkersRequest, ListWorkersResponse, SolveRequest, SolveResponse,
    StatusRequest, StatusResponse, VertexLog, types,
};
use crate::engine::buildkit::proto::pb;
use crate::engine::{ContextSource, DockerfilePlace, DockerfileSource};
use crate::event::{Event, EventSink};

/// What the daemon does once a solve came in.
#[derive(Clone)]
enum Script {
    /// Answers with this, and never ends the status stream.
    Answer(HashMap<String, String>),
    /// Answers, and sends so many log lines afterwards.
    Chatter(HashMap<String, String>, usize),
    /// Ends the sessions and goes on with the solve.
    EndSessions,
    /// Refuses.
    Refuse(Status),
}

#[derive(Clone)]
struct Fake {
    script: Script,
    solves: Arc<Mutex<Vec<SolveRequest>>>,
    solving: CancellationToken,
    answered: CancellationToken,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Control for Fake {
    type StatusStream = Responses<StatusResponse>;
    type SessionStream = Responses<BytesMessage>;

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        self.solves.lock().unwrap().push(request.into_inner());
        self.solving.cancel();
        let exporter_response = match &self.script {
            Script::Answer(response) | Script::Chatter(response, _) => response.clone(),
            Script::EndSessions => std::future::pending().await,
            Script::Refuse(status) => return Err(status.clone()),
        };
        self.answered.cancel();
        Ok(Response::new(SolveResponse { exporter_response }))
    }

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        let Script::Chatter(_, count) = self.script else { return Ok(Response::new(Box::pin(stream::pending()))) };
        let answered = self.answered.clone();
        let line = |number: usize| {
            let msg = format!("line {number}\n").into();
            let log = VertexLog { vertex: "sha256:v".to_owned(), msg, ..VertexLog::default() };
            Ok(StatusResponse { logs: vec![log], ..StatusResponse::default() })
        };
        // One before, so that it is known to speak, the rest when nobody needs it any more.
        let late =
            stream::once(async move { answered.cancelled().await }).map(move |()| stream::iter((1..count).map(line)));
        Ok(Response::new(Box::pin(stream::iter([line(0)]).chain(late.flatten()))))
    }

    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let metadata = request.metadata();
        assert!(!metadata.get("x-docker-expose-session-uuid").unwrap().to_str().unwrap().contains(':'));
        assert!(metadata.get_all("x-docker-expose-session-grpc-method").iter().count() >= 2);
        let ends = matches!(self.script, Script::EndSessions);
        let solving = self.solving.clone();
        // The preface that a daemon begins with; what it is answered is of no interest here.
        let preface = BytesMessage { data: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".into() };
        let end = stream::once(async move {
            solving.cancelled().await;
            if !ends {
                std::future::pending::<()>().await;
            }
        });
        let end = end.filter_map(|()| async { None });
        let mut incoming = request.into_inner();
        tokio::spawn(async move { while let Ok(Some(_)) = incoming.message().await {} });
        Ok(Response::new(Box::pin(stream::iter([Ok(preface)]).chain(end))))
    }

    async fn list_workers(
        &self,
        _request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let platform = |os: &str, architecture: &str| pb::Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            ..pb::Platform::default()
        };
        let platforms = vec![platform("linux", "amd64"), platform("haiku", "m68k"), platform("linux", "arm64")];
        let record = vec![types::WorkerRecord { platforms, ..types::WorkerRecord::default() }];
        Ok(Response::new(ListWorkersResponse { record }))
    }

    async fn info(&self, _request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Err(Status::unimplemented("older than the call"))
    }
}

struct Anonymous;

impl CredentialSource for Anonymous {
    fn credentials<'a>(&'a self, _host: &'a str, _repository: Option<&'a str>) -> CredentialFuture<'a> {
        Box::pin(async { Ok(None) })
    }
}

struct Stand {
    engine: BuildKitEngine,
    fake: Fake,
    lines: Arc<Mutex<usize>>,
    directory: TempDir,
}

impl Stand {
    async fn new(script: impl FnOnce(&Layout) -> Script) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::create(directory.path().join("layout")).unwrap();
        let fake = Fake {
            script: script(&layout),
            solves: Arc::default(),
            solving: CancellationToken::new(),
            answered: CancellationToken::new(),
        };
        let socket = directory.path().join("a socket%20");
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
        tokio::spawn(Server::builder().add_service(ControlServer::new(fake.clone())).serve_with_incoming(incoming));
        let engine = BuildKitEngine::connect(ConnectOptions {
            address: format!("unix://{}", socket.display()),
            tls: None,
            layout,
            credentials: Arc::new(Anonymous),
            token_client: None,
            connect_timeout: Duration::from_secs(30),
        })
        .await
        .unwrap();
        Self { engine, fake, lines: Arc::default(), directory }
    }

    async fn build(&self) -> Result<BuiltImage, EngineError> {
        let lines = self.lines.clone();
        let count = move |event: Event| {
            if matches!(event, Event::StepLog { .. }) {
                *lines.lock().unwrap() += 1;
            }
        };
        let events: Arc<dyn EventSink> = Arc::new(count);
        let cell = CellId::new("thing".parse().unwrap(), "linux/arm64".parse().unwrap());
        let path = self.directory.path().to_owned();
        let dockerfile = DockerfileSource {
            directory: path.clone(),
            name: "Dockerfile".to_owned(),
            template: None,
            place: DockerfilePlace::Directory,
        };
        let context = ContextSource::Directory { path, always_excluded: Vec::new() };
        let request = BuildRequest::new(cell, context, dockerfile, "key".to_owned());
        self.engine.build(BuildRequest { events, ..request }).await
    }
}

/// The answer of a daemon that exported an image for `architecture`.
fn exported(layout: &Layout, architecture: &str) -> HashMap<String, String> {
    let put = |kind: &str, value: serde_json::Value| layout.put(kind, value.to_string().as_bytes()).unwrap();
    let config = put(CONFIG, json!({"os": "linux", "architecture": architecture}));
    let manifest = put(MANIFEST, json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}));
    let text = STANDARD.encode(serde_json::to_vec(&manifest).unwrap());
    HashMap::from([("containerimage.descriptor".to_owned(), text)])
}

#[tokio::test(flavor = "multi_thread")]
async fn d3_every_solve_says_what_it_wants() {
    let stand = Stand::new(|layout| Script::Answer(exported(layout, "arm64"))).await;
    let capabilities = stand.engine.capabilities();
    assert_eq!(capabilities.version, "buildkit");
    // What we have no name for is of no use.
    assert_eq!(capabilities.platforms, ["linux/amd64", "linux/arm64"].map(|text| text.parse().unwrap()));
    stand.build().await.unwrap();
    stand.build().await.unwrap();
    let solves = stand.fake.solves.lock().unwrap();
    assert_ne!(solves[0].r#ref, solves[1].r#ref, "the daemon refuses one that it saw a moment ago");
    for solve in solves.iter() {
        assert_eq!(solve.frontend_attrs["platform"], "linux/arm64");
        assert_eq!(solve.frontend, "dockerfile.v0");
        assert!(solve.internal && solve.definition.is_none());
        assert_eq!(solve.compatibility_version, 20);
        // Daemons before v0.13 read the first form only.
        assert_eq!(solve.exporter_deprecated, "oci");
        assert_eq!(solve.exporters.len(), 1);
        assert_eq!(solve.exporters[0].attrs, solve.exporter_attrs_deprecated);
        assert_ne!(solve.frontend_attrs["local-sessionid:context"], solve.session);
        assert!(!solve.frontend_attrs.keys().any(|key| key.starts_with("attest") || key == "no-cache"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d14_a_result_for_another_platform_is_refused() {
    let stand = Stand::new(|layout| Script::Answer(exported(layout, "amd64"))).await;
    let error = stand.build().await.unwrap_err();
    assert!(matches!(error, EngineError::WrongPlatform { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d15_success_without_a_result_is_an_error() {
    let stand = Stand::new(|_| Script::Answer(HashMap::new())).await;
    let error = stand.build().await.unwrap_err();
    assert!(matches!(error, EngineError::BadResult { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_after_the_answer_is_heard() {
    let stand = Stand::new(|layout| Script::Chatter(exported(layout, "arm64"), 200)).await;
    stand.build().await.unwrap();
    assert_eq!(*stand.lines.lock().unwrap(), 200);
}

/// A dead session does not end the solve: without looking, it would go on to an end that nobody can use.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_under_a_solve_is_a_loss() {
    let stand = Stand::new(|_| Script::EndSessions).await;
    let error = tokio::time::timeout(Duration::from_secs(60), stand.build()).await.unwrap().unwrap_err();
    let EngineError::Lost { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains("session"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_an_error_in_the_daemons_words() {
    let status = Status::unknown("granting entitlement network.host is not allowed by build daemon configuration");
    let stand = Stand::new(|_| Script::Refuse(status)).await;
    let error = stand.build().await.unwrap_err();
    let EngineError::Build { message, step: None, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("network.host"), "{message}");
}
