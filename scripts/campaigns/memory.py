"""The layout and the registry of scripts/campaigns/memory.

`layout DIR LAYERS MB` makes a layout with one image whose layers are files with a hole: they take no disk. `serve DIR FILE`
is a registry on loopback that hashes what it is sent and forgets it, keeps what is small, and gives what the layout DIR
has; FILE gets its address.
"""

import hashlib
import http.server
import json
import os
import re
import socketserver
import sys
import urllib.parse

PIECE = 1 << 20
SMALL = 1 << 20
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def layout(folder, layers, megabytes):
    blobs = os.path.join(folder, "blobs", "sha256")
    os.makedirs(blobs)

    def put(media_type, document):
        body = json.dumps(document).encode()
        digest = hashlib.sha256(body).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(body)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(body)}

    hole = hashlib.sha256()
    zeros = bytes(PIECE)
    for _ in range(megabytes):
        hole.update(zeros)
    entries = []
    for number in range(layers):
        tail = b"layer %04d" % number
        whole = hole.copy()
        whole.update(tail)
        size = megabytes * PIECE + len(tail)
        with open(os.path.join(blobs, whole.hexdigest()), "wb") as file:
            file.seek(megabytes * PIECE)
            file.write(tail)
        media_type = "application/vnd.oci.image.layer.v1.tar"
        entries.append({"mediaType": media_type, "digest": "sha256:" + whole.hexdigest(), "size": size})
    platform = {"os": "linux", "architecture": "amd64"}
    diff_ids = [entry["digest"] for entry in entries]
    config = put(
        "application/vnd.oci.image.config.v1+json",
        {**platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}},
    )
    manifest = put(MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": entries})
    root = put(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**manifest, "platform": platform}]})
    root["annotations"] = {"org.opencontainers.image.ref.name": "large"}
    with open(os.path.join(folder, "index.json"), "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [root]}, file)
    with open(os.path.join(folder, "oci-layout"), "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    source = ""
    sizes = {}
    small = {}
    manifests = {}

    def log_message(self, *_):
        pass

    def answer(self, status, headers=(), body=b""):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        """Its digest, its size, and the bytes if they are few."""
        left = int(self.headers.get("Content-Length", "0"))
        size, digest, kept = left, hashlib.sha256(), b""
        view = memoryview(bytearray(PIECE))
        while left > 0:
            count = self.rfile.readinto(view[: min(left, PIECE)])
            if not count:
                raise ConnectionError("cut")
            digest.update(view[:count])
            if size <= SMALL:
                kept += view[:count]
            left -= count
        return "sha256:" + digest.hexdigest(), size, kept

    def do_POST(self):
        self.body()
        # One session for all: the digest tells them apart.
        self.answer(202, [("Location", urllib.parse.urlsplit(self.path).path + "one")])

    def do_DELETE(self):
        self.answer(204)

    def do_PUT(self):
        url = urllib.parse.urlsplit(self.path)
        digest, size, kept = self.body()
        if "/manifests/" in url.path:
            for name in (digest, url.path.rsplit("/", 1)[1]):
                self.manifests[name] = (digest, self.headers["Content-Type"], kept)
        elif urllib.parse.parse_qs(url.query)["digest"] != [digest]:
            self.answer(400)
            return
        else:
            self.sizes[digest] = size
            if size <= SMALL:
                self.small[digest] = kept
        self.answer(201, [("Location", url.path), ("Docker-Content-Digest", digest)])

    def do_GET(self):
        kind, name = re.fullmatch(r"/v2/(?:.*/(manifests|blobs)/(.*))?", self.path).groups()
        if kind is None:
            self.answer(200)
        elif kind == "manifests" and name in self.manifests:
            digest, media_type, body = self.manifests[name]
            self.answer(200, [("Docker-Content-Digest", digest), ("Content-Type", media_type)], body)
        elif kind == "blobs" and name in self.small:
            self.answer(200, [("Docker-Content-Digest", name)], self.small[name])
        elif kind == "blobs" and name in self.sizes:
            self.large(name)
        else:
            self.answer(404)

    do_HEAD = do_GET

    def large(self, name):
        self.send_response(200)
        self.send_header("Content-Length", str(self.sizes[name]))
        self.end_headers()
        if self.command == "GET":
            with open(os.path.join(self.source, "blobs", "sha256", name.split(":")[1]), "rb") as file:
                self.wfile.flush()
                self.connection.sendfile(file)


def serve(folder, told):
    Registry.source = folder
    # Not the server of http.server: that one asks for the name of this machine first.
    socketserver.ThreadingTCPServer.request_queue_size = 64
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Registry)
    server.daemon_threads = True
    with open(told + ".new", "w") as file:
        file.write("127.0.0.1:%d" % server.server_address[1])
    os.rename(told + ".new", told)
    server.serve_forever()


if sys.argv[1] == "layout":
    layout(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    serve(sys.argv[2], sys.argv[3])
