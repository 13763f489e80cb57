use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use catamaran::engine::{Engine, SshSource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::bench::{Bench, SHELL};

/// Asks an agent for its keys, then to forget them all, and prints the kinds of its answers.
const ASK: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
static int ask(int fd, unsigned char kind) {
  unsigned char message[5] = {0, 0, 0, 1, kind}, answer[256];
  if (write(fd, message, 5) != 5 || read(fd, answer, sizeof answer) < 5) return -1;
  return answer[4];
}
int main(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, getenv("SSH_AUTH_SOCK"), sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address)) return 1;
  printf("%d ", ask(fd, 11));
  printf("%d\n", ask(fd, 19));
  return 0;
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_lent_for_signing_only() {
    let bench = Bench::new().await;
    bench.shells();
    let source = bench.directory.path().join("ask.c");
    std::fs::write(&source, ASK).unwrap();
    let compiled = Command::new("cc").arg("-static").arg("-o").arg(bench.context().join("ask")).arg(&source).status();
    assert!(compiled.expect("cc is there: run scripts/setup test").success());

    let socket = bench.directory.path().join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let asked: Arc<Mutex<Vec<u8>>> = Arc::default();
    let seen = asked.clone();
    let agent = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut message = [0; 5];
            while stream.read_exact(&mut message).await.is_ok() {
                seen.lock().unwrap().push(message[4]);
                // An agent without keys: SSH_AGENT_IDENTITIES_ANSWER and a count of zero.
                stream.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).await.unwrap();
            }
        }
    });
    let native = catamaran::base::Platform::host();
    bench.write("Dockerfile", format!("{SHELL}COPY ask /ask\nRUN --mount=type=ssh,id=work /ask >/kinds\n"));
    let mut request = bench.request(&native.to_string());
    request.ssh = BTreeMap::from([("work".to_owned(), SshSource::Agent(socket))]);
    let image = bench.engine.build(request).await.unwrap();
    assert_eq!(bench.text(&image, "kinds"), "12 5", "keys are listed, forgetting them is refused");
    assert_eq!(*asked.lock().unwrap(), [11]);
    agent.abort();
}
