"""The part of the OpenAPI document that is the same for every server."""

from typing import Any

from hayhooks.server.openapi import anthropic, canary, chat, embeddings, files, keys, management, responses


def fixed_paths() -> dict[str, dict[str, Any]]:
    """Path to method to operation; new dictionaries each time."""
    parts = (management, canary, keys, chat, responses, embeddings, files, anthropic)
    return {path: methods for part in parts for path, methods in part.paths().items()}


def fixed_schemas() -> dict[str, Any]:
    """The schemas by name."""
    found: dict[str, Any] = {}
    for part in (management, canary, keys, chat, responses, embeddings, files):
        found |= part.SCHEMAS
    return {**found, **anthropic.schemas()}
