"""What the model server puts on the wire: objects of the OpenAI API, as dictionaries."""

import base64
import hashlib
import json
import math
import re
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from tests.support.model_replies import Failure, Part, Reasoning, Text, ToolCall

CREATED = 1_700_000_000
EMBEDDING_DIMENSIONS = 16


class CutConnectionError(Exception):
    """Raised into uvicorn, which then drops the connection."""


async def broken_body() -> AsyncIterator[bytes]:
    """A body that has begun, so that no error page can take its place, and then breaks off."""
    yield b"{"
    raise CutConnectionError


def message_text(message: Mapping[str, Any]) -> str:
    """Text of a chat message whose content is a string or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def answer_text(parts: Sequence[Part]) -> str:
    """The text of an answer, without reasoning."""
    texts = (part if isinstance(part, str) else part.text for part in parts if isinstance(part, str | Text))
    return "".join(texts)


def words(text: str) -> list[str]:
    """*text* cut into words that keep the space after them; joined they give *text*."""
    return re.findall(r"\s*\S+\s*|\s+", text)


def usage(body: Mapping[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    """Token counts of an exchange, a word being a token and a tool call one token per word of its JSON."""
    prompt = sum(len(message_text(message).split()) for message in body["messages"])
    reasoning = sum(len(part.text.split()) for part in parts if isinstance(part, Reasoning))
    calls = sum(len(json.dumps(dict(part.arguments)).split()) for part in parts if isinstance(part, ToolCall))
    completion = len(answer_text(parts).split()) + reasoning + calls
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def logprobs(tokens: Sequence[str]) -> dict[str, Any]:
    """How sure a model that doubts nothing was of each token."""
    sure = [{"token": token, "logprob": 0.0, "bytes": list(token.encode()), "top_logprobs": []} for token in tokens]
    return {"content": sure, "refusal": None}


def wire_call(call: ToolCall, index: int) -> dict[str, Any]:
    """A tool call as the API writes it."""
    function = {"name": call.name, "arguments": json.dumps(dict(call.arguments))}
    return {"id": call.id or f"call_{index}", "type": "function", "function": function}


def embedding(text: str) -> list[float]:
    """A unit vector in which texts that share words lie close together; the same for the same words."""
    vector = [0.0] * EMBEDDING_DIMENSIONS
    for word in re.findall(r"\w+", text.lower()):
        vector[hashlib.sha256(word.encode()).digest()[0] % EMBEDDING_DIMENSIONS] += 1.0
    norm = math.hypot(*vector) or 1.0
    return [value / norm for value in vector]


def packed(vector: Sequence[float]) -> str:
    """*vector* as base64 of little-endian float32."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def model_object(model: str) -> dict[str, Any]:
    """A row of the model list."""
    return {"id": model, "object": "model", "created": CREATED, "owned_by": "tests"}


def error_body(failure: Failure) -> dict[str, Any]:
    """The API's error object."""
    kind = "invalid_request_error" if failure.status < 500 else "server_error"
    return {"message": failure.message, "type": kind, "code": failure.code, "param": None}


def error_response(failure: Failure) -> Response:
    """An HTTP error; clients are told not to retry, so that a test sees each request once."""
    return JSONResponse({"error": error_body(failure)}, status_code=failure.status, headers={"x-should-retry": "false"})


def sse(data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(data)}\n\n".encode()
