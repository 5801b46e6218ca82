"""OpenAI embeddings: texts or tokens in, vectors out, as numbers or as base64.

Source: OpenAI API reference, "Create embeddings".
"""

import base64
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from hayhooks.core.aio import in_thread
from hayhooks.core.deployment import Call
from hayhooks.core.errors import EntryNotFound, RunFailed
from hayhooks.core.events import Raw, Usage, Vectors
from hayhooks.core.haystack.arrays import Typecode, little_floats, numbers
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._http import (
    HTTPOptions,
    caller_of,
    header,
    read_body,
    request_id_header,
    require,
    require_json,
    require_size,
    send_bytes,
    trace_of,
)
from hayhooks.surfaces._json import invalid, json_object
from hayhooks.surfaces._leaving import cancel_on_disconnect
from hayhooks.surfaces._session import session_of

ENTRY = "run_embedding"
VIA = "openai"
# More bytes of numbers than this are written in a thread: on the event loop, others would wait for it.
_MUCH = 256 * 1024


class Embeddings:
    """Answers one embeddings request."""

    def __init__(self, runtime: Runtime, options: HTTPOptions) -> None:
        self._runtime = runtime
        self._options = options

    async def create(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the model that the body names. Raises what the caller must be told."""
        require(scope, "POST")
        require_json(header(scope, b"content-type"))
        data = await read_body(scope, receive, self._options.max_body_bytes)
        body, inputs = read_embeddings_body(data)
        model = body["model"]
        session = session_of(scope, body)
        chosen = self._runtime.choose(model, caller_of(scope), session)
        if ENTRY not in chosen.deployment.entries:
            raise EntryNotFound(model, "embedding hook")
        require_size(data, chosen.deployment.limits)
        del data
        call = Call(
            arguments={"model": model, "inputs": inputs, "body": body},
            headers=scope["headers"],
            session=session,
            caller=caller_of(scope),
            trace=trace_of(scope),
        )
        running = self._runtime.run(model, ENTRY, call, via=VIA, chosen=chosen)
        vectors: Vectors | None = None
        usage: Usage | None = None
        async with cancel_on_disconnect(receive), running as run:
            async for event in run:
                if isinstance(event, Raw):
                    await event.response(scope, receive, send)
                    return
                if isinstance(event, Vectors):
                    vectors = event
                elif isinstance(event, Usage):
                    usage = event
            if vectors is None or len(vectors.items) != len(inputs):
                found = "none" if vectors is None else str(len(vectors.items))
                raise RunFailed(model) from ValueError(
                    f"{ENTRY} must return one embedding for each input: there are {len(inputs)} inputs, "
                    f"and it gave {found}."
                )
            is_base64 = body.get("encoding_format") == "base64"
            args = (model, vectors, vectors.usage or usage, is_base64)
            is_much = sum(map(len, vectors.items)) > _MUCH
            answer = await in_thread(embeddings_body, *args) if is_much else embeddings_body(*args)
            await send_bytes(send, 200, answer, headers=(request_id_header(run),))


def read_embeddings_body(body: bytes) -> tuple[dict[str, Any], list[Any]]:
    """The request as plain data, and its inputs as a list: of texts, or of lists of tokens.

    Raises:
        InvalidRequest: Naming the field.
    """
    data = json_object(body)
    if not isinstance(data.get("model"), str) or not data["model"]:
        raise invalid("model", "'model' must be the name of a model.")
    if data.get("encoding_format") not in (None, "float", "base64"):
        raise invalid("encoding_format", "'encoding_format' must be 'float' or 'base64'.")
    dimensions = data.get("dimensions")
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        raise invalid("dimensions", "'dimensions' must be a whole number from 1.")
    if not isinstance(data.get("user"), (str, type(None))):
        raise invalid("user", "'user' must be a string.")
    return data, _inputs(data.get("input"))


def embeddings_body(model: str, vectors: Vectors, usage: Usage | None, is_base64: bool) -> bytes:
    """The answer, as JSON."""
    write = _base64 if is_base64 else numbers
    data = [
        {"object": "embedding", "index": index, "embedding": write(item, vectors.typecode)}
        for index, item in enumerate(vectors.items)
    ]
    counts = (usage.prompt_tokens, usage.total_tokens) if usage is not None else (0, 0)
    return msgspec.json.encode(
        {
            "object": "list",
            "data": data,
            "model": model,
            # Never left out: clients read both numbers without looking whether they are there.
            "usage": {"prompt_tokens": counts[0], "total_tokens": counts[1]},
        }
    )


def _inputs(given: Any) -> list[Any]:
    if given == "" or given == []:
        raise invalid("input", "'input' must not be empty.")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list):
        kinds = {*map(type, given)}
        if kinds == {int}:
            return [given]
        if kinds == {str} and "" in given:
            raise invalid(f"input.{given.index('')}", f"'input[{given.index('')}]' must not be empty.")
        if kinds == {str} or (kinds == {list} and all({*map(type, tokens)} == {int} for tokens in given)):
            return given
    raise invalid("input", "'input' must be a string, a list of strings, a list of tokens, or a list of such lists.")


def _base64(item: bytes, typecode: Typecode) -> str:
    return base64.b64encode(little_floats(item, typecode)).decode()
