use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tonic::{Request, Response, Status};

use crate::engine::SecretSource;
use crate::engine::buildkit::proto::moby::buildkit::secrets::v1::{
    GetSecretRequest, GetSecretResponse, secrets_server,
};

/// What a secret may weigh at most: the limit that users know from docker, and far below that of a message.
const LIMIT: u64 = 500 << 10;

/// Hands secrets out by id (`/moby.buildkit.secrets.v1.Secrets/GetSecret`), read when they are asked for.
///
/// The daemon also asks for ids of its own, such as `GIT_AUTH_TOKEN`; whatever was not given is not there.
#[derive(Debug, Clone)]
pub(crate) struct Secrets(Arc<BTreeMap<String, SecretSource>>);

impl Secrets {
    pub(crate) fn new(secrets: BTreeMap<String, SecretSource>) -> Self {
        Self(Arc::new(secrets))
    }
}

#[tonic::async_trait]
impl secrets_server::Secrets for Secrets {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let data = match self.0.get(&id) {
            // The daemon leaves an optional mount out and fails a required one by name.
            None => return Err(Status::not_found(format!("secret {id}: not found"))),
            Some(SecretSource::Value(value)) => Bytes::copy_from_slice(value.reveal().as_bytes()),
            Some(SecretSource::File(path)) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || read(&path))
                    .await
                    .map_err(|_| Status::aborted("the program is ending"))?
                    .map_err(|reason| Status::failed_precondition(format!("secret `{id}`: {reason}")))?
            }
        };
        if data.len() as u64 > LIMIT {
            return Err(Status::failed_precondition(format!("secret `{id}` is over the limit of {LIMIT} bytes")));
        }
        Ok(Response::new(GetSecretResponse { data }))
    }
}

fn read(path: &Path) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::secrets_server::Secrets as _;
    use super::*;
    use crate::base::Secret;

    async fn ask(secrets: &Secrets, id: &str) -> Result<Bytes, Status> {
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        secrets.get_secret(Request::new(request)).await.map(|response| response.into_inner().data)
    }

    #[tokio::test]
    async fn hands_out_what_was_given_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (small, large) = (directory.path().join("small"), directory.path().join("large"));
        std::fs::write(&small, b"\xffraw").unwrap();
        std::fs::write(&large, vec![0; (500 << 10) + 1]).unwrap();
        let secrets = Secrets::new(BTreeMap::from([
            ("value".to_owned(), SecretSource::Value(Secret::new("hunter2"))),
            ("file".to_owned(), SecretSource::File(small)),
            ("large".to_owned(), SecretSource::File(large)),
            ("gone".to_owned(), SecretSource::File(directory.path().join("gone"))),
        ]));
        assert_eq!(ask(&secrets, "value").await.unwrap(), "hunter2");
        assert_eq!(ask(&secrets, "file").await.unwrap(), &b"\xffraw"[..]);
        assert_eq!(ask(&secrets, "GIT_AUTH_TOKEN").await.unwrap_err().code(), tonic::Code::NotFound);
        for id in ["large", "gone"] {
            let status = ask(&secrets, id).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::FailedPrecondition);
            assert!(status.message().contains(id), "{status}");
        }
    }
}
