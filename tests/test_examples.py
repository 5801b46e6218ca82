"""Every example works as its README says."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from hayhooks.testing import RunningServer, running_server
from tests.support.model_server import ModelServer, ToolCall
from tests.support.readme import ROOT, commands, run_curl, run_hayhooks
from tests.support.sse import read_chat_stream
from tests.support.website import Website

EXAMPLES = ROOT / "examples"
DEMO = ROOT / "src" / "hayhooks" / "demo" / "pipelines"


@pytest.fixture(scope="module")
def site() -> Iterator[Website]:
    with Website() as site:
        yield site


@pytest.fixture(scope="module")
def models() -> Iterator[ModelServer]:
    with ModelServer() as models:
        yield models


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, site: Website, models: ModelServer) -> Iterator[RunningServer]:
    env = {**models.env, "CHAT_WEBSITE_URLS": f"{site.url('/whales')},{site.url('/bridges')}"}
    with running_server(pipelines_dir=tmp_path_factory.mktemp("pipelines"), env=env) as server:
        yield server


def run_readme(name: str, server: RunningServer, site: Website | None = None) -> list[httpx.Response]:
    """Deploy an example with the commands of its README and give the answers to its calls."""
    readme = EXAMPLES / name / "README.md"
    for command in commands(readme, "hayhooks"):
        if command[:2] in (["pipeline", "deploy-files"], ["pipeline", "deploy-yaml"]):
            run_hayhooks([*command, "--overwrite"], server.url)
    replace = {"https://haystack.deepset.ai": site.url("/whales")} if site else None
    answers = [run_curl(command, server.url) for command in commands(readme, "curl", replace)]
    assert [answer.status_code for answer in answers] == [200] * len(answers), [answer.text for answer in answers]
    return answers


def test_chat_with_website_answers_from_the_pages(server: RunningServer, site: Website) -> None:
    run, chat = run_readme("chat_with_website", server, site)
    assert "180 kilograms" in run.json()["result"]
    assert "swing bridge" not in run.json()["result"]
    content = chat.json()["choices"][0]["message"]["content"]
    assert "180 kilograms" in content
    assert "swing bridge" in content
    assert content.endswith("Question: What is Haystack?")


def test_chat_with_website_without_a_question_says_what_it_is_about(server: RunningServer, site: Website) -> None:
    run_readme("chat_with_website", server, site)
    body = {"model": "chat_with_website", "messages": [{"role": "system", "content": "Be brief."}]}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert site.url("/whales") in answer.json()["choices"][0]["message"]["content"]


def test_chat_with_website_streaming_sends_the_answer_word_by_word(server: RunningServer, site: Website) -> None:
    run, chat = run_readme("chat_with_website_streaming", server, site)
    assert run.headers["content-type"].startswith("text/plain")
    assert "180 kilograms" in run.text
    stream = read_chat_stream(chat.text)
    assert "swing bridge" in stream.text
    assert len(stream.chunks) > 20
    assert stream.finish_reasons == ["stop"]
    assert stream.is_done


def test_chat_with_website_streaming_passes_words_on_while_the_model_is_still_writing(
    server: RunningServer, site: Website, models: ModelServer
) -> None:
    run_readme("chat_with_website_streaming", server, site)
    gate = models.gate()
    models.reply("First ", gate, "second.")
    body = {
        "model": "chat_with_website_streaming",
        "stream": True,
        "messages": [{"role": "user", "content": "Whales?"}],
    }
    received = ""
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as answer:
        for line in answer.iter_lines():
            received += line + "\n"
            if "First" in line:
                gate.open()  # the second word is only written when the first has arrived here
    assert read_chat_stream(received).text == "First second."


def test_agent_calls_its_tool_and_tells_about_it(server: RunningServer, models: ModelServer) -> None:
    models.reply(ToolCall("check_stock", {"product": "blue kettle"}))
    models.reply("We have 12.")
    models.reply(ToolCall("check_stock", {"product": "blue kettle"}))
    run, chat = run_readme("agent_with_tool", server)
    assert run.json() == {"result": "We have 12."}
    assert models.chats[-3].last_text == "12 x blue kettle in Rotterdam"
    stream = read_chat_stream(chat.text)
    assert [event["data"]["description"] for event in stream.events if event["type"] == "status"] == [
        "Calling check_stock",
        "check_stock answered",
    ]
    assert "<summary>Result of check_stock</summary>" in stream.text
    assert stream.text.endswith("Echo: 12 x blue kettle in Rotterdam")
    assert stream.is_done


def test_an_agents_tool_is_another_deployment(tmp_path: Path, server: RunningServer, models: ModelServer) -> None:
    stock, shop = commands(EXAMPLES / "mcp_agent" / "README.md", "hayhooks")[1:]
    run_hayhooks(stock, server.url)
    models.reply(ToolCall("stock", {"product": "blue kettle"}))
    models.reply("We have 12.")
    with running_server(tmp_path / "pipelines", env={**models.env, "SHOP_TOOLS_URL": f"{server.url}/mcp"}) as agents:
        run_hayhooks(shop, agents.url)
        (ask,) = commands(EXAMPLES / "mcp_agent" / "README.md", "curl")
        assert run_curl(ask, agents.url).json() == {"result": "We have 12."}
    assert "12 pieces of blue kettle" in models.chats[-1].last_text


def test_a_pipeline_in_yaml_translates_in_a_chat(server: RunningServer, models: ModelServer) -> None:
    models.reply("La lampe est bleue.")
    chat, run = run_readme("yaml_chat", server)
    stream = read_chat_stream(chat.text)
    assert (stream.text, stream.finish_reasons) == ("La lampe est bleue.", ["stop"])
    asked = models.chats[-2].body
    assert asked["temperature"] == 0.2
    assert [message["content"] for message in asked["messages"]] == [
        "Translate what the user writes into French. Answer with the translation alone.",
        "The lamp is blue.",
    ]
    assert models.chats[-1].body["messages"][0]["content"].startswith("Translate what the user writes into English.")
    assert "Echo: La lampe est bleue." in json.dumps(run.json()["result"]["replies"])


def test_an_agent_asks_another_one_over_a2a(server: RunningServer, models: ModelServer) -> None:
    for _ in range(2):
        models.reply(ToolCall("ask_stock_agent", {"question": "How many blue kettles are there?"}))
        models.reply(ToolCall("check_stock", {"product": "blue kettle"}))
        models.reply("There are 12 in Rotterdam.")
        models.reply("Yes, you can have ten.")
    card, chat, task = run_readme("two_agents", server)
    assert card.json()["name"] == "Stock agent"
    assert chat.json()["choices"][0]["message"]["content"] == "Yes, you can have ten."
    asked = [request.last_text for request in models.chats[-8:]]
    assert asked[1] == "How many blue kettles are there?"
    assert asked[3] == "There are 12 in Rotterdam."
    found = task.json()["result"]["task"]
    assert found["artifacts"][0]["parts"] == [{"text": "Yes, you can have ten."}]
    assert [said["parts"][0]["text"] for said in found["history"]][1:] == ["Asking the stock agent"]


def test_files_come_in_with_json_beside_them_and_a_file_goes_out(server: RunningServer) -> None:
    (answer,) = run_readme("files_in_and_out", server)
    assert answer.headers["content-disposition"] == 'attachment; filename="passages.jsonl"'
    passages = [json.loads(line) for line in answer.text.splitlines()]
    assert len(passages) == 5
    assert passages[0]["meta"] == {"file_name": "README.md", "team": "docs"}
    assert passages[0]["text"] in (ROOT / "README.md").read_text()


def test_files_in_and_out_works_with_the_command_line_client(server: RunningServer) -> None:
    run_readme("files_in_and_out", server)
    (command,) = [
        command
        for command in commands(EXAMPLES / "files_in_and_out" / "README.md", "hayhooks")
        if command[:2] == ["pipeline", "run"]
    ]
    assert '"file_name": "README.md"' in run_hayhooks(command, server.url)


def test_files_in_and_out_without_a_file_is_the_callers_mistake(server: RunningServer) -> None:
    run_readme("files_in_and_out", server)
    answer = httpx.post(f"{server.url}/files_in_and_out/run", json={"max_passages": 3})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "Send at least one file."


def test_deployments_share_a_package_and_import_relatively(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "shared_code", tmp_path, dirs_exist_ok=True)
    env = {"HAYHOOKS_ADDITIONAL_PYTHON_PATH": str(tmp_path / "common")}
    with running_server(pipelines_dir=tmp_path / "pipelines", env=env) as server:
        words, terms = run_readme("shared_code", server)
    assert words.json() == {"result": 9}
    assert terms.json() == {"result": ["sea", "blue"]}


def test_program_adds_its_own_route_and_middleware(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "programmatic", tmp_path, dirs_exist_ok=True)
    with running_program(tmp_path) as url:
        custom, greeting = (
            run_curl(command, url) for command in commands(EXAMPLES / "programmatic" / "README.md", "curl")
        )
    assert custom.json() == {"message": "Hi, this is a custom route!"}
    assert custom.headers["x-request-id"]
    assert greeting.json() == {"result": "Hello, Ada!"}
    assert greeting.headers["x-request-id"] == "42"


def test_haystack_generator_uses_a_deployment_at_once_streaming_and_async(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text("# Deploying\n\nDeploy a pipeline with the command line.\n")
    (command,) = commands(EXAMPLES / "openai_chat_generator_client" / "README.md", "python")
    env = {"ASK_DOCS_DIR": str(tmp_path / "docs"), "HAYHOOKS_STATE_DIR": str(tmp_path / "state"), "OPENAI_API_KEY": ""}
    with running_server(pipelines_dir=DEMO, env=env) as server:
        done = subprocess.run(
            [sys.executable, *command, "--url", server.url], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[2].strip() for line in done.stdout.splitlines()] == [
        "Deploy a pipeline with the command line."
    ] * 3


def test_every_example_has_a_readme_that_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    for directory in sorted(path for path in EXAMPLES.iterdir() if path.is_dir()):
        assert (directory / "README.md").is_file()
        assert f"[{directory.name}]({directory.name}/)" in listed


def test_both_website_examples_use_the_same_pipeline() -> None:
    texts = {path.read_text() for path in EXAMPLES.glob("chat_with_website*/chat_with_website.yml")}
    assert len(texts) == 1


@contextmanager
def running_program(directory: Path) -> Iterator[str]:
    """The address of ``python app.py``, run in *directory*."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "HAYHOOKS_HOST": "127.0.0.1",
        "HAYHOOKS_PORT": str(port),
        "HAYSTACK_TELEMETRY_ENABLED": "False",
    }
    with subprocess.Popen(
        [sys.executable, "app.py"], cwd=directory, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        seen = []
        try:
            for line in process.stdout:
                seen.append(line)
                if "Uvicorn running on" in line:
                    break
            else:
                pytest.fail("The program ended:\n" + "".join(seen))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.communicate()
