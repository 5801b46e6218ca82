"""``hayhooks run --reload``: what changes in the pipelines directory is served, one deployment at a time."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from watchfiles import Change

from hayhooks.server.reload import changed_names
from hayhooks.testing import RunningServer, running_server
from tests.support.wrapper_source import deploy_body, wrapper

YAML = """
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters: {{template: "{text} {{{{ name }}}}", required_variables: ["name"]}}
connections: []
inputs: {{name: prompt.name}}
outputs: {{prompt: prompt.prompt}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("server") / "pipelines"
    for name in ("edited", "kept"):
        (directory / name).mkdir(parents=True)
        (directory / name / "pipeline_wrapper.py").write_text(wrapper())
    with running_server(directory, env={"HAYHOOKS_RELOAD": "true"}) as server:
        yield server


@pytest.fixture(scope="module")
def web() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


@pytest.fixture
def version(server: RunningServer, web: httpx.Client) -> Callable[[str], str | None]:
    def version(name: str) -> str | None:
        found: str | None = web.get(f"{server.url}/deployments/{name}").json().get("version")
        return found

    return version


def test_a_changed_file_is_served_and_the_others_are_left_alone(
    server: RunningServer, web: httpx.Client, version: Callable[[str], str | None]
) -> None:
    kept = version("kept")
    source = server.pipelines_dir / "edited" / "pipeline_wrapper.py"
    source.write_text("from .words import WORD\n" + wrapper().replace("'hello '", "WORD"))
    (server.pipelines_dir / "edited" / "words.py").write_text("WORD = 'hi '\n")
    server.wait_for_log("Reloaded edited")
    assert web.post(f"{server.url}/edited/run", json={}).json() == {"result": "hi world"}
    before = version("edited")
    (server.pipelines_dir / "edited" / "words.py").write_text("WORD = 'ho '\n")
    while version("edited") == before:
        pass
    assert web.post(f"{server.url}/edited/run", json={}).json() == {"result": "ho world"}
    assert version("kept") == kept
    assert "Reloaded kept" not in server.log


def test_a_version_that_cannot_be_built_leaves_the_old_one_and_the_log_says_why(
    server: RunningServer, web: httpx.Client
) -> None:
    source = server.pipelines_dir / "kept" / "pipeline_wrapper.py"
    source.write_text(wrapper() + "\n)")
    server.wait_for_log(r"'kept' could not be reloaded; its previous version stays live.*line 11")
    assert web.post(f"{server.url}/kept/run", json={}).json() == {"result": "hello world"}
    source.write_text(wrapper("mended "))
    server.wait_for_log("Reloaded kept")
    assert web.post(f"{server.url}/kept/run", json={}).json() == {"result": "mended world"}


def test_a_new_directory_is_deployed_and_a_removed_one_undeployed(server: RunningServer, web: httpx.Client) -> None:
    drafts = server.pipelines_dir.parent / "drafts"
    drafts.mkdir()
    (drafts / "pipeline_wrapper.py").write_text(wrapper("new "))
    drafts.rename(server.pipelines_dir / "added")
    server.wait_for_log("Deployed added")
    assert web.post(f"{server.url}/added/run", json={}).json() == {"result": "new world"}
    (server.pipelines_dir / "added").rename(drafts)
    server.wait_for_log("Undeployed added")
    assert web.post(f"{server.url}/added/run", json={}).status_code == 404
    assert (drafts / "pipeline_wrapper.py").exists()
    # Undeployed because its files were gone, not on purpose: they may come back.
    drafts.rename(server.pipelines_dir / "added")
    while web.post(f"{server.url}/added/run", json={}).status_code != 200:
        pass
    shutil.rmtree(server.pipelines_dir / "added")


def test_a_yaml_file_is_followed_too(server: RunningServer, web: httpx.Client) -> None:
    file = server.pipelines_dir / "written.yml"
    file.write_text(YAML.format(text="Dear"))
    server.wait_for_log("Deployed written")
    assert "Dear you" in web.post(f"{server.url}/written/run", json={"name": "you"}).text
    file.write_text(YAML.format(text="Hey"))
    server.wait_for_log("Reloaded written")
    assert "Hey you" in web.post(f"{server.url}/written/run", json={"name": "you"}).text
    file.unlink()
    server.wait_for_log("Undeployed written")


def test_deploying_by_the_api_and_editing_what_it_wrote_go_together(
    server: RunningServer, web: httpx.Client, version: Callable[[str], str | None]
) -> None:
    assert web.post(f"{server.url}/deploy_files", json=deploy_body("sent", "sent ")).status_code == 200
    sent = version("sent")
    (server.pipelines_dir / "sent" / "pipeline_wrapper.py").write_text(wrapper("edited "))
    server.wait_for_log("Reloaded sent")
    assert "Deployed sent" not in server.log  # the files that the server wrote itself were live already
    assert version("sent") != sent
    assert web.post(f"{server.url}/sent/run", json={}).json() == {"result": "edited world"}
    assert web.post(f"{server.url}/undeploy/sent").status_code == 200
    assert web.post(f"{server.url}/sent/run", json={}).status_code == 404


def test_a_new_directory_that_fails_is_named_in_the_status(server: RunningServer, web: httpx.Client) -> None:
    (server.pipelines_dir / "bad").mkdir()
    (server.pipelines_dir / "bad" / "pipeline_wrapper.py").write_text("import nowhere_to_be_found")
    server.wait_for_log("'bad' could not be reloaded: ")
    assert "nowhere_to_be_found" in web.get(f"{server.url}/status").json()["failed"]["bad"]
    shutil.rmtree(server.pipelines_dir / "bad")
    while "bad" in web.get(f"{server.url}/status").json()["failed"]:
        pass


def test_a_directory_that_was_undeployed_stays_so_when_it_is_edited(server: RunningServer, web: httpx.Client) -> None:
    (server.pipelines_dir / "mine").mkdir()
    (server.pipelines_dir / "mine" / "pipeline_wrapper.py").write_text(wrapper("mine "))
    server.wait_for_log("Deployed mine")
    assert web.post(f"{server.url}/undeploy/mine").status_code == 200
    (server.pipelines_dir / "mine" / "pipeline_wrapper.py").write_text(wrapper("again "))
    (server.pipelines_dir / "after").mkdir()  # reported after the edit
    (server.pipelines_dir / "after" / "pipeline_wrapper.py").write_text(wrapper())
    server.wait_for_log("Deployed after")
    assert web.post(f"{server.url}/mine/run", json={}).status_code == 404
    assert (server.pipelines_dir / "mine" / "pipeline_wrapper.py").exists()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a/pipeline_wrapper.py", {"a"}), ("a/sub/deep/x.txt", {"a"}), ("a", {"a"}), ("b.yml", {"b"}),
        ("b.yaml", {"b"}), ("c.d.yml", {"c.d"}), ("a/x.yml", {"a"}), (".git/HEAD", set()), ("a/.x.tmp", set()),
        ("a/__pycache__/x.pyc", set()), ("", set()),
    ],
)  # fmt: skip
def test_to_which_deployment_a_file_belongs(path: str, names: set[str]) -> None:
    root = Path("/srv/pipelines")
    assert changed_names(root, [(Change.modified, str(root / path))]) == names
