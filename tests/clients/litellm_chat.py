"""LiteLLM, which takes the server for one of OpenAI's."""

import json
import sys

import litellm
from litellm import completion

litellm.suppress_debug_info = True
BASE_URL = sys.argv[1]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
REPORT = {
    "type": "json_schema",
    "json_schema": {
        "name": "report",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
            "required": ["city", "degrees"],
            "additionalProperties": False,
        },
    },
}


def ask(text, name="relay", **more):
    messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
    return completion(
        f"openai/{name}", messages, api_base=BASE_URL, api_key="none", max_retries=0, num_retries=0, **more
    )


def stream(text, name="relay", **more):
    chunks = list(ask(text, name, stream=True, stream_options={"include_usage": True}, **more))
    pieces = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    return litellm.stream_chunk_builder(chunks), len(pieces)


def facts(answer):
    choice = answer.choices[0]
    return {
        "text": choice.message.content, "finish": choice.finish_reason,
        "tokens": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
    }  # fmt: skip


def streamed():
    whole, pieces = stream("one two")
    return {**facts(whole), "in_pieces": pieces > 1}


def tools(is_streamed=False):
    question = {"role": "user", "content": "What is the weather in Rome?"}
    said = stream([question], tools=[WEATHER])[0] if is_streamed else ask([question], tools=[WEATHER])
    message = said.choices[0].message
    [call] = message.tool_calls
    arguments = json.loads(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": f"sunny in {arguments['city']}"}
    answer = ask([question, message.model_dump(), result], tools=[WEATHER])
    return {"name": call.function.name, "arguments": arguments, "answer": answer.choices[0].message.content}


def own_tools():
    message = stream("What is the weather in Rome?", "agent")[0].choices[0].message
    return {"text": message.content, "calls": len(message.tool_calls or ())}


def reasoning(is_streamed=False):
    said = stream("x", "thinking")[0] if is_streamed else ask("x", "thinking")
    message = said.choices[0].message
    return {"text": message.content, "reasoning": message.reasoning_content}


def error_of(call):
    try:
        call()
    except Exception as error:
        return str(error)


print(
    json.dumps(
        {
            "plain": facts(ask("one two")),
            "streamed": streamed(),
            "tools": tools(),
            "streamed_tools": tools(is_streamed=True),
            "structured": json.loads(ask("Report on Rome", response_format=REPORT).choices[0].message.content),
            "events": stream("x", "events")[0].choices[0].message.content,
            "own_tools": own_tools(),
            "reasoning": reasoning(),
            "streamed_reasoning": reasoning(is_streamed=True),
            "unknown_model": error_of(lambda: ask("x", "nobody")),
            "failing": error_of(lambda: ask("raise", "failing")),
            "breaking": error_of(lambda: stream("generator", "failing")),
        }
    )
)
