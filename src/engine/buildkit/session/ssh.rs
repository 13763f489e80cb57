use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::engine::SshSource;
use crate::engine::buildkit::proto::moby::sshforward::v1::{
    BytesMessage, CheckAgentRequest, CheckAgentResponse, ssh_server,
};

/// Names the agent that a stream is for; absent or empty is `default`.
const ID: &str = "buildkit.ssh.id";
const DEFAULT: &str = "default";

/// The largest message that OpenSSH's agent takes.
const MESSAGE_LIMIT: usize = 256 << 10;

// draft-ietf-sshm-ssh-agent, "Protocol Numbers".
const FAILURE: &[u8] = &[0, 0, 0, 1, 5];
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;

/// Lends agents to build steps (`moby.sshforward.v1.SSH`), for listing keys and signing only: a step must not be able to
/// add, remove or lock the keys of the person who builds.
#[derive(Debug, Clone)]
pub(crate) struct Ssh(Arc<BTreeMap<String, SshSource>>);

impl Ssh {
    pub(crate) fn new(agents: BTreeMap<String, SshSource>) -> Self {
        Self(Arc::new(agents))
    }

    fn agent(&self, id: &str) -> Result<PathBuf, Status> {
        let id = if id.is_empty() { DEFAULT } else { id };
        match self.0.get(id) {
            Some(SshSource::Agent(socket)) => Ok(socket.clone()),
            None => Err(Status::not_found(format!("no ssh agent `{id}`"))),
        }
    }
}

async fn connect(socket: &Path) -> Result<UnixStream, Status> {
    UnixStream::connect(socket).await.map_err(|error| {
        let path = socket.display();
        // The usual mistake: a key, which docker would read itself.
        let text = if socket.is_file() {
            format!("ssh agent `{path}` is a file: add the key to an agent with `ssh-add`, and name its socket")
        } else {
            format!("ssh agent `{path}`: {error}")
        };
        Status::failed_precondition(text)
    })
}

#[tonic::async_trait]
impl ssh_server::Ssh for Ssh {
    type ForwardAgentStream = ReceiverStream<Result<BytesMessage, Status>>;

    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Result<Response<CheckAgentResponse>, Status> {
        connect(&self.agent(&request.get_ref().id)?).await?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get(ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let agent = connect(&self.agent(&id)?).await?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(forward(request.into_inner(), agent, sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Passes requests on one by one: the agent's protocol has one answer for each.
async fn forward(
    mut requests: Streaming<BytesMessage>,
    mut agent: UnixStream,
    answers: mpsc::Sender<Result<BytesMessage, Status>>,
) {
    let mut buffer = BytesMut::new();
    loop {
        let answer = match next(&mut buffer) {
            Ok(Some(message)) => ask(&mut agent, &message).await,
            Ok(None) => match requests.message().await {
                Ok(Some(message)) => {
                    buffer.extend_from_slice(&message.data);
                    continue;
                }
                // The step closed its socket, or is gone.
                Ok(None) | Err(_) => return,
            },
            Err(status) => Err(status),
        };
        let ended = answer.is_err();
        if answers.send(answer.map(|data| BytesMessage { data })).await.is_err() || ended {
            return;
        }
    }
}

/// Takes a whole message with its length off the front, if there is one.
fn next(buffer: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some(mut head) = buffer.get(..4) else { return Ok(None) };
    let length = head.get_u32() as usize;
    if length == 0 || length > MESSAGE_LIMIT {
        return Err(Status::invalid_argument("not the protocol of an ssh agent"));
    }
    Ok((buffer.len() >= 4 + length).then(|| buffer.split_to(4 + length).freeze()))
}

async fn ask(agent: &mut UnixStream, message: &Bytes) -> Result<Bytes, Status> {
    if !matches!(message.get(4), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST))) {
        return Ok(Bytes::from_static(FAILURE));
    }
    let gone = |error: std::io::Error| Status::aborted(format!("the ssh agent: {error}"));
    agent.write_all(message).await.map_err(gone)?;
    let length = agent.read_u32().await.map_err(gone)?;
    if length as usize > MESSAGE_LIMIT {
        return Err(Status::aborted("the ssh agent's answer is too large"));
    }
    let mut answer = BytesMut::zeroed(4 + length as usize);
    answer[..4].copy_from_slice(&length.to_be_bytes());
    agent.read_exact(&mut answer[4..]).await.map_err(gone)?;
    Ok(answer.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_at_their_lengths() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 1, 11, 0, 0][..]);
        assert_eq!(next(&mut buffer).unwrap().unwrap(), &[0, 0, 0, 1, 11][..]);
        assert!(next(&mut buffer).unwrap().is_none());
        buffer.extend_from_slice(&[0, 2, 13]);
        assert!(next(&mut buffer).unwrap().is_none());
        buffer.extend_from_slice(&[7]);
        assert_eq!(next(&mut buffer).unwrap().unwrap(), &[0, 0, 0, 2, 13, 7][..]);
        assert!(next(&mut BytesMut::from(&[255, 0, 0, 0][..])).is_err());
        assert!(next(&mut BytesMut::from(&[0, 0, 0, 0][..])).is_err());
    }

    #[tokio::test]
    async fn only_listing_and_signing_reach_the_agent() {
        let (mut agent, mut behind) = UnixStream::pair().unwrap();
        let refused = ask(&mut agent, &Bytes::from_static(&[0, 0, 0, 1, 19])).await.unwrap();
        assert_eq!(refused, FAILURE);
        let served = tokio::spawn(async move {
            let mut message = [0; 5];
            behind.read_exact(&mut message).await.unwrap();
            behind.write_all(&[0, 0, 0, 2, 12, 0]).await.unwrap();
            message
        });
        let answer = ask(&mut agent, &Bytes::from_static(&[0, 0, 0, 1, 11])).await.unwrap();
        assert_eq!(answer, &[0, 0, 0, 2, 12, 0][..]);
        assert_eq!(served.await.unwrap(), [0, 0, 0, 1, 11]);
    }
}
