import os
from functools import cached_property

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack_integrations.tools.mcp import MCPToolset, StreamableHttpServerInfo

from hayhooks import BasePipelineWrapper

URL = os.environ.get("SHOP_TOOLS_URL", "http://localhost:1416/mcp")


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.tools = None

    @cached_property
    def agent(self) -> Agent:
        # Made with the first question, not in setup(): the tools may be this very server's, which does not answer
        # while it starts.
        self.tools = MCPToolset(StreamableHttpServerInfo(url=URL), tool_names=["stock"], eager_connect=True)
        return Agent(
            chat_generator=OpenAIChatGenerator(model="gpt-5-mini"),
            tools=self.tools,
            system_prompt="You answer questions about our stock. Look products up before you answer.",
        )

    def run_api(self, question: str) -> str:
        """Ask the shop one question."""
        return self.agent.run(messages=[ChatMessage.from_user(question)])["last_message"].text

    def teardown(self) -> None:
        if self.tools is not None:
            self.tools.close()
