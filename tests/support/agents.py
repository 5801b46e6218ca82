"""An agent that does what it is told, and the plain way to call agents: JSON over HTTP."""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx

AGENT = '''
import asyncio
import base64
import json
from pathlib import Path

from haystack.dataclasses import ChatMessage, ToolCall
from starlette.exceptions import HTTPException

from hayhooks import BasePipelineWrapper, current_run, get_input_files, get_last_user_message, read_input_file
from hayhooks.events import create_file_event, create_notification_event


class PipelineWrapper(BasePipelineWrapper):
    """Does what it is told."""

    {attributes}

    def setup(self):
        self.pipeline = None

    async def run_chat_completion_async(self, model, messages, body):
        """Answer by the first word of the message."""
        said = get_last_user_message(messages) or ""
        word, rest = (*said.split(None, 1), "", "")[:2]
        if word == "endless":
            return self.endless(rest)
        if word == "words":
            return self.words(rest)
        answer = getattr(self, "do_" + word, None)
        return answer(rest, messages, body) if answer else "You said: " + said

    async def endless(self, path):
        yield "begun "
        try:
            while True:
                await asyncio.sleep(0.02)
                yield "."
        finally:
            if path:
                Path(path).write_text("stopped")

    async def words(self, text):
        for word in text.split():
            yield word + " "

    def do_messages(self, rest, messages, body):
        return json.dumps(messages)

    def do_body(self, rest, messages, body):
        return json.dumps({key: value for key, value in body.items() if key != "messages"})

    def do_session(self, rest, messages, body):
        run = current_run()
        return json.dumps([run.session.id, run.via, run.caller.name])

    def do_version(self, rest, messages, body):
        return "{version}"

    def do_ask(self, rest, messages, body):
        return current_run().require_input("Which city?")

    def do_login(self, rest, messages, body):
        return current_run().require_auth("Log in at https://login.example")

    def do_Paris(self, rest, messages, body):
        return "Off to Paris"

    def do_fail(self, rest, messages, body):
        raise ValueError("secret of the house")

    def do_break(self, rest, messages, body):
        def broken():
            yield "half "
            raise ValueError("secret of the house")
        return broken()

    def do_refuse(self, rest, messages, body):
        raise HTTPException(403, "Not for you.")

    def do_file(self, rest, messages, body):
        file = read_input_file(get_input_files(messages)[0])
        return f"{file.filename} {file.content_type} {len(file.content)}"

    async def do_give(self, rest, messages, body):
        current_run().report_status("Drawing")
        current_run().report(create_notification_event("Nearly there"))
        current_run().report(create_file_event(b"\\x89PNG", "plot.png"))
        yield "Here it is"
        yield {"points": [1, 2.5]}

    def do_tool(self, rest, messages, body):
        return ChatMessage.from_assistant(tool_calls=[ToolCall("weather", {"city": "Rome"}, id="c1")])

    def do_usage(self, rest, messages, body):
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        return ChatMessage.from_assistant("counted", meta={"usage": usage})
'''
CARD = """a2a_card = {
        "name": "Obedient", "description": "Obeys.", "version": "2.1.0",
        "provider": {"organization": "Us", "url": "https://us.example"},
        "skills": [{"id": "obey", "name": "Obey", "description": "Does it", "tags": ["do"], "examples": ["ask"]}],
    }"""
V1 = {"A2A-Version": "1.0"}
_numbers = itertools.count(1)


def agent_source(attributes: str = "pass", version: str = "1") -> str:
    """A wrapper of the obedient agent, with these lines in its class."""
    return AGENT.replace("{attributes}", attributes).replace("{version}", version)


def write_agents(pipelines_dir: Path, agents: Mapping[str, str]) -> None:
    """Write one directory per agent; the values are attributes."""
    for name, attributes in agents.items():
        (pipelines_dir / name).mkdir(parents=True)
        (pipelines_dir / name / "pipeline_wrapper.py").write_text(agent_source(attributes), encoding="utf-8")


def message(*parts: str | dict[str, Any], **more: Any) -> dict[str, Any]:
    """The parameters that send a message of these parts."""
    told = [{"text": part} if isinstance(part, str) else part for part in parts]
    configuration = more.pop("configuration", None)
    found: dict[str, Any] = {"message": {"role": "ROLE_USER", "messageId": f"m{next(_numbers)}", "parts": told, **more}}
    return {**found, "configuration": configuration} if configuration else found


class AgentAt:
    """One agent, called with plain JSON."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self.headers = {**V1, **(headers or {})}
        self.web = httpx.Client(timeout=60, headers=self.headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.web.close()

    def post(self, method: str, params: Any, **more: Any) -> httpx.Response:
        """The HTTP answer to a JSON-RPC request."""
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        return self.web.post(self.url, json=body, **more)

    def call(self, method: str, params: Any, **more: Any) -> Any:
        """The result of a JSON-RPC request."""
        answer = self.post(method, params, **more)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["jsonrpc"] == "2.0"
        assert body["id"] == 7
        assert "error" not in body, body
        return body["result"]

    def error(self, method: str, params: Any, **more: Any) -> dict[str, Any]:
        """The error of a JSON-RPC request."""
        body = self.post(method, params, **more).json()
        found: dict[str, Any] = body["error"]
        return found

    def send(self, *parts: str | dict[str, Any], **more: Any) -> dict[str, Any]:
        """The task that a message leads to."""
        task: dict[str, Any] = self.call("SendMessage", message(*parts, **more))["task"]
        return task

    def task(self, task_id: str) -> dict[str, Any]:
        """The task as it is by now."""
        found: dict[str, Any] = self.call("GetTask", {"id": task_id})
        return found

    @contextmanager
    def stream(self, method: str, params: Any) -> Iterator[Iterator[dict[str, Any]]]:
        """The results of a JSON-RPC stream, as they come."""
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        with self.web.stream("POST", self.url, json=body) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream"), answer.read()
            yield results(answer)


def results(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """The results in a stream of server-sent events."""
    for line in answer.iter_lines():
        if line.startswith("data:"):
            body = json.loads(line.removeprefix("data:"))
            assert "error" not in body, body
            yield body.get("result", body)


def text(task: dict[str, Any]) -> str:
    """What the one artifact of a task says."""
    (artifact,) = task["artifacts"]
    assert artifact["name"] == "response"
    (part,) = artifact["parts"]
    said: str = part["text"]
    return said


def state(task: dict[str, Any]) -> str:
    """The state of a task, in a word."""
    name: str = task["status"]["state"]
    return name.removeprefix("TASK_STATE_").lower()
