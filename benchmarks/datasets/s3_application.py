"""A small S3 for measurements: what nginx does not serve itself, kept in plain files that nginx then serves.

    python -m benchmarks.datasets.s3_application FOLDER SOCKET

Buckets are folders, keys are paths. It knows listings, PUT, copies, multipart uploads with UploadPartCopy, deletions,
and the conditions If-Match and If-None-Match; signatures are not checked. ETags are nginx's, of a file's date and
size, so every file is given a second of its own.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

from benchmarks.datasets.s3_keys import FIRST_STAMP, BucketKeys, StoredFile

CHUNK = 1 << 20
SMALLEST_PART = 5 << 20
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
WHEN = "2026-01-01T00:00:00.000Z"


class S3Error(Exception):
    """An answer that is an error: status, S3's code, and what it is about."""

    def __init__(self, status: int, code: str, about: str) -> None:
        super().__init__(about)
        self.status = status
        self.code = code
        self.about = about


@dataclass(frozen=True)
class Call:
    """A request, and the bucket and the key that it is about."""

    request: web.Request
    bucket: BucketKeys
    name: str
    key: str

    @property
    def query(self) -> Mapping[str, str]:
        """What stands behind the question mark."""
        return self.request.rel_url.query

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, by their names in any case."""
        return self.request.headers


@dataclass
class Upload:
    """A multipart upload that is under way, with the files of its parts."""

    bucket: str
    key: str
    folder: Path
    parts: dict[int, Path] = field(default_factory=dict)


class S3Application:
    """Answers S3's requests out of a folder of buckets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uploads: dict[str, Upload] = {}
        self._working = folder / ".uploads"
        shutil.rmtree(self._working, ignore_errors=True)
        self._working.mkdir()
        names = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        self._buckets = {name: BucketKeys.of_folder(folder / name) for name in names}
        stamps = (stored.stamp for bucket in self._buckets.values() for stored in bucket.files.values())
        self._stamp = max(stamps, default=FIRST_STAMP)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request; what is not known is `NotImplemented`."""
        name, _, key = unquote(request.rel_url.raw_path).lstrip("/").partition("/")
        try:
            if name not in self._buckets:
                raise S3Error(404, "NoSuchBucket", name)
            call = Call(request, self._buckets[name], name, key)
            return web.Response() if request.method == "HEAD" and not key else await self._handler(call)(call)
        except S3Error as error:
            body = f"<Error><Code>{error.code}</Code><Message>{escape(error.about)}</Message></Error>"
            return web.Response(status=error.status, text=body, content_type="application/xml")

    def _handler(self, call: Call) -> Callable[[Call], Awaitable[web.StreamResponse]]:
        method = call.request.method
        handlers = {
            ("GET", "list-type"): self._list,
            ("GET", "uploads"): self._list_uploads,
            ("POST", "uploads"): self._create_upload,
            ("POST", "uploadId"): self._complete_upload,
            ("POST", "delete"): self._delete_several,
            ("PUT", "uploadId"): self._put_part,
            ("DELETE", "uploadId"): self._abort_upload,
        }
        for (known, parameter), handler in handlers.items():
            if known == method and parameter in call.query:
                return handler
        whole = {"PUT": self._put, "DELETE": self._delete, "GET": self._absent, "HEAD": self._absent}
        if call.key and method in whole:
            return whole[method]
        raise S3Error(501, "NotImplemented", f"{method} {call.request.rel_url}")

    async def _absent(self, call: Call) -> web.Response:
        raise S3Error(404, "NoSuchKey", call.key)  # nginx sends only what it did not find

    async def _list(self, call: Call) -> web.Response:
        query = call.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("start-after")
        start = query.get("continuation-token") or (f"{after}\0" if after else "")
        limit = min(int(query.get("max-keys", "1000")), 1000)
        page = call.bucket.page(prefix, delimiter, start, limit)
        written = quote if query.get("encoding-type") == "url" else escape
        parts = [
            f"<Contents><Key>{written(listed)}</Key><LastModified>{WHEN}</LastModified>"
            f"<ETag>&quot;{stored.etag}&quot;</ETag><Size>{stored.size}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for listed, stored in page.objects
        ]
        parts += [f"<CommonPrefixes><Prefix>{written(folder)}</Prefix></CommonPrefixes>" for folder in page.folders]
        if page.following is not None:
            parts.append(f"<NextContinuationToken>{escape(page.following)}</NextContinuationToken>")
        if written is quote:
            parts.append("<EncodingType>url</EncodingType>")
        truncated = str(page.following is not None).lower()
        count = len(page.objects) + len(page.folders)
        return _xml(
            "ListBucketResult",
            f"<Name>{call.name}</Name><Prefix>{written(prefix)}</Prefix><KeyCount>{count}</KeyCount>"
            f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{truncated}</IsTruncated>{''.join(parts)}",
        )

    async def _put(self, call: Call) -> web.Response:
        if call.headers.get("If-None-Match") == "*" and call.key in call.bucket.files:
            raise S3Error(412, "PreconditionFailed", call.key)
        written = self._working / uuid.uuid4().hex
        source = call.headers.get("x-amz-copy-source")
        if source:
            _copy_range(self._source(call, source), None, written)
        else:
            await _receive(call.request, written)
        stored = self._keep(written, call)
        if source:
            return _xml(
                "CopyObjectResult", f"<ETag>&quot;{stored.etag}&quot;</ETag><LastModified>{WHEN}</LastModified>"
            )
        return web.Response(headers={"ETag": f'"{stored.etag}"'})

    async def _delete(self, call: Call) -> web.Response:
        call.bucket.delete(call.key)
        return web.Response(status=204)

    async def _delete_several(self, call: Call) -> web.Response:
        for found in _texts(await call.request.read(), "Key"):
            call.bucket.delete(found)
        return _xml("DeleteResult", "")

    async def _create_upload(self, call: Call) -> web.Response:
        number = uuid.uuid4().hex
        folder = self._working / number
        folder.mkdir()
        self._uploads[number] = Upload(call.name, call.key, folder)
        body = f"<Bucket>{call.name}</Bucket><Key>{escape(call.key)}</Key><UploadId>{number}</UploadId>"
        return _xml("InitiateMultipartUploadResult", body)

    async def _put_part(self, call: Call) -> web.Response:
        upload = self._upload(call)
        number = int(call.query["partNumber"])
        part = upload.folder / f"{number}-{uuid.uuid4().hex}"
        source = call.headers.get("x-amz-copy-source")
        if source:
            _copy_range(self._source(call, source), call.headers.get("x-amz-copy-source-range"), part)
        else:
            await _receive(call.request, part)
        upload.parts[number] = part
        if source:
            return _xml("CopyPartResult", f"<ETag>&quot;{part.name}&quot;</ETag><LastModified>{WHEN}</LastModified>")
        return web.Response(headers={"ETag": f'"{part.name}"'})

    async def _complete_upload(self, call: Call) -> web.Response:
        upload = self._upload(call)
        if call.headers.get("If-None-Match") == "*" and call.key in call.bucket.files:
            raise S3Error(412, "PreconditionFailed", call.key)
        parts = [upload.folder / etag.strip('"') for etag in _texts(await call.request.read(), "ETag")]
        if not parts or set(parts) - set(upload.parts.values()):
            raise S3Error(400, "InvalidPart", call.key)
        if any(part.stat().st_size < SMALLEST_PART for part in parts[:-1]):
            raise S3Error(400, "EntityTooSmall", call.key)
        for part in parts[1:]:
            _copy_range(part, None, parts[0])
        stored = self._keep(parts[0], call)
        self._forget(call.query["uploadId"])
        body = f"<Bucket>{call.name}</Bucket><Key>{escape(call.key)}</Key><ETag>&quot;{stored.etag}&quot;</ETag>"
        return _xml("CompleteMultipartUploadResult", body)

    async def _abort_upload(self, call: Call) -> web.Response:
        self._upload(call)
        self._forget(call.query["uploadId"])
        return web.Response(status=204)

    async def _list_uploads(self, call: Call) -> web.Response:
        prefix = call.query.get("prefix", "")
        found = [
            f"<Upload><Key>{escape(upload.key)}</Key><UploadId>{number}</UploadId><Initiated>{WHEN}</Initiated></Upload>"
            for number, upload in self._uploads.items()
            if upload.bucket == call.name and upload.key.startswith(prefix)
        ]
        return _xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{''.join(found)}")

    def _upload(self, call: Call) -> Upload:
        number = call.query["uploadId"]
        if number not in self._uploads:
            raise S3Error(404, "NoSuchUpload", number)
        return self._uploads[number]

    def _forget(self, number: str) -> None:
        shutil.rmtree(self._uploads.pop(number).folder)

    def _source(self, call: Call, address: str) -> Path:
        name, _, key = unquote(address).lstrip("/").partition("/")
        stored = self._buckets[name].files.get(key) if name in self._buckets else None
        if stored is None:
            raise S3Error(404, "NoSuchKey", key)
        wanted = call.headers.get("x-amz-copy-source-if-match")
        if wanted is not None and wanted.strip('"') != stored.etag:
            raise S3Error(412, "PreconditionFailed", key)
        return self._folder / name / key

    def _keep(self, written: Path, call: Call) -> StoredFile:
        self._stamp += 1
        os.utime(written, (self._stamp, self._stamp))
        target = self._folder / call.name / call.key
        target.parent.mkdir(parents=True, exist_ok=True)
        stored = StoredFile(written.stat().st_size, self._stamp)
        written.replace(target)
        call.bucket.put(call.key, stored)
        return stored


async def _receive(request: web.Request, path: Path) -> None:
    with path.open("wb") as file:
        async for chunk in request.content.iter_chunked(CHUNK):
            file.write(chunk)


def _copy_range(source: Path, wanted: str | None, target: Path) -> None:
    """Append a file, or `bytes=FIRST-LAST` of it, to another; the kernel copies."""
    target.touch()
    with source.open("rb") as file, target.open("r+b") as out:  # sendfile refuses a file opened for appending
        out.seek(0, os.SEEK_END)
        size = source.stat().st_size
        first, last = (int(edge) for edge in wanted.removeprefix("bytes=").split("-")) if wanted else (0, size - 1)
        if last >= size or first > last + 1:
            raise S3Error(416, "InvalidRange", str(wanted))
        left = last + 1 - first
        file.seek(first)
        while left:
            left -= os.sendfile(out.fileno(), file.fileno(), None, left)


def _texts(document: bytes, tag: str) -> list[str]:
    root = ElementTree.fromstring(document)  # noqa: S314 - from our own clients on loopback
    return [element.text or "" for element in root.iter() if element.tag.rpartition("}")[2] == tag]


def _xml(name: str, body: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?><{name} xmlns="{NAMESPACE}">{body}</{name}>'
    return web.Response(text=text, content_type="application/xml")


def main(folder: str, socket: str) -> None:
    """Serve a folder on a Unix socket until the process is ended."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", S3Application(Path(folder)).answer)
    web.run_app(application, path=socket, access_log=None, print=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
