"""LangChain's ChatOpenAI."""

import json
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

BASE_URL = sys.argv[1]


def model(name="relay", **more):
    return ChatOpenAI(model=name, base_url=BASE_URL, api_key="none", max_retries=0, **more)


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


class Report(BaseModel):
    city: str
    degrees: int


def gathered(chunks):
    chunks = list(chunks)
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole, len([chunk for chunk in chunks if chunk.content])


def tokens(message):
    return [message.usage_metadata["input_tokens"], message.usage_metadata["output_tokens"]]


def plain():
    answer = model().invoke("one two")
    return {
        "text": answer.content, "finish": answer.response_metadata["finish_reason"], "tokens": tokens(answer),
    }  # fmt: skip


def streamed():
    whole, pieces = gathered(model(stream_usage=True).stream("one two"))
    return {
        "text": whole.content, "finish": whole.response_metadata["finish_reason"], "tokens": tokens(whole),
        "in_pieces": pieces > 1,
    }  # fmt: skip


def tools(is_streamed=False):
    bound = model().bind_tools([weather])
    question = HumanMessage("What is the weather in Rome?")
    said = gathered(bound.stream([question]))[0] if is_streamed else bound.invoke([question])
    [call] = said.tool_calls
    result = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
    answer = bound.invoke([question, said, result])
    return {"name": call["name"], "arguments": call["args"], "answer": answer.content}


def structured():
    return model().with_structured_output(Report).invoke("Report on Rome").model_dump()


def events():
    return gathered(model("events").stream("x"))[0].content


def own_tools():
    whole, _ = gathered(model("agent").stream("What is the weather in Rome?"))
    return {"text": whole.content, "calls": len(whole.tool_calls)}


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
            "structured": structured(),
            "events": events(),
            "own_tools": own_tools(),
            "unknown_model": error_of(lambda: model("nobody").invoke("x")),
            "failing": error_of(lambda: model("failing").invoke("raise")),
            "breaking": error_of(lambda: list(model("failing").stream("generator"))),
        }
    )
)
