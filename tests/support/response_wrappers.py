"""Wrappers that answer the Responses API in every way there is, as files a server deploys."""

_KINDS = """
from haystack.dataclasses import ChatMessage, StreamingChunk, ToolCall
from openai.types.responses import Response
from hayhooks import BasePipelineWrapper, current_run, get_last_user_input_text
from hayhooks.events import create_status_event

MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello there"}]}
WHOLE = {
    "id": "resp_elsewhere", "object": "response", "created_at": 1, "status": "completed", "model": "another",
    "output": [{
        "type": "message", "role": "assistant", "id": "msg_elsewhere", "status": "completed",
        "content": [{"type": "output_text", "text": "Hello there", "annotations": []}],
    }],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "user": None,
    "usage": {
        "input_tokens": 1, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 3,
    },
}
REFUSAL = {"role": "assistant", "content": None, "refusal": "I would rather not."}

async def later(items):
    for item in items:
        yield item

def events():
    yield create_status_event("Searching")
    yield "Found it."

def fails_midway():
    yield "Half of "
    raise ValueError("secret")

def cut_off():
    yield StreamingChunk(content="Hello ", meta={"finish_reason": "length"}, finish_reason="length")

ANSWERS = {
    "text": lambda: "Hello there",
    "generator": lambda: (word for word in ("Hello ", "", "there")),
    "async generator": lambda: later(["Hello ", "there"]),
    "chat message": lambda: ChatMessage.from_assistant("Hello there", reasoning="Let me think."),
    "items": lambda: {"output": [{"type": "reasoning", "summary": []}, MESSAGE]},
    "item": lambda: {"type": "message", "content": "Hello there"},
    "whole": lambda: WHOLE,
    "whole object": lambda: Response.model_validate(WHOLE),
    "completion": lambda: {"choices": [{"message": {"role": "assistant", "content": "Hello there"}}]},
    "call": lambda: ChatMessage.from_assistant(tool_calls=[ToolCall("weather", {"city": "Rome"}, id="call_r")]),
    "call item": lambda: [{"type": "function_call", "name": "weather", "arguments": {"city": "Rome"}}],
    "refusal": lambda: REFUSAL,
    "events": events,
    "other json": lambda: {"answer": [1, 2]},
    "half characters": lambda: (part for part in ("a ", "\\ud83d", "\\ude00", " b")),
    "cut off": cut_off,
    "raise": lambda: 1 / 0,
    "fails midway": fails_midway,
    "nothing": lambda: iter(()),
}

def shown(item):
    content = item.get("content", item.get("output", item.get("name")))
    text = content if isinstance(content, str) else " ".join(part["text"] for part in content)
    return f"{item.get('role', item['type'])}: {text}"

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_response(self, model, input_items, body):
        said = get_last_user_input_text(input_items)
        if said == "session":
            return str(current_run().session.id)
        if said in ANSWERS:
            return ANSWERS[said]()
        return " | ".join(map(shown, input_items))
"""

# Shows what a chat hook is given when it answers Responses.
_GIVEN = """
import json
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_chat_completion(self, model, messages, body):
        return json.dumps(body)
"""

_ENDLESS = """
import os
import time
from hayhooks import BasePipelineWrapper, current_run

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_response(self, model, input_items, body):
        if body["input"] == "pid":
            return str(os.getpid())
        def words():
            while True:
                yield "word "
                time.sleep(0.01)
        return words()
"""

RESPONSE_WRAPPERS = {"replies": _KINDS, "given": _GIVEN, "endless": _ENDLESS}
