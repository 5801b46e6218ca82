"""Ready-made callbacks for streaming_generator: tool calls as statuses, the documents an answer used as a list."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hayhooks.events import PipelineEvent, create_notification_event, create_status_event
from hayhooks.open_webui import create_details_tag

__all__ = ["default_on_pipeline_end", "default_on_tool_call_end", "default_on_tool_call_start"]


def default_on_tool_call_start(
    tool_name: str, arguments: dict[str, Any] | str | None, tool_call_id: str | None
) -> PipelineEvent | None:
    """A status that says which tool is called; None for a call without a name."""
    del arguments, tool_call_id  # the result's block shows them
    return create_status_event(f"Calling '{tool_name}' tool...") if tool_name else None


def default_on_tool_call_end(
    tool_name: str, arguments: dict[str, Any], result: str, error: bool
) -> list[PipelineEvent | str]:
    """A status that ends the call's, then a collapsed block with arguments and result, or an error notice."""
    if error:
        return [
            create_status_event(f"Called '{tool_name}' tool", done=True, hidden=True),
            create_notification_event(f"Error calling '{tool_name}' tool", "error"),
        ]
    shown = json.dumps(arguments, ensure_ascii=False, default=str)
    block = _fenced(f"Arguments:\n{shown}\n\nResponse:\n{result}")
    return [
        create_status_event(f"Called '{tool_name}' tool", done=True),
        create_details_tag(tool_name, f"Tool call result for '{tool_name}'", block),
    ]


def default_on_pipeline_end(result: Any) -> str | None:
    """The documents in a pipeline's *result* as a Markdown list of sources, or None when it has none.

    Documents are found as component outputs and inside answers, so name the retriever in
    ``include_outputs_from``. Each source is listed once, by its title, URL or file name.
    """
    sources = dict.fromkeys(filter(None, map(_source, _documents(result))))
    return "\n\n**Sources**\n" + "\n".join(f"- {source}" for source in sources) + "\n" if sources else None


def _fenced(text: str) -> str:
    # The fence is longer than any in the text, which could otherwise end it.
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _documents(value: Any) -> Iterator[Any]:
    """Every Document in a result, known by its shape so that Haystack need not be imported here."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _documents(inner)
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        for inner in value:
            yield from _documents(inner)
    elif hasattr(value, "documents"):
        yield from _documents(value.documents)
    elif hasattr(value, "content") and isinstance(getattr(value, "meta", None), Mapping):
        yield value


def _source(document: Any) -> str | None:
    meta = document.meta
    url = next((str(meta[key]) for key in ("url", "link", "source_url") if meta.get(key)), None)
    name = next(
        (str(meta[key]) for key in ("title", "name", "file_name", "file_path", "source") if meta.get(key)), None
    )
    if url:
        return f"[{name or url}]({url})"
    return name
