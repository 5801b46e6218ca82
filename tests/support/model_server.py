"""An OpenAI-compatible model server on loopback that answers what a test wrote, or echoes.

A scripted answer is a row of parts::

    with ModelServer() as models:
        pause = models.gate()
        models.reply(Reasoning("hmm"), "The answer", pause, " is 42.")
        models.reply(ToolCall("weather", {"city": "Rome"}))
        models.reply("Half of ", Failure("model overloaded"))

The first request gets the first answer, and so on; when none is left the server echoes the last message, so a test
can see what a pipeline put into its prompt. Tokens are words.
"""

import asyncio
import json
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.loopback import LoopbackServer
from tests.support.model_replies import Cut, Failure, Finish, Gate, Part, Reasoning, Reply, Text, ToolCall
from tests.support.model_wire import (
    CREATED,
    CutConnectionError,
    answer_text,
    broken_body,
    embedding,
    error_body,
    error_response,
    logprobs,
    message_text,
    model_object,
    packed,
    sse,
    usage,
    wire_call,
    words,
)

__all__ = [
    "Cut", "Failure", "Finish", "Gate", "ModelServer", "Part", "Reasoning", "RecordedRequest", "Reply", "Text",
    "ToolCall",
]  # fmt: skip

MODELS = ("test-model", "test-embedding-model")


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRequest:
    """One request that a client made."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any  # decoded JSON, None when there was no body
    ended: threading.Event  # set when the answer is over: complete, failed, or because the client left
    chunks: list[Mapping[str, Any]]  # what was streamed until then

    @property
    def last_text(self) -> str:
        """Text of the last chat message."""
        return message_text(self.body["messages"][-1])


class ModelServer(LoopbackServer):
    """The server; see the module's docstring.

    Attributes:
        requests: What clients asked, in order.
        finish_reason: Reported by answers without tool calls.
    """

    def __init__(self, *, answer: Callable[[Mapping[str, Any]], Reply] | None = None, word_s: float = 0) -> None:
        """*answer* gets the body of a chat request and replaces the echo for requests without a scripted answer.

        In streams a word takes *word_s* seconds, for clients that look at how fast a model writes.
        """
        self.requests: list[RecordedRequest] = []
        self.finish_reason: Literal["stop", "length", "content_filter"] = "stop"
        self._script: deque[Sequence[Part]] = deque()
        self._answer = answer or echo
        self._word_s = word_s
        self._gates: list[Gate] = []
        super().__init__(
            Starlette(
                routes=[
                    Route("/v1/chat/completions", self._chat, methods=["POST"]),
                    Route("/v1/embeddings", self._embeddings, methods=["POST"]),
                    Route("/v1/models", self._models, methods=["GET"]),
                    Route("/v1/models/{model}", self._model, methods=["GET"]),
                ]
            )
        )

    @property
    def base_url(self) -> str:
        """What a client takes as ``base_url`` or ``OPENAI_BASE_URL``."""
        return f"{self.origin}/v1"

    @property
    def env(self) -> dict[str, str]:
        """Environment variables that make OpenAI clients of a process use this server."""
        return {"OPENAI_API_KEY": "not-a-real-key", "OPENAI_BASE_URL": self.base_url}

    @property
    def chats(self) -> list[RecordedRequest]:
        """The chat completion requests among `requests`."""
        return [request for request in self.requests if request.path.endswith("/chat/completions")]

    def reply(self, *parts: Part) -> None:
        """Queue one answer for one chat request."""
        self._script.append(parts)

    def gate(self) -> Gate:
        """A closed gate to put between the parts of an answer; opened at the latest when the server stops."""
        assert self.loop is not None, "enter the server first"
        self._gates.append(Gate(self.loop))
        return self._gates[-1]

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        for gate in self._gates:
            gate.open()
        super().__exit__(*error)

    async def _record(self, request: Request) -> RecordedRequest:
        raw = await request.body()
        recorded = RecordedRequest(
            request.method, request.url.path, request.headers, json.loads(raw) if raw else None, threading.Event(), []
        )
        self.requests.append(recorded)
        return recorded

    async def _chat(self, request: Request) -> Response:
        recorded = await self._record(request)
        body = recorded.body
        if not isinstance(body, dict) or not body.get("messages"):
            recorded.ended.set()
            return error_response(Failure("'messages' is required.", 400, "invalid_request"))
        reply = self._script.popleft() if self._script else self._answer(body)
        parts = [reply] if isinstance(reply, str) or not isinstance(reply, Sequence) else list(reply)
        head = parts[0] if parts else ""
        if isinstance(head, Failure):
            recorded.ended.set()
            return error_response(head)
        completion_id = f"chatcmpl-{len(self.requests)}"
        if body.get("stream"):
            return StreamingResponse(self._stream(parts, recorded, completion_id), media_type="text/event-stream")
        try:
            return await self._complete(parts, recorded, completion_id)
        finally:
            recorded.ended.set()

    async def _complete(self, parts: Sequence[Part], recorded: RecordedRequest, completion_id: str) -> Response:
        for part in parts:
            if isinstance(part, Gate):
                await part.passed()
            elif isinstance(part, Cut):
                return StreamingResponse(broken_body(), media_type="application/json")
            elif isinstance(part, Failure):
                return error_response(part)
        calls = [part for part in parts if isinstance(part, ToolCall)]
        text = answer_text(parts)
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if reasoning := "".join(part.text for part in parts if isinstance(part, Reasoning)):
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = [wire_call(call, index) for index, call in enumerate(calls)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish(parts)}
        if recorded.body.get("logprobs"):
            choice["logprobs"] = logprobs(words(text))
        choices = [{**choice, "index": index} for index in range(recorded.body.get("n") or 1)]
        return JSONResponse(
            {
                "id": completion_id,
                "object": "chat.completion",
                "created": CREATED,
                "model": recorded.body.get("model", MODELS[0]),
                "choices": choices,
                "usage": usage(recorded.body, parts),
            }
        )

    async def _stream(
        self, parts: Sequence[Part], recorded: RecordedRequest, completion_id: str
    ) -> AsyncIterator[bytes]:
        body = recorded.body
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        base: dict[str, Any] = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": body.get("model", MODELS[0]),
        }
        if wants_usage:
            base["usage"] = None  # as the API does: null in every chunk but the last

        def event(delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
            likely = logprobs([delta["content"]]) if body.get("logprobs") and delta.get("content") else None
            choice = {"index": 0, "delta": delta, "logprobs": likely, "finish_reason": finish_reason}
            recorded.chunks.append(base | {"choices": [choice]})
            return sse(recorded.chunks[-1])

        calls = 0
        try:
            yield event({"role": "assistant", "content": ""})
            for part in parts:
                match part:
                    case str() | Text():
                        for word in words(part if isinstance(part, str) else part.text):
                            yield event({"content": word})
                            await asyncio.sleep(self._word_s)
                    case Reasoning():
                        for word in words(part.text):
                            yield event({"reasoning_content": word})
                    case ToolCall():
                        # As the API does: the name first, then the arguments in pieces.
                        call = wire_call(part, calls)
                        arguments = call["function"]["arguments"]
                        call["function"]["arguments"] = ""
                        yield event({"tool_calls": [{"index": calls, **call}]})
                        for piece in re.findall(r"(?s).{1,8}", arguments):
                            yield event({"tool_calls": [{"index": calls, "function": {"arguments": piece}}]})
                        calls += 1
                    case Gate():
                        await part.passed()
                    case Cut():
                        raise CutConnectionError
                    case Failure():
                        yield sse({"error": error_body(part)})
                        return
            yield event({}, self._finish(parts))
            if wants_usage:
                yield sse(base | {"choices": [], "usage": usage(body, parts)})
            yield b"data: [DONE]\n\n"
        finally:
            recorded.ended.set()

    def _finish(self, parts: Sequence[Part]) -> str:
        if parts and isinstance(parts[-1], Finish):
            return parts[-1].reason
        return "tool_calls" if any(isinstance(part, ToolCall) for part in parts) else self.finish_reason

    async def _embeddings(self, request: Request) -> Response:
        recorded = await self._record(request)
        recorded.ended.set()
        texts = recorded.body["input"]
        texts = [texts] if isinstance(texts, str) else texts
        vectors = [embedding(text) for text in texts]
        # The OpenAI Python client asks for base64 (little-endian float32) unless told otherwise.
        as_base64 = recorded.body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": packed(vector) if as_base64 else vector}
            for index, vector in enumerate(vectors)
        ]
        count = sum(len(text.split()) for text in texts)
        return JSONResponse(
            {
                "object": "list",
                "data": data,
                "model": recorded.body.get("model", MODELS[1]),
                "usage": {"prompt_tokens": count, "total_tokens": count},
            }
        )

    async def _models(self, request: Request) -> Response:
        (await self._record(request)).ended.set()
        return JSONResponse({"object": "list", "data": [model_object(model) for model in MODELS]})

    async def _model(self, request: Request) -> Response:
        (await self._record(request)).ended.set()
        model = request.path_params["model"]
        if model not in MODELS:
            return error_response(Failure(f"The model {model!r} does not exist.", 404, "model_not_found"))
        return JSONResponse(model_object(model))


def echo(body: Mapping[str, Any]) -> str:
    """The default answer: the text of the last message, be it a user's question or a tool's result."""
    return f"Echo: {message_text(body['messages'][-1])}"
