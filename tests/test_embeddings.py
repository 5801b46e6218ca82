"""The Embeddings API, as the OpenAI SDK, Haystack's embedders and careless clients use it."""

import base64
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.dataclasses import Document
from haystack.utils import Secret
from openai import AsyncOpenAI, OpenAI

from hayhooks import embed_texts
from hayhooks.core.events import Usage
from hayhooks.engines.inline.vectors import VectorsModel
from hayhooks.surfaces.openai.embeddings import embeddings_body
from hayhooks.testing import RunningServer, running_server
from tests.support.model_server import ModelServer
from tests.support.model_wire import embedding
from tests.support.wrappers import Wrappers

wrappers = Wrappers()
wrappers.add("plain", "def run_embedding(self, model, inputs, body): return [[len(text), 0.5] for text in inputs]")
wrappers.add(
    "asked",
    """
    def run_embedding(self, model, inputs, body):
        self.asked = [model, inputs, body]
        return {"embeddings": [[1.0]] * len(inputs), "usage": {"prompt_tokens": 3, "total_tokens": 4}}

    def run_api(self) -> list:
        return self.asked
    """,
)
wrappers.add(
    "arrays",
    """
    async def run_embedding_async(self, model, inputs, body):
        kind = inputs[0]
        array = numpy.array([[0.1, -2.5]] * len(inputs), dtype=kind)
        return {"embeddings": array} if len(inputs) == 1 else list(array)
    """,
    imports="import numpy",
)
wrappers.add(
    "many", "def run_embedding(self, model, inputs, body): return numpy.ones((40, 10000))", imports="import numpy"
)
EMBEDDER = """
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack import Pipeline
from hayhooks import embed_texts, embed_texts_async
"""
wrappers.add(
    "texts", "def run_embedding(self, model, inputs, body): return embed_texts(OpenAITextEmbedder(), inputs)",
    imports=EMBEDDER,
)  # fmt: skip
wrappers.add(
    "texts_async",
    "async def run_embedding_async(self, model, inputs, body): "
    "return await embed_texts_async(OpenAITextEmbedder(), inputs)",
    imports=EMBEDDER,
)
wrappers.add(
    "documents",
    """
    def run_embedding(self, model, inputs, body):
        return embed_texts(OpenAIDocumentEmbedder(progress_bar=False), inputs)
    """,
    imports=EMBEDDER,
)
wrappers.add(
    "pipeline",
    """
    def run_embedding(self, model, inputs, body):
        pipeline = Pipeline()
        pipeline.add_component("embedder", OpenAITextEmbedder())
        return [pipeline.run({"embedder": {"text": text}})["embedder"]["embedding"] for text in inputs]
    """,
    imports=EMBEDDER,
)
wrappers.add(
    "wrong",
    """
    def run_embedding(self, model, inputs, body):
        return {
            "too few": [[1.0]], "none": None, "text": "secret", "ragged": [[1.0], ["secret"]],
            "not finite": [[1.0], [float("nan")]], "empty": [[1.0], []], "flat": [1.0, 2.0],
            "stream": iter([[1.0], [2.0]]),
        }[inputs[0]]
    """,
)
wrappers.add("chat_only", "def run_chat_completion(self, model, messages, body): return 'hi'")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("embeddings") / "pipelines"
    wrappers.write(directory)
    with ModelServer() as models, running_server(directory, env=models.env) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(server: RunningServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_sdk_gets_embeddings_in_the_order_of_the_inputs_in_either_encoding(client: OpenAI) -> None:
    for more in ({}, {"encoding_format": "float"}):
        answer = client.embeddings.create(model="plain", input=["a", "bcd"], **more)  # type: ignore[arg-type]
        assert [item.embedding for item in answer.data] == [[1.0, 0.5], [3.0, 0.5]]
        assert [(item.index, item.object) for item in answer.data] == [(0, "embedding"), (1, "embedding")]
        assert (answer.model, answer.object) == ("plain", "list")


async def test_one_text_gives_one_embedding(async_client: AsyncOpenAI) -> None:
    answer = await async_client.embeddings.create(model="plain", input="four")
    assert [item.embedding for item in answer.data] == [[4.0, 0.5]]


def test_base64_is_little_endian_float32(server: RunningServer) -> None:
    body = {"model": "plain", "input": "four", "encoding_format": "base64"}
    answer = httpx.post(f"{server.url}/embeddings", json=body).json()
    assert answer["data"][0]["embedding"] == base64.b64encode(struct.pack("<2f", 4.0, 0.5)).decode()


def test_usage_is_what_the_hook_says_and_zero_when_nobody_counted(client: OpenAI) -> None:
    counted = client.embeddings.create(model="asked", input="x").usage
    assert (counted.prompt_tokens, counted.total_tokens) == (3, 4)
    uncounted = client.embeddings.create(model="plain", input="x").usage
    assert (uncounted.prompt_tokens, uncounted.total_tokens) == (0, 0)


@pytest.mark.parametrize(
    ("given", "inputs"), [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])]
)
def test_the_hook_gets_a_list_of_texts_or_of_token_lists_and_the_whole_body(
    server: RunningServer, client: OpenAI, given: Any, inputs: list[Any]
) -> None:
    more = {"user": "ada", "dimensions": 5, "encoding_format": "float", "extra": 1}
    client.embeddings.create(model="asked", input=given, extra_body=more)
    asked = httpx.post(f"{server.url}/asked/run").json()["result"]
    assert asked == ["asked", inputs, {"model": "asked", "input": given, **more}]


@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
@pytest.mark.parametrize("count", [1, 3])
def test_arrays_are_taken_as_they_are(client: OpenAI, kind: str, count: int) -> None:
    for more in ({}, {"encoding_format": "float"}):
        answer = client.embeddings.create(model="arrays", input=[kind] * count, **more)  # type: ignore[arg-type]
        assert [item.embedding for item in answer.data] == [pytest.approx([0.1, -2.5], rel=1e-3)] * count


def test_many_numbers_come_whole(client: OpenAI) -> None:
    answer = client.embeddings.create(model="many", input=["x"] * 40, encoding_format="float")
    assert [len(item.embedding) for item in answer.data] == [10000] * 40


@pytest.mark.parametrize("model", ["texts", "texts_async", "documents", "pipeline"])
def test_any_embedder_of_haystack_is_served_with_its_usage(client: OpenAI, model: str) -> None:
    answer = client.embeddings.create(model=model, input=["one two", "three", "one two"])
    assert [item.embedding for item in answer.data] == [
        pytest.approx(embedding(text), abs=1e-6) for text in ("one two", "three", "one two")
    ]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (5, 5)


@pytest.mark.parametrize("model", ["texts", "texts_async", "documents"])
def test_an_embedder_of_texts_refuses_tokens(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError, match="not tokens") as refused:
        client.embeddings.create(model=model, input=[1, 2])
    assert refused.value.param == "input.0"


def test_haystacks_embedders_are_clients(server: RunningServer) -> None:
    where = {"api_key": Secret.from_token("none"), "api_base_url": f"{server.url}/v1", "model": "plain"}
    text = OpenAITextEmbedder(**where).run(text="four")  # type: ignore[arg-type]
    assert text["embedding"] == [4.0, 0.5]
    documents = OpenAIDocumentEmbedder(**where, progress_bar=False).run([Document(content="a"), Document(content="bc")])  # type: ignore[arg-type]
    assert [document.embedding for document in documents["documents"]] == [[1.0, 0.5], [2.0, 0.5]]


def test_a_wrapper_with_an_embedding_hook_is_a_model_but_answers_no_chat(client: OpenAI) -> None:
    assert {"plain", "arrays", "chat_only"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("plain").id == "plain"
    with pytest.raises(openai.NotFoundError) as chat:
        client.chat.completions.create(model="plain", messages=[{"role": "user", "content": "hi"}])
    assert chat.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as embeddings:
        client.embeddings.create(model="chat_only", input="hi")
    assert embeddings.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nope", input="hi")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": "plain"}, "input"),
        ({"model": "plain", "input": ""}, "input"),
        ({"model": "plain", "input": []}, "input"),
        ({"model": "plain", "input": ["a", ""]}, "input.1"),
        ({"model": "plain", "input": [[]]}, "input"),
        ({"model": "plain", "input": ["a", 1]}, "input"),
        ({"model": "plain", "input": [True]}, "input"),
        ({"model": "plain", "input": [1.5]}, "input"),
        ({"model": "plain", "input": {"text": "a"}}, "input"),
        ({"model": "plain", "input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"model": "plain", "input": "x", "dimensions": 0}, "dimensions"),
        ({"model": "plain", "input": "x", "dimensions": False}, "dimensions"),
        ({"model": "plain", "input": "x", "user": 7}, "user"),
        ([], None),
    ],
)
def test_a_bad_body_is_400_and_says_where(server: RunningServer, body: Any, param: str | None) -> None:
    answer = httpx.post(f"{server.url}/v1/embeddings", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "what", ["too few", "none", "text", "ragged", "not finite", "empty", "flat", "stream"]
)  # fmt: skip
def test_what_is_no_embedding_for_each_input_fails_and_the_log_says_why(server: RunningServer, what: str) -> None:
    answer = httpx.post(f"{server.url}/v1/embeddings", json={"model": "wrong", "input": [what, "b"]})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "run_failed"
    assert "secret" not in answer.text
    server.wait_for_log("Error: (The embedding hook|run_embedding) must return")


def test_numbers_are_written_as_json_writes_them() -> None:
    vectors = VectorsModel().reply([[0.1, 1e-9, -0.0], (1, 2, 3)])
    body = embeddings_body("m", vectors, Usage(1, 0, 1), False)  # type: ignore[arg-type]
    assert b'"embedding":[0.1,1e-9,-0.0]' in body
    assert b'"embedding":[1.0,2.0,3.0]' in body


def test_what_is_no_embedder_is_refused() -> None:
    with pytest.raises(TypeError, match="no embedder"):
        embed_texts(object(), ["a"])
