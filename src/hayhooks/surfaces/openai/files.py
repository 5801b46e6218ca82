"""The OpenAI Files API: upload, list, retrieve, read and delete.

Source: OpenAI API reference, "Files".
"""

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, quote

import msgspec
from starlette.types import Receive, Scope, Send

from hayhooks.core.aio import in_thread
from hayhooks.core.context import Session
from hayhooks.core.deployment import Call, Upload
from hayhooks.core.errors import EntryNotFound, KeptFileNotFound, RunFailed, TooLarge
from hayhooks.core.events import Raw, Result
from hayhooks.core.files import FileStore, KeptFile, is_file_id, new_file_id, safe_filename
from hayhooks.core.principal import Principal
from hayhooks.core.registry import Live
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._forms import read_form
from hayhooks.surfaces._http import (
    Header,
    HTTPOptions,
    caller_of,
    header,
    request_id_header,
    require,
    send_json,
    trace_of,
)
from hayhooks.surfaces._json import invalid
from hayhooks.surfaces._leaving import cancel_on_disconnect
from hayhooks.surfaces._ranges import NotInRange, range_of
from hayhooks.surfaces._session import session_of
from hayhooks.surfaces.openai.errors import error_object

ENTRY = "run_file_upload"
VIA = "openai"
MAX_LIMIT = 10_000
# Seconds after which a file may expire, from an hour to 30 days.
MIN_EXPIRES_S, MAX_EXPIRES_S = 3600, 2_592_000

_FORM_BYTES = 1024 * 1024  # of a form around its file
_PIECE = 1024 * 1024
_PURPOSE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}(?:; ?charset=[A-Za-z0-9_.:-]{1,40})?"
)
# Whatever the uploader says it is, no browser may run it as a page of this server's.
_AS_DATA: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
)


class Files:
    """Answers ``/files`` and what lies below it."""

    def __init__(self, runtime: Runtime, store: FileStore, options: HTTPOptions) -> None:
        self._runtime = runtime
        self._store = store
        self._options = options
        self._takers: tuple[int, tuple[str, ...]] = (-1, ())  # revision, deployments that take uploads over

    async def answer(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer *path*, which is what follows ``/files``. Raises what the caller must be told."""
        if path in ("", "/"):
            require(scope, "GET", "HEAD", "POST")
            if scope["method"] == "POST":
                await self._create(scope, receive, send)
            else:
                await self._list(scope, send)
            return
        file_id, _, more = path[1:].partition("/")
        if more == "content":
            require(scope, "GET", "HEAD")
            await self._content(file_id, scope, receive, send)
            return
        if more:
            raise KeptFileNotFound(path[1:])
        require(scope, "GET", "HEAD", "DELETE")
        if scope["method"] == "DELETE":
            await in_thread(self._store.of(caller_of(scope)).delete, file_id)
            await send_json(send, 200, {"id": file_id, "object": "file", "deleted": True})
        else:
            await send_json(send, 200, file_object(await in_thread(self._store.of(caller_of(scope)).get, file_id)))

    async def _create(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._form(scope, receive) as (fields, upload):
            purpose = fields.get("purpose", "")
            if not _PURPOSE.fullmatch(purpose):
                raise invalid("purpose", "'purpose' must say what the file is for, such as user_data or assistants.")
            expires_after_s = _expires_after(fields)
            model = fields.get("model") or _query(scope).get("model")
            session = session_of(scope)
            taker = self._taker(model, caller_of(scope), session)
            if taker is not None:
                await self._hand_over(taker, session, upload, purpose, scope, receive, send)
                return
            kept = await in_thread(
                self._store.of(caller_of(scope)).keep,
                upload.file,
                filename=safe_filename(upload.filename),
                content_type=_media_type(upload.content_type),
                purpose=purpose,
                expires_after_s=expires_after_s,
            )
        await send_json(send, 200, file_object(kept))

    @asynccontextmanager
    async def _form(self, scope: Scope, receive: Receive) -> AsyncIterator[tuple[Mapping[str, str], Upload]]:
        """The text fields and the one file of an upload."""
        kind = header(scope, b"content-type") or b""
        if not kind.lower().startswith(b"multipart/form-data"):
            raise invalid("file", "Send the file as 'multipart/form-data', in a part named 'file'.")
        most = min(self._options.max_upload_bytes, self._store.max_file_bytes)
        limit = min(self._options.max_upload_bytes, most + _FORM_BYTES)
        too_large = TooLarge(f"The file is larger than {most} bytes.")
        declared = header(scope, b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            raise too_large
        async with read_form(scope, receive, limit) as (fields, uploads):
            files = uploads.get("file", ())
            if len(files) != 1:
                raise invalid("file", "Send one file, in a part named 'file' that has a filename.")
            if files[0].size > most:
                raise too_large
            yield dict(fields), files[0]

    def _taker(self, model: str | None, caller: Principal, session: Session) -> Live | None:
        """The version that takes an upload over: of the deployment that is named, or of the only one for *caller*.

        Raises:
            HayhooksError: The one that is named does not, or not for *caller*.
        """
        if model:
            chosen = self._runtime.choose(model, caller, session)
            if ENTRY not in chosen.deployment.entries:
                raise EntryNotFound(model, "upload hook")
            return chosen
        revision, takers = self._takers
        if revision != self._runtime.revision:
            revision = self._runtime.revision
            takers = tuple(name for name, found in self._runtime.deployments.items() if ENTRY in found.entries)
            self._takers = (revision, takers)
        takers = tuple(name for name in takers if self._runtime.may(name, caller))
        return self._runtime.choose(takers[0], caller, session) if len(takers) == 1 else None

    async def _hand_over(
        self, chosen: Live, session: Session, upload: Upload, purpose: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        name = chosen.deployment.name
        now_s = time.time()
        kind = _media_type(upload.content_type)
        file = KeptFile(new_file_id(now_s), safe_filename(upload.filename), kind, upload.size, purpose, int(now_s))
        call = Call(
            arguments={
                "filename": file.filename,
                "content_type": kind or "application/octet-stream",
                "content": await in_thread(upload.file.read),
                "purpose": purpose,
            },
            headers=scope["headers"],
            session=session,
            caller=caller_of(scope),
            trace=trace_of(scope),
        )
        running = self._runtime.run(name, ENTRY, call, via=VIA, chosen=chosen)
        async with cancel_on_disconnect(receive), running as run:
            reply = await run.reply()
            if isinstance(reply, Raw):
                await reply.response(scope, receive, send)
                return
            given = msgspec.json.decode(reply.json) if isinstance(reply, Result) else None
            if not isinstance(given, dict):
                raise RunFailed(name) from TypeError(f"{ENTRY} must return a dict, the fields of a FileObject.")
            await send_json(send, 200, _completed(given, file), (request_id_header(run),))

    async def _list(self, scope: Scope, send: Send) -> None:
        query = _query(scope)
        limit, order, after = query.get("limit", str(MAX_LIMIT)), query.get("order", "desc"), query.get("after")
        if not re.fullmatch(r"[0-9]{1,5}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
            raise invalid("limit", f"'limit' must be a whole number from 1 to {MAX_LIMIT}.")
        if order not in ("asc", "desc"):
            raise invalid("order", "'order' must be 'asc' or 'desc'.")
        if after is not None and not is_file_id(after):
            raise invalid("after", "'after' must be the id of a file.")
        files, has_more = await in_thread(
            self._store.of(caller_of(scope)).page,
            limit=int(limit),
            is_newest_first=order == "desc",
            after=after,
            purpose=query.get("purpose"),
        )
        body = {
            "object": "list",
            "data": [file_object(file) for file in files],
            "first_id": files[0].file_id if files else None,
            "last_id": files[-1].file_id if files else None,
            "has_more": has_more,
        }
        await send_json(send, 200, body)

    async def _content(self, file_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        file, opened = await in_thread(self._store.of(caller_of(scope)).open, file_id)
        try:
            part = range_of(scope, file.size)
            wanted = range(file.size) if part is None else part
            headers: list[Header] = [
                (b"content-type", (file.content_type or "application/octet-stream").encode()),
                (b"content-length", b"%d" % len(wanted)),
                (b"accept-ranges", b"bytes"),
                (b"content-disposition", _disposition(file.filename)),
                *_AS_DATA,
            ]
            if part is not None:
                headers.append((b"content-range", b"bytes %d-%d/%d" % (part.start, part.stop - 1, file.size)))
                await in_thread(opened.seek, part.start)
            async with cancel_on_disconnect(receive) as watching:
                await send({"type": "http.response.start", "status": 200 if part is None else 206, "headers": headers})
                watching.start()
                left = 0 if scope["method"] == "HEAD" else len(wanted)
                while left and (piece := await in_thread(opened.read, min(left, _PIECE))):
                    left -= len(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                watching.stop()
                await send({"type": "http.response.body", "body": b""})
        except NotInRange as error:
            answer = error_object(str(error), "invalid_request_error", "range_not_satisfiable")
            await send_json(send, 416, answer, ((b"content-range", error.content_range),))
        finally:
            opened.close()


def file_object(file: KeptFile) -> dict[str, Any]:
    """A FileObject, as the API writes it."""
    found: dict[str, Any] = {
        "id": file.file_id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_s,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }
    return found if file.expires_s is None else {**found, "expires_at": file.expires_s}


def _completed(given: Mapping[str, Any], file: KeptFile) -> dict[str, Any]:
    """What a hook returned, with everything that clients count on in a FileObject."""
    return {**file_object(file), **{key: value for key, value in given.items() if value is not None}, "object": "file"}


def _expires_after(fields: Mapping[str, str]) -> int | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise invalid("expires_after.anchor", "'expires_after[anchor]' must be 'created_at'.")
    if not re.fullmatch(r"[0-9]{1,9}", seconds or "") or not MIN_EXPIRES_S <= int(seconds or "") <= MAX_EXPIRES_S:
        raise invalid(
            "expires_after.seconds", f"'expires_after[seconds]' must be from {MIN_EXPIRES_S} to {MAX_EXPIRES_S}."
        )
    return int(seconds or "")


def _media_type(given: str | None) -> str | None:
    """The type that an uploader says, when it is one."""
    if given is None:
        return None
    plain = given if _MEDIA_TYPE.fullmatch(given) else given.partition(";")[0].strip()
    return plain if _MEDIA_TYPE.fullmatch(plain) else None


def _disposition(filename: str) -> bytes:
    """Always to be saved, never shown in place. Source: RFC 6266, with the name again as RFC 8187 writes it."""
    plain = re.sub(r"[^ !#-\[\]-~]", "_", filename)  # ASCII without quotes and backslashes
    extended = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'attachment; filename="{plain}"{extended}'.encode()


def _query(scope: Scope) -> dict[str, str]:
    found = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return {name: values[-1] for name, values in found.items()}
