"""Forms with files: fields in order, files spooled to disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from hayhooks.core.deployment import Upload
from hayhooks.core.errors import InvalidRequest, TooLarge
from hayhooks.surfaces._http import ClientGone

MAX_PARTS = 10_000
MAX_FIELD_BYTES = 32 * 1024 * 1024


@asynccontextmanager
async def read_form(
    scope: Scope, receive: Receive, limit: int
) -> AsyncIterator[tuple[list[tuple[str, str]], dict[str, list[Upload]]]]:
    """The text fields and the files of a form; files larger than a megabyte lie on disk until the end of the block.

    Raises:
        TooLarge: The body is longer than *limit* bytes.
        InvalidRequest: It is not a form, or has too many parts.
        ClientGone: The caller left.
    """
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message.get("body", b""))
        if size > limit:
            raise TooLarge(f"The body is larger than {limit} bytes.")
        return message

    request = Request(scope, counted)
    try:
        form = await request.form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        raise InvalidRequest(f"The form cannot be read: {error.detail}") from None
    except MultiPartException as error:
        raise InvalidRequest(f"The form cannot be read: {error.message}") from None
    try:
        fields: list[tuple[str, str]] = []
        uploads: dict[str, list[Upload]] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if not value.filename and not value.size:
                    continue  # a browser's way to say that no file was chosen
                uploads.setdefault(name, []).append(
                    Upload(value.filename or "", value.content_type, value.size or 0, value.file, value.headers)
                )
            else:
                fields.append((name, value))
        yield fields, uploads
    finally:
        await form.close()
