//! Registries, names, certificates and the network: C3xx.

use super::Entry;
use crate::base::ErrorClass::{Auth, NotFound, RateLimited};

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new("C301", "Docker Hub's pull limit is reached", &["reached your pull rate limit", "reached your unauthenticated pull rate limit"])
        .means("Docker Hub counts pulls by account, and without one by address: all machines behind one address share the limit")
        .fix("log in (`docker login`), or let the builder use a mirror")
        .seen("toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"),
    Entry::new("C302", "a server asks for fewer requests", &["toomanyrequests", "429 too many requests", "too many requests"])
        .means("the server counts requests, and this account or address has sent too many")
        .fix("wait for some minutes, log in, or use a mirror")
        .seen("unexpected status from HEAD request to https://registry.example.com/v2/app/manifests/v1: 429 Too Many Requests"),
    Entry::new("C330", "the login is too old", &["authorization token has expired"])
        .means("logins of this registry last some hours")
        .fix("log in again (for ECR: `aws ecr get-login-password`), then run the same command again")
        .seen("denied: Your authorization token has expired. Reauthenticate and try again."),
    Entry::new("C331", "the account lacks a right in Google's registry", &["permission \"artifactregistry.", "permission 'artifactregistry."])
        .means("the account is known and has no role that allows this on the repository")
        .fix("give it the role `roles/artifactregistry.writer` (to read: `reader`) on the repository")
        .seen("denied: Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource \"projects/p/locations/europe/repositories/r\" (or it may not exist)"),
    Entry::new("C333", "the token may not write packages", &["permission_denied: write_package", "not allowed to write organization package"])
        .means("the GitHub token lacks `packages: write`, or the package does not trust this repository")
        .fix("add `permissions: packages: write` to the workflow, and give the repository access in the package's settings")
        .seen("denied: permission_denied: write_package"),
    Entry::new("C304", "an image is private or does not exist", &["pull access denied", "insufficient_scope"])
        .means("the registry tells strangers the same about a private image and one that does not exist")
        .fix("look at the name for mistakes; if it is right, log in with an account that may read it")
        .seen("pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed"),
    Entry::new("C326", "the repository does not exist", &["name unknown", "name_unknown", "repository*does not exist in the registry", "repository name not known to registry", "project*not found"])
        .means("this registry makes no repository or project by itself on the first push")
        .fix("make it first (for ECR: `aws ecr create-repository --repository-name NAME`)")
        .seen("name unknown: The repository with name 'infra/web' does not exist in the registry with id '123456789012'"),
    Entry::new("C325", "the tag may not be moved", &["cannot be overwritten because the repository is immutable", "configured as immutable", "immutable tag", "tag is immutable"])
        .means("the tag is there with other content, and the registry lets no tag be changed")
        .fix("publish under a new tag; a tag that holds the same content is left alone")
        .seen("tag invalid: The image tag 'v1' already exists in the 'web' repository and cannot be overwritten because the repository is immutable."),
    Entry::new("C327", "the registry's quota is used up", &["will exceed the configured upper limit", "quota has been reached", "exceeds the quota", "denied quota exceeded", "quota exceeded for project"])
        .means("the project or account may not store more in this registry")
        .fix("remove old tags and let the registry collect them, or have the quota raised")
        .seen("denied: adding 812.3 MiB of storage resource, which when updated to current usage of 9.6 GiB will exceed the configured upper limit of 10.0 GiB."),
    Entry::new("C303", "the account may not do that there", &["requested access to the resource is denied", "denied:", "` denies to ", "status 403", "403 forbidden", "(403)"])
        .means("the registry knows who asks and says no; for a name that it does not know it may say the same")
        .fix("give the account the right to pull or push on this repository, and look at the name for mistakes")
        .seen("denied: requested access to the resource is denied"),
    Entry::new("C332", "a credential helper is missing", &["docker-credential-*executable file not found", "docker-credential-*no such file", "error getting credentials"])
        .means("the docker configuration names a program that keeps the credentials, and it is not on this machine")
        .fix("install the helper, or take `credsStore` out of `~/.docker/config.json` and log in again")
        .seen("error getting credentials - err: exec: \"docker-credential-desktop\": executable file not found in $PATH"),
    Entry::new("C334", "a credential helper does not help", &["`docker-credential-*` is not installed", "`docker-credential-*` did not answer", "`docker-credential-*` failed with", "`docker-credential-*` cannot be", "`docker-credential-*` printed"])
        .means("a file with logins names a program that keeps them, and that program is not there, fails or does not answer")
        .fix("run it by hand (`echo HOST | docker-credential-NAME get`) and repair it, or take `credsStore` or `credHelpers` out of the file and log in again")
        .seen("cannot look up credentials for `registry.example.com`: `docker-credential-desktop` did not answer within 30 s"),
    Entry::new("C335", "a file with logins cannot be read", &["cannot look up credentials for"])
        .means("the file that `docker login` or `skopeo login` writes is not JSON, or not readable")
        .fix("correct it, or move it away and log in again")
        .seen("cannot look up credentials for `registry.example.com`: `~/.docker/config.json` is not valid at line 3, column 1"),
    Entry::new("C305", "credentials are missing or wrong", &["unauthorized", "401 unauthorized", "authentication required", "no basic auth credentials", "incorrect username or password"])
        .means("the registry wants to know who asks, and got no login or a wrong one")
        .fix("log in with `docker login HOST` (or `skopeo login`); the file is `~/.docker/config.json` or what DOCKER_CONFIG says")
        .seen("unauthorized: authentication required"),
    Entry::new("C309", "the image has no such platform", &["no match for platform in manifest", "no match for platform", "no matching manifest for", "no image found in manifest list", "no image found in image index"])
        .means("the image exists, and not for this platform")
        .fix("take a base that has it, or narrow `platforms` of the component")
        .seen("failed to resolve source metadata for docker.io/library/app:1: no match for platform in manifest: not found"),
    Entry::new("C307", "there is no such tag", &["manifest unknown", "manifest_unknown", "manifest for * not found"])
        .means("the repository exists, and nothing in it has this tag or digest")
        .fix("look at the tag for mistakes; it may have been removed")
        .seen("manifest unknown: manifest unknown"),
    Entry::new("C308", "the image does not exist", &["failed to resolve source metadata for *: not found", "failed to resolve reference*: not found"])
        .means("the registry answers and has no such image, or not this tag of it")
        .fix("look at the name and the tag for mistakes")
        .seen("failed to resolve source metadata for registry.example.com/base:v9: registry.example.com/base:v9: not found"),
    Entry::new("C311", "capital letters in a name", &["must be lowercase"])
        .means("names of repositories are written in small letters; tags may have capitals")
        .fix("write the name in small letters; a variable in it may bring the capitals")
        .seen("invalid reference format: repository name (library/Alpine) must be lowercase"),
    Entry::new("C310", "not the name of an image", &["invalid reference format", "failed to parse reference", "invalid reference:"])
        .means("what stands there cannot be the name of an image; often a variable in it is empty")
        .fix("look at the name after its variables are filled in; a default helps: `${TAG:-latest}`")
        .seen("failed to parse stage name \"registry.example.com/base:\": invalid reference format"),
    Entry::new("C313", "a certificate for another name", &["x509: certificate is valid for", "notvalidforname", "certificate subject name", "no alternative certificate subject name"])
        .means("the server's certificate does not hold the name that it was asked under")
        .fix("use the name that the certificate holds, or have one made that holds this name")
        .seen("tls: failed to verify certificate: x509: certificate is valid for registry.internal, not registry.example.com"),
    Entry::new("C312", "a certificate of an unknown authority", &["certificate signed by unknown authority", "unknownissuer", "unknown issuer", "self-signed certificate", "self signed certificate", "unable to get local issuer certificate", "certificate verify failed"])
        .means("the server's certificate is signed by an authority that the one who asks does not trust: often a company's own, or that of a proxy that looks into TLS")
        .fix("for registries give the authority with `--ca FILE`; a program in a step needs it in the image (`ca-certificates`, or a copy of the file)")
        .seen("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
    Entry::new("C314", "HTTP where HTTPS was expected", &["server gave http response to https client", "wrong version number", "record overflow", "invalidcontenttype", "corrupt message of type invalidcontenttype"])
        .means("the server speaks plain HTTP, or a proxy answers in its place")
        .fix("allow it for this one host with `--plain-http HOST`")
        .seen("http: server gave HTTP response to HTTPS client"),
    Entry::new("C319", "a proxy stands between", &["proxyconnect tcp", "407 proxy authentication required", "proxy authentication required", "tunneling socket could not be established"])
        .means("a proxy is set and refuses, cannot be reached, or wants a login")
        .fix("look at HTTP_PROXY, HTTPS_PROXY and NO_PROXY; steps get them as build arguments of these names")
        .seen("proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused"),
    Entry::new("C315", "a host name cannot be found", &["no such host", "temporary failure in name resolution", "temporary failure resolving", "could not resolve host", "name or service not known", "eai_again", "enotfound", "bad address '", "server misbehaving", "could not resolve", "dns error", "nodename nor servname"])
        .means("no name server that the builder asks knows the host: a mistake in the name, or a builder without a way to its name server")
        .fix("look at the name; then see that the builder's `/etc/resolv.conf` names a server that it reaches, also from inside of a VPN")
        .seen("dial tcp: lookup registry.example.internal on 10.0.0.2:53: no such host"),
    Entry::new("C316", "nothing listens there", &["connection refused", "econnrefused"])
        .means("the machine answers and nothing listens at the port; a `localhost` inside of a step or a builder is not this machine")
        .fix("start the server, or use an address that the builder reaches it under")
        .seen("dial tcp 127.0.0.1:5000: connect: connection refused"),
    Entry::new("C318", "there is no way to the network", &["network is unreachable", "no route to host", "enetunreach", "ehostunreach"])
        .means("the builder has no route to the address; often it has no IPv6 and the name has an IPv6 address, or the step runs without a network")
        .fix("see that the builder reaches the network, or that it prefers IPv4")
        .seen("dial tcp [2600:1f18::1]:443: connect: network is unreachable"),
    Entry::new("C317", "a server does not answer in time", &["i/o timeout", "tls handshake timeout", "deadline exceeded", "connection timed out", "operation timed out", "etimedout", "read timed out", "timed out"])
        .means("a firewall swallows the packets, the server is overloaded, or packets of full size get lost (MTU of a VPN)")
        .fix("try the address from the builder's machine; in networks with a smaller MTU give it to the builder's network too")
        .seen("Get \"https://registry-1.docker.io/v2/\": net/http: TLS handshake timeout"),
    Entry::new("C322", "too large for the server", &["413 request entity too large", "413 payload too large", "entity too large"])
        .means("a proxy before the registry limits the size of an upload")
        .fix("raise the limit there (nginx: `client_max_body_size 0`)")
        .seen("unexpected status from PUT request to https://registry.example.com/v2/app/blobs/uploads/1: 413 Request Entity Too Large"),
    Entry::new("C320", "the server is in trouble", &["500 internal server error", "502 bad gateway", "503 service unavailable", "504 gateway time", "(500)", "(502)", "(503)", "(504)"])
        .means("the server or a proxy before it failed; the request was right")
        .fix("run the same command again; if it stays, ask who runs the server")
        .seen("unexpected status from POST request to https://registry.example.com/v2/app/blobs/uploads/: 503 Service Unavailable"),
    Entry::new("C321", "the connection broke", &["connection reset by peer", "econnreset", "unexpected eof", "connection closed before", "tls connection was non-properly terminated", "early eof", "rpc failed; curl"])
        .means("the other side, or something between, ended the connection half-way")
        .fix("run the same command again; if it stays at the same place, look for a proxy or firewall with a limit of time or size")
        .seen("read tcp 10.0.0.5:41422->104.18.121.25:443: read: connection reset by peer"),
    Entry::new("C323", "the registry lost a blob", &["blob unknown to registry", "blob_unknown", "manifest_blob_unknown", "blob unknown"])
        .means("the registry does not have a layer that the manifest names: its clean-up ran at the same time, or its storage lost it")
        .fix("push again: what is missing is sent again")
        .seen("manifest blob unknown: blob unknown to registry"),
    Entry::new("C324", "bytes were changed on the way", &["digest invalid", "digest_invalid", "did not match uploaded content", "unexpected commit digest", "failed size validation"])
        .means("what arrived is not what was sent: a proxy that changes or cuts content, or a failing disk")
        .fix("run the same command again; if it stays, take the proxy between out")
        .seen("unexpected commit digest sha256:ab, expected sha256:cd: failed precondition"),
    Entry::new("C328", "the registry does not take such a manifest", &["manifest invalid", "manifest_invalid", "unsupported media type", "415 unsupported"])
        .means("the registry is older than OCI image indexes, or does not take attestations")
        .fix("update the registry")
        .seen("manifest invalid: manifest invalid"),
    Entry::new("C329", "an image of a form that is gone", &["schema 1", "manifest.v1+prettyjws"])
        .means("the image is in the first form of manifests, which builders do not read any more")
        .fix("push the image again with a tool of today, or take a newer tag")
        .seen("media type \"application/vnd.docker.distribution.manifest.v1+prettyjws\" is no longer supported since containerd v2.1, please rebuild the image"),
    Entry::new("C340", "credentials are missing or wrong", &[])
        .of(&[Auth])
        .means("the registry wants to know who asks, and got no login or a wrong one")
        .fix("log in with `docker login HOST` (or `skopeo login`)")
        .seen(""),
    Entry::new("C341", "there is no such thing in the registry", &[])
        .of(&[NotFound])
        .means("the registry answers and does not have what was asked for")
        .fix("look at the name and the tag for mistakes")
        .seen(""),
    Entry::new("C342", "a registry asks for fewer requests", &[])
        .of(&[RateLimited])
        .means("the registry counts requests, and kept refusing after waiting as long as it asked for")
        .fix("wait for some minutes, or log in")
        .seen(""),
];
