"""What is wrong with the head of a request, though it can be parsed."""

from collections.abc import Sequence
from typing import NamedTuple

MAX_HEADERS = 200
MAX_TARGET_BYTES = 16 * 1024


class Objection(NamedTuple):
    """How a request is refused."""

    status: int
    detail: str
    kind: str


def objection(
    target: bytes, headers: Sequence[tuple[bytes, bytes]], version: str, read_bytes: int, max_bytes: int
) -> Objection | None:
    """Why a request is refused, of whose head and body *read_bytes* have come so far; its head may have *max_bytes*.

    Fields that the parser lets pass and a proxy in front may have read otherwise are refused: RFC 9112, 3.2 and 6.1.
    """
    if len(headers) > MAX_HEADERS:
        return Objection(431, f"More than {MAX_HEADERS} header fields.", "too_large")
    if len(target) > MAX_TARGET_BYTES:
        return Objection(414, f"The address is longer than {MAX_TARGET_BYTES} bytes.", "too_large")
    if read_bytes > max_bytes and len(target) + sum(len(name) + len(value) + 4 for name, value in headers) > max_bytes:
        return too_large(max_bytes)
    names = [name for name, _ in headers]
    if names.count(b"host") != 1 and (version != "1.0" or b"host" in names):
        return Objection(400, "A request of HTTP/1.1 has exactly one Host header field.", "invalid")
    if b"transfer-encoding" in names:
        codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
        if codings != [b"chunked"] or version == "1.0":
            return Objection(400, "Transfer-Encoding can only be chunked, in a request of HTTP/1.1.", "invalid")
    return None


def too_large(max_bytes: int) -> Objection:
    """The refusal of a head that is longer."""
    return Objection(431, f"The request's head is larger than {max_bytes} bytes.", "too_large")
