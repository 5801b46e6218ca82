"""What is live: status, descriptions and pictures."""

from typing import Any

from starlette.types import Receive, Scope, Send

from hayhooks._version import __version__
from hayhooks.core.aio import in_thread
from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import DeploymentNotFound, HayhooksError, InvalidName
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import send_bytes, send_json
from hayhooks.surfaces.admin.requests import argument
from hayhooks.surfaces.admin.versions import past_of

_CAPABILITIES = {
    "run_api": "run_api",
    "run_chat_completion": "chat_completion",
    "run_response": "responses",
    "run_embedding": "embeddings",
    "run_file_upload": "file_upload",
}


class Status:
    """Answers what anybody may ask, and more to those who manage the server."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def status(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is live, or whether one name is."""
        name = argument(scope)
        if name is None:
            await send_json(send, 200, self._status(may_read_reasons=scope.get("may_manage", True)))
            return
        deployment = self._live(name, scope)
        await send_json(send, 200, {"status": "Up!", "pipeline": deployment.name})

    async def deployment(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Descriptions of all, or of one with its schema and, for managers, its versions."""
        name = argument(scope)
        if name is None:
            await send_json(send, 200, [summary(found) for _, found in sorted(self._runtime.deployments.items())])
            return
        may_manage = scope.get("may_manage", True)
        if may_manage and name not in self._runtime.live:
            await send_json(send, 200, await self._gone(name))
            return
        deployment = self._live(name, scope)
        entry = deployment.entries.get("run_api")
        body = summary(deployment)
        if entry is not None:
            body |= {
                "request_schema": entry.request_schema,
                "file_fields": dict(entry.file_fields),
                "streams": entry.streams,
            }
        if may_manage:
            body |= await past_of(self._runtime, name)
        await send_json(send, 200, body)

    async def draw(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A picture of the pipeline's graph."""
        deployment = self._runtime.get(argument(scope) or "")
        png = await in_thread(_render, deployment)
        await send_bytes(send, 200, png, (b"content-type", b"image/png"), ((b"cache-control", b"no-cache"),))

    def _live(self, name: str, scope: Scope) -> Deployment:
        reason = self._runtime.failures.get(name)
        if name not in self._runtime.live and reason is not None and scope.get("may_manage", True):
            raise NotLive(name, reason)
        return self._runtime.get(name)

    async def _gone(self, name: str) -> dict[str, Any]:
        """What is known of a name that is not live, and can be rolled back to."""
        reason = self._runtime.failures.get(name)
        try:
            past = await past_of(self._runtime, name)
        except InvalidName:
            past = {}
        if not past.get("versions"):
            raise DeploymentNotFound(name) if reason is None else NotLive(name, reason)
        state = {"state": "Undeployed"} if reason is None else {"state": "Failed", "reason": reason}
        return {"name": name, **state, **past}

    def _status(self, *, may_read_reasons: bool) -> dict[str, Any]:
        deployments = sorted(self._runtime.deployments.items())
        failures = sorted(self._runtime.failures.items())
        return {
            "status": "Up!",
            "pipelines": [name for name, _ in deployments],
            "failed": {name: reason if may_read_reasons else "It failed to load." for name, reason in failures},
            "version": __version__,
            "deployments": [summary(found) for _, found in deployments],
        }


class NotLive(HayhooksError):
    """The name is known, but could not be deployed."""

    kind = "not_found"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"No deployment named {name!r} is live. It failed to load: {reason}")


class NothingToDraw(HayhooksError):
    """The wrapper has no pipeline."""

    kind = "not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Deployment {name!r} has no pipeline to draw.")


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


def _render(deployment: Deployment) -> bytes:
    from hayhooks.drawing import render_png  # Pillow is loaded when the first picture is asked for

    graph = deployment.worker.graph()
    if graph is None:
        raise NothingToDraw(deployment.name)
    return render_png(graph)
