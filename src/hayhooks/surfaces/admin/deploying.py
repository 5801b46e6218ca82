"""Deploying, trying out and undeploying."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypeVar

from pydantic import TypeAdapter
from starlette.types import Receive, Scope, Send
from typing_extensions import TypedDict

from hayhooks.core.aio import in_thread
from hayhooks.core.bundle import WRAPPER_FILE, Bundle, bundle_of_yaml
from hayhooks.core.deployment import Upload
from hayhooks.core.errors import BuildFailed, InvalidBundle, InvalidRequest
from hayhooks.core.haystack.yaml import InvalidYAML, read_spec, with_keys
from hayhooks.core.runtime import Runtime
from hayhooks.core.store import caused_by
from hayhooks.surfaces._canary import CanaryFields, plan_of
from hayhooks.surfaces._forms import read_form
from hayhooks.surfaces._http import (
    HTTPOptions,
    caller_of,
    header,
    read_body,
    require_deploy,
    require_json,
    send_json,
)
from hayhooks.surfaces.admin.changes import Comparison
from hayhooks.surfaces.admin.requests import argument, no_argument, validated


class DeployFiles(CanaryFields):
    """Body of ``POST /deploy_files``: paths to texts."""

    name: str
    files: dict[str, str]
    overwrite: NotRequired[bool]
    save_files: NotRequired[bool]
    dry_run: NotRequired[bool]


class DeployYAML(CanaryFields):
    """Body of ``POST /deploy-yaml``."""

    name: str
    source_code: str
    overwrite: NotRequired[bool]
    description: NotRequired[str | None]
    skip_mcp: NotRequired[bool | None]
    save_file: NotRequired[bool]
    dry_run: NotRequired[bool]


class DeployLegacy(TypedDict):
    """Body of ``POST /deploy``."""

    name: str
    source_code: str


_FILES: TypeAdapter[DeployFiles] = TypeAdapter(DeployFiles)
_YAML: TypeAdapter[DeployYAML] = TypeAdapter(DeployYAML)
_LEGACY: TypeAdapter[DeployLegacy] = TypeAdapter(DeployLegacy)


class Deploying:
    """Answers those who may manage the server."""

    def __init__(self, runtime: Runtime, options: HTTPOptions) -> None:
        self._runtime = runtime
        self._options = options

    async def deploy_files(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Files as JSON, or as a form."""
        no_argument(scope)
        kind = header(scope, b"content-type") or b""
        if kind.lower().startswith(b"multipart/form-data"):
            async with read_form(scope, receive, self._options.max_body_bytes) as (fields, uploads):
                request = _flags(dict(fields))
                if set(uploads) - {"files"}:
                    raise InvalidRequest("Each file must be a part named 'files' whose file name is its path.")
                require_deploy(scope, request["name"])
                bundle = await in_thread(_bundle, request["name"], _read_uploads, uploads.get("files", ()))
        else:
            require_json(header(scope, b"content-type"))
            request = validated(_FILES, await read_body(scope, receive, self._options.max_body_bytes))
            require_deploy(scope, request["name"])
            bundle = await in_thread(_bundle, request["name"], _read_texts, request["files"])
        await self._deploy(scope, send, bundle, request, save=request.get("save_files", True))

    async def deploy_yaml(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A pipeline YAML that declares inputs and outputs."""
        no_argument(scope)
        require_json(header(scope, b"content-type"))
        request = validated(_YAML, await read_body(scope, receive, self._options.max_body_bytes))
        require_deploy(scope, request["name"])
        source = _with_options(request["source_code"], request)
        bundle = bundle_of_yaml(request["name"], source)
        await self._deploy(scope, send, bundle, request, save=request.get("save_file", True))

    async def deploy_legacy(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A pipeline YAML in the first way."""
        no_argument(scope)
        require_json(header(scope, b"content-type"))
        request = validated(_LEGACY, await read_body(scope, receive, self._options.max_body_bytes))
        require_deploy(scope, request["name"])
        deployment = await self._runtime.deploy(
            bundle_of_yaml(request["name"], request["source_code"]), cause=caused_by("deploy", caller_of(scope))
        )
        await send_json(send, 200, {"name": deployment.name, "success": True, "endpoint": f"/{deployment.name}"})

    async def undeploy(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a name out of service."""
        name = argument(scope) or ""
        require_deploy(scope, name)
        await self._runtime.undeploy(name, cause=caused_by("undeploy", caller_of(scope)))
        await send_json(send, 200, {"success": True, "name": name})

    async def _deploy(self, scope: Scope, send: Send, bundle: Bundle, request: Any, *, save: bool) -> None:
        plan = plan_of(request, scope, is_saved=save)
        overwrite = request.get("overwrite", False)
        canary = {} if plan is None else {"canary": {"version": bundle.version, "percent": plan.percent}}
        comparison = Comparison(self._runtime)
        if request.get("dry_run", False):
            tried = await self._runtime.try_out(bundle, overwrite=overwrite, as_canary=plan is not None)
            comparison.look(tried)
            about = {"name": tried.name, "success": True, "dry_run": True, "version": tried.version}
            await send_json(send, 200, about | {"is_new": comparison.is_new} | await comparison.facts() | canary)
            return
        if plan is not None:
            new = await self._runtime.canaries.begin(bundle, plan)
            comparison.look(new)
            about = {"name": new.name, "success": True, "endpoint": f"/{new.name}/run", "version": new.version}
            await send_json(send, 200, about | await comparison.facts() | canary)
            return
        new = await self._runtime.deploy(
            bundle,
            overwrite=overwrite,
            save=save,
            check=comparison.look,
            cause=caused_by("deploy", caller_of(scope)),
        )
        about = {"name": new.name, "success": True, "endpoint": f"/{new.name}/run", "version": new.version}
        await send_json(send, 200, about | await comparison.facts())


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


def _flags(fields: Mapping[str, str]) -> Any:
    values: dict[str, Any] = {"name": fields.get("name"), "files": {}}
    for flag in ("overwrite", "save_files", "dry_run"):
        text = fields.get(flag)
        if text is not None:
            if text.lower() not in ("true", "false", "1", "0"):
                raise InvalidRequest(f"{flag} must be true or false.")
            values[flag] = text.lower() in ("true", "1")
    for number in CanaryFields.__annotations__:
        if number in fields:
            values[number] = _number(fields[number])
    return validated(_FILES, json.dumps(values).encode())


def _number(text: str) -> float | str:
    """A form has only text; what is no number is refused as JSON's would be."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else text


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
