use super::bench::{Bench, SHELL, platform};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_in_and_an_image_comes_out() {
    let bench = Bench::new().await;
    bench.write("Dockerfile", "FROM scratch\nCOPY greeting /hello\n");
    bench.write("greeting", "ahoy");
    let image = bench.build("linux/amd64").await.unwrap();
    assert_eq!(image.platform, platform("linux/amd64"));
    assert_eq!(bench.text(&image, "hello"), "ahoy");
    assert!(image.received > 0 && image.sent > 0, "{image:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_on_both_platforms() {
    let bench = Bench::new().await;
    bench.shells();
    bench.write("Dockerfile", format!("{SHELL}RUN uname -m >/machine\n"));
    let (amd64, arm64) = tokio::join!(bench.build("linux/amd64"), bench.build("linux/arm64"));
    let (amd64, arm64) = (amd64.unwrap(), arm64.unwrap());
    assert_eq!(bench.text(&amd64, "machine"), "x86_64");
    assert_eq!(bench.text(&arm64, "machine"), "aarch64");
    assert_eq!(arm64.platform, platform("linux/arm64"));
}
