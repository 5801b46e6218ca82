"""A wrapper's code: what it can import and read, what it leaves behind, and how two of them stay apart."""

import asyncio
import sys
from pathlib import Path

import pytest

from hayhooks.core.errors import BuildFailed
from hayhooks.engines.loader import PREFIX
from hayhooks.testing import running_server
from tests.support.deployments import Gate, house, tree, wrapper, write

HELPER = "VALUE = 'helped'\ndef late():\n    from . import later\n    return later.VALUE\n"

# What a wrapper may do: head of the module, body of run_api, files beside it, and what comes back.
WAYS: dict[str, tuple[str, str, dict[str, str], object]] = {
    "relative": ("from .helper import VALUE", "return VALUE", {}, "helped"),
    "relative_module": ("from . import helper", "return helper.VALUE", {}, "helped"),
    "relative_in_a_run": ("", "from .helper import VALUE\nreturn VALUE", {}, "helped"),
    "module_in_a_run": ("", "from . import helper\nreturn helper.late()", {"later.py": "VALUE = 'late'"}, "late"),
    "sibling": ("import helper", "return helper.VALUE", {}, "helped"),
    "sibling_from": ("from helper import VALUE", "return VALUE", {}, "helped"),
    "sibling_star": ("from helper import *", "return VALUE", {}, "helped"),
    "sibling_as": ("import sub.deep as deep", "return deep.NAME", {"sub/deep.py": "NAME = 'deep'"}, "deep"),
    "sibling_dotted": ("import sub.deep", "return sub.deep.NAME", {"sub/deep.py": "NAME = 'deep'"}, "deep"),
    "sibling_in_a_run": ("", "import helper\nreturn helper.VALUE", {}, "helped"),
    "sibling_of_a_sibling": ("import first", "return first.helper.VALUE", {"first.py": "import helper"}, "helped"),
    "is_one_module": (
        "import helper\nfrom . import helper as same", "return helper is same", {}, True,
    ),
    "package": (
        "from .sub import NAME", "return NAME",
        {"sub/__init__.py": "from .deep import NAME", "sub/deep.py": "from ..helper import VALUE as NAME"}, "helped",
    ),
    "package_without_init": ("from .sub.deep import NAME", "return NAME", {"sub/deep.py": "NAME = 'deep'"}, "deep"),
    "nested_without_init": (
        "from sub.a.b import NAME", "return NAME", {"sub/a/b.py": "from ...helper import VALUE as NAME"}, "helped",
    ),
    "init_beside_the_wrapper": (
        "from . import NAME", "return NAME", {"__init__.py": "from .helper import VALUE as NAME"}, "helped",
    ),
    "import_module": (
        "import importlib", "return importlib.import_module('.helper', __package__).VALUE", {}, "helped",
    ),
    "file_in_a_run": (
        "from pathlib import Path", "return (Path(__file__).parent / 'sub' / 'x.txt').read_text()",
        {"sub/x.txt": "text"}, "text",
    ),
    "resources": (
        "from importlib import resources", "return (resources.files(__package__) / 'x.txt').read_text()",
        {"x.txt": "text"}, "text",
    ),
    "stdlib_before_a_sibling": ("import types", "return types.SimpleNamespace(a=1).a", {"types.py": "1 / 0"}, 1),
    "relative_with_a_stdlib_name": ("from .types import X", "return X", {"types.py": "X = 'mine'"}, "mine"),
    "folder_with_an_installed_name": (
        "from haystack import Pipeline", "return Pipeline.__name__", {"haystack/data.txt": ""}, "Pipeline",
    ),
    "postponed_annotations": (
        "from dataclasses import dataclass\nfrom typing import get_type_hints\n@dataclass\nclass P:\n    x: 'int' = 1",
        "return get_type_hints(P)['x'].__name__", {}, "int",
    ),
    "pickle": (
        "import pickle\nfrom .helper import late", "return pickle.loads(pickle.dumps(late)) is late", {}, True,
    ),
    "byte_order_mark": ("from .bom import X", "return X", {"bom.py": "\ufeffX = 'bom'"}, "bom"),
}  # fmt: skip


def files_of(way: str) -> dict[str, str]:
    head, run, others, _ = WAYS[way]
    setup = "from pathlib import Path\nself.seen = (Path(__file__).parent / 'helper.py').read_text()"
    return {"pipeline_wrapper.py": wrapper(run, setup=setup, head=head), "helper.py": HELPER, **others}


def ours() -> list[str]:
    return [name for name in sys.modules if name.startswith(PREFIX)]


async def test_imports_and_files_work_at_import_in_a_run_and_after_a_restart(tmp_path: Path) -> None:
    """Deployed, restarted, and lying in a directory of the user's: the same answers."""
    for way in WAYS:
        write(tmp_path / "users" / "pipelines" / way, files_of(way))
    expected = {way: answer for way, (_, _, _, answer) in WAYS.items()}
    async with house(tmp_path / "ours") as first:
        for way in WAYS:
            await first.deploy(way, files_of(way))
        assert {way: await first.run(way) for way in WAYS} == expected
    before = tree(tmp_path / "users" / "pipelines")
    for root in (tmp_path / "ours", tmp_path / "users"):
        async with house(root) as again:
            assert dict(again.runtime.failures) == {}
            assert {way: await again.run(way) for way in WAYS} == expected
    assert tree(tmp_path / "users" / "pipelines") == before, "no caches, no changes"


async def test_nothing_of_a_deployment_is_left_after_it_is_undeployed(tmp_path: Path) -> None:
    modules, path, importers = set(sys.modules), list(sys.path), list(sys.path_importer_cache)
    async with house(tmp_path) as running:
        await running.deploy("a", files_of("package"))
        await running.run("a")
        assert ours()
        await running.deploy("a", files_of("sibling"))
        await running.runtime.undeploy("a")
    assert ours() == []
    assert sys.path == path
    assert not {name for name in set(sys.modules) - modules if name.startswith(("helper", "sub", "first"))}
    assert [entry for entry in sys.path_importer_cache if entry not in importers and str(tmp_path) in str(entry)] == []


@pytest.mark.parametrize(
    "files",
    [
        {"pipeline_wrapper.py": "import helper\n1 / 0\n", "helper.py": ""},
        {"pipeline_wrapper.py": wrapper(setup="1 / 0")},
        {"pipeline_wrapper.py": wrapper().replace("run_api", "other")},
        {"pipeline_wrapper.py": wrapper().replace("    def setup", "    run_timeout_s = 'x'\n    def setup")},
    ],
    ids=["import", "setup", "no hook", "limits"],
)
async def test_nothing_of_a_deployment_that_failed_is_left(tmp_path: Path, files: dict[str, str]) -> None:
    async with house(tmp_path) as running:
        with pytest.raises(BuildFailed):
            await running.deploy("a", files)
        assert ours() == []
        assert list((tmp_path / "state" / "versions").glob("*/*")) == []


async def test_what_setup_acquired_is_given_back_when_the_deploy_fails_after_it(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    source = f"""
from pathlib import Path
from hayhooks import BasePipelineWrapper
class PipelineWrapper(BasePipelineWrapper):
    def setup(self): pass
    def teardown(self): Path({str(noted)!r}).write_text("given back")
"""
    async with house(tmp_path) as running:
        with pytest.raises(BuildFailed, match="no run hook"):
            await running.deploy("a", {"pipeline_wrapper.py": source})
    assert noted.read_text() == "given back"


@pytest.mark.parametrize("name", ["json", "types", "logging", "asyncio", "haystack", "hayhooks", "a-b.c", "1", "_"])
async def test_a_deployment_may_be_called_like_a_module(tmp_path: Path, name: str) -> None:
    asked = wrapper("import json, types, logging\nreturn json.dumps([types.__name__, logging.__name__])")
    async with house(tmp_path) as running:
        await running.deploy(name, {"pipeline_wrapper.py": asked})
        await running.deploy("other", {"pipeline_wrapper.py": asked})
        assert await running.run(name) == await running.run("other") == '["types", "logging"]'
    async with house(tmp_path) as again:
        assert await again.run(name) == await again.run("other") == '["types", "logging"]'


async def test_helpers_of_one_name_in_two_deployments_and_two_versions_stay_apart(tmp_path: Path) -> None:
    source = wrapper("import helper\nfrom .helper import VALUE\nreturn [VALUE, helper.VALUE]")
    async with house(tmp_path) as running:
        for value in ("1", "2", "3"):
            await running.deploy("a", {"pipeline_wrapper.py": source, "helper.py": f"VALUE = 'a{value}'"})
            await running.deploy("b", {"pipeline_wrapper.py": source, "helper.py": f"VALUE = 'b{value}'"})
            assert await running.run("a") == [f"a{value}"] * 2
            assert await running.run("b") == [f"b{value}"] * 2


def test_module_names_stay_out_of_messages() -> None:
    from hayhooks.engines.loader import public_names

    assert public_names(f"No module named '{PREFIX}12_my_name.helper.x'") == "No module named 'helper.x'"


async def test_a_deploy_that_takes_long_delays_neither_other_deploys_nor_runs(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with house(tmp_path) as running:
        await running.deploy("quick", {"pipeline_wrapper.py": wrapper("return 1")})
        slow = asyncio.create_task(running.deploy("slow", {"pipeline_wrapper.py": wrapper(setup=gate.waits)}))
        await asyncio.to_thread(gate.wait)  # its setup has begun
        assert await running.run("quick") == 1
        await running.deploy("quick", {"pipeline_wrapper.py": wrapper("return 2")})
        await running.deploy("new", {"pipeline_wrapper.py": wrapper("return 3")})
        assert [await running.run("quick"), await running.run("new")] == [2, 3]
        assert not slow.done()
        gate.open()
        await slow
        assert await running.run("slow") == "ok"


async def test_a_wrapper_that_takes_long_to_import_delays_no_other(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with house(tmp_path) as running:
        slow = asyncio.create_task(running.deploy("slow", {"pipeline_wrapper.py": wrapper(head=gate.waits)}))
        await asyncio.to_thread(gate.wait)
        await running.deploy("quick", {"pipeline_wrapper.py": wrapper("return 2")})
        assert not slow.done()
        gate.open()
        await slow


async def test_changes_of_one_name_come_one_after_the_other(tmp_path: Path) -> None:
    """Each of eight deploys reads and moves on a number; none sees it half moved."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    setup = f"""
        from pathlib import Path
        file = Path({str(counter)!r})
        assert file.exists(), 'another one is at it'
        self.number = int(file.read_text()) + 1
        file.unlink()
        import threading; threading.Event().wait(0.01)
        file.write_text(str(self.number))
    """
    async with house(tmp_path) as running:
        sources = [wrapper("return self.number", setup=setup, head=f"# {n}") for n in range(8)]
        await asyncio.gather(*(running.deploy("a", {"pipeline_wrapper.py": source}) for source in sources))
        assert await running.run("a") == 8
        assert counter.read_text() == "8"


async def test_a_deploy_is_carried_to_its_end_when_its_caller_leaves(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with house(tmp_path) as running:
        leaving = asyncio.create_task(running.deploy("a", {"pipeline_wrapper.py": wrapper(setup=gate.waits)}))
        await asyncio.to_thread(gate.wait)
        leaving.cancel()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await running.deploy("a", {"pipeline_wrapper.py": wrapper("return 'after'")})  # waits for the first
        assert await running.run("a") == "after"
    async with house(tmp_path) as again:
        assert await again.run("a") == "after"


def test_a_server_leaves_nothing_in_a_users_directory_and_names_what_fails_to_start(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    for way in ("relative", "sibling_in_a_run", "package", "file_in_a_run"):
        write(pipelines / way, files_of(way))
    write(pipelines / "broken", {"pipeline_wrapper.py": "x = 1\ndef\n"})
    write(pipelines / "lacking", {"pipeline_wrapper.py": "import surely_not_installed\n"})
    write(pipelines / "v1", {"pipeline_wrapper.py": wrapper()})
    write(pipelines, {"bad.yml": "components: [\n", "README.md": "", "odd.yaml": "just text"})
    before = tree(pipelines)
    with running_server(pipelines) as server:
        for way in ("relative", "sibling_in_a_run", "package", "file_in_a_run"):
            assert server.client.run(way).result == WAYS[way][3]
        status = server.client.status()
        assert status.names == ("file_in_a_run", "package", "relative", "sibling_in_a_run")
        assert set(status.failed) == {"broken", "lacking", "v1", "bad", "odd"}
        assert "(pipeline_wrapper.py, line 2)" in status.failed["broken"]
        assert "pip install surely-not-installed" in status.failed["lacking"]
        assert "reserved" in status.failed["v1"]
        assert "line 2" in status.failed["bad"]
        assert "components" in status.failed["odd"]
        for name, reason in status.failed.items():
            assert f"'{name}' could not be started: {reason}" in server.log
        server.client.undeploy("relative")
        server.client.undeploy("broken")
    assert tree(pipelines) == before
    with running_server(pipelines) as server:
        status = server.client.status()
        assert "relative" not in status.names
        assert set(status.failed) == {"lacking", "v1", "bad", "odd"}
    assert tree(pipelines) == before
