"""What a model that does as it is told answers: calls tools, fills schemas, thinks, stops where it should.

An answer function for the model server::

    with ModelServer(answer=obedient) as models:
        ...
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.model_replies import Finish, Part, Reasoning, Reply, ToolCall
from tests.support.model_wire import message_text, words

SAMPLE = "CANARY_OK"  # what it writes where any text will do


def obedient(body: Mapping[str, Any]) -> Reply:
    """The answer to the body of a chat request."""
    last = body["messages"][-1]
    calls = [] if last["role"] == "tool" else _calls(body)
    if calls:
        return calls
    text = _text(body, last)
    parts: list[Part] = []
    if body.get("reasoning_effort") or body.get("reasoning") or (body.get("thinking") or {}).get("budget_tokens"):
        parts.append(Reasoning("Let me think."))
    for stop in _listed(body.get("stop")):
        text = text.partition(stop)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is not None and len(words(text)) > limit:
        return [*parts, "".join(words(text)[:limit]), Finish("length")]
    return [*parts, text]


def _text(body: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    asked = message_text(last)
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(instance(wanted["json_schema"]["schema"], asked))
    if wanted.get("type") == "json_object":
        found = re.search(r"{.*}", asked)  # the object that it was asked to repeat
        return found[0] if found else '{"answer": "yes"}'
    if last["role"] == "tool":
        return f"The tool says: {asked}"
    quoted = re.search(r"[Rr]eply (?:\w+ )*?(?:exactly|with) (\w+)", asked)
    return quoted[1] if quoted else f"You said: {asked}"


def _calls(body: Mapping[str, Any]) -> list[Part]:
    tools = [tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"]
    choice = body.get("tool_choice", "auto")
    if choice == "none":
        return []
    if isinstance(choice, Mapping):
        tools = [tool for tool in tools if tool["name"] == choice["function"]["name"]]
    if body.get("parallel_tool_calls") is not True:
        tools = tools[:1]
    asked = message_text(body["messages"][-1])
    return [
        ToolCall(tool["name"], instance(tool.get("parameters") or {}, asked), f"call_{tool['name']}") for tool in tools
    ]


def instance(schema: Mapping[str, Any], asked: str = "", root: Mapping[str, Any] | None = None) -> Any:
    """A value that *schema* accepts; a word of *asked* that begins with a capital letter where text is free."""
    root = root or schema
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return instance(target, asked, root)
    if "const" in schema:
        return schema["const"]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return instance(schema[several][0], asked, root)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: instance(value, asked, root) for name, value in schema.get("properties", {}).items()}
        case "array":
            return [instance(schema["items"], asked, root)] if "items" in schema else []
        case "integer":
            return schema.get("minimum", 2)
        case "number":
            return schema.get("minimum", 0.5)
        case "boolean":
            return True
        case "null":
            return None
    names = re.findall(r"(?<=\s)[A-Z]\w+", asked)
    return names[-1] if names else SAMPLE


def _listed(stop: str | Sequence[str] | None) -> Sequence[str]:
    return [stop] if isinstance(stop, str) else stop or []
