"""The OpenAPI document: what OpenAPI tool clients and generators read of a running server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI as Document

from hayhooks.core.deployment import Deployment, Entry, Limits
from hayhooks.server.openapi import OpenAPI
from hayhooks.testing import RunningServer, running_server
from tests.support.wrapper_source import deploy_body, wrapper

OPERATIONS = {
    "status_all": ("get", "/status"),
    "status_pipeline": ("get", "/status/{pipeline_name}"),
    "pipeline_draw": ("get", "/draw/{pipeline_name}"),
    "pipeline_deploy": ("post", "/deploy_files"),
    "yaml_pipeline_deploy": ("post", "/deploy-yaml"),
    "pipeline_undeploy": ("post", "/undeploy/{pipeline_name}"),
    "openai_models": ("get", "/v1/models"),
    "openai_models_alias": ("get", "/models"),
    "openai_chat_completions": ("post", "/v1/chat/completions"),
    "openai_chat_completions_alias": ("post", "/chat/completions"),
    "openai_embeddings": ("post", "/v1/embeddings"),
    "openai_embeddings_alias": ("post", "/embeddings"),
    "openai_files_create": ("post", "/v1/files"),
    "openai_files_create_alias": ("post", "/files"),
    "openai_responses": ("post", "/v1/responses"),
    "openai_responses_alias": ("post", "/responses"),
}

ITEM = """\
from typing import Literal

from pydantic import BaseModel, Field
from hayhooks import BasePipelineWrapper


class Part(BaseModel):
    kind: Literal[{kind!r}]


class Item(BaseModel):
    {field}: int
    part: Part | None = None
    inner: "Item | None" = None


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = None

    def run_api(self, item: Item) -> list[Item]:
        '''Weigh an item.

        More about it.

        Args:
            item: What to weigh.
        '''
        return [item]

    def run_chat_completion(self, model: str, messages: list[dict], body: dict) -> str:
        return "hi"
"""
UPLOAD = """\
from fastapi import UploadFile
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = None

    def run_api(self, doc: UploadFile, extra: list[UploadFile] | None = None, n: int = 1) -> int:
        return n
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("server") / "pipelines"
    sources = {
        "one": ITEM.format(kind="a", field="weight"),
        "two": ITEM.format(kind="b", field="price"),
        "up-load": UPLOAD,
        "up.load": UPLOAD,
        "up_load": UPLOAD,
    }
    for name, source in sources.items():
        (directory / name).mkdir(parents=True)
        (directory / name / "pipeline_wrapper.py").write_text(source)
    with running_server(directory) as server:
        yield server


@pytest.fixture(scope="module")
def web() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@pytest.fixture(scope="module")
def document(server: RunningServer, web: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = web.get(f"{server.url}/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_document_is_openapi_3_1_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    Document.model_validate(document)
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "Hayhooks"
    for reference in references(document):
        here: Any = document
        for part in reference.removeprefix("#/").split("/"):
            here = here[part]


def test_operations_have_the_ids_that_tool_clients_know(document: dict[str, Any]) -> None:
    found = {operation["operationId"]: (method, path) for path, method, operation in operations(document)}
    assert found.items() >= OPERATIONS.items()


def test_every_operation_has_an_id_of_its_own_and_is_described(document: dict[str, Any]) -> None:
    listed = list(operations(document))
    ids = [operation["operationId"] for _, _, operation in listed]
    assert len(set(ids)) == len(ids)
    assert all(name.isidentifier() for name in ids)
    for path, _, operation in listed:
        assert operation["summary"], path
        assert operation["description"], path
        assert "default" in operation["responses"], path
        wanted = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert named == wanted


def test_models_of_one_name_in_two_deployments_do_not_mix(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, field in (("one", "weight"), ("two", "price")):
        body = document["paths"][f"/{name}/run"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        request = schemas[body["$ref"].rpartition("/")[2]]
        item = schemas[request["properties"]["item"]["$ref"].rpartition("/")[2]]
        assert field in item["properties"]
        assert item["properties"]["inner"]["anyOf"][0]["$ref"] == request["properties"]["item"]["$ref"]
        answer = document["paths"][f"/{name}/run"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        result = schemas[answer["$ref"].rpartition("/")[2]]["properties"]["result"]
        assert field in schemas[result["items"]["$ref"].rpartition("/")[2]]["properties"]


def test_a_deployment_is_described_by_its_docstring(document: dict[str, Any]) -> None:
    operation = document["paths"]["/one/run"]["post"]
    assert operation["summary"] == "Weigh an item."
    assert "More about it." in operation["description"]
    request = document["components"]["schemas"]["oneRunRequest"]
    assert "What to weigh." in json.dumps(request)
    assert document["paths"]["/one/chat"]["post"]["operationId"] == "chat_one"


def test_uploads_are_described_as_files_of_a_form(document: dict[str, Any]) -> None:
    content = document["paths"]["/up-load/run"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data"}
    form = next(part for part in content["multipart/form-data"]["schema"]["allOf"] if "properties" in part)
    assert form["required"] == ["doc"]
    assert form["properties"]["doc"]["type"] == "string"
    assert form["properties"]["extra"]["type"] == "array"


def test_the_document_follows_what_is_deployed(server: RunningServer, web: httpx.Client) -> None:
    assert web.post(f"{server.url}/deploy_files", json=deploy_body("late")).status_code == 200
    assert "/late/run" in web.get(f"{server.url}/openapi.json").json()["paths"]
    assert web.post(f"{server.url}/undeploy/late").status_code == 200
    after = web.get(f"{server.url}/openapi.json").json()
    assert "/late/run" not in after["paths"]
    assert "lateRunRequest" not in after["components"]["schemas"]


def test_only_reading_is_answered(server: RunningServer, web: httpx.Client) -> None:
    assert web.head(f"{server.url}/openapi.json").status_code == 200
    refused = web.post(f"{server.url}/openapi.json")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET"


def test_a_server_with_a_key_says_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "pipelines" / "greet").mkdir(parents=True)
    (tmp_path / "pipelines" / "greet" / "pipeline_wrapper.py").write_text(wrapper())
    with running_server(tmp_path / "pipelines", env={"HAYHOOKS_ADMIN_KEY": "s3cret"}) as server:
        text = httpx.get(f"{server.url}/openapi.json").text
    assert "s3cret" not in text
    document = json.loads(text)
    scheme = document["components"]["securitySchemes"]["AdminKey"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    guarded = {path for path, _, operation in operations(document) if operation.get("security")}
    canary = {f"/canary/{{pipeline_name}}{what}" for what in ("", "/promote", "/abort")}
    assert guarded == {"/deploy_files", "/deploy-yaml", "/deploy", "/undeploy/{pipeline_name}", *canary}


class TestCache:
    """Nothing is made twice: neither the document nor a deployment's part of it."""

    @pytest.fixture
    def described(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Names of the deployments that were described, in order."""
        names: list[str] = []

        class Told(dict[str, Entry]):
            def __init__(self, name: str) -> None:
                super().__init__({"run_api": Entry("run_api", request_schema={"type": "object"})})
                self.name = name

            def get(self, key: str, default: Any = None) -> Any:
                names.append(self.name)
                return super().get(key, default)

        self.entries = Told
        return names

    def deployment(self, name: str) -> Deployment:
        return Deployment(name, "v", self.entries(name), None, Limits())  # type: ignore[arg-type]

    def test_the_body_is_kept_until_something_changes(self, described: list[str]) -> None:
        deployments = {name: self.deployment(name) for name in (f"d{number}" for number in range(300))}
        state: list[Any] = [1, deployments]
        own: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": "T", "version": "1"}}
        current = [own]
        documents = OpenAPI(lambda: (state[0], state[1]), lambda: current[0], needs_admin_key=False)
        first = documents.body()
        assert documents.body() is first
        assert len(described) == 300

        state[:] = [2, {**deployments, "d7": self.deployment("d7")}]
        second = documents.body()
        assert second is not first
        assert described[300:] == ["d7"]  # the others are known

        current[0] = {**own, "paths": {"/mine": {"get": {"operationId": "mine"}}}}
        assert "/mine" in json.loads(documents.body())["paths"]
        assert len(described) == 301

        below = json.loads(documents.body("/api"))
        assert below["servers"] == [{"url": "/api"}]
        assert "servers" not in json.loads(documents.body())
