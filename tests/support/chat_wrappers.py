"""Wrappers that answer chat in every way there is, as files a server deploys."""

from collections.abc import Mapping
from pathlib import Path


def write_wrappers(pipelines_dir: Path, wrappers: Mapping[str, str]) -> None:
    """Write one directory per wrapper."""
    for name, source in wrappers.items():
        directory = pipelines_dir / name
        directory.mkdir(parents=True)
        (directory / "pipeline_wrapper.py").write_text(source, encoding="utf-8")


_KINDS = """
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.dataclasses.streaming_chunk import ToolCallDelta
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from hayhooks import BasePipelineWrapper, get_last_user_message

USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
COMPLETION = {
    "id": "chatcmpl-own", "object": "chat.completion", "created": 1, "model": "another", "system_fingerprint": "fp",
    "choices": [{
        "index": 0, "finish_reason": "stop", "logprobs": None,
        "message": {"role": "assistant", "content": "Hello there"},
    }],
    "usage": USAGE,
}

def chunk(delta, finish_reason=None, **more):
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}

def chunk_dicts():
    yield chunk({"role": "assistant", "content": ""})
    yield chunk({"role": "assistant", "content": "Hello "})
    yield chunk({"content": "there"})
    yield chunk({}, "stop")
    yield {**chunk({}), "choices": [], "usage": USAGE}

def several_choices():
    for delta, index in (({"role": "assistant", "content": "One"}, 0), ({"role": "assistant", "content": "Two"}, 1)):
        yield {**chunk({}), "choices": [{"index": index, "delta": delta, "finish_reason": None}]}
    for index in (1, 0):
        yield {**chunk({}), "choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}

def likely():
    for word in ("Hello ", "there"):
        sure = {"content": [{"token": word, "logprob": -0.5, "bytes": None, "top_logprobs": []}], "refusal": None}
        choices = [{"index": 0, "delta": {"content": word}, "logprobs": sure, "finish_reason": None}]
        yield {**chunk({}), "choices": choices}

async def later(items):
    for item in items:
        yield item

def streaming_chunks():
    yield StreamingChunk(content="Hello ", start=True, index=0)
    yield StreamingChunk(content="there")
    yield StreamingChunk(content="", finish_reason="stop")

def growing_usage():
    for count, word in enumerate(("a ", "b ", "c "), start=1):
        usage = {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count}
        yield StreamingChunk(content=word, meta={"usage": usage}, finish_reason="stop" if count == 3 else None)
    yield StreamingChunk(content="", meta={"usage": usage})

def two_turns():
    yield from growing_usage()
    yield "next"
    yield StreamingChunk(content="", meta={"usage": {"input_tokens": 10, "output_tokens": 0}})
    yield StreamingChunk(content="", meta={"usage": {"output_tokens": 4}}, finish_reason="stop")

def strange_calls():
    # Two generators, each counting from 1, as those whose text is part 0 do.
    for name, call_id, number in (("one", "a", "1"), ("two", "b", "2")):
        yield StreamingChunk(content="", index=1, tool_calls=[ToolCallDelta(1, tool_name=name, id=call_id)])
        yield StreamingChunk(content="", index=1, tool_calls=[ToolCallDelta(1, arguments='{"n":')])
        yield StreamingChunk(content="", index=1, tool_calls=[ToolCallDelta(1, arguments=number + "}")])
        yield StreamingChunk(content="", finish_reason="tool_calls")

def calls_without_ids():
    yield StreamingChunk(content="", index=0, tool_calls=[ToolCallDelta(3, tool_name="one", arguments='{"n":1}')])
    yield StreamingChunk(content="", index=0, tool_calls=[ToolCallDelta(4, tool_name="two", arguments='{"n":')])
    yield StreamingChunk(content="", index=0, tool_calls=[ToolCallDelta(4, arguments='2}')])

ANSWERS = {
    "text": lambda: "Hello there",
    "generator": lambda: (word for word in ("Hello ", "", "there")),
    "generator with None": lambda: (word for word in (None, "Hello ", None, "there")),
    "async generator": lambda: later(["Hello ", "there"]),
    "streaming chunks": streaming_chunks,
    "one streaming chunk": lambda: StreamingChunk(content="Hello there"),
    "chat message": lambda: ChatMessage.from_assistant("Hello there"),
    "message dict": lambda: {"role": "assistant", "content": "Hello there"},
    "completion dict": lambda: COMPLETION,
    "bare completion dict": lambda: {"choices": [{"message": {"content": "Hello there"}}]},
    "completion object": lambda: ChatCompletion.model_validate(COMPLETION),
    "completion chunks": lambda: (ChatCompletionChunk.model_validate(item) for item in chunk_dicts()),
    "completion chunk dicts": chunk_dicts,
    "several choices": several_choices,
    "likely": likely,
    "empty text": lambda: "",
    "empty generator": lambda: iter(()),
    "empty chat message": lambda: ChatMessage.from_assistant(""),
    "none": lambda: None,
    "number": lambda: 42,
    "plain dict": lambda: {"answer": [1, 2]},
    "half characters": lambda: (part for part in ("a ", "\\ud83d", "\\ude00", " b")),
    "large": lambda: (f"{number} " for number in range(5_000)),
    "growing usage": growing_usage,
    "two turns": two_turns,
    "strange calls": strange_calls,
    "calls without ids": calls_without_ids,
}

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        self.pipeline = None

    HOOK run_chat_completion(self, model, messages, body):
        return ANSWERS[get_last_user_message(messages)]()
"""

_FAILING = """
from fastapi import HTTPException
from hayhooks import BasePipelineWrapper, get_last_user_message

def fail(first):
    yield from first
    raise ValueError("secret")

async def fail_async(first):
    for item in first:
        yield item
    raise ValueError("secret")

def pay_later():
    yield "one"
    raise HTTPException(402, "Pay first")

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_chat_completion(self, model: str, messages: list[dict], body: dict):
        how = get_last_user_message(messages)
        if how == "raise":
            raise ValueError("secret")
        if how == "exit":
            raise SystemExit("secret")
        if how == "http later":
            return pay_later()
        if how.startswith("http "):
            raise HTTPException(int(how[5:]), "Pay first", headers={"X-Why": "because"})
        first = [] if how.endswith("first") else ["one ", "two "]
        return fail_async(first) if how.startswith("async") else fail(first)
"""

_MODEL = """
from haystack import Pipeline
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from hayhooks import AsyncPipeline, BasePipelineWrapper, async_streaming_generator, streaming_generator

class PipelineWrapper(BasePipelineWrapper):
    ATTRIBUTES
    def setup(self):
        self.pipeline = KIND()
        usage = {"stream_options": {"include_usage": True}} if STREAMS else {}
        generator = OpenAIChatGenerator(model="test-model", generation_kwargs=usage, max_retries=0)
        self.pipeline.add_component("llm", generator)

"""

_CLIENT_TOOLS = """
from haystack.tools import Tool
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from hayhooks import BasePipelineWrapper, Pipeline, streaming_generator

def tool(name):
    return Tool(name=name, description=name, parameters={"type": "object", "properties": {}}, function=print)

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        self.pipeline = Pipeline()
        tools = [tool("weather"), tool("time")]
        self.pipeline.add_component("llm", OpenAIChatGenerator(model="test-model", tools=tools))

    def run_chat_completion(self, model, messages, body):
        given = {"llm": {"messages": [ChatMessage.from_openai_dict_format(message) for message in messages]}}
"""

_AGENT = '''
from typing import Annotated
from haystack import Pipeline
from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools.from_function import create_tool_from_function
from hayhooks import BasePipelineWrapper, async_streaming_generator, get_last_user_message, streaming_generator
from hayhooks.events import create_status_event

def weather(city: Annotated[str, "the city"]) -> str:
    """Weather of a city."""
    return f"sunny in {city}"

def started(name, arguments, call_id):
    return create_status_event(f"{name} {arguments}")

def ended(name, arguments, result, error):
    return [create_status_event(f"{result} {error}")]

def agent():
    tool = create_tool_from_function(weather)
    generator = OpenAIChatGenerator(
        model="test-model", generation_kwargs=USAGE, max_retries=0
    )
    return Agent(chat_generator=generator, tools=[tool])

def question(messages):
    return [ChatMessage.from_user(get_last_user_message(messages))]

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        self.pipeline = agent()

'''

_USAGE = '{"stream_options": {"include_usage": True}}'

_SCRIPTED = """
from haystack import Pipeline, SuperComponent, component
from haystack.components.agents import Agent
from haystack.dataclasses import ChatMessage
from hayhooks import (
    AsyncPipeline, BasePipelineWrapper, async_streaming_generator, get_last_user_message, streaming_generator
)
from tests.support.generators import ScriptedGenerator, echo

def question(messages):
    return [ChatMessage.from_user(get_last_user_message(messages))]

@component
class Counting:
    def __init__(self, prompt, completion, reasoning=0):
        self.usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        if reasoning:
            self.usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}

    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage]):
        meta = {"usage": dict(self.usage)} if self.usage["total_tokens"] else {}
        return {"replies": [ChatMessage.from_assistant("counted", meta=meta)]}

@component
class PassingOn:
    @component.output_types(replies=list[ChatMessage])
    def run(self, replies: list[ChatMessage]):
        return {"replies": list(replies)}

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        self.pipeline = AsyncPipeline()
"""

_ECHO = _SCRIPTED + '        self.pipeline.add_component("llm", ScriptedGenerator(echo_words))\n'
_ECHO = _ECHO.replace(
    "@component\nclass Counting",
    """from tests.support.generators import scripted, text, thought

THINKING = scripted([thought("Let me "), thought("think."), *text("It is ", "42")])

def echo_words(messages):
    return text(*(f"{word} " for word in messages[-1].text.split()))

@component
class Counting""",
)
_ENDLESS = (
    _SCRIPTED.replace(
        "@component\nclass Counting",
        """import asyncio, contextlib, socket
from haystack.dataclasses import StreamingChunk

@contextlib.contextmanager
def telling(messages):
    try:
        yield
    finally:
        socket.create_connection(("127.0.0.1", int(messages[-1].text))).close()

@component
class Endless:
    @component.output_types(replies=list[ChatMessage])
    def run(self, messages: list[ChatMessage], streaming_callback=None):
        with telling(messages):
            while True:
                streaming_callback(StreamingChunk("on "))

    @component.output_types(replies=list[ChatMessage])
    async def run_async(self, messages: list[ChatMessage], streaming_callback=None):
        with telling(messages):
            while True:
                await streaming_callback(StreamingChunk("on "))
                await asyncio.sleep(0)

@component
class Counting""",
    )
    + '        self.pipeline.add_component("llm", Endless())\n'
)
_THINK = _ECHO.replace("ScriptedGenerator(echo_words)", "ScriptedGenerator(THINKING)")
_SYNC = "\n    def run_chat_completion(self, model, messages, body):\n"
_ASYNC = "\n    async def run_chat_completion_async(self, model, messages, body):\n"
_GIVEN = '{"llm": {"messages": question(messages)}}'


def _model(kind: str, hook: str, *, attributes: str = "", streams: bool = True) -> str:
    source = _MODEL.replace("ATTRIBUTES", attributes).replace("KIND", kind).replace("STREAMS", str(streams))
    given = 'given = {"llm": {"messages": [ChatMessage.from_openai_dict_format(message) for message in messages]}}'
    return source + hook.replace("given =", "        " + given + "\n        answer =")


_STREAM_HOOK = _SYNC + "given =streaming_generator(self.pipeline, given)\n        return answer\n"
_STREAM_ASYNC_HOOK = _ASYNC + "given =async_streaming_generator(self.pipeline, given)\n        return answer\n"
_TEXT_HOOK = _SYNC + 'given =self.pipeline.run(given)["llm"]["replies"][0].text\n        return answer\n'

CHAT_WRAPPERS: dict[str, str] = {
    "kinds": _KINDS.replace("HOOK", "def"),
    "kinds_async": _KINDS.replace("HOOK run_chat_completion", "async def run_chat_completion_async"),
    "generator_method": """
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_chat_completion(self, model, messages, body):
        yield "Hello "
        yield "there"
""",
    "async_generator_method": """
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    async def run_chat_completion_async(self, model, messages, body):
        yield "Hello "
        yield "there"
""",
    "pipeline_sync": _ECHO + _SYNC + f"        return streaming_generator(self.pipeline, {_GIVEN})\n",
    "pipeline_async": _ECHO + _ASYNC + f"        return async_streaming_generator(self.pipeline, {_GIVEN})\n",
    "agent_sync": _ECHO.replace("self.pipeline = AsyncPipeline()", "")
    .replace('self.pipeline.add_component("llm", ', "self.pipeline = Agent(chat_generator=")
    .replace("echo_words))", "echo_words), tools=[])")
    + _SYNC
    + '        return streaming_generator(self.pipeline, {"messages": question(messages)})\n',
    "agent_async": _ECHO.replace("self.pipeline = AsyncPipeline()", "")
    .replace('self.pipeline.add_component("llm", ', "self.pipeline = Agent(chat_generator=")
    .replace("echo_words))", "echo_words), tools=[])")
    + _ASYNC
    + '        return async_streaming_generator(self.pipeline, {"messages": question(messages)})\n',
    "reasoning_sync": _THINK + _SYNC + f"        return streaming_generator(self.pipeline, {_GIVEN})\n",
    "reasoning_async": _THINK + _ASYNC + f"        return async_streaming_generator(self.pipeline, {_GIVEN})\n",
    "reasoning_message": _THINK
    + """
    def run_chat_completion(self, model, messages, body):
        return ChatMessage.from_assistant("It is 42", reasoning="Let me think.")
""",
    "endless_sync": _ENDLESS + _SYNC + f"        return streaming_generator(self.pipeline, {_GIVEN})\n",
    "endless_async": _ENDLESS + _ASYNC + f"        return async_streaming_generator(self.pipeline, {_GIVEN})\n",
    "pipeline_silent": _SCRIPTED
    + '        self.pipeline.add_component("llm", Counting(0, 0))\n'
    + _SYNC
    + f'        return self.pipeline.run({_GIVEN})["llm"]["replies"][0]\n',
    "two_generators": _SCRIPTED
    + """
        self.pipeline.add_component("llm", Counting(1, 2, 1))
        self.pipeline.add_component("again", Counting(10, 20, 2))
        self.pipeline.connect("llm.replies", "again.messages")
"""
    + _SYNC
    + f'        yield self.pipeline.run({_GIVEN})["again"]["replies"][0].text\n',
    "passed_on": _SCRIPTED
    + """
        self.pipeline.add_component("llm", Counting(1, 2))
        self.pipeline.add_component("on", PassingOn())
        self.pipeline.add_component("further", PassingOn())
        self.pipeline.connect("llm.replies", "on.replies")
        self.pipeline.connect("on.replies", "further.replies")
"""
    + _SYNC
    + f'        return self.pipeline.run({_GIVEN})["further"]["replies"][0].text\n',
    "passed_on_async": _SCRIPTED
    + """
        self.pipeline.add_component("llm", Counting(1, 2))
        self.pipeline.add_component("on", PassingOn())
        self.pipeline.add_component("also", PassingOn())
        self.pipeline.connect("llm.replies", "on.replies")
        self.pipeline.connect("llm.replies", "also.replies")
"""
    + _ASYNC
    + f'        return (await self.pipeline.run_async({_GIVEN}))["on"]["replies"][0].text\n',
    "super_component": _SCRIPTED
    + """
        inner = type(self.pipeline)()  # in Haystack 2, an asynchronous pipeline takes no other inside
        inner.add_component("inner", Counting(1, 2))
        self.pipeline.add_component("llm", SuperComponent(inner))
        self.pipeline.add_component("on", PassingOn())
        self.pipeline.connect("llm.replies", "on.replies")
"""
    + _SYNC
    + f'        return self.pipeline.run({_GIVEN})["on"]["replies"][0].text\n',
    "model_stream": _model("Pipeline", _STREAM_HOOK),
    "model_stream_async": _model("AsyncPipeline", _STREAM_ASYNC_HOOK),
    "model_text": _model("Pipeline", _TEXT_HOOK, streams=False),
    "one_at_a_time": _model("Pipeline", _STREAM_HOOK, attributes="max_concurrent_runs = 1\n    max_queued_runs = 0"),
    "impatient": _model("Pipeline", _STREAM_HOOK, attributes="run_timeout_s = 1"),
    "impatient_async": _model("AsyncPipeline", _STREAM_ASYNC_HOOK, attributes="run_timeout_s = 1"),
    "tool_agent_sync": _AGENT.replace("USAGE", _USAGE)
    + _SYNC
    + '        return streaming_generator(self.pipeline, {"messages": question(messages)})\n',
    "tool_agent_async": _AGENT.replace("USAGE", _USAGE)
    + _ASYNC
    + '        return async_streaming_generator(self.pipeline, {"messages": question(messages)})\n',
    "tool_agent_text": _AGENT.replace("USAGE", "{}")
    + _SYNC
    + '        return self.pipeline.run(messages=question(messages))["messages"][-1]\n',
    "agent_in_pipeline": _AGENT.replace("USAGE", _USAGE).replace(
        "self.pipeline = agent()", 'self.pipeline = Pipeline()\n        self.pipeline.add_component("agent", agent())'
    )
    + _SYNC
    + '        yield from streaming_generator(self.pipeline, {"agent": {"messages": question(messages)}})\n',
    "agent_beside_pipeline": _AGENT.replace("USAGE", _USAGE).replace(
        "self.pipeline = agent()", "self.pipeline = Pipeline()\n        self.agent = agent()"
    )
    + _SYNC
    + '        yield from streaming_generator(self.agent, {"messages": question(messages)})\n',
    "callbacks_sync": _AGENT.replace("USAGE", _USAGE)
    + _SYNC
    + """
        return streaming_generator(
            self.pipeline, {"messages": question(messages)}, on_tool_call_start=started, on_tool_call_end=ended,
            on_pipeline_end=lambda result: " The end.",
        )
""",
    "callbacks_async": _AGENT.replace("USAGE", _USAGE)
    + _ASYNC
    + """
        return async_streaming_generator(
            self.pipeline, {"messages": question(messages)}, on_tool_call_start=started, on_tool_call_end=ended,
            on_pipeline_end=lambda result: " The end.",
        )
""",
    "client_tools_stream": _CLIENT_TOOLS + "        return streaming_generator(self.pipeline, given)\n",
    "client_tools_generator": _CLIENT_TOOLS + "        yield from streaming_generator(self.pipeline, given)\n",
    "client_tools_message": _CLIENT_TOOLS + '        return self.pipeline.run(given)["llm"]["replies"][0]\n',
    "mirror": """
import json
from hayhooks import BasePipelineWrapper, get_last_user_message

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_chat_completion(self, model: str, messages: list[dict], body: dict) -> str:
        last = get_last_user_message(messages)
        return json.dumps({"model": model, "messages": messages, "body": body, "last": last})
""",
    "headers": """
from starlette.datastructures import Headers
from hayhooks import BasePipelineWrapper, get_last_user_message

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_chat_completion(self, model, messages, body, headers: Headers | None = None) -> str:
        return headers[get_last_user_message(messages)]
""",
    "events": """
from hayhooks import BasePipelineWrapper, PipelineEvent
from hayhooks.open_webui import create_notification_event, create_source_event, create_status_event

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_chat_completion(self, model, messages, body):
        yield create_status_event("Searching")
        yield "Found "
        yield create_notification_event("One hit", "success")
        yield create_source_event({"source": {"name": "Page"}, "document": ["text"], "metadata": [{}]})
        yield "it."
        yield create_status_event("Done", done=True)
""",
    "response": """
from starlette.responses import PlainTextResponse
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_chat_completion(self, model, messages, body):
        return PlainTextResponse("Teapot", 418)
""",
    "failing": _FAILING,
    "only_api": """
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_api(self, q: str = "") -> str:
        return q
""",
    "only_response": """
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_response(self, model, input_items, body):
        return "x"
""",
}
