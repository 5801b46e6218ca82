"""MCP: deployments are tools, for clients of both protocol eras, while they come and go."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ImageContent, ResourceTemplateReference, TextContent, ToolListChangedNotification

from hayhooks.testing import RunningServer, running_server
from tests.support.deployments import wrapper, write
from tests.support.gates import GATES_MODULE, Gates

PNG = bytes.fromhex("89504e470d0a1a0a")
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
YAML = """
components:
  p:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters: {template: "hi {{ name }}"}
connections: []
inputs: {name: p.name}
outputs: {greeting: p.prompt}
prompts:
  say_hi: {component: p, description: Greets.}
"""
GREET = '''
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    mcp_annotations = {"readOnlyHint": True}

    def setup(self):
        pass

    def run_api(self, name: str, times: int = 1) -> str:
        """Greet somebody.

        :param name: Whom to greet.
        """
        return " ".join([f"hello {name}"] * times)
'''
TALK = """
from hayhooks import BasePipelineWrapper, current_run, get_last_user_message


class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_api(self) -> dict:
        run = current_run()
        return {"via": run.via, "caller": run.caller.kind, "trace": run.trace_id, "host": run.headers["host"]}

    def run_chat_completion(self, model, messages, body):
        current_run().report_status("thinking")
        for word in ("you ", "said ", get_last_user_message(messages), f" in {current_run().session.id}"):
            yield word
"""
WAIT = """
import asyncio
from .gates import note
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    async def run_api_async(self) -> str:
        try:
            await asyncio.to_thread(note, "begun")  # who has heard of it may cancel before this ends
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            await asyncio.to_thread(note, "stopped")
            raise
        return ""
"""
WRAPPERS: dict[str, dict[str, str]] = {
    "greet": {"pipeline_wrapper.py": GREET, "README.md": "# Greet"},
    "talk": {"pipeline_wrapper.py": TALK},
    "wait": {"pipeline_wrapper.py": WAIT, "gates.py": GATES_MODULE},
    "hidden": {"pipeline_wrapper.py": GREET.replace("mcp_annotations", "skip_mcp = True\n    mcp_annotations")},
    "count": {"pipeline_wrapper.py": wrapper("for n in range(3):\n    yield f'{n} '")},
    "fail": {"pipeline_wrapper.py": wrapper("raise ValueError('secret')")},
    "pay": {
        "pipeline_wrapper.py": wrapper(
            "raise HTTPException(402, 'Pay first')", head="from fastapi import HTTPException"
        )
    },
    "size": {
        "pipeline_wrapper.py": wrapper(
            "return {'name': doc.filename, 'size': len(doc.file.read()), 'n': n}",
            head="from fastapi import UploadFile",
            parameters="doc: UploadFile, n: int = 3",
        )
    },
    "picture": {
        "pipeline_wrapper.py": wrapper(
            f"return Response({PNG!r}, media_type='image/png')", head="from starlette.responses import Response"
        )
    },
}


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Gates) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("mcp") / "pipelines"
    for name, files in WRAPPERS.items():
        write(directory / name, files)
    write(directory, {"flat.yml": YAML})
    with running_server(directory, env={"GATES_URL": gates.url}) as running:
        yield running


class Connected:
    """A client, and what it has been told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.told: asyncio.Queue[Any] = asyncio.Queue()

    async def call(self, name: str, /, **arguments: Any) -> Any:
        return await self.client.call_tool(name, arguments)

    async def tools(self) -> dict[str, Any]:
        return {tool.name: tool for tool in (await self.client.list_tools(cache_mode="bypass")).tools}


@asynccontextmanager
async def connected(server: RunningServer, era: str) -> AsyncIterator[Connected]:
    told: asyncio.Queue[Any] = asyncio.Queue()
    async with Client(f"{server.url}/mcp", mode=era, message_handler=told.put) as client:  # type: ignore[arg-type]
        assert client.protocol_version == ERAS[era]
        found = Connected(client)
        found.told = told
        yield found


@pytest.fixture(params=ERAS)
async def client(server: RunningServer, request: pytest.FixtureRequest) -> AsyncIterator[Connected]:
    ready: asyncio.Future[Connected] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def host() -> None:  # in one task from beginning to end, which a fixture's halves are not
        try:
            async with connected(server, request.param) as client:
                ready.set_result(client)
                await over.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    hosting = asyncio.ensure_future(host())
    yield await ready
    over.set()
    await hosting


def text_of(result: Any) -> str:
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


async def test_a_deployment_is_a_tool_as_its_hook_says(client: Connected) -> None:
    tools = await client.tools()
    greet = tools["greet"]
    assert greet.title == "Greet"
    assert greet.description.startswith("Greet somebody.")
    assert greet.input_schema["required"] == ["name"]
    assert greet.input_schema["properties"]["name"]["description"] == "Whom to greet."
    assert greet.output_schema["properties"]["result"] == {"type": "string"}
    assert greet.annotations.read_only_hint is True
    assert "hidden" not in tools
    assert tools["undeploy_pipeline"].annotations.destructive_hint is True
    info = client.client.server_info
    assert info is not None
    assert info.name == "hayhooks"


async def test_an_answer_is_text_and_structure(client: Connected) -> None:
    result = await client.call("greet", name="Ada", times=2)
    assert text_of(result) == "hello Ada hello Ada"
    assert result.structured_content == {"result": "hello Ada hello Ada"}
    yaml = await client.call("flat", name="Ada")
    assert yaml.structured_content == {"greeting": "hi Ada"}


async def test_what_a_caller_can_mend_is_told_to_the_model(client: Connected) -> None:
    result = await client.call("greet", times="twice")
    assert result.is_error
    assert "name: Field required" in text_of(result)
    assert "times: " in text_of(result)
    assert text_of(await client.call("pay")) == "Pay first"
    failed = await client.call("fail")
    assert failed.is_error
    assert "secret" not in text_of(failed)
    with pytest.raises(MCPError, match="Unknown tool: nothing"):
        await client.call("nothing")


async def test_streams_arrive_as_progress_and_whole(client: Connected) -> None:
    told: list[str | None] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    result = await client.client.call_tool("count", {}, progress_callback=note)
    assert text_of(result) == "0 1 2 "
    assert "".join(part or "" for part in told) == "0 1 2 "
    told.clear()
    said = {"message": "hi", "conversation": "c1"}
    result = await client.client.call_tool("talk_chat", said, progress_callback=note)
    assert text_of(result) == "you said hi in c1"
    assert "".join(part or "" for part in told) == "thinkingyou said hi in c1"


async def test_files_go_in_as_objects_and_come_out_as_blocks(client: Connected) -> None:
    doc = {"filename": "a.bin", "base64": base64.b64encode(PNG).decode()}
    assert (await client.call("size", doc=doc, n=4)).structured_content == {"name": "a.bin", "size": 8, "n": 4}
    assert "doc: File required" in text_of(await client.call("size"))
    (picture,) = (await client.call("picture")).content
    assert isinstance(picture, ImageContent)
    assert base64.b64decode(picture.data) == PNG
    assert picture.mime_type == "image/png"


async def test_a_run_knows_who_calls_and_how(server: RunningServer, client: Connected) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    meta: Any = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    facts = (await client.client.call_tool("talk", {}, meta=meta)).structured_content
    host = server.url.removeprefix("http://")
    assert facts == {"via": "mcp", "caller": "anonymous", "trace": trace, "host": host}


async def test_cancelling_stops_the_run(client: Connected, gates: Gates) -> None:
    begun, stopped = gates.count("begun"), gates.count("stopped")
    call = asyncio.ensure_future(client.call("wait"))
    await asyncio.to_thread(gates.wait, "begun", begun + 1)
    call.cancel()
    await asyncio.to_thread(gates.wait, "stopped", stopped + 1)
    assert text_of(await client.call("greet", name="Ada")) == "hello Ada"


async def test_a_client_sees_and_calls_what_is_deployed_after_it_came(server: RunningServer, client: Connected) -> None:
    async def deployed(answer: str) -> None:
        files = {"pipeline_wrapper.py": wrapper(f"return {answer!r}")}
        result = await client.call("deploy_pipeline", name="fresh", files=files, overwrite=answer == "new")
        assert result.structured_content["tool"] == "fresh"

    async def changed() -> None:
        while not isinstance(await asyncio.wait_for(client.told.get(), 20), ToolListChangedNotification):
            pass

    is_old = client.client.protocol_version == ERAS["legacy"]
    assert "fresh" not in await client.tools()
    await deployed("old")
    if is_old:
        await changed()
    assert "fresh" in await client.tools()
    assert text_of(await client.call("fresh")) == "old"
    await deployed("new")
    if is_old:
        await changed()
    assert text_of(await client.call("fresh")) == "new"
    await client.call("undeploy_pipeline", pipeline_name="fresh")
    assert "fresh" not in await client.tools()


async def test_who_listens_is_told_of_changes(server: RunningServer) -> None:
    async with connected(server, "auto") as client, client.client.listen(tools_list_changed=True) as events:
        files = {"pipeline_wrapper.py": wrapper()}
        await client.call("deploy_pipeline", name="heard", files=files, overwrite=True)
        async for event in events:
            assert type(event).__name__ == "ToolsListChanged"
            break
        await client.call("undeploy_pipeline", pipeline_name="heard")


async def test_the_servers_own_tools_say_what_is_there_and_run_it(client: Connected) -> None:
    statuses = (await client.call("get_all_pipeline_statuses")).structured_content
    assert {"greet", "talk"} <= set(statuses["pipelines"])
    status = (await client.call("get_pipeline_status", pipeline_name="greet")).structured_content
    assert status["pipeline"] == "greet"
    ran = await client.call("run_pipeline", pipeline_name="greet", arguments={"name": "Ada"})
    assert ran.structured_content == {"result": "hello Ada"}
    missing = await client.call("undeploy_pipeline", pipeline_name="nothing")
    assert missing.is_error
    assert "nothing" in text_of(missing)


async def test_a_deployment_can_be_read_about(client: Connected) -> None:
    uris = [item.uri for item in (await client.client.list_resources()).resources]
    base = "hayhooks://deployments"
    assert {f"{base}/greet/readme", f"{base}/greet/schema", f"{base}/flat/graph"} <= set(uris)
    assert not any("hidden" in uri for uri in uris)
    (readme,) = (await client.client.read_resource(f"{base}/greet/readme")).contents
    assert readme.text == "# Greet"  # type: ignore[union-attr]
    (graph,) = (await client.client.read_resource(f"{base}/flat/graph")).contents
    assert base64.b64decode(graph.blob).startswith(PNG)  # type: ignore[union-attr]
    with pytest.raises(MCPError, match="not found"):
        await client.client.read_resource(f"{base}/nothing/schema")


async def test_templates_are_prompts(client: Connected) -> None:
    (prompt,) = (await client.client.list_prompts()).prompts
    assert (prompt.name, prompt.description) == ("say_hi", "Greets.")
    assert [(argument.name, argument.required) for argument in prompt.arguments or ()] == [("name", True)]
    filled = await client.client.get_prompt("say_hi", {"name": "Ada"})
    (message,) = filled.messages
    assert message.role == "user"
    assert message.content.text == "hi Ada"  # type: ignore[union-attr]
    with pytest.raises(MCPError, match="Unknown prompt"):
        await client.client.get_prompt("nothing")


async def test_names_of_deployments_complete_an_address(client: Connected) -> None:
    template = ResourceTemplateReference(uri="hayhooks://deployments/{name}/schema")
    found = await client.client.complete(template, {"name": "name", "value": "gr"})
    assert found.completion.values == ["greet"]


def initialize(url: str, **headers: str) -> httpx.Response:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    accept = {"accept": "application/json, text/event-stream"}
    return httpx.post(f"{url}/mcp", json=message, headers={**accept, **headers})


def test_the_address_answers_itself_and_pages_of_others_are_refused(server: RunningServer) -> None:
    assert initialize(server.url).status_code == 200
    assert initialize(server.url, origin="https://evil.example").status_code == 403
    assert initialize(server.url, host="evil.example").status_code == 421
    assert initialize(server.url, accept="text/html").status_code == 406
    refused = httpx.post(f"{server.url}/mcp", content="[", headers={"accept": "*/*"})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == -32700


def test_a_session_ends_when_its_client_says_so(server: RunningServer) -> None:
    session = {"mcp-session-id": initialize(server.url).headers["mcp-session-id"], "accept": "*/*"}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert httpx.post(f"{server.url}/mcp", json=ping, headers=session).json()["result"] == {}
    forged = {**session, "mcp-session-id": session["mcp-session-id"][:-1] + "_"}
    assert httpx.post(f"{server.url}/mcp", json=ping, headers=forged).status_code == 404
    assert httpx.delete(f"{server.url}/mcp", headers=session).status_code == 200
    assert httpx.post(f"{server.url}/mcp", json=ping, headers=session).status_code == 404


def test_what_is_too_much_is_refused_in_the_words_of_the_protocol(tmp_path: Path, gates: Gates) -> None:
    files = {
        **WRAPPERS["wait"],
        "pipeline_wrapper.py": WAIT.replace(
            "def setup", "max_concurrent_runs = 1\n    max_queued_runs = 0\n\n    def setup"
        ),
    }
    write(tmp_path / "pipelines" / "wait", files)
    env = {"GATES_URL": gates.url, "HAYHOOKS_MAX_BODY_BYTES": "2000", "HAYHOOKS_MAX_TOTAL_STREAMS": "2"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait", "arguments": {}}}
    accept = {"accept": "application/json, text/event-stream"}
    with running_server(tmp_path / "pipelines", env=env) as server, httpx.Client(headers=accept, timeout=60) as web:
        large = web.post(f"{server.url}/mcp", json={**call, "params": {"name": "x" * 3000}})
        assert (large.status_code, large.json()["error"]["data"]) == (413, {"kind": "too_large"})
        begun = gates.count("begun")
        with ThreadPoolExecutor() as pool:
            first = pool.submit(web.post, f"{server.url}/mcp", json=call)
            gates.wait("begun", begun + 1)
            busy = web.post(f"{server.url}/mcp", json=call).json()["result"]
            assert busy["isError"]
            assert busy["_meta"]["hayhooks/kind"] == "busy"
            with web.stream("GET", f"{server.url}/mcp") as listening:
                assert listening.status_code == 200
                full = web.post(f"{server.url}/mcp", json=call)
                assert (full.status_code, full.json()["error"]["data"]) == (503, {"kind": "unavailable"})
            server.stop()
            assert first.result().json()["result"]["_meta"]["hayhooks/kind"] == "unavailable"
