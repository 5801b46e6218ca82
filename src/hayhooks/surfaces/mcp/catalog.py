"""The tools that deployments are, as they are listed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from hayhooks.core.deployment import Deployment, Entry
from hayhooks.core.principal import Principal
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces.mcp.schemas import Schema, input_schema, output_schema

CHAT_SUFFIX = "_chat"
_CHAT_ENTRIES = ("run_chat_completion", "run_response")
_CHAT_INPUT: Schema = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What to say."},
        "conversation": {
            "type": "string",
            "description": "Id of the conversation that this belongs to, of your own making. The pipeline is told it.",
        },
    },
    "required": ["message"],
}


@dataclass(frozen=True, slots=True, eq=False)
class DeploymentTool:
    """One way to call a deployment."""

    deployment: Deployment
    kind: Literal["run", "chat"]
    entry: str  # what is called
    definition: Mapping[str, Any]  # as it is listed
    is_wrapped: bool = False  # structured content has the answer under ``result``
    names_headers: bool = False  # some arguments are repeated in headers

    @property
    def name(self) -> str:
        """The tool's."""
        name: str = self.definition["name"]
        return name


class Catalog:
    """The tools by name, made anew only of what has changed. Event loop only.

    Names in *taken* are the server's own. A deployment's chat tool gives way to a deployment of that name.
    """

    def __init__(self, runtime: Runtime, taken: Collection[str]) -> None:
        self._runtime = runtime
        self._taken = frozenset(taken)
        self._revision = -1
        self._by_deployment: dict[Deployment, tuple[DeploymentTool, ...]] = {}
        self._tools: Mapping[str, DeploymentTool] = {}

    @property
    def tools(self) -> Mapping[str, DeploymentTool]:
        """Everything that is live, for whomever."""
        if self._revision != self._runtime.revision:
            known = self._by_deployment
            live = self._runtime.deployments.values()
            self._by_deployment = {found: known.get(found) or tools_of(found) for found in live}
            # Chat tools first: one that has the name of a deployment is replaced by that.
            tools = sorted((tool for each in self._by_deployment.values() for tool in each), key=_is_named_so)
            self._tools = {tool.name: tool for tool in tools if tool.name not in self._taken}
            self._revision = self._runtime.revision
        return self._tools

    def open_to(self, caller: Principal) -> list[DeploymentTool]:
        """The tools that *caller* may use, by name."""
        mine = self._runtime.open_to(caller)
        return [tool for _, tool in sorted(self.tools.items()) if tool.deployment.name in mine]

    def of(self, name: str) -> DeploymentTool | None:
        """The tool that runs the deployment of that name."""
        tools = [tool for tool in self.tools.values() if tool.deployment.name == name]
        return next((tool for tool in tools if tool.kind == "run"), tools[0] if tools else None)


def tools_of(deployment: Deployment) -> tuple[DeploymentTool, ...]:
    """How *deployment* can be called: by the fields of its request, by a message, or both."""
    if deployment.attributes.get("skip_mcp"):
        return ()
    tools = []
    run = deployment.entries.get("run_api")
    if run is not None:
        schema = deployment.attributes.get("outputs_schema") or run.response_schema
        output, is_wrapped = (None, False) if run.streams else output_schema(schema)
        definition = _definition(deployment, deployment.name, run, input_schema(run))
        if output is not None:
            definition["outputSchema"] = output
        names_headers = b'"x-mcp-header"' in msgspec.json.encode(definition["inputSchema"])
        tools.append(DeploymentTool(deployment, "run", run.name, definition, is_wrapped, names_headers))
    chat = next((deployment.entries[name] for name in _CHAT_ENTRIES if name in deployment.entries), None)
    if chat is not None and not deployment.attributes.get("skip_mcp_chat"):
        name = deployment.name + (CHAT_SUFFIX if run is not None else "")
        definition = _definition(deployment, name, chat, _CHAT_INPUT)
        tools.append(DeploymentTool(deployment, "chat", chat.name, definition))
    return tuple(tools)


def _definition(deployment: Deployment, name: str, entry: Entry, schema: Schema) -> dict[str, Any]:
    title = name.replace("_", " ").replace("-", " ").strip()
    title = title[:1].upper() + title[1:] if title else name
    description = entry.description or deployment.description
    if not description:
        description = f"Run {name}." if entry.name == "run_api" else f"Talk to {deployment.name}."
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": schema,
        "annotations": {"title": title, **(deployment.attributes.get("mcp_annotations") or {})},
        "_meta": {"hayhooks/deployment": deployment.name, "hayhooks/version": deployment.version[:12]},
    }


def _is_named_so(tool: DeploymentTool) -> bool:
    """Whether the tool has the very name of its deployment."""
    return tool.name == tool.deployment.name
