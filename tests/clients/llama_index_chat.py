"""LlamaIndex's OpenAILike."""

import json
import sys

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

BASE_URL = sys.argv[1]


class Report(BaseModel):
    """A report."""

    city: str
    degrees: int


def weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


WEATHER = FunctionTool.from_defaults(weather)


def model(name="relay", **more):
    return OpenAILike(
        model=name, api_base=BASE_URL, api_key="none", is_chat_model=True, is_function_calling_model=True,
        max_retries=0, **more,
    )  # fmt: skip


def user(text):
    return [ChatMessage(role="user", content=text)]


def tokens(answer):
    return [answer.raw.usage.prompt_tokens, answer.raw.usage.completion_tokens]


def plain():
    answer = model().chat(user("one two"))
    return {"text": answer.message.content, "finish": answer.raw.choices[0].finish_reason, "tokens": tokens(answer)}


def streamed():
    asked = model(additional_kwargs={"stream_options": {"include_usage": True}})
    answers = list(asked.stream_chat(user("one two")))
    pieces = [answer.delta for answer in answers if answer.delta]
    return {"text": "".join(pieces), "tokens": tokens(answers[-1]), "in_pieces": len(pieces) > 1}


def tools(is_streamed=False):
    asked = model()
    question = user("What is the weather in Rome?")
    if is_streamed:
        said = list(asked.stream_chat_with_tools([WEATHER], chat_history=question))[-1]
    else:
        said = asked.chat_with_tools([WEATHER], chat_history=question)
    [call] = asked.get_tool_calls_from_response(said)
    result = ChatMessage(
        role="tool", content=weather(**call.tool_kwargs), additional_kwargs={"tool_call_id": call.tool_id}
    )
    answer = asked.chat_with_tools([WEATHER], chat_history=[*question, said.message, result])
    return {"name": call.tool_name, "arguments": call.tool_kwargs, "answer": answer.message.content}


def own_tools():
    answers = list(model("agent").stream_chat(user("What is the weather in Rome?")))
    return {
        "text": answers[-1].message.content,
        "calls": len(answers[-1].message.additional_kwargs.get("tool_calls", ())),
    }


def reasoning(is_streamed=False):
    asked = model("thinking")
    said = list(asked.stream_chat(user("x")))[-1] if is_streamed else asked.chat(user("x"))
    thoughts = [block.content for block in said.message.blocks if block.block_type == "thinking"]
    return {"text": said.message.content, "reasoning": "".join(thoughts)}


def error_of(call):
    try:
        call()
    except Exception as error:
        return str(error)


print(
    json.dumps(
        {
            "plain": plain(),
            "streamed": streamed(),
            "tools": tools(),
            "streamed_tools": tools(is_streamed=True),
            "structured": model(should_use_structured_outputs=True)
            .as_structured_llm(Report)
            .chat(user("Report on Rome"))
            .raw.model_dump(),
            "events": list(model("events").stream_chat(user("x")))[-1].message.content,
            "own_tools": own_tools(),
            "reasoning": reasoning(),
            "streamed_reasoning": reasoning(is_streamed=True),
            "unknown_model": error_of(lambda: model("nobody").chat(user("x"))),
            "failing": error_of(lambda: model("failing").chat(user("raise"))),
            "breaking": error_of(lambda: list(model("failing").stream_chat(user("generator")))),
        }
    )
)
