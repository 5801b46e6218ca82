"""What code inside a run can ask about it."""

from pathlib import Path

import httpx
import pytest

from hayhooks import current_run
from hayhooks.testing import running_server
from tests.support.chat_wrappers import write_wrappers

SESSION_WRAPPER = """
import asyncio

from haystack import Pipeline, component
from hayhooks import BasePipelineWrapper, current_run


@component
class Who:
    @component.output_types(text=str)
    def run(self):
        run = current_run()
        return {"text": f"{run.deployment} {run.via} {run.session.id} {run.session.user} {run.headers.get('X-Team')}"}


class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        self.pipeline = Pipeline()
        self.pipeline.add_component("who", Who())

    def run_chat_completion(self, model, messages, body):
        return self.pipeline.run({})["who"]["text"]

    async def run_api_async(self):
        return await asyncio.to_thread(lambda: self.pipeline.run({})["who"]["text"])
"""


def test_code_anywhere_in_a_run_knows_the_session_of_its_caller(tmp_path: Path) -> None:
    write_wrappers(tmp_path / "pipelines", {"who": SESSION_WRAPPER})
    with running_server(tmp_path / "pipelines") as server, httpx.Client(base_url=server.url) as client:
        body = {"model": "who", "messages": [{"role": "user", "content": "x"}], "user": "ada"}
        headers = {"X-OpenWebUI-Chat-Id": "chat-7", "X-Team": "red"}
        answer = client.post("/v1/chat/completions", json=body, headers=headers).json()
        assert answer["choices"][0]["message"]["content"] == "who openai chat-7 ada red"
        answer = client.post("/who/run", json={}, headers={"X-OpenWebUI-User-Id": "eve"}).json()
        assert answer["result"] == "who rest None eve None"
    with pytest.raises(LookupError):
        current_run()
