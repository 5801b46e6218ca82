"""Changes the lists: deploys something, through the server's own API."""

import asyncio
import itertools
import json
from urllib.request import Request, urlopen

from hayhooks import BasePipelineWrapper, current_run

SOURCE = """
from haystack import Pipeline
from haystack.components.builders import PromptBuilder
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    prompts = {"changing": "builder"}

    def setup(self):
        self.pipeline = Pipeline()
        self.pipeline.add_component("builder", PromptBuilder("number NUMBER"))

    def run_api(self) -> int:
        return NUMBER
"""
numbers = itertools.count()


class PipelineWrapper(BasePipelineWrapper):
    """Changes the lists."""

    def setup(self) -> None:
        self.pipeline = None

    async def run_api_async(self) -> str:
        url = f"http://{current_run().headers['host']}/deploy_files"
        files = {"pipeline_wrapper.py": SOURCE.replace("NUMBER", str(next(numbers)))}
        body = json.dumps({"name": "changing_prompt", "files": files, "overwrite": True}).encode()
        request = Request(url, body, {"content-type": "application/json"})
        return (await asyncio.to_thread(urlopen, request)).read().decode()
