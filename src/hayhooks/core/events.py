"""The events of a run: frozen facts that every surface folds into its own protocol."""

from typing import Any, Literal

import msgspec


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False):
    """A tool call, or a further piece of one; pieces of one call share its ``index``."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""  # JSON, or a piece of it


class ToolResult(msgspec.Struct, frozen=True, gc=False):
    """What a tool that the pipeline ran itself gave back."""

    name: str
    id: str | None
    text: str
    is_error: bool = False


class Usage(msgspec.Struct, frozen=True):
    """Tokens that one model call reported, under the OpenAI names."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    details: dict[str, Any] = {}  # completion_tokens_details and the like, as reported


class Chunk(msgspec.Struct, frozen=True):
    """A piece of streamed output: text, reasoning, tool call deltas, or a tool's result."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    tool_result: ToolResult | None = None
    finish_reason: str | None = None
    usage: Usage | None = None


class Texts(msgspec.Struct, frozen=True):
    """Chunks of nothing but text, in a row; each was streamed by itself and is sent by itself."""

    texts: list[str]


class UserEvent(msgspec.Struct, frozen=True):
    """Something for the person who watches: a status, a source, a notification."""

    type: str
    data: Any


class Data(msgspec.Struct, frozen=True):
    """A streamed item that is neither text nor an event, encoded as JSON."""

    json: bytes


class Completion(msgspec.Struct, frozen=True):
    """A whole chat completion made by the hook, in the OpenAI form, or one chunk of it."""

    data: dict[str, Any]


class Vectors(msgspec.Struct, frozen=True):
    """Embeddings in the order of the inputs, packed: machine floats, of a size that *typecode* says."""

    items: list[bytes]
    typecode: Literal["f", "d"]  # of the module array: 4 or 8 bytes a number
    usage: Usage | None = None


class Result(msgspec.Struct, frozen=True):
    """The answer of a plain run, encoded as JSON."""

    json: bytes


class Raw(msgspec.Struct, frozen=True):
    """An answer that brings its own status, headers and body: an ASGI application of one request."""

    response: Any


Event = Texts | Chunk | UserEvent | Usage | Data | Completion | Vectors | Result | Raw
