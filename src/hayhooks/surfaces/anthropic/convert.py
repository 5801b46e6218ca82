"""An Anthropic request in the words of a chat completion, which is what chat hooks take."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec.json import encode

from hayhooks.surfaces.anthropic.requests import (
    AnyChoice,
    AssistantMessage,
    Base64Source,
    BlocksSource,
    CountRequest,
    Document,
    FileSource,
    Image,
    Message,
    MessagesRequest,
    NoChoice,
    OutputConfig,
    SearchResult,
    SystemMessage,
    Text,
    TextSource,
    Thinking,
    ToolChoice,
    ToolReference,
    ToolResult,
    ToolUse,
    URLSource,
    UserMessage,
)

Block = Text | Image | Document | SearchResult | ToolReference
_SAID_OTHERWISE = ("messages", "system", "stop_sequences", "tools", "tool_choice", "output_config")
_EFFORTS = {"max": "xhigh"}  # the highest that the other API has a word for


def chat_body(request: MessagesRequest, data: dict[str, Any]) -> dict[str, Any]:
    """The body of a chat completion that asks for the same. What has no name there stays as *data* says it."""
    body = {key: value for key, value in data.items() if key not in _SAID_OTHERWISE}
    body["messages"] = chat_messages(request)
    body["stream"] = bool(request.stream)
    if request.stream:
        body["stream_options"] = {"include_usage": True}  # in this protocol every stream ends with it
    if request.stop_sequences:
        body["stop"] = request.stop_sequences
    if request.metadata is not None and request.metadata.user_id:
        body["user"] = request.metadata.user_id
    tools = chat_tools(request)
    if tools:
        body["tools"] = tools
    body |= _choice(request)
    body |= _output(request.output_config)
    return body


def chat_messages(request: CountRequest) -> list[dict[str, Any]]:
    """The conversation, with the system prompt as its first message."""
    messages: list[dict[str, Any]] = []
    system = _joined(request.system) if request.system is not None else ""
    if system:
        messages.append({"role": "system", "content": system})
    for message in request.messages:
        messages += _messages(message)
    return messages


def chat_tools(request: CountRequest) -> list[dict[str, Any]]:
    """The tools as functions; those that are deferred once a result refers to them."""
    functions = []
    found = set(_references(request.messages))
    for tool in request.tools or ():
        if tool.defer_loading and tool.name not in found:
            continue
        function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.strict is not None:
            function["strict"] = tool.strict
        functions.append({"type": "function", "function": function})
    return functions


def _references(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        blocks = message.content if isinstance(message, UserMessage) else ()
        for result in blocks:
            if isinstance(result, ToolResult) and isinstance(result.content, list):
                yield from (block.tool_name for block in result.content if isinstance(block, ToolReference))


def _choice(request: MessagesRequest) -> dict[str, Any]:
    choice = request.tool_choice
    if choice is None:
        return {}
    if isinstance(choice, NoChoice):
        return {"tool_choice": "none"}
    parallel = {"parallel_tool_calls": False} if choice.disable_parallel_tool_use else {}
    if isinstance(choice, ToolChoice):
        return {"tool_choice": {"type": "function", "function": {"name": choice.name}}, **parallel}
    return {"tool_choice": "required" if isinstance(choice, AnyChoice) else "auto", **parallel}


def _output(config: OutputConfig | None) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if config is not None and config.effort:
        said["reasoning_effort"] = _EFFORTS.get(config.effort, config.effort)
    if config is not None and config.format is not None:
        schema = {"name": "answer", "schema": config.format.schema, "strict": True}
        said["response_format"] = {"type": "json_schema", "json_schema": schema}
    return said


def _messages(message: Message) -> Iterator[dict[str, Any]]:
    if isinstance(message, SystemMessage):
        yield {"role": "system", "content": _joined(message.content)}
    elif isinstance(message, AssistantMessage):
        yield _assistant(message)
    elif isinstance(message.content, str):
        yield {"role": "user", "content": message.content}
    else:
        yield from _user(message.content)


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    blocks = [Text(message.content)] if isinstance(message.content, str) else message.content
    # Blocks of one turn go on where the one before has stopped.
    text = "".join(block.text for block in blocks if isinstance(block, Text))
    thinking = "".join(block.thinking for block in blocks if isinstance(block, Thinking))
    calls = [_call(block) for block in blocks if isinstance(block, ToolUse)]
    said: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if thinking:
        said["reasoning_content"] = thinking
    if calls:
        said["tool_calls"] = calls
    return said


def _call(block: ToolUse) -> dict[str, Any]:
    function = {"name": block.name, "arguments": encode(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function}


def _user(blocks: Sequence[Block | ToolResult]) -> Iterator[dict[str, Any]]:
    """Tool results become messages of their own; what is around them stays before or after.

    A tool message can only carry text, so images and files of results follow as the user's.
    """
    parts: list[dict[str, Any]] = []
    attached: list[dict[str, Any]] = []
    for block in blocks:
        if not isinstance(block, ToolResult):
            parts += attached
            attached = []
            parts += _parts(block)
            continue
        if parts:
            yield {"role": "user", "content": _content(parts)}
            parts = []
        text, more = _result(block)
        attached += more
        yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": text}
    parts += attached
    if parts or not blocks:
        yield {"role": "user", "content": _content(parts)}


def _result(block: ToolResult) -> tuple[str, list[dict[str, Any]]]:
    content = block.content or ""
    blocks = [Text(content)] if isinstance(content, str) else content
    parts = [part for item in blocks for part in _parts(item)]
    attached = [part for part in parts if part["type"] != "text"]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if attached and not text:
        text = "The result is attached to the next message."
    if block.is_error and not text.lower().startswith("error"):
        text = f"Error: {text}"  # chat completions have no other way to say it
    return text, attached


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Plain text as long as there is nothing else: every hook understands it."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _parts(block: Block) -> list[dict[str, Any]]:
    if isinstance(block, Text):
        return [_text(block.text)]
    if isinstance(block, Image):
        return [_image(block)]
    if isinstance(block, ToolReference):
        return [_text(f"The tool {block.tool_name} can be called now.")]
    if isinstance(block, SearchResult):
        return [_text("\n".join([block.title, block.source, *(text.text for text in block.content)]))]
    return _document(block)


def _image(block: Image) -> dict[str, Any]:
    source = block.source
    if isinstance(source, FileSource):
        return {"type": "file", "file": {"file_id": source.file_id}}
    url = source.url if isinstance(source, URLSource) else _data_url(source)
    return {"type": "image_url", "image_url": {"url": url}}


def _document(block: Document) -> list[dict[str, Any]]:
    source = block.source
    about = [_text(text) for text in (block.title, block.context) if text]
    if isinstance(source, TextSource):
        return [*about, _text(source.data)]
    if isinstance(source, BlocksSource):
        content = [Text(source.content)] if isinstance(source.content, str) else source.content
        return [*about, *(part for item in content for part in _parts(item))]
    file: dict[str, Any] = {"filename": block.title or "document"}
    if isinstance(source, Base64Source):
        file["file_data"] = _data_url(source)
    elif isinstance(source, URLSource):
        file["file_url"] = source.url
    else:
        file["file_id"] = source.file_id
    return [*([_text(block.context)] if block.context else []), {"type": "file", "file": file}]


def _data_url(source: Base64Source) -> str:
    return f"data:{source.media_type};base64,{source.data}"


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _joined(content: str | list[Text]) -> str:
    return content if isinstance(content, str) else "\n".join(block.text for block in content)
