"""What ``hayhooks dev`` shows when it is ready: for each deployment, how to call it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hayhooks.core.bundle import WRAPPER_FILE, YAML_SUFFIXES
from hayhooks.core.deployment import Deployment

_SAMPLES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}


class NothingToServe(ValueError):
    """The path is neither a directory nor a YAML file."""


def place_of(path: Path) -> tuple[Path, str]:
    """The pipelines directory that *path* means, and the one deployment in it that is meant, or nothing for all.

    A directory with a wrapper is one deployment, and so is a YAML file; any other directory holds many.

    Raises:
        NothingToServe: There is no such directory or YAML file.
    """
    path = path.absolute()
    if path.is_file() and path.suffix in YAML_SUFFIXES:
        return path.parent, path.stem
    if path.is_dir():
        return (path.parent, path.name) if (path / WRAPPER_FILE).is_file() else (path, "")
    raise NothingToServe(f"{path} is neither a directory nor a YAML file.")


def ways_to_call(url: str, deployments: Mapping[str, Deployment]) -> Iterator[str]:
    """Lines for the terminal: each deployment's addresses, with a command to try."""
    for name, deployment in sorted(deployments.items()):
        entry = deployment.entries.get("run_api")
        if entry is not None:
            yield f"{name}: {url}/{name}/run"
            fields = sample_of(entry.request_schema)
            if entry.file_fields:
                parts = [f"-F {shlex.quote(f'{field}={value}')}" for field, value in fields.items()]
                parts += [f"-F {shlex.quote(f'{field}=@FILE')}" for field in entry.file_fields]
                yield f"  curl {url}/{name}/run {' '.join(parts)}"
            else:
                yield _curl(f"{url}/{name}/run", fields)
        if "run_chat_completion" in deployment.entries:
            yield f"{name}: {url}/v1/chat/completions"
            messages = [{"role": "user", "content": "Hello"}]
            yield _curl(f"{url}/v1/chat/completions", {"model": name, "messages": messages})


def sample_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the fields that a body must have."""
    fields = schema.get("properties", {})
    return {name: _value(fields.get(name, {}), schema.get("$defs", {})) for name in schema.get("required", ())}


def _value(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        target = definitions.get(str(schema["$ref"]).rpartition("/")[2], {})
        known = {name: found for name, found in definitions.items() if found is not target}  # it may hold itself
        return _value(target, known)
    if "default" in schema or "const" in schema:
        return schema.get("const", schema.get("default"))
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        return _value(choice, definitions)
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        return {name: _value(fields.get(name, {}), definitions) for name in schema.get("required", ())}
    return _SAMPLES.get(str(schema.get("type")), "text")


def _curl(url: str, body: Any) -> str:
    return f"  curl {url} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
