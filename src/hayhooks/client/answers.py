"""What the server answers, as frozen facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment is live. ``endpoint`` is the path that runs it, as ``/chat/run``.

    ``changes`` says, one sentence each, what is different for callers of the version before; ``breaking`` those that
    break some.
    """

    name: str
    endpoint: str | None
    raw: Mapping[str, Any] = field(repr=False)  # the server's answer as it came
    version: str | None = None
    changes: tuple[str, ...] = ()
    breaking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tried:
    """What a deploy would do; it was built and thrown away. ``is_new`` says that nothing of that name is live."""

    name: str
    version: str
    is_new: bool
    changes: tuple[str, ...]
    breaking: tuple[str, ...]
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeploymentVersion:
    """One version that a name has had. ``deployed_at`` is in Unix seconds; None is what the server has forgotten."""

    version: str  # hex digest of its files
    is_live: bool
    kept: bool  # it can be rolled back to
    deployed_at: float | None
    deployed_by: str | None
    how: str | None  # deploy, rollback, reload or start
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeploymentVersions:
    """The versions of a name, newest first. ``state`` is Loaded, Undeployed or Failed."""

    name: str
    state: str
    versions: tuple[DeploymentVersion, ...]
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Undeployed:
    """A deployment is gone."""

    name: str
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CanaryStatus:
    """The canary of a deployment. ``state`` is ``none`` when it has none; then the counts are 0.

    Runs and failures are those since it began, of the canary and of the stable version beside it.
    """

    name: str
    state: str  # running, aborting, none
    version: str | None
    percent: int
    runs: int
    failures: int
    stable_runs: int
    stable_failures: int
    last_outcome: Mapping[str, Any] | None  # of the canary before: state, version, reason and more
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CanaryEnded:
    """A canary was promoted or aborted."""

    name: str
    state: str  # promoted, aborted
    version: str
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


def canary_status(name: str, body: Mapping[str, Any]) -> CanaryStatus:
    """The canary in an answer of ``/canary/{name}``."""

    def count(key: str) -> int:
        return int(body.get(key) or 0)

    return CanaryStatus(
        str(body.get("name", name)),
        str(body.get("state", "none")),
        body.get("version"),
        count("percent"),
        count("runs"),
        count("failures"),
        count("stable_runs"),
        count("stable_failures"),
        body.get("last_outcome"),
        body,
    )


def canary_ended(name: str, body: Mapping[str, Any]) -> CanaryEnded:
    """How a canary ended, in an answer of its promotion or abortion."""
    return CanaryEnded(str(body.get("name", name)), str(body.get("state", "")), str(body.get("version", "")), body)


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


def deployed(name: str, body: Mapping[str, Any]) -> Deployed:
    """The answer to a deploy or a rollback; servers before 3.0 tell no version and no changes."""
    return Deployed(
        str(body.get("name", name)),
        body.get("endpoint"),
        body,
        body.get("version"),
        tuple(body.get("changes") or ()),
        tuple(body.get("breaking") or ()),
    )


def tried(name: str, body: Mapping[str, Any]) -> Tried:
    """The answer to a dry run."""
    return Tried(
        str(body.get("name", name)),
        str(body.get("version", "")),
        bool(body.get("is_new")),
        tuple(body.get("changes") or ()),
        tuple(body.get("breaking") or ()),
        body,
    )


def deployment_versions(name: str, body: Mapping[str, Any]) -> DeploymentVersions:
    """The versions in an answer of ``GET /deployments/{name}``."""
    versions = tuple(
        DeploymentVersion(
            str(told.get("version")),
            bool(told.get("is_live")),
            bool(told.get("kept")),
            told.get("deployed_at"),
            (told.get("deployed_by") or {}).get("name"),
            told.get("how"),
            told,
        )
        for told in body.get("versions") or ()
    )
    return DeploymentVersions(str(body.get("name", name)), str(body.get("state", "")), versions, body)
