"""Pipelines in YAML: deployed, called by their declared inputs and outputs, and refused when they cannot work."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from hayhooks.testing import RunningServer, running_server
from tests.support.deployments import contents, write
from tests.support.yaml_components import CHAT_PROMPT_BUILDER as CHAT_BUILDER
from tests.support.yaml_components import JOINER, pipeline, prompt
from tests.support.yaml_components import PROMPT_BUILDER as BUILDER

FAN_OUT = pipeline(
    {"p": prompt("hi {{ x }} {{ y }}"), "p2": prompt("bye {{ x }}")},
    inputs={"x": ["p.x", "p2.x"], "y": "p.y"},
    outputs={"out": "p.prompt"},
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("yaml")
    write(root / "pipelines", {"one.yml": FAN_OUT, "two.yaml": FAN_OUT})
    with running_server(root / "pipelines") as running:
        yield running


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def deploy(http: httpx.Client, name: str, source: str, **options: Any) -> httpx.Response:
    return http.post("/deploy-yaml", json={"name": name, "source_code": source, "overwrite": True, **options})


def deployed(http: httpx.Client, name: str, source: str, **options: Any) -> str:
    answer = deploy(http, name, source, **options)
    assert answer.status_code == 200, answer.text
    assert answer.json()["endpoint"] == f"/{name}/run"
    return name


def run(http: httpx.Client, deployment: str, **arguments: Any) -> Any:
    answer = http.post(f"/{deployment}/run", json=arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def refused(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.json()["kind"]) == (422, "invalid"), answer.text
    return str(answer.json()["detail"])


@pytest.mark.parametrize("name", ["one", "two"])
def test_yaml_files_of_the_pipelines_directory_are_served(server: RunningServer, http: httpx.Client, name: str) -> None:
    before = contents(server.pipelines_dir)
    assert run(http, name, x="a", y="b") == {"p": {"prompt": "hi a b"}, "p2": {"prompt": "bye a"}}
    assert contents(server.pipelines_dir) == before


def test_a_list_of_targets_gets_one_value_and_the_answer_is_by_component(http: httpx.Client) -> None:
    name = deployed(http, "fan", FAN_OUT)
    assert run(http, name, x="a", y="b") == {"p": {"prompt": "hi a b"}, "p2": {"prompt": "bye a"}}


def test_with_result_outputs_the_answer_has_the_declared_names(http: httpx.Client) -> None:
    name = deployed(http, "named", FAN_OUT + "result: outputs\n")
    assert run(http, name, x="a", y="b") == {"out": "hi a b"}


def test_names_of_inputs_need_not_be_names_in_python(http: httpx.Client) -> None:
    inputs = {"my-query": "p.a", "class": "p.b", "Wie hei\u00dft das?": "p.c"}
    source = pipeline({"p": prompt("{{ a }}|{{ b }}|{{ c }}")}, inputs=inputs, outputs={"the text": "p.prompt"})
    name = deployed(http, "free", source + "result: outputs\n")
    assert run(http, name, **dict(zip(inputs, "xyz", strict=True))) == {"the text": "x|y|z"}
    assert list(http.get(f"/deployments/{name}").json()["request_schema"]["properties"]) == list(inputs)


def test_outputs_of_components_inside_are_included(http: httpx.Client) -> None:
    source = pipeline(
        {"a": prompt("A {{ x }}"), "b": prompt("B {{ y }}")}, ("a.prompt", "b.y"),
        inputs={"x": "a.x"}, outputs={"inner": "a.prompt", "outer": "b.prompt"},
    )  # fmt: skip
    assert run(http, deployed(http, "inner", source), x="1") == {"a": {"prompt": "A 1"}, "b": {"prompt": "B A 1"}}
    assert run(http, deployed(http, "inner", source + "result: outputs\n"), x="1") == {"inner": "A 1", "outer": "B A 1"}


def test_an_input_is_optional_when_its_socket_has_a_default(http: httpx.Client) -> None:
    source = pipeline(
        {"p": prompt("{{ a }}|{{ b }}", required_variables=["a"])},
        inputs={"a": "p.a", "b": "p.b", "template": "p.template"}, outputs={"out": "p.prompt"}, result="outputs",
    )  # fmt: skip
    name = deployed(http, "optional", source)
    assert run(http, name, a="x") == {"out": "x|"}
    assert run(http, name, a="x", b="y") == {"out": "x|y"}
    assert run(http, name, a="x", template="new {{ a }}") == {"out": "new x"}
    assert http.get("/deployments/optional").json()["request_schema"]["required"] == ["a"]
    missing = http.post(f"/{name}/run", json={"b": "y"})
    assert missing.status_code == 422
    assert missing.json()["errors"][0]["loc"] == ["body", "a"]


def test_documents_and_messages_reach_the_components_as_objects(http: httpx.Client) -> None:
    joiner = {"type": JOINER, "init_parameters": {"join_mode": "concatenate"}}
    source = pipeline(
        {"j": joiner}, inputs={"docs": "j.documents", "top_k": "j.top_k"}, outputs={"docs": "j.documents"}
    )
    name = deployed(http, "documents", source + "result: outputs\n")
    result = run(http, name, docs=[{"content": "one", "score": 1.0}, {"content": "two", "meta": {"k": 1}}])
    assert [(doc["content"], doc["meta"]) for doc in result["docs"]] == [("one", {}), ("two", {"k": 1})]
    builder = {"type": CHAT_BUILDER, "init_parameters": {"template": None, "variables": ["name"]}}
    source = pipeline({"c": builder}, inputs={"messages": "c.template", "name": "c.name"}, outputs={"out": "c.prompt"})
    name = deployed(http, "greeting", source)
    result = run(http, name, messages=[{"role": "user", "content": "Hi {{ name }}"}], name="Ada")
    assert "Hi Ada" in json.dumps(result)
    wrong = http.post(f"/{name}/run", json={"messages": [{"role": "bogus", "content": ""}]})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["loc"][:2] == ["body", "messages"]


def test_a_socket_that_components_feed_may_get_more_from_an_input(http: httpx.Client) -> None:
    joiner = {"type": JOINER, "init_parameters": {"join_mode": "concatenate"}}
    source = pipeline(
        {"a": joiner, "b": joiner}, ("a.documents", "b.documents"),
        inputs={"docs": "a.documents", "more": "b.documents"}, outputs={"docs": "b.documents"}, result="outputs",
    )  # fmt: skip
    name = deployed(http, "more-docs", source)
    docs = [{"content": "one"}]
    assert [doc["content"] for doc in run(http, name, docs=docs)["docs"]] == ["one"]
    both = run(http, name, docs=docs, more=[{"content": "two"}])["docs"]
    assert sorted(doc["content"] for doc in both) == ["one", "two"]
    assert http.get(f"/deployments/{name}").json()["request_schema"]["required"] == ["docs"]


def test_a_value_that_fans_out_has_the_type_that_says_most(http: httpx.Client) -> None:
    joiner = {"type": JOINER, "init_parameters": {"join_mode": "concatenate"}}
    source = pipeline(
        {"p": prompt("{% for doc in docs %}{{ doc.id }}{% endfor %}"), "j": joiner},
        inputs={"docs": ["p.docs", "j.documents"]}, outputs={"docs": "j.documents", "text": "p.prompt"},
        result="outputs",
    )  # fmt: skip
    result = run(http, deployed(http, "fan-types", source), docs=[{"content": "one"}])
    assert result["text"] == result["docs"][0]["id"]  # only an object has an id by itself


@pytest.mark.parametrize("name", ["headers", "arguments", "model", "files", "schema", "_private", "x1", "data"])
def test_an_input_may_have_any_name(http: httpx.Client, name: str) -> None:
    source = pipeline({"p": prompt("{{ x }}")}, inputs={name: "p.x"}, outputs={"out": "p.prompt"}, result="outputs")
    assert run(http, deployed(http, "any-name", source), **{name: "v"}) == {"out": "v"}


GOOD = {"p": prompt("{{ x }}")}
NEEDS = {"p": prompt("{{ x }}", required_variables=["x"])}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", ["components"]),
        ("just text", ["components"]),
        ("components: [", ["Not valid YAML", "line"]),
        ("a: b: c", ["Not valid YAML", "line 1"]),
        ("--- 1\n--- 2\n", ["Not valid YAML"]),
        ("!!python/object/apply:os.system [echo]", ["Not valid YAML"]),
        (pipeline(GOOD), ["at least one of 'inputs' or 'outputs'"]),
        (pipeline(GOOD, inputs={}, outputs={}), ["at least one of 'inputs' or 'outputs'"]),
        (pipeline(GOOD, inputs={"x": "p.nope"}), ["p.nope", "does not exist", "p.x"]),
        (pipeline(GOOD, inputs={"x": "nope.x"}), ["nope.x", "does not exist"]),
        (pipeline(GOOD, inputs={"x": ["p.x", "p.nope"]}), ["p.nope"]),
        (pipeline(GOOD, inputs={"x": "p.prompt"}), ["p.prompt", "is an output of that component", "p.x"]),
        (pipeline(GOOD, inputs={"x": "p.x"}, outputs={"y": "p.x"}), ["p.x", "is an input of that component"]),
        (pipeline(GOOD, inputs={"x": ["p.x", "p.x"]}), ["'x' goes to the same socket twice"]),
        (pipeline(GOOD, inputs={"x": "p.x", "y": "p.x"}), ["'x' and 'y' both go to p.x"]),
        (pipeline(NEEDS, outputs={"y": "p.prompt"}), ["could not run", "'x'", "'p'"]),
        (
            pipeline({**GOOD, "q": prompt("{{ y }}")}, ("p.prompt", "q.y"), inputs={"x": "p.x", "y": "q.y"}),
            ["could not run", "'y'", "connected to component 'p'"],
        ),
        (pipeline(GOOD, inputs={"x": []}), ["'x'"]),
        (pipeline(GOOD, inputs={"x": "p"}), ["component.socket"]),
        (pipeline(GOOD, inputs=["p.x"]), ["'inputs' must map"]),
        (pipeline(GOOD, inputs={"": "p.x"}), ["''"]),
        (pipeline(GOOD, inputs={"self": "p.x"}), ["'self'"]),
        (pipeline(GOOD, outputs={"x": "p.nope"}), ["p.nope", "does not exist", "p.prompt"]),
        (pipeline(GOOD, outputs={"x": ["p.prompt"]}), ["component.socket"]),
        (pipeline(GOOD, outputs="p.prompt"), ["'outputs' must map"]),
        (pipeline(GOOD, inputs={"x": "p.x"}, result="all"), ["'result' must be"]),
        (pipeline(GOOD, inputs={"x": "p.x"}, streaming_components=["nope"]), ["'nope'", "no component"]),
        (pipeline(GOOD, inputs={"x": "p.x"}, streaming_components=1), ["'streaming_components' must be"]),
        (pipeline(GOOD, inputs={"x": "p.x"}, description=[1]), ["'description' must be text"]),
        (pipeline(GOOD, inputs={"x": "p.x"}, skip_mcp="no"), ["'skip_mcp' must be"]),
        (pipeline({"p": {"type": "haystack.nope.No", "init_parameters": {}}}, inputs={"x": "p.x"}), ["haystack.nope"]),
        (pipeline({"p": {"type": BUILDER, "init_parameters": {}}}, inputs={"x": "p.x"}), ["template"]),
        (pipeline({"p": {"type": "os.system", "init_parameters": {}}}, inputs={"x": "p.x"}), ["os"]),
        (pipeline({"p": {"init_parameters": {}}}, inputs={"x": "p.x"}), ["p"]),
        (pipeline(GOOD, ("p.prompt", "q.x"), inputs={"x": "p.x"}), ["q"]),
    ],
)  # fmt: skip
def test_a_yaml_that_cannot_work_is_refused_when_it_is_deployed(
    server: RunningServer, http: httpx.Client, source: str, words: list[str]
) -> None:
    detail = refused(deploy(http, "cannot", source))
    assert [word for word in words if word not in detail] == [], detail
    assert not (server.pipelines_dir / "cannot.yml").exists()
    assert http.get("/status/cannot").status_code == 404


def test_a_module_that_haystack_does_not_allow_is_refused_with_how_to_allow_it(http: httpx.Client) -> None:
    foreign = {"p": {"type": "shutil.rmtree", "init_parameters": {"path": "/nowhere"}}}
    detail = refused(deploy(http, "foreign", pipeline(foreign, inputs={"x": "p.x"})))
    assert "shutil" in detail
    from hayhooks.core.haystack.platform import MAJOR

    assert MAJOR < 3 or "HAYSTACK_DESERIALIZATION_ALLOWLIST" in detail, detail


def test_description_and_skip_mcp_of_the_request_are_kept_with_the_yaml(
    server: RunningServer, http: httpx.Client
) -> None:
    source = f"# my comment\n{FAN_OUT}"
    deployed(http, "described", source, description='It "greets":\n- #1', skip_mcp=True)
    kept = (server.pipelines_dir / "described.yml").read_text()
    assert kept.startswith(source)
    assert yaml.safe_load(kept)["description"] == 'It "greets":\n- #1'
    assert yaml.safe_load(kept)["skip_mcp"] is True
    assert http.get("/deployments/described").json()["description"] == 'It "greets":\n- #1'


@pytest.mark.parametrize(
    "source", [json.dumps(yaml.safe_load(FAN_OUT)), FAN_OUT + "description: old\n", FAN_OUT + "...\n"]
)
def test_a_description_is_written_into_every_form_of_yaml(
    server: RunningServer, http: httpx.Client, source: str
) -> None:
    deployed(http, "forms", source, description="new")
    assert yaml.safe_load((server.pipelines_dir / "forms.yml").read_text())["description"] == "new"
    assert run(http, "forms", x="a", y="b")["p"] == {"prompt": "hi a b"}


def test_a_yaml_is_kept_verbatim_and_its_name_can_be_taken_and_undeployed(
    server: RunningServer, http: httpx.Client
) -> None:
    file = server.pipelines_dir / "verbatim.yml"
    deployed(http, "verbatim", FAN_OUT, overwrite=False)
    assert file.read_text() == FAN_OUT
    assert deploy(http, "verbatim", FAN_OUT, overwrite=False).status_code == 409
    assert http.post("/undeploy/verbatim").status_code == 200
    assert not file.exists()
    deployed(http, "verbatim", FAN_OUT, save_file=False)
    assert not file.exists()
    assert run(http, "verbatim", x="a", y="b")


def test_a_wrapper_replaces_a_yaml_and_a_yaml_a_wrapper(server: RunningServer, http: httpx.Client) -> None:
    deployed(http, "turns", FAN_OUT)
    source = (
        "from pathlib import Path\nfrom hayhooks import YAMLPipelineWrapper\n"
        "PipelineWrapper = YAMLPipelineWrapper.from_file(Path(__file__).parent / 'p.yml', description='from a file')\n"
    )
    files = {"pipeline_wrapper.py": source, "p.yml": FAN_OUT}
    answer = http.post("/deploy_files", json={"name": "turns", "files": files, "overwrite": True})
    assert answer.status_code == 200, answer.text
    assert not (server.pipelines_dir / "turns.yml").exists()
    assert run(http, "turns", x="a", y="b")["p2"] == {"prompt": "bye a"}
    deployed(http, "turns", FAN_OUT)
    assert not (server.pipelines_dir / "turns").exists()


# The first way


def test_the_first_way_takes_inputs_and_gives_outputs_by_component(http: httpx.Client) -> None:
    source = pipeline({"a": prompt("A {{ x }}"), "b": prompt("B {{ y }}")}, ("a.prompt", "b.y"))
    answer = http.post("/deploy", json={"name": "legacy", "source_code": source})
    assert answer.status_code == 200, answer.text
    assert answer.json()["endpoint"] == "/legacy"
    assert http.post("/legacy", json={"a": {"x": "1"}}).json() == {"b": {"prompt": "B A 1"}}
    assert http.post("/legacy/run", json={"a": {"x": "1"}}).json() == {"result": {"b": {"prompt": "B A 1"}}}
    assert http.post("/deploy", json={"name": "legacy", "source_code": source}).status_code == 409
    assert http.post("/legacy", json={"a": 1}).status_code == 422
    assert http.post("/legacy", content=b"{").status_code == 422
    assert http.get("/legacy").status_code == 405
    assert http.post("/undeploy/legacy").status_code == 200
    assert http.post("/legacy", json={"a": {"x": "1"}}).status_code == 404


def test_the_first_way_takes_documents_and_refuses_what_does_not_fit(http: httpx.Client) -> None:
    joiner = {"type": JOINER, "init_parameters": {"join_mode": "concatenate"}}
    http.post("/deploy", json={"name": "legacy-docs", "source_code": pipeline({"j": joiner})})
    answer = http.post("/legacy-docs", json={"j": {"documents": [{"content": "one"}]}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["j"]["documents"][0]["content"] == "one"
    faulty: list[dict[str, Any]] = [{"nope": {}}, {"j": {"nope": 1}}, {"j": {"documents": [5]}}, {}]
    for wrong in faulty:
        refused(http.post("/legacy-docs", json=wrong))
    assert "components" in refused(http.post("/deploy", json={"name": "bad", "source_code": "x"}))
    assert "source_code" in refused(http.post("/deploy", json={"name": "bad"}))


def test_a_restart_and_the_setting_for_results_are_heeded(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    components = pipeline(
        {"p": prompt("hi {{ x }}")}, inputs={"x": "p.x"}, outputs={"out": "p.prompt"}, result="components"
    )
    write(pipelines, {"mine.yaml": components})
    with running_server(pipelines) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        deployed(http, "declared", FAN_OUT, description="kept")
        assert http.post("/deploy", json={"name": "legacy", "source_code": pipeline(GOOD)}).status_code == 200
    with (
        running_server(pipelines, env={"HAYHOOKS_YAML_RESULT": "outputs"}) as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        assert http.get("/status").json()["pipelines"] == ["declared", "legacy", "mine"]
        assert run(http, "declared", x="a", y="b") == {"out": "hi a b"}
        assert run(http, "mine", x="a") == {"p": {"prompt": "hi a"}}
        assert http.get("/deployments/declared").json()["description"] == "kept"
        assert http.post("/legacy", json={"p": {"x": "1"}}).json() == {"p": {"prompt": "1"}}
