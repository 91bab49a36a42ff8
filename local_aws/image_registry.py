"""The registry behind ECR: what `docker push` and `docker pull` speak, on the server's own port.

The protocol is that of the OCI distribution specification (end-1 to end-11, but for deletion, which is ECR's):
https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Layers come whole or in chunks. A repository has
to be made by CreateRepository first, and an immutable tag stays with its image, as at ECR.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import threading
import uuid
from base64 import b64decode
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import wrap_file

from local_aws import moto_ecr
from local_aws.callers import is_region
from local_aws.service import AwsRequest, Service

ROOT = "/v2/"
ADDRESS = re.compile(
    r"/v2/(?P<account>[0-9]{12})/(?P<region>[a-z0-9-]+)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"/(?P<kind>blobs|manifests|tags)/(?P<rest>uploads/[0-9a-f]{32}|uploads/?|[A-Za-z0-9_.:-]+)"
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
LARGEST_MANIFEST = 4 << 20
CHUNK = 1 << 20
VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RegistryError(Exception):
    """A refusal, with the code that the specification has for it."""

    def __init__(self, code: str, message: str, status: HTTPStatus) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass
class Upload:
    """A layer that is arriving, in a file."""

    path: Path
    size: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)


@dataclass(frozen=True)
class Address:
    """What a request is about: a repository of one account and region, and a blob, manifest, upload or list in it."""

    account: str
    region: str
    name: str
    kind: str
    rest: str

    @property
    def repository(self) -> tuple[str, str, str]:
        """Account, region and name."""
        return self.account, self.region, self.name

    @property
    def path(self) -> str:
        """The path of the repository in the registry."""
        return f"{ROOT}{moto_ecr.registry_name(*self.repository)}"


class ImageRegistry(Service):
    """The registry of every account and region; `folder` holds layers by their digest, and uploads."""

    is_aws = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def owns(self, request: AwsRequest) -> bool:
        """Whether the path is the registry's, and the request is not one of S3 for a key like it."""
        return request.path.startswith(ROOT) and not request.signed.service

    def answer(self, request: AwsRequest) -> Response:
        """The registry's answer, a refusal included."""
        try:
            response = self._answer(Request(request.environ), request.path)
        except RegistryError as error:
            response = _refusal(error)
        except OSError as error:
            if error.errno not in FULL:
                raise
            reason = f"The disk is full: {error.strerror} in {self._folder}. Free some space, or use --state-dir."
            response = _refusal(RegistryError("DENIED", reason, HTTPStatus.FORBIDDEN))
        response.headers.update(VERSION)
        return response

    def _answer(self, request: Request, path: str) -> Response:
        account = _account_of(request)
        if path == ROOT:
            return Response("{}", content_type="application/json")
        found = ADDRESS.fullmatch(path)
        if found is None or not is_region(found["region"]):
            raise RegistryError("NAME_INVALID", f"The registry has no {path}", HTTPStatus.NOT_FOUND)
        address = Address(**found.groupdict())
        if address.account != account:
            reason = f"The password is of account {account}, not of {address.account}"
            raise RegistryError("DENIED", reason, HTTPStatus.FORBIDDEN)
        if not moto_ecr.has_repository(*address.repository):
            reason = f"The repository with name '{address.name}' does not exist in the registry with id '{account}'"
            raise RegistryError("NAME_UNKNOWN", reason, HTTPStatus.NOT_FOUND)
        return self._answer_about(address, request)

    def _answer_about(self, address: Address, request: Request) -> Response:
        reads = request.method in ("GET", "HEAD")
        if address.kind == "blobs" and address.rest.startswith("uploads"):
            return self._answer_upload(address, request)
        if address.kind == "blobs" and reads:
            return self._blob(address.rest, request)
        if address.kind == "manifests" and reads:
            return _manifest(address)
        if address.kind == "manifests" and request.method == "PUT":
            return self._put_manifest(address, request)
        if address.kind == "tags" and address.rest == "list" and reads:
            document = {"name": address.path.removeprefix(ROOT), "tags": moto_ecr.tags_of(*address.repository)}
            return Response(json.dumps(document), content_type="application/json")
        raise _unsupported(request)

    def _answer_upload(self, address: Address, request: Request) -> Response:
        query = {name: values[0] for name, values in parse_qs(request.query_string.decode()).items()}
        name = address.rest.removeprefix("uploads").strip("/")
        if request.method == "POST" and not name:
            return self._begin(address, request, query)
        with self._lock:
            upload = self._uploads.get(name)
        if upload is None:
            raise RegistryError("BLOB_UPLOAD_UNKNOWN", f"There is no upload {name}", HTTPStatus.NOT_FOUND)
        if request.method == "GET":
            return _progress(address, name, upload, HTTPStatus.NO_CONTENT)
        if request.method == "PATCH":
            _append(upload, request)
            return _progress(address, name, upload, HTTPStatus.ACCEPTED)
        if request.method == "PUT":
            _append(upload, request)
            self._finish(name, upload, query.get("digest", ""))
            return _made(f"{address.path}/blobs/{query['digest']}", query["digest"])
        if request.method == "DELETE":
            self._forget(name, upload)
            return Response(status=HTTPStatus.NO_CONTENT)
        raise _unsupported(request)

    def _begin(self, address: Address, request: Request, query: dict[str, str]) -> Response:
        """Begin an upload; a layer that is here already, or comes with this request, is done at once."""
        present = query.get("mount", "")
        if DIGEST.fullmatch(present) and self._blob_path(present).is_file():
            return _made(f"{address.path}/blobs/{present}", present)
        uploads = self._folder / "uploads"
        uploads.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        upload = Upload(uploads / name)
        upload.path.touch()
        with self._lock:
            self._uploads[name] = upload
        if "digest" in query:
            _append(upload, request)
            self._finish(name, upload, query["digest"])
            return _made(f"{address.path}/blobs/{query['digest']}", query["digest"])
        return _progress(address, name, upload, HTTPStatus.ACCEPTED)

    def _finish(self, name: str, upload: Upload, digest: str) -> None:
        received = f"sha256:{upload.sha256.hexdigest()}"
        if received != digest:
            self._forget(name, upload)
            reason = f"What arrived has the digest {received}, not {digest!r}"
            raise RegistryError("DIGEST_INVALID", reason, HTTPStatus.BAD_REQUEST)
        target = self._blob_path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        upload.path.replace(target)
        self._forget(name, upload)

    def _forget(self, name: str, upload: Upload) -> None:
        with self._lock:
            self._uploads.pop(name, None)
        upload.path.unlink(missing_ok=True)

    def _blob_path(self, digest: str) -> Path:
        return self._folder / "blobs" / digest.removeprefix("sha256:")

    def _blob(self, digest: str, request: Request) -> Response:
        path = self._blob_path(digest)
        if DIGEST.fullmatch(digest) is None or not path.is_file():
            raise RegistryError("BLOB_UNKNOWN", f"There is no layer {digest}", HTTPStatus.NOT_FOUND)
        size = path.stat().st_size
        response = Response(
            wrap_file(request.environ, path.open("rb"), CHUNK) if request.method == "GET" else None,
            content_type="application/octet-stream",
            headers={"Content-Length": str(size), "Docker-Content-Digest": digest},
            direct_passthrough=True,
        )
        return response.make_conditional(request.environ, accept_ranges=True, complete_length=size)

    def _put_manifest(self, address: Address, request: Request) -> Response:
        """Keep a manifest whose layers are here."""
        content = request.stream.read(LARGEST_MANIFEST + 1)
        manifest = moto_ecr.StoredManifest(content, request.mimetype)
        by_digest = DIGEST.fullmatch(address.rest) is not None
        if by_digest and manifest.digest != address.rest:
            reason = f"The manifest has the digest {manifest.digest}, not {address.rest}"
            raise RegistryError("DIGEST_INVALID", reason, HTTPStatus.BAD_REQUEST)
        if not by_digest and TAG.fullmatch(address.rest) is None:
            raise RegistryError("TAG_INVALID", f"{address.rest!r} is not a tag", HTTPStatus.BAD_REQUEST)
        for kind, digest in _parts(content):
            known = (
                moto_ecr.stored_manifest(*address.repository, digest) is not None
                if kind == "manifests"
                else self._blob_path(digest).is_file()
            )
            if not known:
                reason = f"The manifest names {digest}, which was not pushed"
                raise RegistryError("MANIFEST_BLOB_UNKNOWN", reason, HTTPStatus.BAD_REQUEST)
        try:
            moto_ecr.store_manifest(*address.repository, None if by_digest else address.rest, manifest)
        except moto_ecr.TagIsTakenError as error:
            raise RegistryError("TAG_INVALID", str(error), HTTPStatus.BAD_REQUEST) from error
        return _made(f"{address.path}/manifests/{manifest.digest}", manifest.digest)


def _account_of(request: Request) -> str:
    """The account that the caller has signed in to, with what GetAuthorizationToken gave."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    user, password = "", ""
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            user, _, password = b64decode(encoded, validate=True).decode().partition(":")
    account = moto_ecr.account_of_password(password)
    if user != "AWS" or account is None:
        raise RegistryError("UNAUTHORIZED", "Sign in with ecr:GetAuthorizationToken first", HTTPStatus.UNAUTHORIZED)
    return account


def _manifest(address: Address) -> Response:
    manifest = moto_ecr.stored_manifest(*address.repository, address.rest)
    if manifest is None:
        reason = f"The repository '{address.name}' has no image {address.rest}"
        raise RegistryError("MANIFEST_UNKNOWN", reason, HTTPStatus.NOT_FOUND)
    return Response(
        manifest.content, content_type=manifest.media_type, headers={"Docker-Content-Digest": manifest.digest}
    )


def _parts(content: bytes) -> list[tuple[str, str]]:
    """What a manifest names, as pairs of its kind (`layers`, `manifests`) and digest; raises RegistryError."""
    invalid = RegistryError("MANIFEST_INVALID", "The manifest cannot be read", HTTPStatus.BAD_REQUEST)
    try:
        document = json.loads(content)
        named = [("layers", part) for part in (*document.get("layers", ()), document.get("config"))]
        named += [("manifests", part) for part in document.get("manifests", ())]
        found = [(kind, str(part["digest"])) for kind, part in named if part is not None]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise invalid from error
    if len(content) > LARGEST_MANIFEST or not found or not all(DIGEST.fullmatch(digest) for _, digest in found):
        raise invalid
    return found


def _append(upload: Upload, request: Request) -> None:
    """Write the body of a request to the end of an upload; a chunk that says where it begins has to begin there."""
    begin = request.headers.get("Content-Range", "").partition("-")[0]
    if begin and begin != str(upload.size):
        reason = f"The chunk begins at {begin}, and {upload.size} bytes have arrived"
        raise RegistryError("BLOB_UPLOAD_INVALID", reason, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    with upload.path.open("ab") as file:
        while part := request.stream.read(CHUNK):
            file.write(part)
            upload.sha256.update(part)
            upload.size += len(part)


def _progress(address: Address, name: str, upload: Upload, status: HTTPStatus) -> Response:
    headers = {
        "Location": f"{address.path}/blobs/uploads/{name}",
        "Range": f"0-{max(0, upload.size - 1)}",
        "Docker-Upload-UUID": name,
    }
    return Response(status=status, headers=headers)


def _made(location: str, digest: str) -> Response:
    return Response(status=HTTPStatus.CREATED, headers={"Location": location, "Docker-Content-Digest": digest})


def _unsupported(request: Request) -> RegistryError:
    reason = f"The registry does not answer {request.method} {request.path}"
    return RegistryError("UNSUPPORTED", reason, HTTPStatus.METHOD_NOT_ALLOWED)


def _refusal(error: RegistryError) -> Response:
    document = {"errors": [{"code": error.code, "message": str(error), "detail": None}]}
    headers = {"WWW-Authenticate": 'Basic realm="local ECR"'} if error.status is HTTPStatus.UNAUTHORIZED else {}
    return Response(json.dumps(document), status=error.status, content_type="application/json", headers=headers)
