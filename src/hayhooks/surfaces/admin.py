"""Admin surface: status, deploying, undeploying and drawing."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NotRequired, TypeVar
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import TypedDict

from hayhooks._version import __version__
from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import WRAPPER_FILE, Bundle, bundle_of_yaml
from hayhooks.core.deployment import Deployment, Upload
from hayhooks.core.errors import BuildFailed, DeploymentNotFound, HayhooksError, InvalidBundle, InvalidRequest
from hayhooks.core.haystack.yaml import InvalidYAML, read_spec, with_keys
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces._forms import read_form
from hayhooks.surfaces._http import (
    HTTPOptions,
    MethodNotAllowed,
    error_body,
    header,
    read_body,
    require_json,
    route_path,
    send_bytes,
    send_json,
)

READS = ("status", "deployments", "draw")
CHANGES = ("deploy", "deploy_files", "deploy-yaml", "undeploy")
PREFIXES = (*READS, *CHANGES)

_CAPABILITIES = {
    "run_api": "run_api",
    "run_chat_completion": "chat_completion",
    "run_response": "responses",
    "run_embedding": "embeddings",
    "run_file_upload": "file_upload",
}


class DeployFiles(TypedDict):
    """Body of ``POST /deploy_files``: paths to texts."""

    name: str
    files: dict[str, str]
    overwrite: NotRequired[bool]
    save_files: NotRequired[bool]


class DeployYAML(TypedDict):
    """Body of ``POST /deploy-yaml``."""

    name: str
    source_code: str
    overwrite: NotRequired[bool]
    description: NotRequired[str | None]
    skip_mcp: NotRequired[bool | None]
    save_file: NotRequired[bool]


class DeployLegacy(TypedDict):
    """Body of ``POST /deploy``."""

    name: str
    source_code: str


_FILES: TypeAdapter[DeployFiles] = TypeAdapter(DeployFiles)
_YAML: TypeAdapter[DeployYAML] = TypeAdapter(DeployYAML)
_LEGACY: TypeAdapter[DeployLegacy] = TypeAdapter(DeployLegacy)


@asynccontextmanager
async def serve(
    runtime: Runtime, options: HTTPOptions, workers: Callable[[bool], dict[str, Any]]
) -> AsyncIterator[dict[str, ASGIApp]]:
    """One handler per prefix. Who may call them is decided before they are reached.

    *workers* says what the server's processes are doing, in sum or each of them.
    """
    admin = _Admin(runtime, options, workers)
    yield {
        "status": _method("GET", admin.status, options),
        "deployments": _method("GET", admin.deployment, options),
        "draw": _method("GET", admin.draw, options),
        "deploy_files": _method("POST", admin.deploy_files, options),
        "deploy-yaml": _method("POST", admin.deploy_yaml, options),
        "deploy": _method("POST", admin.deploy_legacy, options),
        "undeploy": _method("POST", admin.undeploy, options),
    }


class _Admin:
    def __init__(self, runtime: Runtime, options: HTTPOptions, workers: Callable[[bool], dict[str, Any]]) -> None:
        self._runtime = runtime
        self._options = options
        self._workers = workers

    async def status(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _argument(scope)
        if name is None:
            await send_json(send, 200, self._status(may_read_reasons=scope.get("may_manage", True)))
            return
        deployment = self._live(name, scope)
        await send_json(send, 200, {"status": "Up!", "pipeline": deployment.name})

    async def deployment(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _argument(scope)
        if name is None:
            await send_json(send, 200, [summary(found) for _, found in sorted(self._runtime.deployments.items())])
            return
        deployment = self._live(name, scope)
        entry = deployment.entries.get("run_api")
        body = summary(deployment)
        if entry is not None:
            body |= {
                "request_schema": entry.request_schema,
                "file_fields": dict(entry.file_fields),
                "streams": entry.streams,
            }
        await send_json(send, 200, body)

    async def draw(self, scope: Scope, receive: Receive, send: Send) -> None:
        deployment = self._runtime.get(_argument(scope) or "")
        png = await in_thread(_render, deployment)
        await send_bytes(send, 200, png, (b"content-type", b"image/png"), ((b"cache-control", b"no-cache"),))

    async def deploy_files(self, scope: Scope, receive: Receive, send: Send) -> None:
        _no_argument(scope)
        kind = header(scope, b"content-type") or b""
        if kind.lower().startswith(b"multipart/form-data"):
            async with read_form(scope, receive, self._options.max_body_bytes) as (fields, uploads):
                request = _flags(dict(fields))
                if set(uploads) - {"files"}:
                    raise InvalidRequest("Each file must be a part named 'files' whose file name is its path.")
                bundle = await in_thread(_bundle, request["name"], _read_uploads, uploads.get("files", ()))
        else:
            require_json(header(scope, b"content-type"))
            request = _validated(_FILES, await read_body(scope, receive, self._options.max_body_bytes))
            bundle = await in_thread(_bundle, request["name"], _read_texts, request["files"])
        deployment = await self._runtime.deploy(
            bundle, overwrite=request.get("overwrite", False), save=request.get("save_files", True)
        )
        await send_json(send, 200, _deployed(deployment, f"/{deployment.name}/run"))

    async def deploy_yaml(self, scope: Scope, receive: Receive, send: Send) -> None:
        _no_argument(scope)
        require_json(header(scope, b"content-type"))
        request = _validated(_YAML, await read_body(scope, receive, self._options.max_body_bytes))
        source = _with_options(request["source_code"], request)
        deployment = await self._runtime.deploy(
            bundle_of_yaml(request["name"], source),
            overwrite=request.get("overwrite", False),
            save=request.get("save_file", True),
        )
        await send_json(send, 200, _deployed(deployment, f"/{deployment.name}/run"))

    async def deploy_legacy(self, scope: Scope, receive: Receive, send: Send) -> None:
        _no_argument(scope)
        require_json(header(scope, b"content-type"))
        request = _validated(_LEGACY, await read_body(scope, receive, self._options.max_body_bytes))
        deployment = await self._runtime.deploy(bundle_of_yaml(request["name"], request["source_code"]))
        await send_json(send, 200, _deployed(deployment, f"/{deployment.name}"))

    async def undeploy(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _argument(scope) or ""
        await self._runtime.undeploy(name)
        await send_json(send, 200, {"success": True, "name": name})

    def _live(self, name: str, scope: Scope) -> Deployment:
        reason = self._runtime.failures.get(name)
        if name not in self._runtime.live and reason is not None and scope.get("may_manage", True):
            raise NotLive(name, reason)
        return self._runtime.get(name)

    def _status(self, *, may_read_reasons: bool) -> dict[str, Any]:
        deployments = sorted(self._runtime.deployments.items())
        failures = sorted(self._runtime.failures.items())
        return {
            "status": "Up!",
            "pipelines": [name for name, _ in deployments],
            "failed": {name: reason if may_read_reasons else "It failed to load." for name, reason in failures},
            "version": __version__,
            "deployments": [summary(found) for _, found in deployments],
            "workers": self._workers(may_read_reasons),
        }


class NotLive(HayhooksError):
    """The name is known, but could not be deployed."""

    kind = "not_found"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"No deployment named {name!r} is live. It failed to load: {reason}")


class NothingToDraw(HayhooksError):
    """The wrapper has no pipeline."""

    kind = "not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Deployment {name!r} has no pipeline to draw.")


def summary(deployment: Deployment) -> dict[str, Any]:
    """A deployment as status lists it."""
    return {
        "name": deployment.name,
        "type": deployment.attributes.get("deployment_type", "unknown"),
        "state": "Loaded",
        "description": deployment.description,
        "version": deployment.version,
        "entries": sorted(deployment.entries),
        "capabilities": [word for entry, word in _CAPABILITIES.items() if entry in deployment.entries],
    }


T = TypeVar("T")


def _bundle(name: str, read: Callable[[T], dict[str, bytes]], files: T) -> Bundle:
    """The bundle of a request; in a thread, as many megabytes may be read and hashed."""
    bundle = Bundle(name, read(files))
    if WRAPPER_FILE not in bundle.files:
        raise InvalidBundle(f"Missing required file: {WRAPPER_FILE}")
    return bundle


def _read_texts(texts: Mapping[str, str]) -> dict[str, bytes]:
    return {path: text.encode() for path, text in texts.items()}


def _read_uploads(uploads: Sequence[Upload]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for upload in uploads:
        if upload.filename in files:
            raise InvalidBundle(f"The file {upload.filename[:120]!r} was sent twice.")
        files[upload.filename] = upload.file.read()
    return files


def _deployed(deployment: Deployment, endpoint: str) -> dict[str, Any]:
    return {"name": deployment.name, "success": True, "endpoint": endpoint}


def _render(deployment: Deployment) -> bytes:
    from hayhooks.drawing import render_png  # Pillow is loaded when the first picture is asked for

    graph = deployment.worker.graph()
    if graph is None:
        raise NothingToDraw(deployment.name)
    return render_png(graph)


def _argument(scope: Scope) -> str | None:
    """What follows the prefix in the path."""
    _, _, rest = route_path(scope)[1:].partition("/")
    return unquote(rest) or None


def _no_argument(scope: Scope) -> None:
    rest = _argument(scope)
    if rest is not None:
        raise DeploymentNotFound(rest)


def _validated(adapter: TypeAdapter[Any], body: bytes) -> Any:
    try:
        return adapter.validate_json(body, strict=True)
    except ValidationError as error:
        errors = [
            {"loc": ["body", *found["loc"]], "msg": found["msg"], "type": found["type"]}
            for found in error.errors(include_url=False, include_context=False, include_input=False)[:20]
        ]
        where = ".".join(str(part) for part in errors[0]["loc"])
        raise InvalidRequest(f"{where}: {errors[0]['msg']}", errors) from None


def _flags(fields: Mapping[str, str]) -> Any:
    values: dict[str, Any] = {"name": fields.get("name"), "files": {}}
    for flag in ("overwrite", "save_files"):
        text = fields.get(flag)
        if text is not None:
            if text.lower() not in ("true", "false", "1", "0"):
                raise InvalidRequest(f"{flag} must be true or false.")
            values[flag] = text.lower() in ("true", "1")
    return _validated(_FILES, json.dumps(values).encode())


def _with_options(source: str, request: DeployYAML) -> str:
    """The YAML with the request's options written into it, so that a restart finds them again."""
    try:
        spec = read_spec(source)
    except InvalidYAML as error:
        raise BuildFailed(str(error)) from None
    if not spec.is_declared:
        raise BuildFailed("YAML pipeline must declare at least one of 'inputs' or 'outputs'.")
    options = {key: value for key in ("description", "skip_mcp") if (value := request.get(key)) is not None}
    return with_keys(source, options)


def _method(method: str, handler: ASGIApp, options: HTTPOptions) -> ASGIApp:
    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] != method and not (method == "GET" and scope["method"] == "HEAD"):
                raise MethodNotAllowed(method)
            await handler(scope, receive, send)
        except (HayhooksError, MethodNotAllowed) as error:
            status, body, headers = error_body(error, show_tracebacks=options.show_tracebacks)
            await send_json(send, status, body, headers)

    return answered
