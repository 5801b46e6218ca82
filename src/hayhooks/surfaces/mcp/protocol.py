"""The protocol's requests, answered: the SDK's server with handlers of ours, for every transport and revision."""

import asyncio
from collections.abc import Mapping
from typing import Any

from loguru import logger
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types import NotificationParams

from hayhooks._version import __version__
from hayhooks.core.errors import HayhooksError
from hayhooks.core.names import printable
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import HTTPOptions
from hayhooks.surfaces.mcp.asker import Asker, Check, asker_of
from hayhooks.surfaces.mcp.calls import Calls, Report
from hayhooks.surfaces.mcp.catalog import Catalog
from hayhooks.surfaces.mcp.changes import Changes
from hayhooks.surfaces.mcp.content import COMPLETE
from hayhooks.surfaces.mcp.core_tools import NAMES, CoreTools
from hayhooks.surfaces.mcp.errors import failure, unknown
from hayhooks.surfaces.mcp.exchange import HTTPRequest
from hayhooks.surfaces.mcp.loops import on_initialized, telling
from hayhooks.surfaces.mcp.prompts import Prompts
from hayhooks.surfaces.mcp.resources import TEMPLATES, Resources
from hayhooks.surfaces.mcp.wire import INTERNAL_ERROR, INVALID_PARAMS

_INSTRUCTIONS = (
    "Each tool is a Haystack pipeline or agent that is deployed on this server. The list changes while the server "
    "runs: it says so, and get_all_pipeline_statuses shows what is there."
)
# What a client has read may be replaced at any time, and is what this caller may know.
_MANY = 1_000_000
_MOST_VALUES = 100  # of a completion, as the protocol has it
_HINT = CacheHint(ttl_ms=0, scope="private")
_CACHEABLE = ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read")


class Protocol(Server[dict[str, Any]]):
    """What this server says to requests of MCP. *check_change* raises for those who may not manage it."""

    def __init__(self, runtime: Runtime, options: HTTPOptions, changes: Changes, check_change: Check) -> None:
        self._runtime = runtime
        self._options = options
        self._check_change = check_change
        self._catalog = Catalog(runtime, NAMES)
        self._calls = Calls(runtime, options)
        self._core = CoreTools(runtime, self._catalog, self._calls)
        self._resources = Resources(runtime)
        self._prompts = Prompts(runtime)
        self._ending: set[asyncio.Task[Any]] = set()
        self.listening = ListenHandler(changes, max_subscriptions=_MANY)  # streams are counted where they begin
        super().__init__(
            "hayhooks",
            version=__version__,
            title="Hayhooks",
            instructions=_INSTRUCTIONS,
            cache_hints=dict.fromkeys(_CACHEABLE, _HINT),  # type: ignore[arg-type]
            lifespan=telling(changes),
            get_tool_input_schema=self._schema_with_headers,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_completion=self._complete,
            on_subscriptions_listen=self.listening,
        )
        self.add_notification_handler("notifications/initialized", NotificationParams, on_initialized)

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """As the SDK does, saying that all lists change."""
        options = notification_options or NotificationOptions(True, True, True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)

    def _asker(self, context: Any) -> Asker:
        return asker_of(context, self._check_change)

    def _schema_with_headers(self, name: str) -> Mapping[str, Any] | None:
        """The schema of a tool whose arguments are repeated in headers; to look in all of them would cost each call."""
        tool = self._catalog.tools.get(name)
        if tool is None or not tool.names_headers:
            return None
        schema: Mapping[str, Any] = tool.definition["inputSchema"]
        return schema

    async def _list_tools(self, context: Any, params: Any) -> Any:
        asker = self._asker(context)
        own = [tool.definition for tool in self._core.open_to(asker)]
        return {**COMPLETE, "tools": [*(tool.definition for tool in self._catalog.open_to(asker.caller)), *own]}

    async def _call_tool(self, context: Any, params: Any) -> Any:
        if isinstance(context.request, HTTPRequest):
            return await self._called(context, params)
        # The SDK's transports cancel again and again until a call has ended, also what a run still does at its end.
        # In a task of its own it is cancelled once, as asyncio has it.
        task = asyncio.ensure_future(self._called(context, params))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def _called(self, context: Any, params: Any) -> Any:
        asker = self._asker(context)
        name, arguments = params.name, params.arguments or {}
        try:
            core = self._core.tools.get(name)
            if core is not None and (core.is_for(asker) or core.manages):  # those say themselves what they ask for
                return (await core.call(arguments, asker, _report(context))).result()
            tool = self._catalog.tools.get(name)
            if core is not None or tool is None or not self._runtime.may(tool.deployment.name, asker.caller):
                raise self._unknown_tool(name, asker)
            return (await self._calls.call(tool, arguments, asker, _report(context))).result()
        except HayhooksError as error:
            return failure(error, show_tracebacks=self._options.show_tracebacks)
        except MCPError:
            raise
        except Exception as error:
            logger.opt(exception=error).error("Tool {} failed", printable(name))
            raise MCPError(INTERNAL_ERROR, "Internal server error. The server's log says why.") from None

    def _unknown_tool(self, name: str, asker: Asker) -> MCPError:
        """The same for what is not there and for what is not for this caller."""
        refusal = self._runtime.refusal(name, asker.caller)
        return unknown("tool", name, "" if refusal.kind == "not_found" else str(refusal))

    async def _list_resources(self, context: Any, params: Any) -> Any:
        return {**COMPLETE, "resources": self._resources.listed(self._asker(context).caller)}

    async def _list_templates(self, context: Any, params: Any) -> Any:
        return {**COMPLETE, "resourceTemplates": list(TEMPLATES)}

    async def _read_resource(self, context: Any, params: Any) -> Any:
        return await self._resources.read(str(params.uri), self._asker(context).caller)

    async def _list_prompts(self, context: Any, params: Any) -> Any:
        return {**COMPLETE, "prompts": self._prompts.listed(self._asker(context).caller)}

    async def _get_prompt(self, context: Any, params: Any) -> Any:
        try:
            return await self._prompts.get(params.name, params.arguments or {}, self._asker(context))
        except HayhooksError as error:
            raise MCPError(INVALID_PARAMS, str(error)) from None

    async def _complete(self, context: Any, params: Any) -> Any:
        caller, argument = self._asker(context).caller, params.argument
        is_name = getattr(params.ref, "uri", None) is not None and argument.name == "name"
        names = self._resources.names(caller, argument.value) if is_name else []
        found = {"values": names[:_MOST_VALUES], "total": len(names), "hasMore": len(names) > _MOST_VALUES}
        return {**COMPLETE, "completion": found}


def _report(context: Any) -> Report | None:
    """How to tell the caller of progress, when it asked for that."""
    if ((context.params or {}).get("_meta") or {}).get("progressToken") is None:
        return None

    async def report(progress: float, message: str) -> None:
        await context.session.report_progress(progress, None, message)

    return report
