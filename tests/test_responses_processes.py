"""Responses and the processes that make them: restarts, several workers, and limits on what is kept."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from hayhooks.testing import running_server
from tests.support.chat_wrappers import write_wrappers
from tests.support.program import running
from tests.support.response_wrappers import RESPONSE_WRAPPERS

T = TypeVar("T")
WORKERS = ("-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", "0", "--workers", "2")


def create(url: str, said: str = "x", **more: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/responses", json={"model": "endless", "input": said, **more}, timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def get(url: str, made: dict[str, Any]) -> httpx.Response:
    return httpx.get(f"{url}/v1/responses/{made['id']}", timeout=30)


def until(look: Callable[[], T], is_right: Callable[[T], bool]) -> T:
    """What *look* sees once it is right; each look is a call of the server."""
    for _ in range(2_000):
        seen = look()
        if is_right(seen):
            break
    assert is_right(seen), seen
    return seen


def test_after_a_restart_what_was_finished_is_there_and_what_was_not_has_failed(tmp_path: Path) -> None:
    write_wrappers(tmp_path / "pipelines", {"endless": RESPONSE_WRAPPERS["endless"]})
    with running_server(tmp_path / "pipelines") as server:
        finished = create(server.url, "pid")
        running_one = create(server.url, background=True)
        until(lambda: get(server.url, running_one).json()["status"], lambda status: status == "in_progress")
        server.stop(signal.SIGKILL)
    with running_server(tmp_path / "pipelines", env={"HAYHOOKS_GRACEFUL_SHUTDOWN_TIMEOUT": "0"}) as server:
        assert get(server.url, finished).json() == finished
        failed = get(server.url, running_one).json()
        assert failed["status"] == "failed"
        assert failed["error"]["code"] == "server_error"
        stopped = create(server.url, background=True)
        until(lambda: get(server.url, stopped).json()["status"], lambda status: status == "in_progress")
        assert server.stop() == 0  # a background response holds nothing up
    with running_server(tmp_path / "pipelines", env={"HAYHOOKS_RESPONSES_MAX_COUNT": "1"}) as server:
        assert get(server.url, stopped).json()["status"] == "failed"
        assert "server stopped" in get(server.url, stopped).json()["error"]["message"]
        latest = create(server.url, "pid")  # and one is all that may be kept
        assert [get(server.url, made).status_code for made in (finished, stopped, latest)] == [404, 404, 200]


def test_a_damaged_file_of_responses_keeps_nobody_from_an_answer(tmp_path: Path) -> None:
    write_wrappers(tmp_path / "pipelines", {"endless": RESPONSE_WRAPPERS["endless"]})
    state = tmp_path / "state"
    state.mkdir()
    (state / "responses.db").write_bytes(b"no database " * 1000)
    with running_server(tmp_path / "pipelines", env={"HAYHOOKS_STATE_DIR": str(state)}) as server:
        made = create(server.url, "pid")
        assert made["status"] == "completed"
        assert made["store"] is False  # and the caller is told that it is not kept
        again = httpx.post(
            f"{server.url}/v1/responses", json={"model": "endless", "input": "pid", "previous_response_id": made["id"]}
        )
        assert again.status_code == 500
        assert again.json()["error"]["code"] == "internal_error"
        server.wait_for_log("could not be kept")


def test_what_one_worker_made_another_knows_and_can_stop(tmp_path: Path) -> None:
    write_wrappers(tmp_path / "pipelines", {"endless": RESPONSE_WRAPPERS["endless"]})
    with running(tmp_path, *WORKERS) as server:
        url = server.wait_for(r"Listening on (http://\S+)")[1]
        made = create(url, "pid")
        # Connections of their own, so that both workers get some.
        assert {get(url, made).json()["id"] for _ in range(20)} == {made["id"]}
        pids = {
            create(url, "pid", previous_response_id=made["id"])["output"][0]["content"][0]["text"] for _ in range(20)
        }
        assert len(pids) == 2
        for _ in range(4):  # with both workers as the one that makes it, or the one that is asked
            endless = create(url, background=True)
            assert httpx.post(f"{url}/v1/responses/{endless['id']}/cancel", timeout=30).json()["status"] == "cancelled"
            assert get(url, endless).json()["status"] == "cancelled"
        server.end(signal.SIGTERM)
