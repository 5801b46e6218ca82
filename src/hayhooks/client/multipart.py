"""Bodies of requests: JSON, and multipart/form-data whose files are read while they are sent."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hayhooks.client.errors import InvalidClientRequest

Content = bytes | Path  # a path is read when it is sent, piece by piece

PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a form: the parameter it is for, its name there, and its content."""

    field: str
    filename: str
    content: Content
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body: its type, its exact size, and its bytes, to be read once."""

    content_type: str
    size_bytes: int
    pieces: Iterable[bytes]


def json_body(value: Any) -> Body:
    """*value* as JSON."""
    try:
        encoded = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidClientRequest(f"The parameters cannot be sent as JSON: {error}.") from error
    return Body("application/json", len(encoded), (encoded,))


def form_body(fields: Iterable[tuple[str, str]], uploads: Sequence[Upload]) -> Body:
    """A multipart form of text fields and files, with its size known in advance.

    Source of the format: RFC 7578; quotes and backslashes in names are escaped with a backslash (RFC 2616),
    which is what the server's parser undoes.
    """
    boundary = os.urandom(16).hex()
    parts: list[tuple[bytes, Content, int]] = []
    for name, text in fields:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(name)}"\r\n\r\n'
        content = text.encode()
        parts.append((head.encode(), content, len(content)))
    for upload in uploads:
        head = (
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="{_escaped(upload.field)}"; filename="{_escaped(upload.filename)}"\r\n'
            f"Content-Type: {upload.content_type}\r\n\r\n"
        )
        parts.append((head.encode(), upload.content, content_bytes(upload.content)))
    end = f"--{boundary}--\r\n".encode()
    size = sum(len(head) + content_size + 2 for head, _, content_size in parts) + len(end)
    return Body(f"multipart/form-data; boundary={boundary}", size, _pieces(parts, end))


def content_bytes(content: Content) -> int:
    """Size of *content* in bytes.

    Raises:
        InvalidClientRequest: When the file cannot be read.
    """
    if isinstance(content, bytes):
        return len(content)
    try:
        return content.stat().st_size
    except OSError as error:
        raise _unreadable(content, error) from error


def read_content(content: Content) -> bytes:
    """All of *content*.

    Raises:
        InvalidClientRequest: When the file cannot be read.
    """
    try:
        return content if isinstance(content, bytes) else content.read_bytes()
    except OSError as error:
        raise _unreadable(content, error) from error


def _pieces(parts: Sequence[tuple[bytes, Content, int]], end: bytes) -> Iterator[bytes]:
    for head, content, size in parts:
        yield head
        if isinstance(content, bytes):
            yield content
        else:
            yield from _file_pieces(content, size)
        yield b"\r\n"
    yield end


def _file_pieces(path: Path, size: int) -> Iterator[bytes]:
    left = size
    try:
        with path.open("rb") as file:
            while left and (piece := file.read(min(PIECE_BYTES, left))):
                left -= len(piece)
                yield piece
            grown = bool(file.read(1))
    except OSError as error:
        raise _unreadable(path, error) from error
    if left or grown:  # the size is already on its way to the server
        raise InvalidClientRequest(f"{path} changed while it was sent. Try again.")


def _escaped(name: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise InvalidClientRequest(f"{name!r} has control characters and cannot be the name of an upload.")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidClientRequest(f"{name!r} is not valid Unicode and cannot be the name of an upload.") from error
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _unreadable(content: Content, error: OSError) -> InvalidClientRequest:
    return InvalidClientRequest(f"Cannot read {content!s}: {error.strerror or error}.")
