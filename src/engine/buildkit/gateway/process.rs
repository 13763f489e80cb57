use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::bridge::Bridge;
use crate::engine::buildkit::identity::Identity;
use crate::engine::buildkit::proto::moby::buildkit::v1::frontend::exec_message::Input;
use crate::engine::buildkit::proto::moby::buildkit::v1::frontend::{
    ExecMessage, FdMessage, InitMessage, SignalMessage,
};
use crate::engine::buildkit::proto::pb;
use crate::engine::buildkit::words;
use crate::event::LogStream;

/// Messages of ours on their way; there are three kinds, each sent once or twice.
const QUEUE: usize = 8;

/// A process in a container (`/moby.buildkit.v1.frontend.LLBBridge/ExecProcess`). The first of a container is its PID 1.
pub(super) struct Process {
    id: String,
    outgoing: mpsc::Sender<ExecMessage>,
    incoming: Streaming<ExecMessage>,
}

/// What a process says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It runs.
    Started,
    /// It wrote something.
    Output(LogStream, Bytes),
    /// It ended; output may still follow.
    Exited(Exit),
    /// Nothing more will come.
    Done,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) code: u32,
    /// Why it could not be started, or was ended.
    pub(super) error: Option<String>,
}

impl Process {
    /// Starts `meta` in `container`. Whether that works is told by what it says first.
    pub(super) async fn start(bridge: &Bridge, container: &str, meta: pb::Meta) -> Result<Self, Status> {
        let (outgoing, receiver) = mpsc::channel(QUEUE);
        let id = Identity::random().as_str().to_owned();
        let init = InitMessage {
            container_id: container.to_owned(),
            meta: Some(meta),
            fds: vec![0, 1, 2],
            tty: false,
            security: pb::SecurityMode::Sandbox.into(),
            secretenv: Vec::new(),
        };
        let message = |input| ExecMessage { process_id: id.clone(), input: Some(input) };
        let eof = FdMessage { fd: 0, eof: true, data: Bytes::new() };
        for input in [Input::Init(init), Input::File(eof)] {
            outgoing.send(message(input)).await.map_err(|_| Status::aborted("the stream of the process is closed"))?;
        }
        let incoming = bridge.process(ReceiverStream::new(receiver)).await?;
        Ok(Self { id, outgoing, incoming })
    }

    /// The next thing it says. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Said, Status> {
        loop {
            let Some(message) = self.incoming.message().await? else { return Ok(Said::Done) };
            return Ok(match message.input {
                Some(Input::Started(_)) => Said::Started,
                Some(Input::File(file)) if !file.data.is_empty() => {
                    let stream = if file.fd == 2 { LogStream::Err } else { LogStream::Out };
                    Said::Output(stream, file.data)
                }
                Some(Input::Exit(exit)) => {
                    let error = exit.error.filter(|error| !error.message.is_empty());
                    let error = error.map(|error| words::clip(&error.message, 2000));
                    Said::Exited(Exit { code: exit.code, error })
                }
                Some(Input::Done(_)) => Said::Done,
                _ => continue,
            });
        }
    }

    /// Sends a signal: `TERM`, `KILL`.
    pub(super) async fn signal(&self, name: &str) {
        let signal = Input::Signal(SignalMessage { name: name.to_owned() });
        // A process that is gone needs none.
        let _gone = self.outgoing.send(ExecMessage { process_id: self.id.clone(), input: Some(signal) }).await;
    }

    /// Waits for its end and returns that, with the first `limit` bytes of its standard output.
    pub(super) async fn finish(mut self, limit: usize) -> Result<(Exit, Vec<u8>), Status> {
        let mut output = Vec::new();
        let mut exit = None;
        loop {
            match self.next().await? {
                Said::Output(LogStream::Out, bytes) => {
                    let room = limit.saturating_sub(output.len());
                    output.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Said::Exited(found) => exit = Some(found),
                Said::Done => break,
                Said::Started | Said::Output(..) => {}
            }
        }
        let exit = exit.ok_or_else(|| Status::aborted("the process ended without a word"))?;
        Ok((exit, output))
    }
}
