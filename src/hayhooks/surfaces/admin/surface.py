"""The prefixes of the admin surface, and what answers each."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import HTTPOptions, MethodNotAllowed
from hayhooks.surfaces._rest_errors import rest_errors_answered
from hayhooks.surfaces.admin.deploying import Deploying
from hayhooks.surfaces.admin.status import Status
from hayhooks.surfaces.admin.versions import RollingBack

READS = ("status", "deployments", "draw")
CHANGES = ("deploy", "deploy_files", "deploy-yaml", "undeploy", "rollback")
PREFIXES = (*READS, *CHANGES)


@asynccontextmanager
async def serve(
    runtime: Runtime, options: HTTPOptions, workers: Callable[[bool], dict[str, Any]]
) -> AsyncIterator[dict[str, ASGIApp]]:
    """One handler per prefix. Who may call them is decided before they are reached.

    *workers* says what the server's processes are doing, in sum or each of them.
    """
    status, deploying, rolling_back = (
        Status(runtime, workers),
        Deploying(runtime, options),
        RollingBack(runtime, options),
    )
    yield {
        "status": _method("GET", status.status, options),
        "deployments": _method("GET", status.deployment, options),
        "draw": _method("GET", status.draw, options),
        "deploy_files": _method("POST", deploying.deploy_files, options),
        "deploy-yaml": _method("POST", deploying.deploy_yaml, options),
        "deploy": _method("POST", deploying.deploy_legacy, options),
        "undeploy": _method("POST", deploying.undeploy, options),
        "rollback": _method("POST", rolling_back.rollback, options),
    }


def _method(method: str, handler: ASGIApp, options: HTTPOptions) -> ASGIApp:
    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != method and not (method == "GET" and scope["method"] == "HEAD"):
            raise MethodNotAllowed(method)
        await handler(scope, receive, send)

    return rest_errors_answered(answered, options)
