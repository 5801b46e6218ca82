"""Runs that an overloaded process refuses by their address, and what they are told: in the words of the surfaces."""

import json
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from hayhooks.core.load import Load

# With one of these the parser and the app have a say. A page of another origin could not read an answer without CORS.
_UNUSUAL = (b"origin", b"transfer-encoding", b"connection", b"expect", b"upgrade", b"content-length")
# A field as RFC 9110 has it, in small letters; anything else is the parser's to refuse.
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*").fullmatch


def refusal(load: Load, target: bytes, waited_s: float) -> bytes | None:
    """The whole answer to a POST to *target* that has waited so long, if it is a run that is refused now."""
    name, _, verb = target.partition(b"?")[0][1:].partition(b"/")
    answer = _ANSWERS.get(verb)
    if answer is None or not load.refuses(name.decode("latin-1"), waited_s):
        return None
    return answer


def target_of(data: bytes) -> bytes | None:
    """The target of a POST, if *data* is all of one, with nothing unusual about it: then no parser is needed."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or not data.startswith(b"POST /"):
        return None
    line, *fields = data[:end].lower().split(b"\r\n")
    length = b"content-length: %d" % (len(data) - end - 4)
    if line.count(b" ") != 2 or not line.endswith(b" http/1.1") or fields.count(length) != 1:
        return None
    for field in fields:
        if not _FIELD(field):
            return None
        if field.startswith(_UNUSUAL) and field not in (length, b"connection: keep-alive"):
            return None
    return data[5 : len(line) - 9]


def _whole(body: dict[str, Any]) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    head = b"content-type: application/json\r\ncontent-length: %d\r\nretry-after: 1\r\n\r\n" % len(data)
    return STATUS_LINE[503] + head + data


_TEXT = "The server is overloaded. Try again later."
_ANSWERS = {
    b"run": _whole({"detail": _TEXT, "kind": "unavailable"}),
    b"chat": _whole({"error": {"message": _TEXT, "type": "server_error", "param": None, "code": "unavailable"}}),
}
