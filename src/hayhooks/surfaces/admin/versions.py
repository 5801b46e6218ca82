"""What a name has been, and going back to it."""

from typing import Any, NotRequired

from pydantic import ConfigDict, TypeAdapter, with_config
from starlette.types import Receive, Scope, Send
from typing_extensions import TypedDict

from hayhooks.core.errors import DeploymentNotFound
from hayhooks.core.runtime import Runtime
from hayhooks.core.store import Cause, Change, caused_by
from hayhooks.core.versions import Version
from hayhooks.surfaces._http import HTTPOptions, caller_of, header, read_body, require_deploy, require_json, send_json
from hayhooks.surfaces.admin.changes import Comparison
from hayhooks.surfaces.admin.requests import argument, validated

_MAX_TOLD = 50  # changes of one name


# A version that is misspelt would go back to another one.
@with_config(ConfigDict(extra="forbid"))
class Rollback(TypedDict):
    """Body of ``POST /rollback/{name}``; it may be left out."""

    version: NotRequired[str | None]


_ROLLBACK: TypeAdapter[Rollback] = TypeAdapter(Rollback)


class RollingBack:
    """Answers those who may manage the server."""

    def __init__(self, runtime: Runtime, options: HTTPOptions) -> None:
        self._runtime = runtime
        self._options = options

    async def rollback(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make a version live again that the name had."""
        name = argument(scope)
        if name is None:
            raise DeploymentNotFound("")
        require_deploy(scope, name)
        body = await read_body(scope, receive, self._options.max_body_bytes)
        asked: Rollback = {}
        if body:
            require_json(header(scope, b"content-type"))
            asked = validated(_ROLLBACK, body)
        comparison = Comparison(self._runtime)
        deployment = await self._runtime.rollback(
            name, asked.get("version"), check=comparison.look, cause=caused_by("rollback", caller_of(scope))
        )
        about = {"name": name, "success": True, "version": deployment.version, "endpoint": f"/{name}/run"}
        await send_json(send, 200, about | await comparison.facts())


async def past_of(runtime: Runtime, name: str) -> dict[str, Any]:
    """The versions of *name* and its changes, newest first; for those who manage the server."""
    versions, changes = await runtime.versions(name), await runtime.history(name)
    return {
        "versions": [_version(version) for version in versions],
        "history": [_change(change) for change in changes[:_MAX_TOLD]],
    }


def _version(version: Version) -> dict[str, Any]:
    change, kept = version.change, version.kept
    return {
        "version": version.version,
        "is_live": version.is_live,
        "deployed_at": change.at_s if change else None,
        "deployed_by": _author(change.cause) if change else None,
        "how": change.cause.how if change else None,
        "kept": kept is not None,
        "files": {"count": kept.files, "bytes": kept.bytes} if kept else None,
    }


def _change(change: Change) -> dict[str, Any]:
    return {"version": change.version, "at": change.at_s, "by": _author(change.cause), "how": change.cause.how}


def _author(cause: Cause) -> dict[str, str]:
    return {"id": cause.by_id, "name": cause.by_name}
