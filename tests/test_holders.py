"""What callers leave belongs to them: files, responses and conversations of one key are not there for another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.response_wrappers import RESPONSE_WRAPPERS
from tests.support.wrappers import Wrappers

ADMIN_KEY = "correct horse battery staple"
WAIT_S = 30
wrappers = Wrappers()
wrappers.add(
    "reader",
    """
    def run_chat_completion(self, model, messages, body):
        return " ".join(read_input_file(part).content.decode() for part in get_input_files(messages))
    """,
    imports="from hayhooks import get_input_files, read_input_file",
)


@dataclass(frozen=True)
class Caller:
    """One who shows a key, or none, and knows what others hold."""

    http: httpx.Client

    def ask(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.http.request(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    def upload(self, content: bytes) -> str:
        file = ("a.txt", content)
        return str(self.ask("POST", "/v1/files", data={"purpose": "user_data"}, files={"file": file})["id"])

    def create(self, said: Any, model: str = "replies", status: int = 200, **more: Any) -> Any:
        return self.ask("POST", "/v1/responses", status, json={"model": model, "input": said, **more})

    def files(self) -> list[str]:
        return [file["id"] for file in self.ask("GET", "/v1/files")["data"]]

    def reads(self, file_id: str, status: int = 200) -> Any:
        message = {"role": "user", "content": [{"type": "file", "file": {"file_id": file_id}}]}
        return self.ask("POST", "/v1/chat/completions", status, json={"model": "reader", "messages": [message]})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("holders") / "pipelines"
    wrappers.write(directory)
    for name in ("replies", "endless"):
        (directory / name).mkdir()
        (directory / name / "pipeline_wrapper.py").write_text(RESPONSE_WRAPPERS[name])
    with running_server(directory, env={"HAYHOOKS_ADMIN_KEY": ADMIN_KEY}) as server:
        yield server


@pytest.fixture(scope="module")
def callers(server: RunningServer) -> Iterator[dict[str, Caller]]:
    def caller(key: str | None) -> Caller:
        headers = {"x-api-key": key} if key else {}
        return Caller(httpx.Client(base_url=server.url, headers=headers, timeout=WAIT_S))

    admin = caller(ADMIN_KEY)
    found = {"admin": admin, "nobody": caller(None), "nobody else": caller(None)}
    for name in ("anna", "ben"):
        made = admin.ask("POST", "/keys", json={"name": name, "scopes": ["run"]})
        found[name] = caller(made["key"])
    yield found
    for one in found.values():
        one.http.close()


Callers = dict[str, Caller]
STRANGERS = ("ben", "nobody")


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_file_of_another_is_not_there(callers: Callers, stranger: str) -> None:
    anna, other = callers["anna"], callers[stranger]
    file_id, unknown = anna.upload(b"Anna's words"), "file-" + "0" * 32
    assert file_id in anna.files()
    assert file_id not in other.files()
    for look in (
        lambda wanted: other.ask("GET", f"/v1/files/{wanted}", 404),
        lambda wanted: other.ask("GET", f"/v1/files/{wanted}/content", 404),
        lambda wanted: other.ask("DELETE", f"/v1/files/{wanted}", 404),
        lambda wanted: other.reads(wanted, 404),
    ):
        assert same_but_for_the_id(look, file_id, unknown)
    assert anna.reads(file_id)["choices"][0]["message"]["content"] == "Anna's words"
    admin = callers["admin"]
    assert file_id in admin.files()
    assert admin.reads(file_id)["choices"][0]["message"]["content"] == "Anna's words"
    assert admin.ask("DELETE", f"/v1/files/{file_id}")["deleted"]
    anna.ask("GET", f"/v1/files/{file_id}", 404)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_response_of_another_is_not_there(callers: Callers, stranger: str) -> None:
    anna, other, admin = callers["anna"], callers[stranger], callers["admin"]
    made = anna.create("Hello")
    item = made["output"][0]["id"]
    reference = [{"type": "item_reference", "id": item}]
    for look in (
        lambda wanted: other.ask("GET", f"/v1/responses/{wanted}", 404),
        lambda wanted: other.ask("GET", f"/v1/responses/{wanted}?stream=true", 404),
        lambda wanted: other.ask("GET", f"/v1/responses/{wanted}/input_items", 404),
        lambda wanted: other.ask("DELETE", f"/v1/responses/{wanted}", 404),
        lambda wanted: other.ask("POST", f"/v1/responses/{wanted}/cancel", 404),
        lambda wanted: other.create("Go on", status=400, previous_response_id=wanted),
    ):
        assert same_but_for_the_id(look, made["id"], "resp_" + "0" * 32)
    assert same_but_for_the_id(
        lambda wanted: other.create([{"type": "item_reference", "id": wanted}], status=404), item, "msg_unknown"
    )
    assert "Hello" in str(anna.create("Go on", previous_response_id=made["id"])["output"])
    assert "assistant: user: Hello" in str(anna.create(reference)["output"])
    assert admin.ask("GET", f"/v1/responses/{made['id']}") == made
    assert "Hello" in str(admin.create("Go on", previous_response_id=made["id"])["output"])
    assert anna.ask("DELETE", f"/v1/responses/{made['id']}")["deleted"]


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_background_response_is_polled_and_stopped_by_its_caller_alone(callers: Callers, stranger: str) -> None:
    anna, other = callers["anna"], callers[stranger]
    path = f"/v1/responses/{anna.create('x', 'endless', background=True)['id']}"
    for method, below in (("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel"), ("DELETE", "")):
        assert other.ask(method, path + below, 404)["error"]["code"] == "response_not_found"
    assert anna.ask("GET", path)["status"] in ("queued", "in_progress")
    assert anna.ask("POST", f"{path}/cancel")["status"] == "cancelled"
    assert anna.ask("GET", path)["status"] == "cancelled"
    again = f"/v1/responses/{anna.create('x', 'endless', background=True)['id']}"
    assert callers["admin"].ask("POST", f"{again}/cancel")["status"] == "cancelled"
    assert anna.ask("GET", again)["status"] == "cancelled"


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_conversation_of_another_is_not_there(callers: Callers, stranger: str) -> None:
    anna, other, admin = callers["anna"], callers[stranger], callers["admin"]
    items = [{"type": "message", "id": "msg_chosen", "role": "user", "content": "Hello"}]
    made = anna.ask("POST", "/v1/conversations", json={"items": items})
    for look in (
        lambda wanted: other.ask("GET", f"/v1/conversations/{wanted}", 404),
        lambda wanted: other.ask("POST", f"/v1/conversations/{wanted}", 404, json={"metadata": {}}),
        lambda wanted: other.ask("DELETE", f"/v1/conversations/{wanted}", 404),
        lambda wanted: other.ask("GET", f"/v1/conversations/{wanted}/items", 404),
        lambda wanted: other.ask("POST", f"/v1/conversations/{wanted}/items", 404, json={"items": items}),
        lambda wanted: other.ask("GET", f"/v1/conversations/{wanted}/items/msg_chosen", 404),
        lambda wanted: other.ask("DELETE", f"/v1/conversations/{wanted}/items/msg_chosen", 404),
        lambda wanted: other.create("Go on", status=404, conversation=wanted),
    ):
        assert same_but_for_the_id(look, made["id"], "conv_" + "0" * 32)
    assert "Hello" in str(anna.create("Go on", conversation=made["id"])["output"])
    assert len(admin.ask("GET", f"/v1/conversations/{made['id']}/items")["data"]) == 3
    assert admin.ask("DELETE", f"/v1/conversations/{made['id']}")["deleted"]
    anna.ask("GET", f"/v1/conversations/{made['id']}", 404)


def test_callers_without_a_key_share_what_they_leave(callers: Callers) -> None:
    nobody, other = callers["nobody"], callers["nobody else"]
    file_id, made = nobody.upload(b"for all"), nobody.create("Hello")
    assert other.reads(file_id)["choices"][0]["message"]["content"] == "for all"
    assert other.files() == nobody.files() == [file_id]
    assert other.ask("GET", f"/v1/responses/{made['id']}") == made
    assert "Hello" in str(other.create("Go on", previous_response_id=made["id"])["output"])
    callers["anna"].ask("GET", f"/v1/files/{file_id}", 404)
    assert other.ask("DELETE", f"/v1/files/{file_id}")["deleted"]


def same_but_for_the_id(look: Callable[[str], Any], one: str, other: str) -> bool:
    """Whether what is told of an id that is another's is what is told of one that nobody has."""
    return str(look(one)).replace(one, "ID") == str(look(other)).replace(other, "ID")
