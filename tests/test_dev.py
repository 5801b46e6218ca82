"""``hayhooks dev``: a directory is served while somebody works on it."""

import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hayhooks.server.dev import NothingToServe, place_of, sample_of
from tests.support.program import Program, running
from tests.support.wrapper_source import wrapper

READS_A_FILE = wrapper().replace("'hello ' + name", "self.text + name").replace(
    "self.pipeline = None",
    "from pathlib import Path\n        self.text = (Path(__file__).parent / 'template.txt').read_text()",
)  # fmt: skip
YAML = """
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters: {template: "%s {{ name }}", required_variables: ["name"]}
inputs: {name: prompt.name}
outputs: {prompt: prompt.prompt}
"""


@contextmanager
def dev(tmp_path: Path, path: str) -> Iterator[tuple[Program, str]]:
    with running(tmp_path, "-m", "hayhooks", "dev", path, "--port", "0") as server:
        yield server, server.wait_for(r"Listening on (http://\S+)")[1]
        assert server.end(signal.SIGINT) == 0
        assert not (tmp_path / ".hayhooks").exists()  # nothing is kept


def called(server: Program, line: str) -> Any:
    """The answer to the command that the server shows for that address."""
    server.wait_for(re.escape(line))
    command = shlex.split(server.wait_for(rf"curl {re.escape(line.rpartition(' ')[2])} .*")[0])
    assert command[2:5] == ["-H", "Content-Type: application/json", "-d"]
    return httpx.post(command[1], json=json.loads(command[5])).json()


def renamed(file: Path, text: str) -> None:
    draft = file.with_name(file.name + "~")
    draft.write_text(text)
    draft.replace(file)


def made_anew(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


def test_one_deployments_directory_is_served_and_followed_however_its_files_are_saved(tmp_path: Path) -> None:
    directory = tmp_path / "greet"
    (directory / "pipelines").mkdir(parents=True)
    (directory / "pipeline_wrapper.py").write_text(READS_A_FILE)
    (directory / "template.txt").write_text("hello ")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pipeline_wrapper.py").write_text(wrapper())
    with dev(tmp_path, "greet") as (server, url):
        assert called(server, f"greet: {url}/greet/run") == {"result": "hello world"}
        assert httpx.get(f"{url}/status").json()["pipelines"] == ["greet"]
        saves: list[Callable[[Path, str], Any]] = [Path.write_text, renamed, made_anew]
        for number, save in enumerate(saves):
            save(directory / "template.txt", f"{number} ")
            while httpx.post(f"{url}/greet/run", json={}).json() != {"result": f"{number} world"}:
                pass
        # Several files that fit together only when all are there.
        (directory / "words.py").write_text("WORD = 'both '\n")
        renamed(directory / "pipeline_wrapper.py", "from .words import WORD\n" + wrapper().replace("'hello '", "WORD"))
        while httpx.post(f"{url}/greet/run", json={}).json() != {"result": "both world"}:
            pass
        assert "could not be reloaded" not in server.output
        assert "other" not in server.output


def test_an_error_is_shown_once_with_its_place_and_so_is_its_end(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "support", tmp_path / "pipelines" / "no-pipeline")  # may lie beside
    for name in ("edited", "broken"):
        (tmp_path / "pipelines" / name).mkdir()
    source = tmp_path / "pipelines" / "edited" / "pipeline_wrapper.py"
    source.write_text(wrapper())
    broken = tmp_path / "pipelines" / "broken" / "pipeline_wrapper.py"
    broken.write_text("import nowhere_to_be_found")
    with dev(tmp_path, "pipelines") as (server, url):
        server.wait_for("'broken' could not be started: .*nowhere_to_be_found")
        source.write_text(wrapper() + "\n)")
        server.wait_for(
            r"'edited' could not be reloaded; its previous version stays live: .*pipeline_wrapper\.py.*line 11"
        )
        assert httpx.post(f"{url}/edited/run", json={}).json() == {"result": "hello world"}
        os.utime(source)  # saved again, the same
        renamed(source, source.read_text())
        broken.write_text(wrapper("mended "))
        server.wait_for("Deployed broken: its error is gone")
        source.write_text(wrapper("fixed "))
        server.wait_for("Reloaded edited: its error is gone")
        assert httpx.post(f"{url}/edited/run", json={}).json() == {"result": "fixed world"}
        assert server.output.count("could not be reloaded") == 1


def test_a_yaml_file_is_served_alone(tmp_path: Path) -> None:
    (tmp_path / "ask.yml").write_text(YAML % "Dear")
    (tmp_path / "other.yml").write_text(YAML % "Other")
    with dev(tmp_path, "ask.yml") as (server, url):
        assert "Dear text" in json.dumps(called(server, f"ask: {url}/ask/run"))
        renamed(tmp_path / "ask.yml", YAML % "Hey")
        server.wait_for("Reloaded ask")
        assert "Hey you" in httpx.post(f"{url}/ask/run", json={"name": "you"}).text
        assert "other" not in server.output


def test_what_a_path_means(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "pipeline_wrapper.py").touch()
    (tmp_path / "two.yaml").touch()
    (tmp_path / "three.txt").touch()
    assert place_of(tmp_path) == (tmp_path, "")
    assert place_of(tmp_path / "one") == (tmp_path, "one")
    assert place_of(tmp_path / "two.yaml") == (tmp_path, "two")
    for path in ("three.txt", "absent"):
        with pytest.raises(NothingToServe, match=path):
            place_of(tmp_path / path)


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"type": "string"}, "text"), ({"type": "integer"}, 1), ({"type": "boolean"}, True), ({"type": "array"}, []),
        ({"enum": ["a", "b"]}, "a"), ({"const": 3}, 3), ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"$ref": "#/$defs/Node"}, {"next": "text"}), ({}, "text"), ({"type": "object"}, {}),
    ],
)  # fmt: skip
def test_a_command_to_try_has_a_value_for_each_field_that_is_needed(field: dict[str, Any], value: Any) -> None:
    schema = {"properties": {"needed": field, "other": field}, "required": ["needed"], "$defs": {"Node": NODE}}
    assert sample_of(schema) == {"needed": value}
