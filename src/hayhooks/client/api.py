"""The client: one method per thing that a server can be asked for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, overload
from urllib.parse import quote

from hayhooks.client.answers import (
    CanaryEnded,
    CanaryStatus,
    Deployed,
    DeploymentStatus,
    DeploymentVersions,
    RunAnswer,
    ServerStatus,
    Tried,
    Undeployed,
    canary_ended,
    canary_status,
    deployed,
    deployment_versions,
    server_status,
    tried,
)
from hayhooks.client.errors import BrokenAnswer, ServerRefused
from hayhooks.client.keys import CreatedKey, KeyInfo, key_info
from hayhooks.client.multipart import Body, Content, Upload, content_bytes, form_body, json_body, read_content
from hayhooks.client.sse import event_texts, texts
from hayhooks.client.transport import Answer, Transport

MAX_JSON_DEPLOY_BYTES = 16 << 20  # more than this goes as a form, whose files are never all in memory


class Client:
    """A client of the server at *url*, as ``http://localhost:1416``.

    ``timeout_s`` limits each silence of the server, not the whole answer; None waits as long as it takes, which
    deploys that load models need. Every method may raise ``ClientError``: ``ServerUnreachable``,
    ``ServerRefused`` and ``BrokenAnswer`` say which. Safe to use from several threads.
    """

    def __init__(
        self,
        url: str = "http://localhost:1416",
        *,
        api_key: str | None = None,
        timeout_s: float | None = None,
        verify_tls: bool = True,
    ) -> None:
        self._transport = Transport(url, api_key=api_key, timeout_s=timeout_s, verify_tls=verify_tls)

    @property
    def url(self) -> str:
        """The server's URL, without a slash at its end."""
        return self._transport.url

    def status(self) -> ServerStatus:
        """What the server serves, and what failed to load."""
        return server_status(self._get("/status"))

    def status_of(self, name: str) -> DeploymentStatus:
        """One live deployment, with the schema of what it takes."""
        try:
            body = self._get(f"/deployments/{_segment(name)}")
        except ServerRefused as refused:
            if refused.status != 404:
                raise
            # Not live, or a server of version 2: this says which.
            body = self._get(f"/status/{_segment(name)}")
        if body.get("state") in ("Undeployed", "Failed"):  # those who manage are told of its versions
            body = self._get(f"/status/{_segment(name)}")
        streams = body.get("streams")
        return DeploymentStatus(
            body.get("name", name), body.get("request_schema"), None if streams is None else bool(streams), body
        )

    def openapi(self) -> Mapping[str, Any]:
        """The server's OpenAPI document."""
        return self._get("/openapi.json")

    def request_schema(self, name: str) -> Mapping[str, Any] | None:
        """The JSON schema of the body that ``/{name}/run`` takes, None when the server has none to give.

        References in it are relative to the returned object.
        """
        schema = self.status_of(name).request_schema
        if schema is not None:
            return schema
        try:
            document = self.openapi()
        except ServerRefused:  # its routes may be hidden
            return None
        operation = document.get("paths", {}).get(f"/{name}/run", {}).get("post", {})
        for media in operation.get("requestBody", {}).get("content", {}).values():
            return {"components": document.get("components", {}), "allOf": [media.get("schema", {})]}
        return None

    def deploy_files(
        self,
        name: str,
        files: Mapping[str, Content],
        *,
        overwrite: bool = False,
        save_files: bool = True,
        canary: int | None = None,
        max_error_percent: float | None = None,
        min_runs: int | None = None,
    ) -> Deployed:
        """Deploy *files* (path inside the deployment to content) as *name*; returns when it is live.

        With *canary* it gets that share of the runs, in percent, beside what is live. The server aborts it when more
        than *max_error_percent* of at least *min_runs* runs fail, and more than those of the live version.

        Text goes as JSON, which every server version takes; binary or many megabytes go as a form.
        """
        plan = _plan(canary, max_error_percent, min_runs)
        return deployed(name, self._send_files(name, files, overwrite=overwrite, save_files=save_files, **plan))

    def try_files(
        self,
        name: str,
        files: Mapping[str, Content],
        *,
        overwrite: bool = False,
        save_files: bool = True,
        canary: int | None = None,
        max_error_percent: float | None = None,
        min_runs: int | None = None,
    ) -> Tried:
        """Build *files* as ``deploy_files`` would, and say what it would change; nothing is changed."""
        plan = _plan(canary, max_error_percent, min_runs)
        answer = self._send_files(name, files, overwrite=overwrite, save_files=save_files, dry_run=True, **plan)
        return tried(name, answer)

    def deploy_yaml(
        self,
        name: str,
        source_code: str,
        *,
        overwrite: bool = False,
        description: str | None = None,
        skip_mcp: bool | None = None,
        save_file: bool = True,
        canary: int | None = None,
        max_error_percent: float | None = None,
        min_runs: int | None = None,
    ) -> Deployed:
        """Deploy a pipeline YAML with declared inputs and outputs; as a canary as ``deploy_files`` does."""
        answer = self._send_yaml(
            name,
            source_code,
            overwrite=overwrite,
            description=description,
            skip_mcp=skip_mcp,
            save_file=save_file,
            **_plan(canary, max_error_percent, min_runs),
        )
        return deployed(name, answer)

    def try_yaml(
        self,
        name: str,
        source_code: str,
        *,
        overwrite: bool = False,
        description: str | None = None,
        skip_mcp: bool | None = None,
        save_file: bool = True,
        canary: int | None = None,
        max_error_percent: float | None = None,
        min_runs: int | None = None,
    ) -> Tried:
        """Build a pipeline YAML as ``deploy_yaml`` would, and say what it would change; nothing is changed."""
        answer = self._send_yaml(
            name,
            source_code,
            overwrite=overwrite,
            description=description,
            skip_mcp=skip_mcp,
            save_file=save_file,
            dry_run=True,
            **_plan(canary, max_error_percent, min_runs),
        )
        return tried(name, answer)

    def deploy_legacy(self, name: str, source_code: str) -> Deployed:
        """Deploy a pipeline YAML the first way: ``POST /{name}`` then takes ``{component: {input: value}}``."""
        return deployed(name, self._post("/deploy", json_body({"name": name, "source_code": source_code})))

    def versions(self, name: str) -> DeploymentVersions:
        """The versions that *name* has had, also when it is undeployed; for those who may manage the server."""
        return deployment_versions(name, self._get(f"/deployments/{_segment(name)}"))

    def rollback(self, name: str, version: str | None = None) -> Deployed:
        """Make a version live again: the one whose digest begins with *version*, or the one before the live one."""
        body = None if version is None else json_body({"version": version})
        return deployed(name, self._post(f"/rollback/{_segment(name)}", body))

    def undeploy(self, name: str) -> Undeployed:
        """Take *name* out of service."""
        answer = self._post(f"/undeploy/{_segment(name)}", None)
        return Undeployed(str(answer.get("name", name)), answer)

    def canary(self, name: str) -> CanaryStatus:
        """The canary of *name*, its counts, and how the one before it ended."""
        return canary_status(name, self._get(f"/canary/{_segment(name)}"))

    def change_canary(
        self,
        name: str,
        percent: int | None = None,
        *,
        max_error_percent: float | None = None,
        min_runs: int | None = None,
    ) -> CanaryStatus:
        """Give the canary of *name* another share of the runs, or other thresholds."""
        given = {"percent": percent, "max_error_percent": max_error_percent, "min_runs": min_runs}
        body = json_body({field: value for field, value in given.items() if value is not None})
        return canary_status(name, self._post(f"/canary/{_segment(name)}", body))

    def promote(self, name: str) -> CanaryEnded:
        """Make the canary of *name* the live version."""
        return canary_ended(name, self._post(f"/canary/{_segment(name)}/promote", None))

    def abort(self, name: str) -> CanaryEnded:
        """Give the canary of *name* no more runs."""
        return canary_ended(name, self._post(f"/canary/{_segment(name)}/abort", None))

    @overload
    def run(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        files: Sequence[Upload] = (),
        *,
        stream: Literal[False] = False,
    ) -> RunAnswer: ...

    @overload
    def run(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        files: Sequence[Upload] = (),
        *,
        stream: Literal[True],
    ) -> Iterator[str]: ...

    def run(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        files: Sequence[Upload] = (),
        *,
        stream: bool = False,
    ) -> RunAnswer | Iterator[str]:
        """Run *name* with *params* (JSON values) and *files*.

        With *stream* the answer's text comes piece by piece, of server-sent events their data; leaving the
        iteration stops the run. Otherwise it is awaited whole.
        """
        answer = self.call(name, params, files)
        return text_pieces(answer) if stream else _whole(answer)

    def call(self, name: str, params: Mapping[str, Any] | None = None, files: Sequence[Upload] = ()) -> Answer:
        """Run *name* and return the answer as soon as it begins, as the server sends it."""
        params = params or {}
        body = form_body(_form_fields(params), files) if files else json_body(params)
        return self._transport.request("POST", f"/{_segment(name)}/run", body)

    def list_keys(self) -> tuple[KeyInfo, ...]:
        """All API keys of the server, also those that do not work any more."""
        found = self._transport.request("GET", "/keys", accept="application/json").json()
        if not isinstance(found, list):
            raise BrokenAnswer("The answer is no list of keys. Is it Hayhooks?")
        return tuple(key_info(key) for key in found)

    def create_key(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        expires_in_s: float | None = None,
        requests_per_minute: int | None = None,
        max_concurrent_runs: int | None = None,
    ) -> CreatedKey:
        """Make an API key; only this answer has what its holder sends."""
        body = {
            "name": name,
            "scopes": list(scopes),
            "expires_in_s": expires_in_s,
            "requests_per_minute": requests_per_minute,
            "max_concurrent_runs": max_concurrent_runs,
        }
        made = self._post("/keys", json_body(body))
        return CreatedKey(key_info(made), str(made["key"]))

    def revoke_key(self, key_id: str) -> KeyInfo:
        """Revoke an API key, for good."""
        path = f"/keys/{_segment(key_id)}"
        return key_info(_object(self._transport.request("DELETE", path, accept="application/json")))

    def _get(self, path: str) -> Mapping[str, Any]:
        return _object(self._transport.request("GET", path, accept="application/json"))

    def _post(self, path: str, body: Body | None) -> Mapping[str, Any]:
        return _object(self._transport.request("POST", path, body, accept="application/json"))

    def _send_files(self, name: str, files: Mapping[str, Content], **options: float) -> Mapping[str, Any]:
        texts_of = _as_texts(files)
        if texts_of is not None:
            body = json_body({"name": name, "files": texts_of, **options})
        else:
            fields = [("name", name), *((option, _field(value)) for option, value in options.items())]
            body = form_body(fields, [Upload("files", path, content) for path, content in files.items()])
        return self._send_deploy("/deploy_files", body, options)

    def _send_yaml(self, name: str, source_code: str, **options: Any) -> Mapping[str, Any]:
        body = json_body({"name": name, "source_code": source_code, **options})
        return self._send_deploy("/deploy-yaml", body, options)

    def _send_deploy(self, path: str, body: Body, options: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._post(path, body)
        except ServerRefused as refused:
            if refused.status == 409 and not options.get("overwrite") and "canary" not in options:
                refused.hint = "Overwrite it with --overwrite (in Python: overwrite=True), or choose another name."
            raise


def text_pieces(answer: Answer) -> Iterator[str]:
    """The text of *answer* as it arrives; of server-sent events, their data."""
    with answer:
        if answer.content_type == "text/event-stream":
            yield from event_texts(answer.pieces())
        else:
            yield from texts(answer.pieces(), answer.charset)


def _whole(answer: Answer) -> RunAnswer:
    with answer:
        result: Any
        if answer.is_attachment or not answer.is_text:
            result = answer.read()
        elif answer.is_json:
            value = answer.json()
            result = value["result"] if isinstance(value, dict) and set(value) == {"result"} else value
        else:
            result = "".join(text_pieces(answer))
        return RunAnswer(result, answer.content_type, answer.filename)


def _object(answer: Answer) -> Mapping[str, Any]:
    with answer:
        value = answer.json()
    if not isinstance(value, dict):
        raise BrokenAnswer("The answer is not a JSON object. Is it Hayhooks?")
    return value


def _as_texts(files: Mapping[str, Content]) -> dict[str, str] | None:
    """All of *files* as text, None when that would not give back the same bytes or takes too much memory."""
    if sum(content_bytes(content) for content in files.values()) > MAX_JSON_DEPLOY_BYTES:
        return None
    try:
        return {path: read_content(content).decode() for path, content in files.items()}
    except UnicodeDecodeError:
        return None


def _form_fields(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A form has only text: strings go as they are, everything else as JSON."""
    return [
        (name, value if isinstance(value, str) else b"".join(json_body(value).pieces).decode())
        for name, value in params.items()
    ]


def _plan(canary: int | None, max_error_percent: float | None, min_runs: int | None) -> dict[str, int | float]:
    """What a deploy says of a canary: nothing when nothing is given, so that every server takes it."""
    given = {"canary": canary, "max_error_percent": max_error_percent, "min_runs": min_runs}
    return {field: value for field, value in given.items() if value is not None}


def _field(value: float) -> str:
    return str(value).lower()  # true, false, or a number


def _segment(name: str) -> str:
    """*name* as one segment of a path."""
    return quote(name, safe="")
