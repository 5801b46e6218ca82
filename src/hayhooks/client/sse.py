"""Server-sent events, read as they arrive."""

import codecs
from collections.abc import Iterable, Iterator

from hayhooks.client.errors import ServerRefused


def event_texts(pieces: Iterable[bytes]) -> Iterator[str]:
    """The data of each event in *pieces*; comments (heartbeats) are left out.

    Raises:
        ServerRefused: When the server sends an event named ``error``: the run failed after its answer began.

    Source of the format: WHATWG HTML, "Server-sent events".
    """
    name, data = "", list[str]()
    for line in _lines(pieces):
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            continue
        if data:
            text = "\n".join(data)
            if name == "error":
                raise ServerRefused(200, text, kind="failed", hint="The server's log says why.")
            yield text
        name, data = "", []


def texts(pieces: Iterable[bytes], charset: str) -> Iterator[str]:
    """*pieces* as text; a character that is cut between two of them comes out whole."""
    try:
        decoder = codecs.getincrementaldecoder(charset)("replace")
    except LookupError:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = ""
    for text in texts(pieces, "utf-8"):
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield line.removesuffix("\r")
