"""Wrappers and tests that were written for other versions: they deploy and answer, however they are put."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest
from fastapi.testclient import TestClient

from hayhooks import create_app
from hayhooks.settings import AppSettings

DOCSTRINGS = [
    ":param list of str text: What to say.",
    ":param text: What to say.\n\n        :raises ValueError, KeyError: Never.",
    ":param text: What to say.\n\n        :returns a list of x: Words.",
]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = AppSettings(pipelines_dir=str(tmp_path / "pipelines"), state_dir=str(tmp_path / "state"))
    with TestClient(create_app(settings)) as client:
        yield client


def wrapper(*members: str) -> str:
    setup = "def setup(self) -> None:\n    self.pipeline = None"
    body = "\n\n".join(indent(member, "    ") for member in (setup, *members))
    return f"from hayhooks import BasePipelineWrapper\n\nclass PipelineWrapper(BasePipelineWrapper):\n{body}\n"


def deploy(client: TestClient, source: str) -> None:
    answer = client.post("/deploy_files", json={"name": "it", "files": {"pipeline_wrapper.py": source}})
    assert answer.status_code == 200, answer.text


def test_a_test_client_with_its_defaults_may_manage(client: TestClient) -> None:
    deploy(client, wrapper("def run_api(self, text: str) -> str:\n    return text"))
    assert client.post("/it/run", json={"text": "hello"}).json() == {"result": "hello"}
    assert client.post("/it/run/", json={"text": "hello"}).json() == {"result": "hello"}
    assert client.post("/undeploy/it").status_code == 200


def test_one_whose_lifespan_has_not_run_says_so(tmp_path: Path) -> None:
    answer = TestClient(create_app(AppSettings(pipelines_dir=str(tmp_path)))).get("/status")
    assert answer.status_code == 503
    assert "with TestClient(app)" in answer.json()["detail"]


@pytest.mark.parametrize("docstring", DOCSTRINGS)
def test_no_docstring_fails_a_deploy(client: TestClient, docstring: str) -> None:
    hook = f'def run_api(self, text: str) -> str:\n    """Say it.\n\n        {docstring}\n    """\n    return text'
    deploy(client, wrapper(hook))
    assert client.post("/it/run", json={"text": "hello"}).json() == {"result": "hello"}


def test_names_that_only_type_checkers_know_say_nothing(client: TestClient) -> None:
    source = wrapper(
        "def run_api(self, text: str) -> Iterator[str]:\n    yield text",
        "def run_chat_completion(self, model: str, messages: list[Message], body: dict, log: Callable = print):\n"
        "    return model",
    )
    deploy(client, f"from __future__ import annotations\nfrom typing import Callable\n{source}")
    assert client.post("/it/run", json={"text": "hello"}).text == "hello"
    chat = {"model": "it", "messages": [{"role": "user", "content": "hi"}]}
    assert client.post("/v1/chat/completions", json=chat).json()["choices"][0]["message"]["content"] == "it"


def test_a_field_of_a_request_must_have_a_type_that_exists(client: TestClient) -> None:
    source = wrapper("def run_api(self, text: Text) -> str:\n    return text")
    files = {"pipeline_wrapper.py": f"from __future__ import annotations\n{source}"}
    answer = client.post("/deploy_files", json={"name": "it", "files": files})
    assert answer.status_code == 422
    assert "Text" in answer.json()["detail"]


def test_an_async_hook_may_be_a_plain_function_that_hands_on_what_is_awaited(client: TestClient) -> None:
    deploy(
        client,
        wrapper(
            "async def say(self, text: str) -> str:\n    return text",
            "def run_api_async(self, text: str):\n    return self.say(text)",
        ),
    )
    assert client.post("/it/run", json={"text": "hello"}).json() == {"result": "hello"}


def test_a_yaml_with_a_day_that_no_month_has_is_not_valid(client: TestClient) -> None:
    answer = client.post("/deploy-yaml", json={"name": "it", "source_code": "a: 2024-13-45"})
    assert answer.status_code == 422
    assert "Not valid YAML" in answer.json()["detail"]


def test_a_card_may_leave_fields_empty(client: TestClient) -> None:
    deploy(
        client,
        wrapper(
            'a2a_card = {"name": "", "description": None, "version": 1.0, "skills": [{"id": "x", "examples": None}]}',
            "def run_api(self, text: str) -> str:\n    return text",
        ),
    )


def test_settings_that_are_made_by_hand_read_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("HAYHOOKS_PORT=4242\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert AppSettings().port == 4242
    assert AppSettings(port=1).port == 1
