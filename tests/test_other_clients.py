"""Clients of other projects against our server, in environments of their own: see tests/clients.

Not part of an ordinary run, as the first one installs them: ``pytest -m clients``.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.agents import CARD, write_agents
from tests.support.chat_wrappers import CHAT_WRAPPERS, write_wrappers
from tests.support.clients import ClientProgram, NoNpm
from tests.support.model_server import ModelServer
from tests.support.obedient_model import obedient
from tests.support.readme import ROOT

pytestmark = pytest.mark.clients

CLIENTS = {
    "LangChain": ClientProgram("langchain_chat.py", "langchain.txt"),
    "LiteLLM": ClientProgram("litellm_chat.py", "litellm.txt"),
    "Agents SDK": ClientProgram("agents_chat.py", "agents.txt"),
    "Pydantic AI": ClientProgram("pydantic_ai_chat.py", "pydantic_ai.txt"),
    "LlamaIndex": ClientProgram("llama_index_chat.py", "llama_index.txt"),
    "AI SDK": ClientProgram("ai_sdk_chat.mjs", "package.json"),
    "OpenAI for Node": ClientProgram("openai_node_chat.mjs", "package.json"),
}
DROP_REASONING = ("LangChain",)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("others") / "pipelines"
    shutil.copytree(ROOT / "e2e" / "conformance" / "pipelines" / "relay", directory / "relay")
    write_wrappers(directory, {"events": CHAT_WRAPPERS["events"], "failing": CHAT_WRAPPERS["failing"]})
    write_wrappers(directory, {"agent": CHAT_WRAPPERS["tool_agent_sync"], "thinking": CHAT_WRAPPERS["reasoning_sync"]})
    with (
        ModelServer(answer=obedient) as models,
        running_server(directory, env={**models.env, "PYTHONPATH": str(ROOT)}) as server,
    ):
        yield server


@pytest.fixture(scope="module", params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def facts(client: str, server: RunningServer) -> dict[str, Any]:
    """What the client's script found out."""
    try:
        return CLIENTS[client].run(f"{server.url}/v1")
    except NoNpm as missing:
        pytest.skip(str(missing))


def test_a_plain_answer_comes_with_finish_reason_and_usage(facts: dict[str, Any]) -> None:
    wanted = {"text": "You said: one two", "finish": "stop", "tokens": [2, 4]}
    assert facts["plain"].items() <= wanted.items()


def test_a_streamed_answer_comes_in_pieces_with_the_same_ending(facts: dict[str, Any]) -> None:
    wanted = {"text": "You said: one two", "finish": "stop", "tokens": [2, 4], "in_pieces": True}
    assert facts["streamed"].items() <= wanted.items()


@pytest.mark.parametrize("way", ["tools", "streamed_tools"])
def test_a_tool_is_called_by_the_client_and_its_result_taken(facts: dict[str, Any], way: str) -> None:
    assert facts[way] == {
        "name": "weather",
        "arguments": {"city": "Rome"},
        "answer": "The tool says: sunny in Rome",
    }


def test_an_answer_fills_the_schema_that_the_client_asks_for(facts: dict[str, Any]) -> None:
    assert facts["structured"] == {"city": "Rome", "degrees": 2}


def test_events_for_the_person_who_watches_disturb_nobody(facts: dict[str, Any]) -> None:
    assert facts["events"] == "Found it."


def test_calls_of_tools_that_the_pipeline_ran_are_not_made_again(facts: dict[str, Any]) -> None:
    assert facts["own_tools"] == {"text": "The tool says: sunny in Rome", "calls": 0}


@pytest.mark.parametrize("way", ["reasoning", "streamed_reasoning"])
def test_reasoning_arrives_apart_from_the_text(client: str, facts: dict[str, Any], way: str) -> None:
    if client in DROP_REASONING:
        pytest.skip("this client drops what OpenAI's chat API does not have")
    assert facts[way] == {"text": "It is 42", "reasoning": "Let me think."}


def test_errors_tell_the_user_what_went_wrong(facts: dict[str, Any]) -> None:
    assert "The model 'nobody' does not exist" in facts["unknown_model"]
    assert "'failing' failed" in facts["failing"]
    assert "'failing' failed" in facts["breaking"]
    assert "secret" not in facts["failing"] + facts["breaking"]


def test_agents_answer_the_a2a_sdk_for_javascript(tmp_path: Path) -> None:
    write_agents(tmp_path / "pipelines", {"obey": CARD})
    with running_server(tmp_path / "pipelines") as server:
        try:
            facts = ClientProgram("a2a_agents.mjs", "package.json").run(f"{server.url}/a2a/obey")
        except NoNpm as missing:
            pytest.skip(str(missing))
    wanted = {
        "text": "You said: hello", "again": "You said: hello", "first": "task", "last": "statusUpdate",
        "streamed": "a b ", "asked": "TASK_STATE_INPUT_REQUIRED", "answered": "Off to Paris",
        "error": "TaskNotFoundError",
    }  # fmt: skip
    assert facts.pop("old_rest") == {**wanted, "error": "Error"}  # 0.3 had no names for errors over HTTP
    assert facts == dict.fromkeys(("rpc", "rest", "old_rpc"), wanted)
