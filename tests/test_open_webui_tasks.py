"""What Open WebUI asks a model for around a chat: titles, tags, follow-ups and the like."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from hayhooks.surfaces.openai.tasks import TASKS, default_answer, task_of
from hayhooks.testing import RunningServer, running_server
from tests.support.chat_wrappers import write_wrappers
from tests.support.sse import read_chat_stream

HISTORY = "USER: Where do **whales** sleep?\nDo they?\nASSISTANT: In the sea.\nUSER: All of them?"


def template(sentence: str, key: str, behind: str = "", history: str = HISTORY) -> str:
    """A prompt as Open WebUI writes it, with the words that all its releases have in common."""
    return (
        f"### Task:\n{sentence} And more.\n\n### Guidelines:\n- Be brief\n\n"
        f'### Output:\nJSON format: {{ "{key}": "..." }}\n\n### Chat History:\n'
        f"<chat_history>\n{history}\n</chat_history>{behind}"
    )


PROMPTS = {
    "title_generation": template("Generate a concise, 3-5 word title summarizing the chat history.", "title"),
    "tags_generation": template("Generate 1-3 broad tags categorizing the main themes of the chat history", "tags"),
    "follow_up_generation": template("Suggest 3-5 relevant follow-up questions or prompts", "follow_ups"),
    "query_generation": template(
        "Analyze the chat history to determine the necessity of generating search queries", "queries"
    ),
    "autocomplete_generation": template(
        "You are an autocompletion system. Continue the text in `<text>` based on", "text",
        "\n<type>General</type>\n<text>Whales</text>\n#### Output:\n",
    ),
    "image_prompt_generation": template("Generate a detailed prompt for am image generation task", "prompt"),
    "emoji_generation": (
        "Your task is to reflect the speaker's likely facial expression through a fitting emoji. Be diverse.\n\n"
        "Message: ```Whales!```"
    ),
}  # fmt: skip
ANSWERS = {
    "title_generation": '{"title": "Where do whales sleep?"}',
    "tags_generation": '{"tags": ["General"]}',
    "follow_up_generation": '{"follow_ups": []}',
    "query_generation": '{"queries": []}',
    "autocomplete_generation": '{"text": ""}',
    "image_prompt_generation": '{"prompt": "All of them?"}',
    "emoji_generation": "🙂",
}

_CHAT = """
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    MORE
    def setup(self):
        pass

    def run_chat_completion(self, model, messages, body):
        return "An expensive answer"
"""
WRAPPERS = {
    "plain": _CHAT.replace("MORE", ""),
    "asked": _CHAT.replace("MORE", 'open_webui_tasks = "chat"\n'),
    "hook": _CHAT.replace("MORE", 'open_webui_tasks = "hook"\n')
    + """
    def run_open_webui_task(self, task, messages, body):
        if task == "title_generation":
            return {"title": f"{task} {len(messages)} {body['temperature']}"}
        if task == "tags_generation":
            raise ValueError("secret")
        if task == "query_generation":
            return '{"queries": ["whales"]}'
""",
    "hook_async": _CHAT.replace("MORE", "")
    + """
    async def run_open_webui_task_async(self, task, messages, body):
        return {"title": "Async"} if task == "title_generation" else None
""",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("tasks") / "pipelines"
    write_wrappers(directory, WRAPPERS)
    with running_server(directory) as server:
        yield server


def ask(server: RunningServer, model: str, prompt: str, **more: Any) -> str:
    """The answer, which is the same plain and streamed."""
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
    messages: Any = [{"role": "user", "content": prompt}]
    plain = client.chat.completions.create(model=model, messages=messages, temperature=0.5, **more)
    chunks = list(client.chat.completions.create(model=model, messages=messages, temperature=0.5, stream=True, **more))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == plain.choices[0].finish_reason == "stop"
    assert text == plain.choices[0].message.content
    return text


@pytest.mark.parametrize("task", PROMPTS)
def test_a_task_is_answered_in_the_form_that_it_wants_without_a_run(server: RunningServer, task: str) -> None:
    assert ask(server, "plain", PROMPTS[task]) == ANSWERS[task]


def test_all_tasks_are_tried_here() -> None:
    assert set(TASKS) == set(PROMPTS)


def test_a_task_that_its_metadata_names_is_one_whatever_its_prompt_says(server: RunningServer) -> None:
    said = ask(
        server, "plain", "Name this: <chat_history>USER: Whales</chat_history>", metadata={"task": "title_generation"}
    )
    assert said == '{"title": "Whales"}'
    for task in ("moa_response_generation", "function_calling", "x"):  # what only the model can answer
        assert ask(server, "plain", "Whales?", metadata={"task": task}) == "An expensive answer"


@pytest.mark.parametrize("task", ["title_generation", "emoji_generation"])
def test_a_wrapper_may_treat_tasks_as_chat(server: RunningServer, task: str) -> None:
    assert ask(server, "asked", PROMPTS[task], metadata={"task": task}) == "An expensive answer"


def test_a_hook_answers_tasks_and_leaves_to_the_default_what_it_says_nothing_to(server: RunningServer) -> None:
    assert json.loads(ask(server, "hook", PROMPTS["title_generation"])) == {"title": "title_generation 1 0.5"}
    assert ask(server, "hook", PROMPTS["query_generation"]) == '{"queries": ["whales"]}'
    assert ask(server, "hook", PROMPTS["follow_up_generation"]) == '{"follow_ups": []}'
    assert ask(server, "hook_async", PROMPTS["title_generation"]) == '{"title":"Async"}'
    assert ask(server, "hook_async", PROMPTS["tags_generation"]) == '{"tags": ["General"]}'
    assert ask(server, "hook", "What is a whale?") == "An expensive answer"


@pytest.mark.parametrize("stream", [False, True])
def test_a_hook_that_fails_at_a_task_is_a_failure(server: RunningServer, stream: bool) -> None:
    body = {"stream": stream, "messages": [{"role": "user", "content": PROMPTS["tags_generation"]}]}
    answer = httpx.post(f"{server.url}/hook/chat", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "run_failed")


def test_a_streamed_answer_to_a_task_is_a_whole_stream(server: RunningServer) -> None:
    body = {"stream": True, "messages": [{"role": "user", "content": PROMPTS["tags_generation"]}]}
    answer = httpx.post(f"{server.url}/plain/chat", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    stream = read_chat_stream(answer.text)
    assert (stream.text, stream.finish_reasons, stream.is_done) == ('{"tags": ["General"]}', ["stop"], True)


TITLE = PROMPTS["title_generation"]
USER = {"role": "user", "content": TITLE}


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "What does this do?\n\n" + TITLE}],
        [{"role": "user", "content": TITLE + "\n\nExplain this prompt."}],
        [{"role": "user", "content": "### Task:\nGenerate a concise title summarizing the chat history."}],
        [{"role": "user", "content": "### Task:\nTranslate.\n<chat_history>\nUSER: x\n</chat_history>"}],
        [{"role": "user", "content": TITLE.replace('"title"', "a title")}],
        [{"role": "user", "content": PROMPTS["autocomplete_generation"].partition("<type>")[0]}],
        [{"role": "user", "content": PROMPTS["emoji_generation"] + " Why?"}],
        [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, USER],
        [USER, USER],
        [USER, {"role": "assistant", "content": "{"}],
        [{"role": "assistant", "content": TITLE}],
        [{"role": "user", "content": [{"type": "text", "text": TITLE}]}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": "### Task:"}],
        [{"role": "user"}],
    ],
)  # fmt: skip
def test_a_message_that_only_looks_like_a_task_is_chat(messages: list[dict[str, Any]]) -> None:
    assert task_of({"messages": messages}) is None


def test_a_system_prompt_before_a_task_changes_nothing() -> None:
    messages = [{"role": "system", "content": "Be kind."}, USER]
    assert task_of({"messages": messages, "metadata": "none"}) == "title_generation"
    assert default_answer("title_generation", messages) == ANSWERS["title_generation"]


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("USER: " + "whale " * 20, "whale whale whale whale whale whale whale…"),
        ("USER: " + "w" * 100, "w" * 47 + "…"),
        ('USER: \n\n## "Deploy" my_file.py\nnow', '"Deploy" my_file.py'),
        ("USER: 日本語で話して", "日本語で話して"),
        ("ASSISTANT: Hello", ""),
        ("USER: \nASSISTANT: Hello", ""),
        ("", ""),
    ],
)
def test_a_title_is_the_beginning_of_what_the_user_said_first(said: str, title: str) -> None:
    prompt = template("Generate a concise title summarizing the chat history.", "title", history=said)
    messages = [{"role": "user", "content": prompt}]
    assert task_of({"messages": messages}) == "title_generation"
    assert json.loads(default_answer("title_generation", messages)) == {"title": title}


def test_an_unknown_way_to_treat_tasks_is_refused(server: RunningServer, tmp_path: Path) -> None:
    source = _CHAT.replace("MORE", 'open_webui_tasks = "never"\n')
    files = {"pipeline_wrapper.py": source}
    answer = httpx.post(f"{server.url}/deploy_files", json={"name": "never", "files": files})
    assert answer.status_code == 422
    assert "open_webui_tasks must be one of 'default', 'hook', 'chat', not 'never'" in answer.json()["detail"]


def test_a_wrapper_that_wants_a_hook_for_tasks_and_has_none_is_refused(server: RunningServer) -> None:
    source = _CHAT.replace("MORE", 'open_webui_tasks = "hook"\n')
    misspelt = source + "\n    def run_open_webui_tasks(self, task, messages, body):\n        return None\n"
    for text in (source, misspelt):
        files = {"pipeline_wrapper.py": text}
        answer = httpx.post(f"{server.url}/deploy_files", json={"name": "hookless", "files": files})
        assert answer.status_code == 422
        assert "override run_open_webui_task or run_open_webui_task_async" in answer.json()["detail"]
