"""Range requests: a part of something whose size is known.

Source: RFC 9110, section 14. Of several ranges at once none is sent but the whole, as it allows.
"""

import re

from starlette.types import Scope

from hayhooks.surfaces._http import header

_ONE = re.compile(rb"bytes=[ \t]*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))[ \t]*", re.IGNORECASE)


class NotInRange(Exception):
    """The range that is asked for has no byte."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The range has none of the {size} bytes.")
        self.content_range = f"bytes */{size}".encode()


def range_of(scope: Scope, size: int) -> range | None:
    """The bytes of *size* that a GET asks for; None for all of them.

    Raises:
        NotInRange: There are none.
    """
    asked = header(scope, b"range")
    # What is sent has no validator that a caller could ask back with: then the whole is the safe answer.
    if asked is None or scope["method"] != "GET" or header(scope, b"if-range") is not None:
        return None
    found = _ONE.fullmatch(asked.strip())
    if found is None:
        return None
    first, last, tail = found.groups()
    if tail is not None:
        begin, end = max(0, size - int(tail)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None  # not a range at all
    if begin >= end:
        raise NotInRange(size)
    return range(begin, end)
