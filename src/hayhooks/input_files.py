"""Reading the files that chat messages and the input of Responses calls bring along or refer to."""

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from hayhooks.core.context import current_context
from hayhooks.core.errors import InvalidRequest

__all__ = ["InputFile", "read_input_file", "read_input_file_async"]


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the caller's."""

    filename: str | None  # of an uploaded file it can be shown and written as it is; else it is the caller's word
    content_type: str | None
    content: bytes


def read_input_file(part: Mapping[str, Any]) -> InputFile:
    """The file behind a part that ``get_input_files`` gave: an uploaded one by its ``file_id``, or its ``file_data``.

    Blocks while it reads; in async code use ``read_input_file_async``. What goes wrong is the caller's to mend: not
    caught, it is answered with 400 or 404.

    Raises:
        InvalidRequest: The data is no base64; the file is given by address, and nothing is fetched here; there is
            nothing in the part.
        KeptFileNotFound: The run's caller has uploaded no file of that id, or it is gone.
        LookupError: A ``file_id`` is read outside of a run.
    """
    if isinstance(part.get("file"), Mapping):  # as chat messages have it
        part = part["file"]
    filename = part.get("filename")
    filename = filename if isinstance(filename, str) else None
    file_id, data = part.get("file_id"), part.get("file_data")
    if isinstance(file_id, str):
        return _uploaded(file_id)
    if isinstance(data, str):
        content_type, content = _data(data)
        return InputFile(filename, content_type, content)
    if part.get("file_url") is not None:
        raise _invalid("file_url", "Files are not fetched from addresses: upload the file, or send it as 'file_data'.")
    raise _invalid("file_data", "A file needs a 'file_id' or 'file_data'.")


async def read_input_file_async(part: Mapping[str, Any]) -> InputFile:
    """As ``read_input_file``, for async code: it reads in a thread."""
    return await asyncio.to_thread(read_input_file, part)


def _uploaded(file_id: str) -> InputFile:
    context = current_context.get()
    if context is None or context.files is None:
        raise LookupError("read_input_file() is called outside of a run: there are no uploaded files.")
    file, opened = context.files.of(context.caller).open(file_id)
    with opened:
        return InputFile(file.filename, file.content_type, opened.read())


def _data(text: str) -> tuple[str | None, bytes]:
    """Content type and bytes of base64 or of a data URL. Source: RFC 2397."""
    content_type, is_base64 = None, True
    if text.startswith("data:"):
        head, comma, text = text[len("data:") :].partition(",")
        if not comma:
            raise _invalid("file_data", "'file_data' is a data URL without data.")
        is_base64 = head.endswith(";base64")
        content_type = head.removesuffix(";base64") or None
    if not is_base64:
        return content_type, unquote_to_bytes(text)
    try:
        return content_type, base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("file_data", "'file_data' is not base64.") from None


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, [{"loc": ["body", field], "msg": message, "type": "invalid"}])
