"""Ready-made callbacks for streaming_generator: tool calls as statuses, the documents an answer used as sources."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hayhooks.events import PipelineEvent, create_notification_event, create_status_event
from hayhooks.open_webui import create_details_tag, create_source_event

__all__ = [
    "default_on_pipeline_end",
    "default_on_tool_call_end",
    "default_on_tool_call_start",
    "sources_on_pipeline_end",
]

_SHOWN = 10_000  # characters of a document that a source carries
_NAMED = 60  # characters of a document that stand for its name


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


def sources_on_pipeline_end(result: Any) -> list[PipelineEvent]:
    """The documents in a pipeline's *result* as sources, which Open WebUI shows under the answer.

    Documents are found as `default_on_pipeline_end` finds them. Those from one place are one source, with a text for
    each; one that has neither title, URL nor file name is named by its first words.
    """
    places: dict[str, dict[str, Any]] = {}
    seen: set[Any] = set()
    for document in _documents(result):
        key = getattr(document, "id", None) or id(document)
        if key in seen:  # of a retriever and of the answer that refers to it
            continue
        seen.add(key)
        text = document.content if isinstance(document.content, str) else ""
        url, name = _url(document), _name(document)
        name = name or url or " ".join(text.split())[:_NAMED] or "Document"
        # Open WebUI shows an id that is a URL in place of the name.
        place = url.partition("://")[2] or url if url else name
        if place not in places:
            link = {"url": url} if url and url.startswith(("https://", "http://")) else {}
            places[place] = {"source": {"id": place, "name": name, **link}, "document": [], "metadata": []}
        places[place]["document"].append(text[:_SHOWN])
        places[place]["metadata"].append({"source": place, "name": name})
    return [create_source_event(source) for source in places.values()]


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
    url, name = _url(document), _name(document)
    return f"[{name or url}]({url})" if url else name


def _url(document: Any) -> str | None:
    return _meta(document, "url", "link", "source_url")


def _name(document: Any) -> str | None:
    return _meta(document, "title", "name", "file_name", "file_path", "source")


def _meta(document: Any, *keys: str) -> str | None:
    return next((str(document.meta[key]) for key in keys if document.meta.get(key)), None)
