"""MCP with nothing behind it: the SDK's server, with its defaults, and a tool that returns what it got."""

import argparse
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


async def list_tools(context: Any, params: Any) -> ListToolsResult:
    """The one tool."""
    return ListToolsResult(tools=[Tool(name="noop_async", input_schema=SCHEMA)])


async def call_tool(context: Any, params: Any) -> CallToolResult:
    """What it got."""
    text = params.arguments["text"]
    return CallToolResult(content=[TextContent(text=text)], structured_content={"result": text})


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    # As for a server of one's own: by name, without walking all tools for each call.
    schema = {"noop_async": SCHEMA}
    server = Server("floor", get_tool_input_schema=schema.get, on_list_tools=list_tools, on_call_tool=call_tool)
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
