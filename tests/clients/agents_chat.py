"""OpenAI's Agents SDK over chat completions: it runs its tools itself until the model has answered."""

import asyncio
import json
import sys

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)
CLIENT = AsyncOpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
CALLS = []


class Report(BaseModel):
    city: str
    degrees: int


@function_tool
def weather(city: str) -> str:
    """Weather of a city."""
    CALLS.append({"city": city})
    return f"sunny in {city}"


def agent(name="relay", **more):
    model = OpenAIChatCompletionsModel(name, CLIENT)
    return Agent(name="Clerk", model=model, model_settings=ModelSettings(include_usage=True), **more)


async def plain():
    result = await Runner.run(agent(), "one two")
    usage = result.context_wrapper.usage
    return {"text": result.final_output, "tokens": [usage.input_tokens, usage.output_tokens]}


async def said(asked, question):
    """The end of a streamed run, and the pieces of text that came before."""
    result = Runner.run_streamed(asked, question)
    pieces = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    return result, [piece for piece in pieces if piece]


async def streamed():
    result, pieces = await said(agent(), "one two")
    usage = result.context_wrapper.usage
    assert "".join(pieces) == result.final_output
    return {
        "text": result.final_output, "tokens": [usage.input_tokens, usage.output_tokens], "in_pieces": len(pieces) > 1,
    }  # fmt: skip


async def tools(is_streamed=False):
    asked, question = agent(tools=[weather]), "What is the weather in Rome?"
    CALLS.clear()
    result = (await said(asked, question))[0] if is_streamed else await Runner.run(asked, question)
    [arguments] = CALLS
    return {"name": "weather", "arguments": arguments, "answer": result.final_output}


async def structured():
    result = await Runner.run(agent(output_type=Report), "Report on Rome")
    return result.final_output.model_dump()


async def own_tools():
    result, pieces = await said(agent("agent"), "What is the weather in Rome?")
    calls = [item for item in result.new_items if item.type == "tool_call_item"]
    return {"text": "".join(pieces), "calls": len(calls)}


async def reasoning(is_streamed=False):
    asked = agent("thinking")
    result = (await said(asked, "x"))[0] if is_streamed else await Runner.run(asked, "x")
    thoughts = [item.raw_item.summary for item in result.new_items if item.type == "reasoning_item"]
    return {"text": result.final_output, "reasoning": "".join(part.text for parts in thoughts for part in parts)}


async def error_of(awaitable):
    try:
        await awaitable
    except Exception as error:
        return str(error)


async def main():
    print(
        json.dumps(
            {
                "plain": await plain(),
                "streamed": await streamed(),
                "tools": await tools(),
                "streamed_tools": await tools(is_streamed=True),
                "structured": await structured(),
                "events": "".join((await said(agent("events"), "x"))[1]),
                "own_tools": await own_tools(),
                "reasoning": await reasoning(),
                "streamed_reasoning": await reasoning(is_streamed=True),
                "unknown_model": await error_of(Runner.run(agent("nobody"), "x")),
                "failing": await error_of(Runner.run(agent("failing"), "raise")),
                "breaking": await error_of(said(agent("failing"), "generator")),
            }
        )
    )
    await CLIENT.close()


asyncio.run(main())
