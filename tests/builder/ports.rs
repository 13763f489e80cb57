use super::bench::{Bench, Who};

/// Linux keeps the ports below this one for who owns the network; a machine may say otherwise.
const PRIVILEGED: u16 = 83;

#[test]
fn a_rootless_builder_says_why_its_service_cannot_have_a_privileged_port() {
    let first: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .expect("a proc")
        .trim()
        .parse()
        .expect("a number");
    assert!(first > PRIVILEGED, "this machine gives port {PRIVILEGED} to everybody");
    let bench = Bench::new(Who::Ordinary);
    let platform = super::bench::native();
    bench.write(
        "state/catamaran.toml",
        &format!(
            "name = \"mine\"\nplatforms = [\"linux/{platform}\"]\n[component.hub]\n[component.web]\nneeds = [\"hub\"]\n\
             [service.hub]\nport = {PRIVILEGED}\ncommand = [\"/bin/httpd\", \"-f\", \"-p\", \"{{port}}\"]\n"
        ),
    );
    bench.write("state/Dockerfile", "FROM scratch\nCOPY busybox /bin/httpd\n");
    std::fs::copy(bench.path("busybox"), bench.path("state/busybox")).expect("copied");
    let mut command = bench.program();
    let output = command.args(["-C", &bench.path("state").display().to_string(), "build"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    for part in [
        "service `hub` is not up",
        "ermission denied",
        &format!("a rootless builder cannot bind port {PRIVILEGED}"),
        "port = \"auto\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
