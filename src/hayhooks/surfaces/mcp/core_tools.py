"""The server's own tools: what is deployed, deploying and undeploying, and running by name."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NotRequired

import msgspec
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from hayhooks._version import __version__
from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import Bundle
from hayhooks.core.errors import DeploymentNotFound, Forbidden, InvalidBundle, InvalidRequest
from hayhooks.core.principal import Principal
from hayhooks.core.runtime import Runtime
from hayhooks.core.store import caused_by
from hayhooks.surfaces._summary import summary
from hayhooks.surfaces.mcp.asker import Asker
from hayhooks.surfaces.mcp.calls import Calls, Report
from hayhooks.surfaces.mcp.catalog import Catalog
from hayhooks.surfaces.mcp.content import Content, text

Handler = Callable[[Mapping[str, Any], Asker, Report | None], Awaitable[Content]]

_NAME = {"type": "string", "description": "Name of the deployment."}
_SUMMARY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "type": {"type": "string"},
        "state": {"type": "string"},
        "description": {"type": "string"},
        "version": {"type": "string"},
    },
    "required": ["name", "state"],
}


@dataclass(frozen=True, slots=True)
class CoreTool:
    """One of them: how it is listed, what answers it, and who may use it."""

    definition: Mapping[str, Any]
    call: Handler
    is_for: Callable[[Asker], bool]
    manages: bool = False  # to those who may not, it says why

    @property
    def name(self) -> str:
        """The tool's."""
        name: str = self.definition["name"]
        return name


class Deploy(TypedDict):
    """Arguments of ``deploy_pipeline``."""

    name: str
    files: dict[str, str]
    overwrite: NotRequired[bool]
    save_files: NotRequired[bool]


class Named(TypedDict):
    """Arguments of those that are about one deployment."""

    pipeline_name: str


class RunByName(Named):
    """Arguments of ``run_pipeline``."""

    arguments: NotRequired[dict[str, Any]]


_DEPLOY, _NAMED, _RUN = TypeAdapter(Deploy), TypeAdapter(Named), TypeAdapter(RunByName)

STATUSES, STATUS, DEPLOY, UNDEPLOY, RUN = NAMES = (
    "get_all_pipeline_statuses",
    "get_pipeline_status",
    "deploy_pipeline",
    "undeploy_pipeline",
    "run_pipeline",
)


class CoreTools:
    """Answers the server's own tools."""

    def __init__(self, runtime: Runtime, catalog: Catalog, calls: Calls) -> None:
        self._runtime = runtime
        self._catalog = catalog
        self._calls = calls
        tools = (
            CoreTool(_STATUSES, self._statuses, self._sees_some),
            CoreTool(_STATUS_OF_ONE, self._status, self._sees_some),
            CoreTool(_DEPLOY_TOOL, self._deploy, _may_deploy, True),
            CoreTool(_UNDEPLOY_TOOL, self._undeploy, _may_deploy, True),
            CoreTool(_RUN_TOOL, self._run, self._runs_some),
        )
        self.tools: Mapping[str, CoreTool] = {tool.name: tool for tool in tools}

    def open_to(self, asker: Asker) -> list[CoreTool]:
        """Those that *asker* may use."""
        return [tool for tool in self.tools.values() if tool.is_for(asker)]

    def _sees_some(self, asker: Asker) -> bool:
        caller = asker.caller
        return not self._runtime.hides or caller.is_known or bool(self._runtime.open_to(caller, "read"))

    def _runs_some(self, asker: Asker) -> bool:
        caller = asker.caller
        return not self._runtime.hides or caller.may_some("run") or bool(self._runtime.open_to(caller))

    async def _statuses(self, arguments: Mapping[str, Any], asker: Asker, report: Report | None) -> Content:
        manager = asker.manager
        mine = sorted(self._runtime.open_to(asker.caller, "read").items())
        failed = {
            name: reason if manager is not None and manager.may("deploy", name) else "It failed to load."
            for name, reason in sorted(self._runtime.failures.items())
            if not self._runtime.hides or asker.caller.may("read", name)
        }
        return _structured(
            {
                "status": "Up!",
                "pipelines": [name for name, _ in mine],
                "failed": failed,
                "version": __version__,
                "deployments": [summary(found) for _, found in mine],
            }
        )

    async def _status(self, arguments: Mapping[str, Any], asker: Asker, report: Report | None) -> Content:
        name = _read(_NAMED, arguments)["pipeline_name"]
        found = self._runtime.find(name, asker.caller, "read")
        return _structured({"status": "Up!", "pipeline": found.name, **summary(found)})

    async def _deploy(self, arguments: Mapping[str, Any], asker: Asker, report: Report | None) -> Content:
        request = _read(_DEPLOY, arguments)
        manager = _manager_of(asker, request["name"])
        bundle = await in_thread(_bundle, request["name"], request["files"])
        new = await self._runtime.deploy(
            bundle,
            overwrite=request.get("overwrite", False),
            save=request.get("save_files", True),
            cause=caused_by("deploy", manager),
        )
        tool = self._catalog.of(new.name)
        return _structured(
            {
                "name": new.name,
                "success": True,
                "endpoint": f"/{new.name}/run",
                "version": new.version,
                "tool": tool.name if tool is not None else None,
            }
        )

    async def _undeploy(self, arguments: Mapping[str, Any], asker: Asker, report: Report | None) -> Content:
        name = _read(_NAMED, arguments)["pipeline_name"]
        manager = _manager_of(asker, name)
        await self._runtime.undeploy(name, cause=caused_by("undeploy", manager))
        return _structured({"success": True, "name": name})

    async def _run(self, arguments: Mapping[str, Any], asker: Asker, report: Report | None) -> Content:
        request = _read(_RUN, arguments)
        name = request["pipeline_name"]
        self._runtime.find(name, asker.caller)
        tool = self._catalog.of(name)
        if tool is None:
            raise DeploymentNotFound(name)
        return await self._calls.call(tool, request.get("arguments") or {}, asker, report)


def _may_deploy(asker: Asker) -> bool:
    manager = asker.manager
    return manager is not None and manager.may_some("deploy")


def _manager_of(asker: Asker, name: str) -> Principal:
    """Who deploys. Raises Unauthorized, Forbidden or Misdirected."""
    manager = asker.require_manager()
    if not manager.may("deploy", name):
        raise Forbidden(f"The key {manager.name!r} may not deploy {name[:80]!r}.")
    return manager


def _bundle(name: str, files: Mapping[str, str]) -> Bundle:
    bundle = Bundle(name, {path: content.encode() for path, content in files.items()})
    if "pipeline_wrapper.py" not in bundle.files and bundle.yaml_file is None:
        raise InvalidBundle("Missing required file: pipeline_wrapper.py, or one pipeline YAML")
    return bundle


def _structured(value: dict[str, Any]) -> Content:
    return Content([text(msgspec.json.encode(value).decode())], value)


def _read(model: TypeAdapter[Any], arguments: Mapping[str, Any]) -> Any:
    try:
        return model.validate_python(dict(arguments), strict=True)
    except ValidationError as error:
        faults = [
            {"loc": ["body", *found["loc"]], "msg": found["msg"], "type": found["type"]}
            for found in error.errors(include_url=False, include_context=False, include_input=False)[:20]
        ]
        raise InvalidRequest(f"{'.'.join(map(str, faults[0]['loc'][1:]))}: {faults[0]['msg']}", faults) from None


def _tool(name: str, title: str, description: str, properties: Mapping[str, Any], required: tuple[str, ...],
          output: Mapping[str, Any] | None, **hints: bool) -> dict[str, Any]:  # fmt: skip
    schema: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    definition = {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": schema | ({"required": list(required)} if required else {}),
        "annotations": {"title": title, **hints},
    }
    return definition if output is None else {**definition, "outputSchema": dict(output)}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_STATUSES = _tool(
    STATUSES, "List deployments", "What is deployed on this server, and what failed to load.", {}, (),
    _object(
        ("status", "pipelines"),
        status={"type": "string"}, pipelines={"type": "array", "items": {"type": "string"}},
        failed={"type": "object", "additionalProperties": {"type": "string"}}, version={"type": "string"},
        deployments={"type": "array", "items": _SUMMARY},
    ),
    readOnlyHint=True, openWorldHint=False,
)  # fmt: skip
_STATUS_OF_ONE = _tool(
    STATUS, "Describe a deployment", "Whether a deployment is live, and what it is.", {"pipeline_name": _NAME},
    ("pipeline_name",), _object(("status", "pipeline"), status={"type": "string"}, pipeline={"type": "string"},
                                **_SUMMARY["properties"]),
    readOnlyHint=True, openWorldHint=False,
)  # fmt: skip
_DEPLOY_TOOL = _tool(
    DEPLOY, "Deploy a pipeline",
    "Deploy files under a name: a pipeline_wrapper.py with a class PipelineWrapper and what it needs, or one pipeline "
    "YAML. It runs on the server, and is a tool from then on.",
    {
        "name": _NAME,
        "files": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Path to content."},
        "overwrite": {"type": "boolean", "default": False, "description": "Replace what is live under that name."},
        "save_files": {"type": "boolean", "default": True, "description": "Keep it when the server restarts."},
    },
    ("name", "files"),
    _object(("name", "success"), name={"type": "string"}, success={"type": "boolean"}, endpoint={"type": "string"},
            version={"type": "string"}, tool={"type": ["string", "null"]}),
    readOnlyHint=False, destructiveHint=True, idempotentHint=False, openWorldHint=True,
)  # fmt: skip
_UNDEPLOY_TOOL = _tool(
    UNDEPLOY, "Undeploy a pipeline", "Take a deployment out of service.", {"pipeline_name": _NAME},
    ("pipeline_name",), _object(("name", "success"), name={"type": "string"}, success={"type": "boolean"}),
    readOnlyHint=False, destructiveHint=True, idempotentHint=True, openWorldHint=False,
)  # fmt: skip
_RUN_TOOL = _tool(
    RUN, "Run a deployment", "Run a deployment by its name, with the arguments that its own tool takes.",
    {"pipeline_name": _NAME, "arguments": {"type": "object", "description": "The arguments of the run."}},
    ("pipeline_name",), None,
)  # fmt: skip
