"""MCP over each transport, with several workers, behind a login, and when the server stops."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp_types import TextContent, ToolListChangedNotification

from hayhooks.testing import RunningServer, running_server
from tests.support.deployments import wrapper, write
from tests.support.gates import GATES_MODULE, Gates
from tests.support.program import Program, running
from tests.test_mcp import WAIT

ACCEPT = {"accept": "application/json, text/event-stream"}


def text_of(result: Any) -> str:
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


@pytest.fixture(scope="module")
def gates() -> Iterator[Gates]:
    with Gates() as gates:
        yield gates


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("transports")
    process = wrapper("import os\nprint('said aloud')\nreturn str(os.getpid())")
    write(directory / "pipelines" / "process", {"pipeline_wrapper.py": process})
    write(directory / "pipelines" / "wait", {"pipeline_wrapper.py": WAIT, "gates.py": GATES_MODULE})
    return directory


def hearing(told: "asyncio.Queue[Any]") -> Any:
    """A handler that puts what a client is told into a queue."""

    async def hear(message: Any) -> None:
        await told.put(message)

    return hear


async def sees_what_is_deployed(client: Client, told: "asyncio.Queue[Any]", name: str) -> None:
    """Deploys through *client*, waits to be told of it, and calls it."""
    assert name not in {tool.name for tool in (await client.list_tools()).tools}
    files = {"pipeline_wrapper.py": wrapper("return 'fresh'")}
    deployed = await client.call_tool("deploy_pipeline", {"name": name, "files": files, "save_files": False})
    assert not deployed.is_error, deployed
    while not isinstance(await asyncio.wait_for(told.get(), 20), ToolListChangedNotification):
        pass
    assert name in {tool.name for tool in (await client.list_tools()).tools}
    assert text_of(await client.call_tool(name, {})) == "fresh"
    await client.call_tool("undeploy_pipeline", {"pipeline_name": name})


async def test_on_standard_input_and_output_nothing_else_is_said(directory: Path, gates: Gates) -> None:
    arguments = ["-m", "hayhooks", "mcp", "run", "--stdio", "-d", str(directory / "pipelines")]
    state = str(directory / "stdio-state")
    env = {**os.environ, "HAYHOOKS_STATE_DIR": state, "GATES_URL": gates.url}
    program = StdioServerParameters(command=sys.executable, args=arguments, env=env)
    told: asyncio.Queue[Any] = asyncio.Queue()
    with (directory / "stdio.log").open("w") as log:
        async with Client(stdio_client(program, errlog=log), mode="legacy", message_handler=hearing(told)) as client:
            assert text_of(await client.call_tool("process", {})).isdigit()
            await sees_what_is_deployed(client, told, "over_stdio")
        async with Client(stdio_client(program, errlog=log)) as client:
            assert client.protocol_version == "2026-07-28"
            assert text_of(await client.call_tool("process", {})).isdigit()
    assert "via=mcp caller=local" in (directory / "stdio.log").read_text()


@pytest.fixture(scope="module")
def alone(directory: Path, gates: Gates) -> Iterator[RunningServer]:
    env = {"HAYHOOKS_STATE_DIR": str(directory / "alone-state"), "GATES_URL": gates.url}
    with running_server(directory / "pipelines", command=("mcp", "run"), env=env) as server:
        yield server


async def test_old_clients_have_a_stream_and_an_address_for_messages(alone: RunningServer, gates: Gates) -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()
    async with Client(sse_client(f"{alone.url}/sse"), mode="legacy", message_handler=hearing(told)) as client:
        assert text_of(await client.call_tool("process", {})).isdigit()
        await sees_what_is_deployed(client, told, "over_sse")
        begun, stopped = gates.count("begun"), gates.count("stopped")
        call = asyncio.ensure_future(client.call_tool("wait", {}))
        await asyncio.to_thread(gates.wait, "begun", begun + 1)
        call.cancel()
        await asyncio.to_thread(gates.wait, "stopped", stopped + 1)


async def test_a_server_of_its_own_has_the_same_endpoint(alone: RunningServer) -> None:
    async with Client(f"{alone.url}/mcp") as client:
        assert text_of(await client.call_tool("process", {})).isdigit()
    status = await asyncio.to_thread(httpx.get, f"{alone.url}/status")
    assert {"process", "wait"} <= set(status.json()["pipelines"])


@pytest.fixture(scope="module")
def workers(directory: Path, gates: Gates) -> Iterator[Program]:
    env = {"HAYHOOKS_STATE_DIR": str(directory / "workers-state"), "GATES_URL": gates.url}
    command = ("-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", "0", "--workers", "2")
    with running(directory, *command, env=env) as program:
        program.wait_for("Listening on")
        yield program
        program.end(signal.SIGTERM)


def message(method: str, params: dict[str, Any] | None = None, request_id: int | None = 1) -> dict[str, Any]:
    request = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    return request if request_id is None else {**request, "id": request_id}


def begin(url: str) -> dict[str, str]:
    """Headers of a new session."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    answer = httpx.post(f"{url}/mcp", json=message("initialize", params), headers=ACCEPT)
    return {**ACCEPT, "mcp-session-id": answer.headers["mcp-session-id"], "connection": "close"}


def test_requests_of_one_session_are_answered_by_any_worker(workers: Program) -> None:
    url = workers.wait_for(r"Listening on (http://\S+)")[1]
    session = begin(url)
    call = message("tools/call", {"name": "process", "arguments": {}})
    found: set[str] = set()
    while len(found) < 2:  # connections of its own each time: the system gives them to either
        answer = httpx.post(f"{url}/mcp", json=call, headers=session)
        found.add(answer.json()["result"]["content"][0]["text"])


async def test_each_worker_tells_its_clients_what_another_has_deployed(workers: Program) -> None:
    url = workers.wait_for(r"Listening on (http://\S+)")[1]
    async with AsyncExitStack() as stack:
        queues: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in range(6)]
        clients = [
            await stack.enter_async_context(Client(f"{url}/mcp", mode="legacy", message_handler=hearing(told)))
            for told in queues
        ]
        files = {"pipeline_wrapper.py": wrapper("return 'fresh'")}
        await clients[0].call_tool("deploy_pipeline", {"name": "everywhere", "files": files})
        for told in queues:
            while not isinstance(await asyncio.wait_for(told.get(), 20), ToolListChangedNotification):
                pass
        for client in clients:
            assert text_of(await client.call_tool("everywhere", {})) == "fresh"
        await clients[0].call_tool("undeploy_pipeline", {"pipeline_name": "everywhere"})


def test_what_one_worker_is_told_to_stop_stops_at_another(workers: Program, gates: Gates) -> None:
    url = workers.wait_for(r"Listening on (http://\S+)")[1]
    session = begin(url)
    for number in range(6):  # some of these come to the other worker
        begun, stopped = gates.count("begun"), gates.count("stopped")
        call = message("tools/call", {"name": "wait", "arguments": {}}, 100 + number)
        answers: list[httpx.Response] = []

        def post(call: dict[str, Any] = call, answers: list[httpx.Response] = answers) -> None:
            answers.append(httpx.post(f"{url}/mcp", json=call, headers=session, timeout=60))

        thread = threading.Thread(target=post)
        thread.start()
        gates.wait("begun", begun + 1)
        cancel = message("notifications/cancelled", {"requestId": 100 + number}, None)
        assert httpx.post(f"{url}/mcp", json=cancel, headers=session).status_code == 202
        gates.wait("stopped", stopped + 1)
        thread.join()
        assert answers[0].json()["error"]["message"] == "The request was cancelled."


async def test_open_streams_end_when_the_server_stops(directory: Path, tmp_path: Path) -> None:
    env = {"HAYHOOKS_STATE_DIR": str(tmp_path / "state"), "HAYHOOKS_GRACEFUL_SHUTDOWN_TIMEOUT": "600"}
    with running_server(directory / "pipelines", env=env) as server:
        session = begin(server.url)
        async with httpx.AsyncClient(timeout=60) as web:
            listen = {**ACCEPT, "mcp-protocol-version": "2026-07-28", "mcp-method": "subscriptions/listen"}
            meta = {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
            asked = message("subscriptions/listen", {"notifications": {"toolsListChanged": True}, "_meta": meta})
            old = web.stream("GET", f"{server.url}/mcp", headers={**session, "mcp-protocol-version": "2025-11-25"})
            new = web.stream("POST", f"{server.url}/mcp", headers=listen, json=asked)
            async with old as older, new as newer:
                older_lines, newer_lines = older.aiter_lines(), newer.aiter_lines()
                assert "listening" in await anext(older_lines)
                while "acknowledged" not in await anext(newer_lines):
                    pass
                server.process.send_signal(signal.SIGTERM)
                assert [line async for line in older_lines if line] == []
                (last,) = [line async for line in newer_lines if line.startswith("data:")]
                assert "result" in json.loads(last.removeprefix("data:"))
        assert await asyncio.to_thread(server.process.wait, 30) == 0


def test_a_client_without_a_token_is_told_where_to_get_one(tmp_path: Path) -> None:
    write(tmp_path / "pipelines" / "closed", {"pipeline_wrapper.py": wrapper()})
    issuer = "https://login.example"
    env = {"HAYHOOKS_JWT_ISSUER": issuer, "HAYHOOKS_JWT_AUDIENCE": "hayhooks"}
    with running_server(tmp_path / "pipelines", env=env) as server:
        refused = httpx.post(f"{server.url}/mcp", json=message("tools/list"), headers=ACCEPT)
        assert refused.status_code == 401
        where = f"{server.url}/.well-known/oauth-protected-resource/mcp"
        assert refused.headers["www-authenticate"] == f'Bearer resource_metadata="{where}"'
        about = httpx.get(where).json()
        assert about["resource"] == f"{server.url}/mcp"
        assert about["authorization_servers"] == [issuer]


def test_nothing_of_the_sdk_is_loaded_before_the_first_client_comes(tmp_path: Path) -> None:
    look = (
        "import sys; from starlette.testclient import TestClient; from hayhooks import create_app\n"
        "from hayhooks.settings import AppSettings\n"
        "with TestClient(create_app(AppSettings(pipelines_dir='pipelines')), base_url='http://127.0.0.1') as web:\n"
        "    before = 'mcp' in sys.modules\n"
        "    web.post('/mcp', json={}, headers={'accept': '*/*'})\n"
        "    print(before, 'mcp' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.split() == ["False", "True"], done.stderr
