//! Services that run beside builds, in containers of the real builder.

use std::time::Duration;

use catamaran::base::Failure;
use catamaran::engine::{
    BuiltImage, Engine, EngineError, ServiceFile, ServiceHandle, ServicePort, ServiceProbe, ServiceRequest,
};
use catamaran::event::Event;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, SHELL, platform};
use crate::support::daemon::Daemon;

/// An image that serves its `/www` on the port it is told.
async fn hub(bench: &Bench, for_platform: &str) -> BuiltImage {
    bench.shells();
    bench.write(
        "Dockerfile",
        format!("{SHELL}RUN mkdir /www && echo packages >/www/list\nENV PORT=1 GREETING=ahoy\nCMD [\"/bin/sh\", \"-c\", \"echo $GREETING from $PORT; exec httpd -f -p $PORT -h /www\"]\n"),
    );
    bench.build(for_platform).await.unwrap()
}

fn request(bench: &Bench, image: &BuiltImage) -> ServiceRequest {
    ServiceRequest {
        name: "hub".to_owned(),
        image: image.manifest.clone(),
        platform: image.platform.clone(),
        command: None,
        env: Vec::new(),
        files: Vec::new(),
        port: ServicePort::Free,
        probe: ServiceProbe::Http("http://hub/list".to_owned()),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(30),
        extra_hosts: Vec::new(),
        events: bench.events.clone(),
        cancel: CancellationToken::new(),
    }
}

/// What a RUN step of another image reads from a service.
async fn read(bench: &Bench, hub: &ServiceHandle, for_platform: &str, path: &str) -> Result<String, EngineError> {
    let port = hub.port().unwrap();
    bench.write("Dockerfile", format!("{SHELL}RUN wget -q -O /got http://hub:{port}/{path}\n"));
    let mut request = bench.request(for_platform);
    request.extra_hosts = vec![("hub".to_owned(), hub.address().to_owned())];
    request.no_cache = true;
    let image = bench.engine.build(request).await?;
    Ok(bench.text(&image, "got"))
}

fn output(bench: &Bench) -> String {
    let logs = bench.events.all().into_iter().filter_map(|event| match event {
        Event::ServiceLog { bytes, .. } => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    });
    logs.collect()
}

async fn refused(bench: &Bench, request: ServiceRequest) -> (String, Option<String>, Vec<String>) {
    let error = bench.engine.serve(request).await.unwrap_err();
    assert!(matches!(error, EngineError::Service { .. }), "{error:?}");
    (error.to_string(), error.help(), error.output())
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_of_both_platforms_read_from_one_service() {
    let bench = Bench::new().await;
    let image = hub(&bench, "linux/amd64").await;
    let service = bench.engine.serve(request(&bench, &image)).await.unwrap();
    assert_eq!(read(&bench, &service, "linux/amd64", "list").await.unwrap(), "packages");
    assert_eq!(read(&bench, &service, "linux/arm64", "list").await.unwrap(), "packages");
    assert!(service.ended().is_none());
    // The image's environment applies, but for the port that it was given.
    assert_eq!(output(&bench), format!("ahoy from {}\n", service.port().unwrap()));
    service.stop().await;
    assert_eq!(service.ended().unwrap().reason, "it was stopped");
    read(&bench, &service, "linux/amd64", "list").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_service_runs_emulated_with_files_and_command_of_the_project() {
    let bench = Bench::new().await;
    let image = hub(&bench, "linux/arm64").await;
    let mut request = request(&bench, &image);
    request.files = vec![
        ServiceFile { path: "/www/extra".to_owned(), bytes: b"more".to_vec() },
        ServiceFile { path: "/etc/note".to_owned(), bytes: b"x".to_vec() },
    ];
    request.command = Some(
        ["/bin/sh", "-c", "uname -m >/www/machine; cat $NOTE; exec httpd -f -p {port} -h /www"]
            .map(str::to_owned)
            .to_vec(),
    );
    request.env = vec![("NOTE".to_owned(), "/etc/note".to_owned())];
    request.probe =
        ServiceProbe::Exec(["/bin/sh", "-c", "wget -q -O - http://127.0.0.1:{port}/list"].map(str::to_owned).to_vec());
    let service = bench.engine.serve(request).await.unwrap();
    assert_eq!(read(&bench, &service, "linux/amd64", "machine").await.unwrap(), "aarch64");
    assert_eq!(read(&bench, &service, "linux/amd64", "extra").await.unwrap(), "more");
    assert_eq!(output(&bench), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_early_tells_its_last_words() {
    let bench = Bench::new().await;
    let image = hub(&bench, "linux/amd64").await;
    let mut request = request(&bench, &image);
    request.command = Some(["/bin/sh", "-c", "echo no licence >&2; exit 7"].map(str::to_owned).to_vec());
    request.probe = ServiceProbe::Tcp(0);
    let (message, _, output) = refused(&bench, request.clone()).await;
    assert_eq!(message, "service `hub` is not up: it ended before it was ready: exit code 7");
    assert_eq!(output, ["no licence"]);

    request.command = Some(vec!["/bin/nothing".to_owned()]);
    let (message, _, output) = refused(&bench, request).await;
    assert!(format!("{message}{output:?}").contains("/bin/nothing"), "{message}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_ready_in_time_is_ended() {
    let bench = Bench::new().await;
    let image = hub(&bench, "linux/amd64").await;
    let mut slow = request(&bench, &image);
    slow.probe = ServiceProbe::Http("http://hub/nothing".to_owned());
    slow.timeout = Duration::from_millis(700);
    let (message, ..) = refused(&bench, slow).await;
    assert!(message.contains("it was not ready within 0.7 s") && message.contains("404"), "{message}");
    let ended = |event: &Event| matches!(event, Event::ServiceEnded { reason, .. } if reason == "it was stopped");
    assert!(bench.events.all().iter().any(ended));

    let mut closed = request(&bench, &image);
    closed.command = Some(["/bin/sh", "-c", "sleep 1000"].map(str::to_owned).to_vec());
    closed.probe = ServiceProbe::Tcp(0);
    closed.timeout = Duration::from_millis(300);
    let (message, ..) = refused(&bench, closed).await;
    assert!(message.contains("connection refused"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_said_before_anything_starts() {
    let bench = Bench::new().await;
    let image = hub(&bench, "linux/amd64").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut request = request(&bench, &image);
    request.port = ServicePort::Fixed(port);
    // Without the check the listener would pass for the service.
    request.probe = ServiceProbe::Tcp(port);
    let (message, help, _) = refused(&bench, request).await;
    assert!(message.contains(&format!("port {port} is taken")), "{message}");
    assert!(help.unwrap().contains("port = \"auto\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_ends_with_its_handle_and_a_start_with_its_token() {
    let bench = Bench::new().await;
    let image = hub(&bench, "linux/amd64").await;
    let service = bench.engine.serve(request(&bench, &image)).await.unwrap();
    let (host, port) = (service.address().to_owned(), service.port().unwrap());
    drop(service);
    let gone = async {
        while std::net::TcpStream::connect((host.as_str(), port)).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the port is free again");

    let mut never = request(&bench, &image);
    never.probe = ServiceProbe::Http("http://hub/nothing".to_owned());
    let cancel = never.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel();
    });
    let error = bench.engine.serve(never).await.unwrap_err();
    assert!(matches!(error, EngineError::ServiceCancelled { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_crashes_or_loses_its_builder_is_known_to_have_ended() {
    let mut daemon = Daemon::start();
    let bench = Bench::on(daemon.address()).await;
    let image = hub(&bench, "linux/amd64").await;
    let mut crashing = request(&bench, &image);
    crashing.command = Some(
        ["/bin/sh", "-c", "httpd -f -p $PORT -h /www & sleep 1; echo out of luck; kill -9 $!; exit 3"]
            .map(str::to_owned)
            .to_vec(),
    );
    let service = bench.engine.serve(crashing).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), service.end()).await.unwrap();
    assert_eq!((end.exit_code, end.output.last().map(String::as_str)), (Some(3), Some("out of luck")));

    let service = bench.engine.serve(request(&bench, &image)).await.unwrap();
    daemon.kill();
    let end = tokio::time::timeout(Duration::from_secs(20), service.end()).await.unwrap();
    assert_eq!(end.exit_code, None, "{end:?}");
    assert_eq!(platform("linux/amd64"), image.platform);
}
