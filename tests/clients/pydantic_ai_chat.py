"""Pydantic AI over chat completions: it runs its tools itself until the model has answered."""

import json
import sys

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.messages import TextPart, ThinkingPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

PROVIDER = OpenAIProvider(base_url=sys.argv[1], api_key="none")
CALLS = []


class Report(BaseModel):
    city: str
    degrees: int


def weather(city: str) -> str:
    """Weather of a city."""
    CALLS.append({"city": city})
    return f"sunny in {city}"


def agent(name="relay", **more):
    return Agent(OpenAIChatModel(name, provider=PROVIDER), **more)


def tokens(result):
    usage = result.usage() if callable(result.usage) else result.usage
    return [usage.input_tokens, usage.output_tokens]


def plain():
    result = agent().run_sync("one two")
    return {"text": result.output, "finish": result.response.finish_reason, "tokens": tokens(result)}


def streamed(name="relay", question="one two", **more):
    result = agent(name, **more).run_stream_sync(question)
    pieces = list(result.stream_text(delta=True, debounce_by=None))
    return result, pieces


def streamed_facts():
    result, pieces = streamed()
    return {
        "text": "".join(pieces), "finish": result.response.finish_reason, "tokens": tokens(result),
        "in_pieces": len(pieces) > 1,
    }  # fmt: skip


def tools(is_streamed=False):
    question = "What is the weather in Rome?"
    CALLS.clear()
    if is_streamed:
        answer = "".join(streamed(question=question, tools=[weather])[1])
    else:
        answer = agent(tools=[weather]).run_sync(question).output
    [arguments] = CALLS
    return {"name": "weather", "arguments": arguments, "answer": answer}


def own_tools():
    result, pieces = streamed("agent", "What is the weather in Rome?")
    return {"text": "".join(pieces), "calls": len(result.response.tool_calls)}


def reasoning(is_streamed=False):
    result = streamed("thinking", "x")[0] if is_streamed else agent("thinking").run_sync("x")
    parts = result.response.parts
    return {
        "text": "".join(part.content for part in parts if isinstance(part, TextPart)),
        "reasoning": "".join(part.content for part in parts if isinstance(part, ThinkingPart)),
    }


def error_of(call):
    try:
        call()
    except Exception as error:
        return str(error)


print(
    json.dumps(
        {
            "plain": plain(),
            "streamed": streamed_facts(),
            "tools": tools(),
            "streamed_tools": tools(is_streamed=True),
            "structured": agent(output_type=NativeOutput(Report)).run_sync("Report on Rome").output.model_dump(),
            "events": "".join(streamed("events", "x")[1]),
            "own_tools": own_tools(),
            "reasoning": reasoning(),
            "streamed_reasoning": reasoning(is_streamed=True),
            "unknown_model": error_of(lambda: agent("nobody").run_sync("x")),
            "failing": error_of(lambda: agent("failing").run_sync("raise")),
            "breaking": error_of(lambda: streamed("failing", "generator")),
        }
    )
)
