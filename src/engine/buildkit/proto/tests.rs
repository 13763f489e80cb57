//! Every message against the same one of a crate that others generated from the upstream files.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;

use bollard_buildkit_proto as theirs;
use prost::Message;
use prost_types::Timestamp;

use super::{fsutil, google, grpc, moby, pb};

/// Sends a message there and back: a wrong number would lose a field, two that are swapped would change its name.
fn same<Ours, Theirs>(ours: &Ours)
where
    Ours: Message + Default + PartialEq + Debug,
    Theirs: Message + Default + Debug,
{
    let there = Theirs::decode(ours.encode_to_vec().as_slice()).unwrap();
    let back = Ours::decode(there.encode_to_vec().as_slice()).unwrap();
    assert_eq!(*ours, back);
    let (expected, found) = (leaves(ours), leaves(&there));
    assert!(expected.is_subset(&found), "{:#?}", expected.difference(&found));
    assert!(!expected.is_empty());
}

/// The fields of a message with their values, each with the names of those around it; bytes are left out, since the two
/// sides hold them in different types, and so are zeros, which only one of them may know.
fn leaves(message: &impl Debug) -> BTreeSet<String> {
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut leaves = BTreeSet::new();
    for line in format!("{message:#?}").lines() {
        let indent = line.len() - line.trim_start().len();
        path.retain(|(depth, _)| *depth < indent);
        let (name, value) = line.trim().split_once(": ").unwrap_or(("", line.trim()));
        path.push((indent, name.to_owned()));
        let value = value.trim_end_matches(',');
        let zero = matches!(value, "0" | "\"\"" | "false" | "None" | "{}" | "[]" | "}" | "]" | ")");
        if !zero && !value.ends_with(['{', '(', '[']) && !value.starts_with("b\"") {
            let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).filter(|n| !n.is_empty()).collect();
            leaves.insert(format!("{} = {value}", names.join(".")));
        }
    }
    leaves
}

fn map(key: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(key.to_owned(), value.to_owned())])
}

#[expect(clippy::unnecessary_wraps, reason = "the form of the message's fields")]
fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 7 })
}

fn definition() -> pb::Definition {
    let metadata = pb::OpMetadata {
        ignore_cache: true,
        description: map("a", "b"),
        caps: HashMap::from([("c".into(), true)]),
        progress_group: Some(pb::ProgressGroup { id: "i".into(), name: "n".into(), weak: true }),
    };
    let source = pb::Source {
        locations: HashMap::from([(
            "l".into(),
            pb::Locations { locations: vec![pb::Location { source_index: 3, ranges: vec![range()] }] },
        )]),
        infos: vec![pb::SourceInfo { filename: "f".into(), data: "d".into(), definition: None, language: "g".into() }],
    };
    pb::Definition { def: vec!["x".into()], metadata: HashMap::from([("m".into(), metadata)]), source: Some(source) }
}

fn range() -> pb::Range {
    pb::Range { start: Some(pb::Position { line: 1, character: 2 }), end: Some(pb::Position { line: 3, character: 4 }) }
}

fn platform() -> pb::Platform {
    pb::Platform {
        architecture: "arm64".into(),
        os: "linux".into(),
        variant: "v8".into(),
        os_version: "1".into(),
        os_features: vec!["f".into()],
    }
}

#[test]
fn control() {
    use moby::buildkit::v1::{
        BytesMessage, CacheOptions, CacheOptionsEntry, Exporter, InfoResponse, ListWorkersRequest, ListWorkersResponse,
        SolveRequest, SolveResponse, StatusRequest, StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning,
        sourcepolicy, types,
    };
    use theirs::moby::buildkit::v1 as other;
    same::<_, other::SolveRequest>(&SolveRequest {
        r#ref: "r".into(),
        definition: Some(definition()),
        exporter_deprecated: "e".into(),
        exporter_attrs_deprecated: map("1", "2"),
        session: "s".into(),
        frontend: "f".into(),
        frontend_attrs: map("3", "4"),
        cache: Some(CacheOptions {
            exports: vec![CacheOptionsEntry { r#type: "registry".into(), attrs: map("7", "8") }],
            imports: vec![CacheOptionsEntry { r#type: "inline".into(), attrs: map("9", "10") }],
        }),
        entitlements: vec!["t".into()],
        frontend_inputs: HashMap::from([("i".into(), definition())]),
        internal: true,
        source_policy: Some(sourcepolicy::Policy {
            version: 1,
            rules: vec![sourcepolicy::Rule {
                action: sourcepolicy::PolicyAction::Convert.into(),
                selector: Some(sourcepolicy::Selector {
                    identifier: "docker-image://a".into(),
                    match_type: sourcepolicy::MatchType::Exact.into(),
                }),
                updates: Some(sourcepolicy::Update { identifier: "docker-image://b".into(), attrs: map("7", "8") }),
            }],
        }),
        exporters: vec![Exporter { r#type: "oci".into(), attrs: map("5", "6") }],
        // Newer than the other side.
        compatibility_version: 0,
    });
    let newer = SolveRequest { compatibility_version: 20, ..SolveRequest::default() };
    // Field 16 as a varint: the number is from the upstream file.
    assert_eq!(newer.encode_to_vec(), [0x80, 0x01, 20]);
    same::<_, other::SolveResponse>(&SolveResponse { exporter_response: map("k", "v") });
    same::<_, other::StatusRequest>(&StatusRequest { r#ref: "r".into() });
    let vertex = Vertex {
        digest: "d".into(),
        inputs: vec!["i".into()],
        name: "n".into(),
        cached: true,
        started: time(1),
        completed: time(2),
        error: "e".into(),
        progress_group: Some(pb::ProgressGroup { id: "g".into(), name: "h".into(), weak: true }),
    };
    let status = VertexStatus {
        id: "i".into(),
        vertex: "v".into(),
        name: "n".into(),
        current: 1,
        total: 2,
        timestamp: time(3),
        started: time(4),
        completed: time(5),
    };
    let log = VertexLog { vertex: "v".into(), timestamp: time(6), stream: 2, msg: "m".into() };
    let warning = VertexWarning {
        vertex: "w".into(),
        level: 3,
        short: "s".into(),
        detail: vec!["d".into()],
        url: "u".into(),
        info: Some(pb::SourceInfo { filename: "f".into(), ..pb::SourceInfo::default() }),
        ranges: vec![range()],
    };
    same::<_, other::StatusResponse>(&StatusResponse {
        vertexes: vec![vertex],
        statuses: vec![status],
        logs: vec![log],
        warnings: vec![warning],
    });
    assert_eq!(
        BytesMessage { data: "x".into() }.encode_to_vec(),
        other::BytesMessage { data: b"x".into() }.encode_to_vec()
    );
    same::<_, other::ListWorkersRequest>(&ListWorkersRequest { filter: vec!["f".into()] });
    let version = types::BuildkitVersion {
        package: "p".into(),
        version: "v".into(),
        revision: "r".into(),
        dockerfile_version: String::new(),
    };
    same::<_, other::InfoResponse>(&InfoResponse { buildkit_version: Some(version.clone()) });
    same::<_, other::ListWorkersResponse>(&ListWorkersResponse {
        record: vec![types::WorkerRecord {
            id: "i".into(),
            labels: map("l", "m"),
            platforms: vec![platform()],
            buildkit_version: Some(version),
        }],
    });
}

#[test]
fn session() {
    use moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
    use moby::filesync::v1 as auth;
    use moby::sshforward::v1::CheckAgentRequest;
    use theirs::moby::buildkit::secrets::v1 as secrets;
    use theirs::moby::filesync::v1 as other;
    same::<_, secrets::GetSecretRequest>(&GetSecretRequest { id: "i".into(), annotations: map("a", "b") });
    let secret = GetSecretResponse { data: "x".into() }.encode_to_vec();
    assert_eq!(secret, secrets::GetSecretResponse { data: b"x".into() }.encode_to_vec());
    same::<_, theirs::moby::sshforward::v1::CheckAgentRequest>(&CheckAgentRequest { id: "i".into() });
    same::<_, other::CredentialsRequest>(&auth::CredentialsRequest { host: "h".into() });
    same::<_, other::CredentialsResponse>(&auth::CredentialsResponse { username: "u".into(), secret: "s".into() });
    same::<_, other::FetchTokenRequest>(&auth::FetchTokenRequest {
        client_id: "c".into(),
        host: "h".into(),
        realm: "r".into(),
        service: "s".into(),
        scopes: vec!["p".into()],
    });
    same::<_, other::FetchTokenResponse>(&auth::FetchTokenResponse { token: "t".into(), expires_in: 1, issued_at: 2 });
    same::<_, other::GetTokenAuthorityRequest>(&auth::GetTokenAuthorityRequest { host: "h".into(), salt: "s".into() });
    same::<_, other::VerifyTokenAuthorityRequest>(&auth::VerifyTokenAuthorityRequest {
        host: "h".into(),
        payload: "p".into(),
        salt: "s".into(),
    });
}

#[test]
fn files() {
    use fsutil::types::{Packet, Stat};
    same::<_, theirs::fsutil::types::Packet>(&Packet {
        r#type: 4,
        stat: Some(Stat {
            path: "p".into(),
            mode: 1,
            uid: 2,
            gid: 3,
            size: 4,
            mod_time: 5,
            linkname: "l".into(),
            devmajor: 6,
            devminor: 7,
            xattrs: HashMap::from([("x".into(), "y".into())]),
        }),
        id: 8,
        data: "d".into(),
    });
}

#[test]
fn others() {
    use grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
    use moby::buildkit::v1::frontend::{
        ExecMessage, ExitMessage, FdMessage, InitMessage, NewContainerRequest, ReadFileRequest, SolveRequest,
        exec_message,
    };
    use theirs::moby::buildkit::v1::frontend as other;
    same::<_, theirs::health::HealthCheckRequest>(&HealthCheckRequest { service: "s".into() });
    same::<_, theirs::health::HealthCheckResponse>(&HealthCheckResponse { status: 1 });
    same::<_, theirs::google::rpc::Status>(&google::rpc::Status { code: 1, message: "m".into(), details: Vec::new() });
    same::<_, other::SolveRequest>(&SolveRequest {
        definition: Some(definition()),
        frontend: "f".into(),
        frontend_opt: map("a", "b"),
        allow_result_return: true,
        allow_result_array_ref: true,
        frontend_inputs: HashMap::from([("i".into(), definition())]),
        evaluate: true,
    });
    same::<_, other::ReadFileRequest>(&ReadFileRequest { r#ref: "r".into(), file_path: "f".into(), range: None });
    same::<_, other::NewContainerRequest>(&NewContainerRequest {
        container_id: "c".into(),
        mounts: vec![pb::Mount {
            input: 1,
            selector: "s".into(),
            dest: "/".into(),
            output: 2,
            readonly: true,
            mount_type: 3,
            result_id: "r".into(),
        }],
        network: 1,
        platform: Some(platform()),
        constraints: Some(pb::WorkerConstraints { filter: vec!["f".into()] }),
        extra_hosts: vec![pb::HostIp { host: "h".into(), ip: "i".into() }],
        hostname: "n".into(),
    });
    let meta = pb::Meta {
        args: vec!["a".into()],
        env: vec!["e".into()],
        cwd: "c".into(),
        user: "u".into(),
        extra_hosts: vec![pb::HostIp { host: "h".into(), ip: "i".into() }],
        hostname: "n".into(),
        cgroup_parent: "g".into(),
        valid_exit_codes: vec![1],
    };
    let init = InitMessage {
        container_id: "c".into(),
        meta: Some(meta),
        fds: vec![1],
        tty: true,
        security: 1,
        secretenv: vec![pb::SecretEnv { id: "i".into(), name: "n".into(), optional: true }],
    };
    let exit = ExitMessage { code: 3, error: None };
    let file = FdMessage { fd: 2, eof: true, data: "d".into() };
    for input in [exec_message::Input::Init(init), exec_message::Input::Exit(exit), exec_message::Input::File(file)] {
        same::<_, other::ExecMessage>(&ExecMessage { process_id: "p".into(), input: Some(input) });
    }
}

#[test]
fn operations() {
    use pb::{file_action, op};
    let source = pb::SourceOp { identifier: "i".into(), attrs: map("a", "b") };
    let file = pb::FileActionMkFile { path: "p".into(), mode: 3, data: "d".into(), timestamp: 4 };
    let action =
        pb::FileAction { input: 1, secondary_input: 2, output: 3, action: Some(file_action::Action::Mkfile(file)) };
    for op in [op::Op::Source(source), op::Op::File(pb::FileOp { actions: vec![action] })] {
        same::<_, theirs::pb::Op>(&pb::Op {
            inputs: vec![pb::Input { digest: "d".into(), index: 5 }],
            op: Some(op),
            platform: Some(platform()),
            constraints: Some(pb::WorkerConstraints { filter: vec!["f".into()] }),
        });
    }
}
