"""The typed client: what it sends, what it makes of answers, and what it says when something is wrong."""

import asyncio
import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from hayhooks.client import (
    BrokenAnswer,
    Client,
    InvalidClientRequest,
    ServerRefused,
    ServerUnreachable,
    Upload,
)
from hayhooks.client.address import parse_url
from hayhooks.client.multipart import form_body
from tests.contract_server import REQUEST_SCHEMA, ContractServer


@pytest.fixture
def server() -> Iterator[ContractServer]:
    with ContractServer() as running:
        yield running


@pytest.fixture
def client(server: ContractServer) -> Client:
    return Client(server.origin)


def test_status_tells_what_is_live_and_what_failed(server: ContractServer, client: Client) -> None:
    server.failed = {"broken": "SyntaxError in pipeline_wrapper.py, line 3"}
    status = client.status()
    assert status.names == ("echo",)
    assert status.deployments[0].entries == ("run_api",)
    assert status.failed == server.failed
    assert status.version == "3.0.0"


def test_text_files_are_deployed_as_json(server: ContractServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_bytes("Grüße\r\n".encode())
    deployed = client.deploy_files(
        "new", {"pipeline_wrapper.py": b"x = 1\n", "sub/prompt.txt": tmp_path / "prompt.txt"}
    )
    assert (deployed.name, deployed.endpoint) == ("new", "/new/run")
    assert server.last.json == {
        "name": "new",
        "files": {"pipeline_wrapper.py": "x = 1\n", "sub/prompt.txt": "Grüße\r\n"},
        "overwrite": False,
        "save_files": True,
    }


def test_binary_files_are_deployed_as_a_form_with_their_bytes_and_paths(server: ContractServer, client: Client) -> None:
    odd = 'sub/q"uote\\ü.bin'
    client.deploy_files("new", {"pipeline_wrapper.py": b"x = 1\n", odd: b"\xff\r\n--\x00"}, overwrite=True)
    assert server.last.fields == {"name": "new", "overwrite": "true", "save_files": "true"}
    assert server.last.files == [("files", "pipeline_wrapper.py", b"x = 1\n"), ("files", odd, b"\xff\r\n--\x00")]


def test_a_large_file_is_not_held_in_memory_while_it_is_sent(tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    with model.open("wb") as file:
        file.truncate(100 << 20)
    body = form_body([], [Upload("files", "model.bin", model)])
    tracemalloc.start()
    try:
        sent_bytes = sum(len(piece) for piece in body.pieces)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent_bytes == body.size_bytes
    assert peak_bytes < 2 << 20


def test_many_megabytes_of_text_are_deployed_as_a_form(server: ContractServer, client: Client, tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    data.write_bytes(b"x" * (17 << 20))
    client.deploy_files("new", {"data.txt": data})
    assert [(name, len(content)) for _, name, content in server.last.files] == [("data.txt", 17 << 20)]


def test_a_name_that_is_taken_is_refused_with_a_way_out(client: Client) -> None:
    with pytest.raises(ServerRefused, match="exists") as refused:
        client.deploy_files("echo", {"pipeline_wrapper.py": b""})
    assert (refused.value.status, refused.value.kind) == (409, "conflict")
    assert "--overwrite" in (refused.value.hint or "")


def test_yaml_is_deployed_with_all_its_options(server: ContractServer, client: Client) -> None:
    client.deploy_yaml("y", "components: {}", description="d", skip_mcp=True, save_file=False)
    assert server.last.path == "/deploy-yaml"
    assert server.last.json == {
        "name": "y",
        "source_code": "components: {}",
        "overwrite": False,
        "description": "d",
        "skip_mcp": True,
        "save_file": False,
    }
    client.deploy_legacy("z", "components: {}")
    assert (server.last.path, server.last.json) == ("/deploy", {"name": "z", "source_code": "components: {}"})


def test_undeploying_takes_a_name_out(server: ContractServer, client: Client) -> None:
    assert client.undeploy("echo").name == "echo"
    assert server.names == []


def test_a_name_is_one_segment_of_the_path_whatever_is_in_it(server: ContractServer, client: Client) -> None:
    with pytest.raises(ServerRefused, match="No deployment"):
        client.undeploy("a b?c#d%2e")
    assert server.last.path == "/undeploy/a b?c#d%2e"
    with pytest.raises(ServerRefused, match="404"):
        client.undeploy("../echo/run")  # arrives as one segment, which no route takes
    assert len(server.requests) == 1


def test_a_run_returns_the_result_itself(server: ContractServer, client: Client) -> None:
    answer = client.run("echo", {"q": "ü", "n": 3})
    assert answer.result["json"] == {"q": "ü", "n": 3}
    assert answer.content_type == "application/json"


def test_a_run_with_files_sends_text_as_it_is_and_other_values_as_json(server: ContractServer, client: Client) -> None:
    client.run("echo", {"q": "123", "n": 5, "tags": ["a"]}, [Upload("doc", "a.txt", b"hi")])
    assert server.last.fields == {"q": "123", "n": "5", "tags": '["a"]'}
    assert server.last.files == [("doc", "a.txt", b"hi")]


def test_a_file_answer_comes_as_bytes_with_its_name(client: Client) -> None:
    answer = client.run("file")
    assert (answer.result, answer.filename) == (b"\x00\x01\xff", "answer.bin")


def test_text_arrives_before_the_answer_is_complete(server: ContractServer, client: Client) -> None:
    pieces = client.run("halves", stream=True)
    assert next(pieces) == "first "
    assert server.loop is not None
    server.loop.call_soon_threadsafe(server.go_on.set)
    assert "".join(pieces) == "second"


def test_characters_that_are_cut_between_pieces_come_out_whole(client: Client) -> None:
    assert "".join(client.run("stream", stream=True)) == "Grüße, café"
    assert client.run("stream").result == "Grüße, café"


def test_the_data_of_server_sent_events_is_streamed_without_heartbeats(client: Client) -> None:
    assert list(client.run("events", stream=True)) == ["Hello", " wor\nld", '{"a": 1}']


def test_a_failure_inside_a_stream_is_an_error(client: Client) -> None:
    pieces = client.run("failing-events", stream=True)
    assert next(pieces) == "Hello"
    with pytest.raises(ServerRefused, match=r"It broke\."):
        next(pieces)


def test_leaving_a_stream_ends_the_run(server: ContractServer, client: Client) -> None:
    pieces = client.run("endless", stream=True)
    assert next(pieces) == "on "
    pieces.close()  # type: ignore[attr-defined]
    assert server.loop is not None
    asyncio.run_coroutine_threadsafe(server.left.wait(), server.loop).result()


def test_an_answer_that_ends_early_is_an_error(client: Client) -> None:
    with pytest.raises(BrokenAnswer, match="before the answer was complete"):
        client.run("cut")


def test_a_silent_server_is_left_after_the_timeout(server: ContractServer) -> None:
    with pytest.raises(BrokenAnswer, match=r"did not answer within 0\.1 s"):
        Client(server.origin, timeout_s=0.1).run("mute")


def test_faults_of_a_request_are_listed(client: Client) -> None:
    with pytest.raises(ServerRefused) as refused:
        client.run("invalid")
    assert str(refused.value) == "The request body is not valid.\n  n: Input should be a valid integer"
    assert refused.value.errors[0]["type"] == "int_parsing"


def test_a_busy_server_says_when_to_try_again(client: Client) -> None:
    with pytest.raises(ServerRefused) as refused:
        client.run("busy")
    assert refused.value.hint == "Try again in 3 s."


def test_an_error_that_is_not_json_is_told_by_its_status(client: Client) -> None:
    with pytest.raises(ServerRefused, match=r"The server answered 502 Bad Gateway\."):
        client.run("not-ours")


def test_a_redirect_names_the_address_to_use(client: Client) -> None:
    with pytest.raises(BrokenAnswer, match=r"https://elsewhere\.example"):
        client.run("moved")


def test_no_server_says_how_to_start_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServerUnreachable, match="nothing listens there") as unreachable:
        Client(f"http://127.0.0.1:{port}").status()
    assert "hayhooks run" in (unreachable.value.hint or "")


def test_https_to_a_plain_server_says_so(server: ContractServer) -> None:
    with pytest.raises(ServerUnreachable, match="does not speak TLS"):
        Client(server.origin.replace("http:", "https:"), verify_tls=False).status()


def test_something_else_than_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_once, args=(listener, b"SSH-2.0-x\r\n"))
        thread.start()
        with pytest.raises(BrokenAnswer, match="without an HTTP answer"):
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}").status()
        thread.join()


def test_a_refusal_of_a_large_body_is_heard_while_it_is_still_being_sent(tmp_path: Path) -> None:
    body = b'{"detail": "Too large.", "kind": "too_large"}'
    head = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_once, args=(listener, head + body))
        thread.start()
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ServerRefused, match=r"Too large\.") as refused:
            client.deploy_files("big", {"model.bin": big})
        thread.join()
    assert refused.value.status == 413


def test_the_key_is_sent_as_a_bearer_token(server: ContractServer) -> None:
    Client(server.origin, api_key="s3cret").status()
    assert server.last.headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("key", ["", "a\r\nX-Evil: 1", "schlüssel"])
def test_a_key_that_is_no_header_value_is_refused(key: str) -> None:
    with pytest.raises(InvalidClientRequest, match="API key"):
        Client(api_key=key)


def test_proxies_of_the_environment_are_not_used_for_this_machine(
    server: ContractServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert Client(server.origin).status().names == ("echo",)


def test_proxies_of_the_environment_are_used_for_other_machines(
    server: ContractServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.origin)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    # uvicorn takes the whole URL that a proxy is asked for, and routes by its path.
    assert Client("http://hayhooks.example:1416").status().names == ("echo",)
    assert server.last.headers["host"] == "hayhooks.example:1416"


def test_the_schema_of_a_request_comes_from_the_status_or_from_openapi(server: ContractServer, client: Client) -> None:
    assert client.request_schema("echo") == REQUEST_SCHEMA
    server.has_request_schema = False
    schema = client.request_schema("echo")
    assert schema is not None
    assert schema["allOf"] == [{"$ref": "#/components/schemas/EchoRequest"}]
    assert client.request_schema("other") is None


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:1416", ("http", "localhost", 1416, "")),
        ("localhost:1416/", ("http", "localhost", 1416, "")),
        ("https://example.org/hay hooks/", ("https", "example.org", 443, "/hay%20hooks")),
        ("http://[::1]:80/a%20b", ("http", "::1", 80, "/a%20b")),
    ],
)
def test_a_url_names_an_address(url: str, address: tuple[str, str, int, str]) -> None:
    parsed = parse_url(url)
    assert (parsed.scheme, parsed.host, parsed.port, parsed.base_path) == address


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://h:port", "http://u:p@h", "http://h?x=1", "http://h:99999"]
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidClientRequest, match="not a server's URL"):
        Client(url)


def test_values_that_json_cannot_say_are_refused_before_they_are_sent(client: Client) -> None:
    with pytest.raises(InvalidClientRequest, match="cannot be sent as JSON"):
        client.run("echo", {"q": object()})
    with pytest.raises(InvalidClientRequest, match="cannot be sent as JSON"):
        client.run("echo", {"q": float("nan")})


def test_a_file_that_cannot_be_read_is_named(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InvalidClientRequest, match=r"gone\.bin"):
        client.run("echo", None, [Upload("files", "gone.bin", tmp_path / "gone.bin")])


def test_a_file_that_grows_while_it_is_sent_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"12345")
    body = form_body([], [Upload("files", "log.txt", path)])
    with path.open("ab") as file:
        file.write(b"6")
        os.fsync(file.fileno())
    with pytest.raises(InvalidClientRequest, match="changed while it was sent"):
        list(body.pieces)


def _answer_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):  # a close with unread bytes would reset the connection under the answer
            pass
