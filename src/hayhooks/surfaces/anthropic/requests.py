"""What an Anthropic client sends, as far as it is read here; further fields are kept for the hook.

Source: Anthropic API reference, "Create a Message" and "Count tokens in a Message".
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from hayhooks.core.errors import InvalidRequest
from hayhooks.surfaces._json import json_object

Name = Annotated[str, msgspec.Meta(min_length=1)]
_LARGEST = 2**31 - 1  # beyond 64 bits JSON's whole numbers arrive as others


class Text(msgspec.Struct, tag_field="type", tag="text"):
    """Text."""

    text: str


class Base64Source(msgspec.Struct, tag_field="type", tag="base64"):
    """Bytes in the request."""

    media_type: str
    data: str


class URLSource(msgspec.Struct, tag_field="type", tag="url"):
    """Bytes elsewhere. Nothing is fetched here."""

    url: str


class FileSource(msgspec.Struct, tag_field="type", tag="file"):
    """A file that was uploaded before."""

    file_id: str


class Image(msgspec.Struct, tag_field="type", tag="image"):
    """An image."""

    source: Base64Source | URLSource | FileSource


class TextSource(msgspec.Struct, tag_field="type", tag="text"):
    """A document that is plain text."""

    data: str


class BlocksSource(msgspec.Struct, tag_field="type", tag="content"):
    """A document made of blocks."""

    content: str | list[Text | Image]


class Document(msgspec.Struct, tag_field="type", tag="document"):
    """A document to read."""

    source: Base64Source | URLSource | FileSource | TextSource | BlocksSource
    title: str | None = None
    context: str | None = None


class SearchResult(msgspec.Struct, tag_field="type", tag="search_result"):
    """Something that the caller has found."""

    source: str
    title: str
    content: list[Text]


class ToolReference(msgspec.Struct, tag_field="type", tag="tool_reference"):
    """A deferred tool that the caller's own search has found: the model may call it from then on."""

    tool_name: Name


class ToolResult(msgspec.Struct, tag_field="type", tag="tool_result"):
    """What a tool of the caller's gave back."""

    tool_use_id: str
    content: str | list[Text | Image | Document | SearchResult | ToolReference] | None = None
    is_error: bool | None = None


class ToolUse(msgspec.Struct, tag_field="type", tag="tool_use"):
    """A call of a tool of the caller's."""

    id: str
    name: Name
    input: dict[str, Any]


class Thinking(msgspec.Struct, tag_field="type", tag="thinking"):
    """What the model thought. Its signature is not looked at: nothing here makes one."""

    thinking: str


class RedactedThinking(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    """What the model thought, for its provider's eyes only."""


class UserMessage(msgspec.Struct, tag_field="role", tag="user"):
    """A turn of the user's, tool results among it."""

    content: str | list[Text | Image | Document | SearchResult | ToolResult]


class AssistantMessage(msgspec.Struct, tag_field="role", tag="assistant"):
    """A turn of the model's."""

    content: str | list[Text | Thinking | RedactedThinking | ToolUse]


class SystemMessage(msgspec.Struct, tag_field="role", tag="system"):
    """An instruction between turns."""

    content: str | list[Text]


Message = UserMessage | AssistantMessage | SystemMessage


class Tool(msgspec.Struct):
    """A tool that the caller runs."""

    name: Name
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None
    defer_loading: bool | None = None
    type: Literal["custom"] | None = None


class AutoChoice(msgspec.Struct, tag_field="type", tag="auto"):
    """The model decides."""

    disable_parallel_tool_use: bool = False


class AnyChoice(msgspec.Struct, tag_field="type", tag="any"):
    """One tool at least."""

    disable_parallel_tool_use: bool = False


class ToolChoice(msgspec.Struct, tag_field="type", tag="tool"):
    """One tool, by name."""

    name: Name
    disable_parallel_tool_use: bool = False


class NoChoice(msgspec.Struct, tag_field="type", tag="none"):
    """No tool."""


class ThinkingConfig(msgspec.Struct):
    """Whether the caller wants to see the model think."""

    type: str
    display: str | None = None

    @property
    def is_shown(self) -> bool:
        """Whether thinking blocks belong into the answer."""
        return self.type != "disabled" and self.display != "omitted"


class OutputFormat(msgspec.Struct):
    """The schema that the answer's text must fit."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    """How the answer should be."""

    effort: str | None = None
    format: OutputFormat | None = None


class Metadata(msgspec.Struct):
    """For whom the request is made."""

    user_id: str | None = None


class CountRequest(msgspec.Struct, kw_only=True):
    """Body of ``/v1/messages/count_tokens``."""

    model: Name
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    system: str | list[Text] | None = None
    tools: list[Tool] | None = None
    tool_choice: AutoChoice | AnyChoice | ToolChoice | NoChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None


class MessagesRequest(CountRequest, kw_only=True):
    """Body of ``/v1/messages``."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)] | None = None
    metadata: Metadata | None = None


R = TypeVar("R", bound=CountRequest)


def read_request(body: bytes, kind: type[R]) -> tuple[R, dict[str, Any]]:
    """The request, and all that it says as plain data.

    Raises:
        InvalidRequest: Naming the field, as in ``messages[0].role``.
    """
    data = json_object(body)
    _refuse_foreign_tools(data.get("tools"))
    for name in ("max_tokens", "top_k"):  # JSON does not tell 10.0 from 10, and hooks should get the latter
        value = data.get(name)
        if isinstance(value, float) and value.is_integer():
            data[name] = int(value)
    try:
        return msgspec.convert(data, kind), data
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").lstrip(".")
        raise InvalidRequest(f"{field}: {what}" if field else what) from None


def _refuse_foreign_tools(tools: Any) -> None:
    """Tools that Anthropic runs or has taught its models by heart: there is nothing here that knows them."""
    for place, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind != "custom":
            raise InvalidRequest(
                f"tools[{place}].type: {kind[:80]!r} is a tool of Anthropic's own, which does not exist here. "
                "Give tools with a name and an input_schema."
            )
