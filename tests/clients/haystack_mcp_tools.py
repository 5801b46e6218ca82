"""Haystack's MCPToolset: an agent's tools are deployments of a server."""

import json
import sys

from haystack_integrations.tools.mcp import MCPToolset, StreamableHttpServerInfo

URL = sys.argv[1]

toolset = MCPToolset(StreamableHttpServerInfo(url=URL), tool_names=["greet", "count"])
toolset.warm_up()
tools = {tool.name: tool for tool in toolset}
facts = {
    "names": sorted(tools),
    "required": tools["greet"].parameters["required"],
    "greeting": str(tools["greet"].invoke(name="Ada")),
}
toolset.close()
print(json.dumps(facts))
