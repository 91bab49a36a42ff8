"""What `docker push` and `docker pull` send to a registry, without Docker."""

from __future__ import annotations

import hashlib
import http.client
import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Answered:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def refused(self) -> tuple[int, str]:
        """The status and the code of a refusal."""
        return self.status, str(json.loads(self.body)["errors"][0]["code"])


class RegistryClient:
    """Pushes to and pulls from one repository: the address that ECR gives, and its authorization token."""

    def __init__(self, repository_uri: str, token: str) -> None:
        host, _, path = repository_uri.partition("/")
        self.host, self.path, self._token = urlsplit(f"http://{host}"), f"/v2/{path}", token

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answered:
        """Send a request; `_` in the names of headers stands for `-`, and a body that is a list is sent in chunks."""
        connection = http.client.HTTPConnection(self.host.hostname or "", self.host.port, timeout=30)
        sent = {"Authorization": f"Basic {self._token}"} if self._token else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body=body, headers=sent, encode_chunked=isinstance(body, list))
            response = connection.getresponse()
            return Answered(response.status, response.headers, response.read())
        finally:
            connection.close()

    def push_blob(self, content: bytes, *chunks: bytes) -> Answered:
        """Push a layer at once, or in the chunks that it is made of."""
        begun = self.ask("POST", f"{self.path}/blobs/uploads/")
        for chunk in chunks:
            assert self.ask("PATCH", begun.headers["Location"], [chunk]).status == 202
        rest = b"" if chunks else content
        return self.ask("PUT", f"{begun.headers['Location']}?digest={digest(content)}", rest)

    def push_image(self, layer: bytes, reference: str) -> tuple[Answered, bytes]:
        """Push an image of one layer; returns the answer to its manifest, and the manifest."""
        config = b'{"architecture": "amd64", "os": "linux"}'
        for content in (config, layer):
            assert self.push_blob(content).status == 201
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {"size": len(config), "digest": digest(config)},
                "layers": [{"size": len(layer), "digest": digest(layer)}],
            }
        ).encode()
        path = f"{self.path}/manifests/{digest(manifest) if reference == 'digest' else reference}"
        return self.ask("PUT", path, manifest, Content_Type=MANIFEST_TYPE), manifest


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def token_of(account: str) -> str:
    """What GetAuthorizationToken of the local AWS gives an account."""
    return b64encode(f"AWS:{account}-auth-token".encode()).decode()
