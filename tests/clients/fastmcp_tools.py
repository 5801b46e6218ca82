"""FastMCP's client: connected before a deploy, it sees and calls what is deployed then."""

import asyncio
import json
import sys

from fastmcp import Client

URL = sys.argv[1]
SOURCE = """
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_api(self) -> str:
        return "{answer}"
"""


async def main():
    changed = asyncio.Event()

    async def on_message(message):
        if "tools/list_changed" in str(message):
            changed.set()

    async with Client(URL, message_handler=on_message) as client:

        async def deploy(answer):
            files = {"pipeline_wrapper.py": SOURCE.format(answer=answer)}
            arguments = {"name": "fast", "files": files, "overwrite": True}
            return (await client.call_tool("deploy_pipeline", arguments)).structured_content["success"]

        async def call():
            return (await client.call_tool("fast", {})).content[0].text

        facts = {"before": [tool.name for tool in await client.list_tools()]}
        facts["deployed"] = await deploy("old")
        facts["after"] = [tool.name for tool in await client.list_tools()]
        facts["answers"] = [await call(), await deploy("new"), await call()]
        greeting = await client.call_tool("greet", {"name": "Ada"})
        facts["greeting"] = [greeting.content[0].text, greeting.structured_content]
        wrong = await client.call_tool("greet", {}, raise_on_error=False)
        facts["wrong"] = [wrong.is_error, wrong.content[0].text]
        steps = []

        async def on_progress(progress, total, message):
            steps.append(message)

        counted = await client.call_tool("count", {}, progress_handler=on_progress)
        facts["counted"] = [counted.content[0].text, "".join(steps)]
        facts["resources"] = [str(item.uri) for item in await client.list_resources()]
        await client.call_tool("undeploy_pipeline", {"pipeline_name": "fast"})
    print(json.dumps(facts))


asyncio.run(main())
