use super::{build, file, free_port, project};

#[test]
fn a_changed_service_is_asked_again_and_an_unchanged_one_is_not() {
    let port = free_port();
    let project = project(
        &format!("port = {port}"),
        &[("app", &format!("RUN wget -q -O /got http://hub:{port}/list; cat /proc/sys/kernel/random/uuid >/when\n"))],
    );
    project.run(&build()).exits(0);
    let first = file(&project, "app", "amd64", "when");
    project.run(&build()).exits(0);
    assert_eq!(file(&project, "app", "amd64", "when"), first, "the builder had it");

    project.write("www/list", "other packages\n");
    project.run(&build()).exits(0);
    for architecture in ["amd64", "arm64"] {
        assert_eq!(file(&project, "app", architecture, "got"), "other packages");
    }
    // Declared data counts as the image does.
    let config = std::fs::read_to_string(project.path("catamaran.toml")).unwrap();
    let before = file(&project, "app", "amd64", "when");
    project.write("catamaran.toml", &config.replace("[service.hub]", "[service.hub]\nenv = { MODE = \"new\" }"));
    project.run(&build()).exits(0);
    assert_ne!(file(&project, "app", "amd64", "when"), before);
}

#[test]
fn no_address_or_chosen_port_comes_into_the_image() {
    let project = project("port = \"auto\"", &[("app", "RUN cat /etc/hosts >/dev/null\n")]);
    project.run(&build()).exits(0);
    let digest = |project: &crate::support::project::Project| {
        project.run(&["status", "--json"]).json()["cells"][0]["digest"].clone()
    };
    let first = digest(&project);
    project.run(&build()).exits(0);
    assert_eq!(digest(&project), first);
}
