"""A tool call: one run, its stream as progress, its answer as content."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec

from hayhooks.core.context import Session
from hayhooks.core.deployment import Call
from hayhooks.core.errors import EntryNotFound, InvalidRequest, RunFailed
from hayhooks.core.events import Chunk, Completion, Data, Event, Raw, Result, Texts, UserEvent
from hayhooks.core.run import Run
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._completions import chunk_of_completion
from hayhooks.surfaces._http import HTTPOptions, require_size
from hayhooks.surfaces.mcp.arguments import body_and_uploads
from hayhooks.surfaces.mcp.asker import Asker
from hayhooks.surfaces.mcp.catalog import DeploymentTool
from hayhooks.surfaces.mcp.content import Content, answer_of, blocks_of, text
from hayhooks.surfaces.mcp.schemas import RESULT

VIA = "mcp"

Report = Callable[[float, str], Awaitable[None]]  # how much there is by now, and what has come


class Calls:
    """Runs deployments for callers of tools."""

    def __init__(self, runtime: Runtime, options: HTTPOptions) -> None:
        self._runtime = runtime
        self._options = options

    async def call(
        self, tool: DeploymentTool, arguments: Mapping[str, Any], asker: Asker, report: Report | None
    ) -> Content:
        """Call *tool*; what it streams is told to *report* while it comes.

        Raises:
            HayhooksError: What the caller must be told.
        """
        name = tool.deployment.name
        session = asker.session
        if tool.kind == "chat" and isinstance(arguments.get("conversation"), str):
            session = Session(arguments["conversation"])
        chosen = self._runtime.choose(name, asker.caller, session)
        entry = chosen.deployment.entries.get(tool.entry)
        if entry is None:
            raise EntryNotFound(name, tool.entry)
        call = Call(headers=asker.headers, session=session, caller=asker.caller, trace=asker.trace)
        if tool.kind == "chat":
            call.arguments = _chat_arguments(tool, arguments, streams=report is not None)
            call.wants_stream = report is not None
        else:
            call.body, call.uploads = body_and_uploads(entry, arguments)
            require_size(call.body, chosen.deployment.limits)
        fold = _Fold(tool, report)
        async with self._runtime.run(name, tool.entry, call, via=VIA, chosen=chosen) as run:
            reply = await run.reply()
            if isinstance(reply, Result):
                return _whole(tool, reply)
            if isinstance(reply, Raw):
                return await self._file(run, reply, asker)
            run.is_streamed = report is not None
            async for events in run.stream(reply):
                await fold.add(events)
        return fold.content()

    async def _file(self, run: Run, reply: Raw, asker: Asker) -> Content:
        """The answer of a hook that made a Response."""
        try:
            answered = await answer_of(reply.response, asker.scope)
        except Exception as error:
            raise RunFailed(run.context.deployment) from error
        uri = f"hayhooks://{run.context.deployment}/runs/{run.context.run_id}"
        return Content(answered.blocks(uri), is_error=answered.status >= 400)


def _chat_arguments(tool: DeploymentTool, arguments: Mapping[str, Any], *, streams: bool) -> dict[str, Any]:
    message = arguments.get("message")
    if not isinstance(message, str) or not message:
        raise InvalidRequest("message: Say something, as text.", [
            {"loc": ["body", "message"], "msg": "Say something, as text", "type": "missing"}
        ])  # fmt: skip
    said = [{"role": "user", "content": message}]
    body: dict[str, Any] = {"model": tool.deployment.name, "stream": streams}
    if arguments.get("conversation") is not None:
        body["conversation"] = arguments["conversation"]
    if tool.entry == "run_response":
        items = [{"type": "message", **said[0]}]
        return {"model": tool.deployment.name, "input_items": items, "body": {**body, "input": items}}
    return {"model": tool.deployment.name, "messages": said, "body": {**body, "messages": said}}


def _whole(tool: DeploymentTool, reply: Result) -> Content:
    value = msgspec.json.decode(reply.json)
    places = tool.deployment.attributes.get("component_outputs")
    if places and isinstance(value, dict):  # the answer goes by component, as clients of REST know it
        value = {name: (value.get(component) or {}).get(socket) for name, (component, socket) in places.items()}
    content = Content(blocks_of(value))
    if isinstance(value, dict) and not tool.is_wrapped:
        content.structured = value
    elif tool.is_wrapped:
        content.structured = {RESULT: value}
    return content


class _Fold:
    """Gathers what a run streams."""

    def __init__(self, tool: DeploymentTool, report: Report | None) -> None:
        self._tool = tool
        self._report = report
        self._texts: list[str] = []
        self._steps = 0

    async def add(self, events: Iterable[Event]) -> None:
        """Fold *events* in, and tell of them together."""
        news: list[str] = []
        for event in events:
            if isinstance(event, UserEvent):
                status = event.data.get("description") if isinstance(event.data, dict) else None
                if self._report is not None and isinstance(status, str) and status:
                    await self._tell(status)
                continue
            news.append(_text_of(event))
        said = "".join(news)
        if not said:
            return
        self._texts.append(said)
        if self._report is not None:
            await self._tell(said)

    async def _tell(self, said: str) -> None:
        assert self._report is not None
        self._steps += 1
        await self._report(self._steps, said)

    def content(self) -> Content:
        """All of it."""
        said = "".join(self._texts)
        content = Content([text(said)])
        if self._tool.is_wrapped:
            content.structured = {RESULT: said}
        return content


def _text_of(event: Event) -> str:
    if isinstance(event, Texts):
        return "".join(event.texts)
    if isinstance(event, Chunk):
        return event.text
    if isinstance(event, Completion):
        return chunk_of_completion(event.data)[0].text
    if isinstance(event, (Data, Result)):
        return event.json.decode()
    return ""
