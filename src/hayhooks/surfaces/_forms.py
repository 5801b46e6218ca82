"""Forms with files: fields in order, files spooled to disk."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from io import BytesIO

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from hayhooks.core.deployment import Upload
from hayhooks.core.errors import InvalidRequest, TooLarge
from hayhooks.surfaces._http import ClientGone, Header, header, require_plain

MAX_PARTS = 10_000
MAX_FIELD_BYTES = 32 * 1024 * 1024


@asynccontextmanager
async def read_form(
    scope: Scope, receive: Receive, limit: int, file_fields: Collection[str] = ()
) -> AsyncIterator[tuple[list[tuple[str, str]], dict[str, list[Upload]]]]:
    """The text fields and the files of a form; files larger than a megabyte lie on disk until the end of the block.

    A part of *file_fields* is a file without a filename too, which RFC 7578 asks for but does not insist on.

    Raises:
        TooLarge: The body is longer than *limit* bytes.
        InvalidRequest: It is not a form, or has too many parts.
        UnsupportedEncoding: It is compressed.
        ClientGone: The caller left.
    """
    require_plain(scope)
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

    kind, charset = _kind(scope)
    request = Request({**scope, "headers": kind}, counted)
    try:
        form = await request.form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        raise InvalidRequest(f"The form cannot be read: {error.detail}") from None
    except MultiPartException as error:
        raise InvalidRequest(f"The form cannot be read: {error.message}") from None
    try:
        fields: list[tuple[str, str]] = []
        uploads: dict[str, list[Upload]] = {}
        for field, value in form.multi_items():
            name = _decoded(field, charset)
            if isinstance(value, UploadFile):
                if not value.filename and not value.size:
                    continue  # a browser's way to say that no file was chosen
                filename = _decoded(value.filename or "", charset)
                uploads.setdefault(name, []).append(
                    Upload(filename, value.content_type, value.size or 0, value.file, value.headers)
                )
            elif charset is not None and name in file_fields and value:
                content = value.encode("latin-1")
                uploads.setdefault(name, []).append(Upload("", None, len(content), BytesIO(content), Headers()))
            else:
                fields.append((name, _decoded(value, charset)))
        yield fields, uploads
    finally:
        await form.close()


def _kind(scope: Scope) -> tuple[list[Header], str | None]:
    """The request's headers with a charset in which each byte is a character, and the charset of the form.

    The parser decodes parts without a filename before it is known which of them are files, whose bytes matter. None
    is the charset of a form that is not multipart: it holds no files.
    """
    kind = header(scope, b"content-type") or b""
    media, options = parse_options_header(kind)
    if media != b"multipart/form-data":
        return list(scope["headers"]), None
    charset = options.pop(b"charset", b"utf-8").decode("latin-1")
    options[b"charset"] = b"latin-1"
    kept = [(key, value) for key, value in scope["headers"] if key != b"content-type"]
    return [*kept, (b"content-type", media + b"".join(_option(*item) for item in options.items()))], charset


def _option(name: bytes, value: bytes) -> bytes:
    escaped = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'; %s="%s"' % (name, escaped)


def _decoded(text: str, charset: str | None) -> str:
    if charset is None:
        return text
    try:
        return text.encode("latin-1").decode(charset)
    except (LookupError, UnicodeError):
        return text
