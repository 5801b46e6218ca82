"""What there is to read of a deployment: its schemas, its README, and a picture of its graph."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from mcp.shared.exceptions import MCPError

from hayhooks.core.aio import in_thread
from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import HayhooksError
from hayhooks.core.principal import Principal
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._picture import picture_of
from hayhooks.surfaces._summary import summary
from hayhooks.surfaces.mcp.content import COMPLETE
from hayhooks.surfaces.mcp.wire import INVALID_PARAMS

_BASE = "hayhooks://deployments/"
_DRAWN = ("pipeline", "agent")


class Resources:
    """Lists and reads them, for who may know the deployment."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def listed(self, caller: Principal) -> list[dict[str, Any]]:
        """Those of every deployment that *caller* may read."""
        mine = sorted(self._runtime.open_to(caller, "read").items())
        return [item for _, found in mine if not found.attributes.get("skip_mcp") for item in _of(found)]

    def names(self, caller: Principal, start: str) -> list[str]:
        """The deployments among them whose name begins like that."""
        mine = sorted(self._runtime.open_to(caller, "read").items())
        return [name for name, found in mine if name.startswith(start) and not found.attributes.get("skip_mcp")]

    async def read(self, uri: str, caller: Principal) -> dict[str, Any]:
        """What is there at *uri*. Raises MCPError when there is nothing, or not for *caller*."""
        name, _, part = uri.removeprefix(_BASE).partition("/") if uri.startswith(_BASE) else ("", "", "")
        name = unquote(name)
        try:
            found = self._runtime.find(name, caller, "read") if name else None
            if found is not None and not found.attributes.get("skip_mcp"):
                content = await _content(found, part)
                if content is not None:
                    return {**COMPLETE, "contents": [{"uri": uri, **content}]}
        except HayhooksError:
            pass  # the same as if it were not there
        raise MCPError(INVALID_PARAMS, f"Resource not found: {uri[:200]}", {"uri": uri[:200]})


def uris_of(name: str) -> Sequence[str]:
    """Where what changes with a deployment can be read."""
    return [f"{_BASE}{quote(name)}/{part}" for part in ("schema", "readme", "graph")]


TEMPLATES: Sequence[Mapping[str, Any]] = (
    {
        "uriTemplate": _BASE + "{name}/schema", "name": "schema", "title": "Schema of a deployment",
        "description": "What a deployment takes and gives, as JSON Schema.", "mimeType": "application/json",
    },
    {
        "uriTemplate": _BASE + "{name}/readme", "name": "readme", "title": "README of a deployment",
        "description": "What its author wrote for those who use it.", "mimeType": "text/markdown",
    },
    {
        "uriTemplate": _BASE + "{name}/graph", "name": "graph", "title": "Graph of a deployment",
        "description": "A picture of its pipeline.", "mimeType": "image/png",
    },
)  # fmt: skip


def _of(deployment: Deployment) -> list[dict[str, Any]]:
    name = deployment.name
    base = _BASE + quote(name)
    listed = [_listed(f"{base}/schema", f"{name} schema", "What it takes and gives.", "application/json")]
    if deployment.readme:
        listed.append(_listed(f"{base}/readme", f"{name} README", "What its author wrote.", "text/markdown"))
    if deployment.attributes.get("deployment_type") in _DRAWN:
        listed.append(_listed(f"{base}/graph", f"{name} graph", "A picture of its pipeline.", "image/png"))
    return listed


def _listed(uri: str, name: str, description: str, media_type: str) -> dict[str, Any]:
    return {"uri": uri, "name": name, "description": description, "mimeType": media_type}


async def _content(deployment: Deployment, part: str) -> dict[str, Any] | None:
    if part == "schema":
        schema = {
            **summary(deployment),
            "schemas": {
                name: {"request": dict(entry.request_schema), "response": entry.response_schema}
                for name, entry in sorted(deployment.entries.items())
                if name == "run_api"
            },
        }
        return {"mimeType": "application/json", "text": json.dumps(schema, ensure_ascii=False, indent=2)}
    if part == "readme" and deployment.readme:
        return {"mimeType": "text/markdown", "text": deployment.readme}
    if part == "graph":
        png = await in_thread(picture_of, deployment)
        return {"mimeType": "image/png", "blob": base64.b64encode(png).decode()}
    return None
