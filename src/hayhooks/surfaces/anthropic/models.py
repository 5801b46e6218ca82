"""The deployments that answer as models, in Anthropic's form.

Source: Anthropic API reference, "List Models" and "Get a Model".
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import DeploymentNotFound, InvalidRequest
from hayhooks.core.principal import Principal
from hayhooks.core.runtime import Runtime

ENTRY = "run_chat_completion"
_DEFAULT_LIMIT = 20
_MAX_LIMIT = 1000


def list_models(runtime: Runtime, caller: Principal, query: bytes) -> dict[str, Any]:
    """A page of *caller*'s models by name: *query* may say ``limit``, and ``after_id`` or ``before_id``.

    Raises:
        InvalidRequest: The limit is none.
    """
    asked = parse_qs(query.decode("latin-1"))
    limit = _limit(asked.get("limit", [str(_DEFAULT_LIMIT)])[-1])
    after, before = (asked.get(name, [""])[-1] for name in ("after_id", "before_id"))
    models = {name: found for name, found in sorted(runtime.open_to(caller).items()) if ENTRY in found.entries}
    # Compared, not looked for: a model that is gone since the last page does no harm.
    names = [name for name in models if name > after and (not before or name < before)]
    page = names[-limit:] if before else names[:limit]
    return {
        "data": [_model(models[name]) for name in page],
        "has_more": len(names) > len(page),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def get_model(runtime: Runtime, caller: Principal, name: str) -> dict[str, Any]:
    """One model. Raises as ``Runtime.find``."""
    found = runtime.find(name, caller)
    if ENTRY not in found.entries:
        raise DeploymentNotFound(name)
    return _model(found)


def _model(deployment: Deployment) -> dict[str, Any]:
    created = datetime.fromtimestamp(deployment.created_s, UTC)
    return {
        "type": "model",
        "id": deployment.name,
        "display_name": deployment.name,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        # The API has these in every answer; only the pipeline knows them.
        "capabilities": None,
        "max_input_tokens": None,
        "max_tokens": None,
    }


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= _MAX_LIMIT):
        raise InvalidRequest(f"limit: must be a whole number from 1 to {_MAX_LIMIT}.")
    return int(text)
