"""The client: one method per thing that a server can be asked for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, overload
from urllib.parse import quote

from hayhooks.client.answers import (
    Deployed,
    DeploymentStatus,
    DeploymentVersions,
    RunAnswer,
    ServerStatus,
    Tried,
    Undeployed,
    deployed,
    deployment_versions,
    server_status,
    tried,
)
from hayhooks.client.errors import BrokenAnswer, ServerRefused
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
        self, name: str, files: Mapping[str, Content], *, overwrite: bool = False, save_files: bool = True
    ) -> Deployed:
        """Deploy *files* (path inside the deployment to content) as *name*; returns when it is live.

        Text goes as JSON, which every server version takes; binary or many megabytes go as a form.
        """
        return deployed(name, self._send_files(name, files, overwrite=overwrite, save_files=save_files))

    def try_files(self, name: str, files: Mapping[str, Content], *, overwrite: bool = False) -> Tried:
        """Build *files* as a deploy would, and say what it would change; nothing is changed."""
        return tried(name, self._send_files(name, files, overwrite=overwrite, dry_run=True))

    def deploy_yaml(
        self,
        name: str,
        source_code: str,
        *,
        overwrite: bool = False,
        description: str | None = None,
        skip_mcp: bool | None = None,
        save_file: bool = True,
    ) -> Deployed:
        """Deploy a pipeline YAML with declared inputs and outputs."""
        answer = self._send_yaml(
            name,
            source_code,
            overwrite=overwrite,
            description=description,
            skip_mcp=skip_mcp,
            save_file=save_file,
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
    ) -> Tried:
        """Build a pipeline YAML as a deploy would, and say what it would change; nothing is changed."""
        answer = self._send_yaml(
            name, source_code, overwrite=overwrite, description=description, skip_mcp=skip_mcp, dry_run=True
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

    def _get(self, path: str) -> Mapping[str, Any]:
        return _object(self._transport.request("GET", path, accept="application/json"))

    def _post(self, path: str, body: Body | None) -> Mapping[str, Any]:
        return _object(self._transport.request("POST", path, body, accept="application/json"))

    def _send_files(self, name: str, files: Mapping[str, Content], **flags: bool) -> Mapping[str, Any]:
        texts_of = _as_texts(files)
        if texts_of is not None:
            body = json_body({"name": name, "files": texts_of, **flags})
        else:
            fields = [("name", name), *((flag, _flag(value)) for flag, value in flags.items())]
            body = form_body(fields, [Upload("files", path, content) for path, content in files.items()])
        return self._post("/deploy_files", body)

    def _send_yaml(self, name: str, source_code: str, **options: Any) -> Mapping[str, Any]:
        return self._post("/deploy-yaml", json_body({"name": name, "source_code": source_code, **options}))


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


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _segment(name: str) -> str:
    """*name* as one segment of a path."""
    return quote(name, safe="")
