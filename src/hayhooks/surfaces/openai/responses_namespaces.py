"""Tools that a request groups in namespaces, as chat knows them: functions with the namespace before their name."""

from collections.abc import Mapping
from typing import Any


def chat_name(namespace: Any, name: Any) -> str:
    """What a chat hook knows a function as."""
    return f"{namespace}__{name}" if namespace else str(name or "")


def chat_functions(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The functions of a request by their names in chat, those of namespaces among them."""
    functions: dict[str, dict[str, Any]] = {}
    for tool in body.get("tools") or ():
        if tool["type"] == "function":
            functions[tool["name"]] = tool
    for namespace, tool in _grouped(body):
        functions.setdefault(chat_name(namespace, tool["name"]), tool)
    return functions


def namespaced(body: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """``name`` and ``namespace`` of a call, by the name in chat of a function that is in a namespace."""
    plain = {tool.get("name") for tool in body.get("tools") or () if tool["type"] == "function"}
    names = {
        chat_name(namespace, tool["name"]): {"name": tool["name"], "namespace": namespace}
        for namespace, tool in _grouped(body)
    }
    return {name: parts for name, parts in names.items() if name not in plain}


def _grouped(body: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    groups = [tool for tool in body.get("tools") or () if tool["type"] == "namespace"]
    return [(group["name"], tool) for group in groups for tool in group["tools"] if tool["type"] == "function"]
