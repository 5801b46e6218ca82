"""What the server answers, as frozen facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment is live. ``endpoint`` is the path that runs it, as ``/chat/run``."""

    name: str
    endpoint: str | None
    raw: Mapping[str, Any] = field(repr=False)  # the server's answer as it came


@dataclass(frozen=True, slots=True)
class Undeployed:
    """A deployment is gone."""

    name: str
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class LiveDeployment:
    """One row of the server's status."""

    name: str
    version: str | None  # hex digest of its files
    entries: tuple[str, ...]  # what can be called, by method name


@dataclass(frozen=True, slots=True)
class WorkersStatus:
    """What the processes of a server are doing together; ``runs`` and ``failed`` have ended since its start."""

    count: int
    running: int
    queued: int
    runs: int
    failed: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a server serves. ``failed`` gives the reason of each deployment that could not be loaded, by name."""

    status: str
    version: str | None
    deployments: tuple[LiveDeployment, ...]
    failed: Mapping[str, str]
    raw: Mapping[str, Any] = field(repr=False)
    workers: WorkersStatus | None = None  # None: the server does not say

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what is deployed."""
        return tuple(deployment.name for deployment in self.deployments)


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """One live deployment. ``request_schema`` is the JSON schema of the body that ``/{name}/run`` takes."""

    name: str
    request_schema: Mapping[str, Any] | None
    streams: bool | None  # whether a run's answer arrives in pieces; None: the server does not say
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """The whole answer of a run.

    ``result`` is the JSON value the run returned, a ``str`` when it answered with text, ``bytes`` when it
    answered with a file. ``filename`` is the name that the server gives the file.
    """

    result: Any
    content_type: str
    filename: str | None = None


def server_status(body: Mapping[str, Any]) -> ServerStatus:
    """The status in an answer of ``GET /status``; servers before 3.0 tell names only."""
    about = body.get("deployments") or ()
    if not isinstance(about, Mapping):
        about = {told.get("name"): told for told in about if isinstance(told, Mapping)}
    live = []
    for name in body.get("pipelines") or ():
        told = about.get(name, {})
        entries = told.get("entries") or told.get("capabilities") or ()
        live.append(LiveDeployment(name, told.get("version"), tuple(entries)))
    told = body.get("workers")
    names = ("count", "running", "queued", "runs", "failed")
    workers = WorkersStatus(*(int(told.get(name) or 0) for name in names)) if isinstance(told, Mapping) else None
    return ServerStatus(
        str(body.get("status", "")), body.get("version"), tuple(live), dict(body.get("failed") or {}), body, workers
    )
