"""What is live: status, descriptions and pictures."""

from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from hayhooks._version import __version__
from hayhooks.core.aio import in_thread
from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import DeploymentNotFound, HayhooksError, InvalidName
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._canary import outcome_object, short
from hayhooks.surfaces._http import caller_of, send_bytes, send_json
from hayhooks.surfaces._picture import picture_of
from hayhooks.surfaces._summary import summary
from hayhooks.surfaces.admin.requests import argument
from hayhooks.surfaces.admin.versions import past_of


class Status:
    """Answers what anybody may ask, and more to those who manage the server."""

    def __init__(self, runtime: Runtime, workers: Callable[[bool], dict[str, Any]]) -> None:
        self._runtime = runtime
        self._workers = workers

    async def status(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is live, or whether one name is."""
        name = argument(scope)
        if name is None:
            await send_json(send, 200, self._status(scope))
            return
        deployment = self._live(name, scope)
        await send_json(send, 200, {"status": "Up!", "pipeline": deployment.name})

    async def deployment(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Descriptions of all, or of one with its schema and, for managers, its versions."""
        name = argument(scope)
        if name is None:
            mine = self._runtime.open_to(caller_of(scope), "read")
            await send_json(send, 200, [self._summary(found) for _, found in sorted(mine.items())])
            return
        may_manage = _manages(scope, name)
        if may_manage and name not in self._runtime.live:
            await send_json(send, 200, await self._gone(name))
            return
        deployment = self._live(name, scope)
        entry = deployment.entries.get("run_api")
        _, last = await self._runtime.canaries.look(name)
        body = self._summary(deployment) | {"last_canary": outcome_object(last)}
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
        deployment = self._live(argument(scope) or "", scope)
        png = await in_thread(picture_of, deployment)
        await send_bytes(send, 200, png, (b"content-type", b"image/png"), ((b"cache-control", b"no-cache"),))

    def _live(self, name: str, scope: Scope) -> Deployment:
        reason = self._runtime.failures.get(name)
        if name not in self._runtime.live and reason is not None and _manages(scope, name):
            raise NotLive(name, reason)
        return self._runtime.find(name, caller_of(scope), "read")

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

    def _status(self, scope: Scope) -> dict[str, Any]:
        caller = caller_of(scope)
        deployments = sorted(self._runtime.open_to(caller, "read").items())
        failures = sorted(
            (name, reason if _manages(scope, name) else "It failed to load.")
            for name, reason in self._runtime.failures.items()
            if not self._runtime.hides or caller.may("read", name)
        )
        return {
            "status": "Up!",
            "pipelines": [name for name, _ in deployments],
            "failed": dict(failures),
            "version": __version__,
            "deployments": [self._summary(found) for _, found in deployments],
            "workers": self._workers(bool(scope.get("may_manage", True))),
        }

    def _summary(self, deployment: Deployment) -> dict[str, Any]:
        return {**summary(deployment), "canary": short(self._runtime.canaries.find(deployment.name))}


class NotLive(HayhooksError):
    """The name is known, but could not be deployed."""

    kind = "not_found"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"No deployment named {name!r} is live. It failed to load: {reason}")


def _manages(scope: Scope, name: str) -> bool:
    """Whether the caller may read why *name* failed to load, and what it was before."""
    return bool(scope.get("may_manage", True)) or caller_of(scope).may("deploy", name)
