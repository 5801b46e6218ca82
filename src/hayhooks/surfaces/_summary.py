"""A deployment as listings show it."""

from typing import Any

from hayhooks.core.deployment import Deployment

_CAPABILITIES = {
    "run_api": "run_api",
    "run_chat_completion": "chat_completion",
    "run_response": "responses",
    "run_embedding": "embeddings",
    "run_file_upload": "file_upload",
}


def summary(deployment: Deployment) -> dict[str, Any]:
    """A deployment as status lists it."""
    return {
        "name": deployment.name,
        "type": deployment.attributes.get("deployment_type", "unknown"),
        "state": "Loaded",
        "description": deployment.description,
        "version": deployment.version,
        "entries": sorted(deployment.entries),
        "capabilities": [word for entry, word in _CAPABILITIES.items() if entry in deployment.entries],
    }
