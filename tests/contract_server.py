"""A server that answers the routes a client calls, as the contract says, and remembers what it was sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.loopback import LoopbackServer

REQUEST_SCHEMA = {
    "type": "object",
    "properties": {
        "q": {"type": "string"},
        "n": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "filters": {"anyOf": [{"$ref": "#/$defs/Filters"}, {"type": "null"}]},
        "doc": {"type": "string", "format": "binary"},
    },
    "$defs": {"Filters": {"type": "object", "properties": {"year": {"type": "integer"}}}},
}


@dataclass
class Recorded:
    """One request as the server understood it."""

    method: str
    path: str
    headers: dict[str, str]
    json: Any = None
    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, str, bytes]] = field(default_factory=list)  # parameter, name, content


class ContractServer(LoopbackServer):
    """Serves ``echo`` and a few deployments that answer in other ways; ``requests`` holds what came."""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.names = ["echo"]
        self.failed: dict[str, str] = {}
        self.has_request_schema = True
        self.left = asyncio.Event()  # set when a caller of /endless/run went away; on the server's loop
        self.go_on = asyncio.Event()  # /halves/run sends its second half after this
        super().__init__(
            Starlette(
                routes=[
                    Route("/status", self._status),
                    Route("/status/{name}", self._status_of),
                    Route("/deployments/{name}", self._status_of),
                    Route("/openapi.json", self._openapi),
                    Route("/deploy_files", self._deploy, methods=["POST"]),
                    Route("/deploy-yaml", self._deploy, methods=["POST"]),
                    Route("/deploy", self._deploy, methods=["POST"]),
                    Route("/undeploy/{name}", self._undeploy, methods=["POST"]),
                    Route("/{name}/run", self._run, methods=["POST"]),
                ]
            )
        )

    @property
    def last(self) -> Recorded:
        """The newest request."""
        return self.requests[-1]

    async def _record(self, request: Request) -> Recorded:
        recorded = Recorded(request.method, request.scope["path"], dict(request.headers))
        kind = request.headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
            async with request.form() as form:
                for name, value in form.multi_items():
                    if isinstance(value, UploadFile):
                        recorded.files.append((name, value.filename or "", await value.read()))
                    else:
                        recorded.fields[name] = value
        elif kind == "application/json":
            recorded.json = json.loads(await request.body())
        self.requests.append(recorded)
        return recorded

    async def _status(self, request: Request) -> Response:
        await self._record(request)
        about = {name: {"version": "0123456789abcdef", "entries": ["run_api"]} for name in self.names}
        return JSONResponse(
            {
                "status": "Up!",
                "pipelines": self.names,
                "failed": self.failed,
                "version": "3.0.0",
                "deployments": about,
            }
        )

    async def _status_of(self, request: Request) -> Response:
        await self._record(request)
        name = request.path_params["name"]
        if name == "missing":
            return _error(404, "not_found", f"No deployment named {name!r}.")
        extra = {"request_schema": REQUEST_SCHEMA, "streams": False} if self.has_request_schema else {}
        return JSONResponse({"name": name, **extra})

    async def _openapi(self, request: Request) -> Response:
        await self._record(request)
        schema = {"$ref": "#/components/schemas/EchoRequest"}
        operation = {"requestBody": {"content": {"application/json": {"schema": schema}}}}
        text = {"type": "object", "properties": {"q": {"type": "string"}}}
        return JSONResponse(
            {"paths": {"/echo/run": {"post": operation}}, "components": {"schemas": {"EchoRequest": text}}}
        )

    async def _deploy(self, request: Request) -> Response:
        sent = await self._record(request)
        body = sent.json or sent.fields
        name = body["name"]
        if name in self.names and body.get("overwrite") not in {True, "true"}:
            return _error(409, "conflict", f"A deployment named {name!r} exists.")
        self.names = sorted({*self.names, name})
        return JSONResponse({"name": name, "success": True, "endpoint": f"/{name}/run"})

    async def _undeploy(self, request: Request) -> Response:
        await self._record(request)
        name = request.path_params["name"]
        if name not in self.names:
            return _error(404, "not_found", f"No deployment named {name!r}.")
        self.names = [other for other in self.names if other != name]
        return JSONResponse({"success": True, "name": name})

    async def _run(self, request: Request) -> Response:
        sent = await self._record(request)
        match request.path_params["name"]:
            case "stream":
                return StreamingResponse(_pieces("Grüße, ".encode(), b"caf\xc3", b"\xa9"), media_type="text/plain")
            case "events":
                events = _pieces(b": heartbeat\n\ndata: Hello\n\n", b'data:  wor\ndata: ld\n\ndata: {"a": 1}\n\n')
                return StreamingResponse(events, media_type="text/event-stream")
            case "failing-events":
                events = _pieces(b"data: Hello\n\n", b"event: error\ndata: It broke.\n\n")
                return StreamingResponse(events, media_type="text/event-stream")
            case "halves":
                return StreamingResponse(self._halves(), media_type="text/plain")
            case "endless":
                return StreamingResponse(self._endless(), media_type="text/plain")
            case "cut":
                return Response(b"only this", headers={"content-length": "1000"}, media_type="text/plain")
            case "file":
                headers = {"content-disposition": 'attachment; filename="answer.bin"'}
                return Response(b"\x00\x01\xff", media_type="application/octet-stream", headers=headers)
            case "csv":
                headers = {"content-disposition": 'attachment; filename="answer.csv"'}
                return Response("a,b\r\n1,2\r\n", media_type="text/csv", headers=headers)
            case "invalid":
                fault = {"loc": ["body", "n"], "msg": "Input should be a valid integer", "type": "int_parsing"}
                return _error(422, "invalid", "The request body is not valid.", errors=[fault])
            case "busy":
                return _error(429, "busy", "All slots are taken.", headers={"retry-after": "3"})
            case "moved":
                return RedirectResponse("https://elsewhere.example/moved/run", 308)
            case "mute":
                await asyncio.Event().wait()
            case "not-ours":
                return Response("<h1>Bad gateway</h1>", 502, media_type="text/html")
            case _:
                pass
        files = [[name, filename, len(content)] for name, filename, content in sent.files]
        return JSONResponse({"result": {"json": sent.json, "fields": sent.fields, "files": files}})

    async def _halves(self) -> AsyncIterator[bytes]:
        yield b"first "
        await self.go_on.wait()
        yield b"second"

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            yield b"on "
            await asyncio.Event().wait()
        finally:
            self.left.set()


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)  # each piece is a send of its own


def _error(status: int, kind: str, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Response:
    return JSONResponse({"detail": detail, "kind": kind, **more}, status, headers=headers)
