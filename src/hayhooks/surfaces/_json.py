"""JSON of whatever a hook gave."""

import json
from typing import Any

from msgspec.json import encode


def json_bytes(value: Any) -> bytes:
    """*value* as JSON, whatever a hook put into it."""
    try:
        return encode(value)
    except (TypeError, ValueError):  # half of a character pair, as some tokenizers make; an object in an event
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
