"""The manual does what it says, and nothing that exists is missing from it."""

import importlib.util
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import click
import httpx
import pytest
from e2e.assistants.assistants import ASSISTANTS

import hayhooks
from hayhooks.cli.app import cli
from hayhooks.core.errors import Kind
from hayhooks.core.names import RESERVED
from hayhooks.settings import AppSettings
from hayhooks.testing import running_server
from hayhooks.wrapper import BasePipelineWrapper
from tests.support.manual import RUNNABLE, Block, Reader, blocks, check_form, server_environment
from tests.support.model_server import ModelServer
from tests.support.readme import ROOT

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted(DOCS.rglob("*.md"))
LINKED = [*PAGES, ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
LINKED += sorted((ROOT / "examples").rglob("*.md"))
FOLLOWED = [
    page
    for page in PAGES
    if any(block.language in RUNNABLE and not block.directive.startswith("not run") for block in blocks(page))
]

# Variables in the pages that are not the server's: of client commands, and of compose.yaml.
OTHER_VARIABLES = {
    *("HAYHOOKS_CHAOS_ROUNDS", "HAYHOOKS_CRASH_ROUNDS", "HAYHOOKS_REPLACE_OVERWRITES"),  # of the tests
    *("HAYHOOKS_API_KEY", "HAYHOOKS_UID", "HAYHOOKS_GID"),
}


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def models() -> Iterator[ModelServer]:
    with ModelServer() as models:
        yield models


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What the pages say ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", FOLLOWED, ids=page_id)
def test_a_reader_who_follows_the_page_sees_what_it_says(page: Path, tmp_path: Path, models: ModelServer) -> None:
    env = {**models.env, **server_environment(page)}
    with running_server(tmp_path / "pipelines", env=env) as server:
        reader = Reader(tmp_path, server)
        for block in blocks(page):
            reader.follow(block)


@pytest.mark.parametrize("page", sorted({*PAGES} - {*FOLLOWED}), ids=page_id)
def test_a_page_with_nothing_to_run_is_well_formed_and_says_why(page: Path) -> None:
    for block in blocks(page):
        if block.language in RUNNABLE:
            assert len(block.directive) > len("not run: ") + 10, block
        else:
            check_form(block)


@pytest.mark.parametrize("page", LINKED, ids=page_id)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(file), f"{file.name} has no section #{anchor}"


@pytest.mark.parametrize("page", [*LINKED, ROOT / "bench" / "README.md"], ids=page_id)
def test_commands_in_the_page_exist_with_the_options_they_are_given(page: Path) -> None:
    for command in hayhooks_commands(page):
        check_command(command)


@pytest.mark.parametrize("page", LINKED, ids=page_id)
def test_variables_in_the_page_exist(page: Path, generate: ModuleType) -> None:
    known = {name for names in variables(generate) for name in names} | OTHER_VARIABLES
    assert set(re.findall(r"\bHAYHOOKS_[A-Z][A-Z0-9_]*[A-Z0-9]\b(?!_)", page.read_text())) <= known


def test_every_page_is_reachable_from_the_contents() -> None:
    seen: set[Path] = set()
    to_visit = [DOCS / "README.md", DOCS / "decisions" / "README.md"]
    while to_visit:
        page = to_visit.pop()
        if page not in seen:
            seen.add(page)
            to_visit += [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
            to_visit = [found for found in to_visit if found.suffix == ".md" and found.is_relative_to(DOCS)]
    assert set(PAGES) <= seen


# What exists ----------------------------------------------------------------------------------------------------------


def test_generated_pages_are_what_the_program_says(generate: ModuleType) -> None:
    for path, text in generate.pages().items():
        assert path.read_text() == text, f"{path.name} is not current: run python docs/generate.py"


def test_every_setting_is_documented(generate: ModuleType) -> None:
    page = (REFERENCE / "configuration.md").read_text()
    for names in variables(generate):
        assert all(f"`{name}`" in page for name in names), names
    assert all(field.description for field in AppSettings.model_fields.values())


def test_every_command_is_documented(generate: ModuleType) -> None:
    page = (REFERENCE / "cli.md").read_text()
    for path, command in generate.commands(cli, "hayhooks"):
        section = page.partition(f"## {path}\n")[2].partition("\n## ")[0]
        assert section, path
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert all(option in section for option in options), path


def test_every_route_of_a_server_is_documented(tmp_path: Path) -> None:
    wrapper = """
from hayhooks import BasePipelineWrapper

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        pass

    def run_api(self) -> str:
        return ""

    def run_chat_completion(self, model, messages, body):
        return ""
"""
    builder = "haystack.components.builders.prompt_builder.PromptBuilder"
    yaml = f"components: {{p: {{type: {builder}, init_parameters: {{template: hi}}}}}}"
    with running_server(tmp_path / "pipelines") as server:
        server.client.deploy_files("one", {"pipeline_wrapper.py": wrapper.encode()})
        server.client.deploy_legacy("two", yaml)
        paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    routes = {(method.upper(), re.sub("^/(one|two)", "/{name}", path)) for path in paths for method in paths[path]}
    documented = set(
        re.findall(r"^\| (GET|POST|DELETE) \| `(\S+)` \|", (REFERENCE / "api.md").read_text(), re.MULTILINE)
    )
    outside = {"/docs", "/redoc", "/openapi.json", "/a2a", "/a2a/{name}/.well-known/agent-card.json"}
    assert routes == documented - {("GET", path) for path in outside}


def test_every_kind_of_error_is_documented() -> None:
    page = (REFERENCE / "api.md").read_text()
    assert set(re.findall(r"^\| `([a-z_]+)` \| \d{3} \|", page, re.MULTILINE)) == set(get_args(Kind))


def test_every_public_name_is_explained() -> None:
    pages = "".join(page.read_text() for page in DOCS.glob("*.md"))
    names = [name for name in hayhooks.__all__ if not name.startswith("__")]
    missing = [name for name in names if not re.search(rf"`{name}\b|\b{name}\(|import.*\b{name}\b", pages)]
    assert missing == []


def test_every_hook_and_attribute_of_the_wrapper_is_explained() -> None:
    page = (DOCS / "wrapper.md").read_text()
    names = {name for name in {**vars(BasePipelineWrapper), **BasePipelineWrapper.__annotations__} if name[0] != "_"}
    assert [name for name in sorted(names) if f"`{name}" not in page] == []


def test_reserved_names_are_listed() -> None:
    page = (DOCS / "wrapper.md").read_text()
    assert [name for name in sorted(RESERVED) if f"`{name}`" not in page] == []


def test_every_dependency_has_a_recorded_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    decisions = "".join(page.read_text() for page in (DOCS / "decisions").glob("*.md")).lower()
    names = [re.split(r"[ <>=;\[]", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in names if name.lower() not in decisions] == []


def test_a_decision_says_its_context_the_decision_and_its_price() -> None:
    for page in (DOCS / "decisions").glob("*.md"):
        if page.name != "README.md":
            headings = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
            assert headings == ["Context", "Decision", "What becomes harder"], page.name


# Helpers --------------------------------------------------------------------------------------------------------------


def variables(generate: ModuleType) -> list[list[str]]:
    return [generate.variables(name, field) for name, field in AppSettings.model_fields.items()]


def prose(page: Path) -> str:
    return re.sub(r"(?ms)^( *```).*?^\1\s*$", "", page.read_text())


def links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page)))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings of *page*."""
    headings = re.findall(r"(?m)^#+ (.*)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def hayhooks_commands(page: Path) -> Iterator[list[str]]:
    for block in blocks_of_shell(page):
        text = block.code.replace("\\\n", " ")
        for words in re.findall(r"(?m)^\s*(?:[A-Z_]+=\S+ +)*(?:\S*/)?hayhooks ([^|#\n]*)", text):
            yield words.split()


def blocks_of_shell(page: Path) -> Iterable[Block]:
    try:
        found = blocks(page)
    except AssertionError:  # bench/README.md and the like have comments of their own
        return []
    return [block for block in found if block.language == "bash"]


def check_command(words: list[str]) -> None:
    """Names and options only: values may be in quotes that go on for lines."""
    command: click.Command = cli
    known = options(command)
    for word in words:
        if isinstance(command, click.Group) and word in command.commands:
            command = command.commands[word]
            known |= options(command)
        elif word.startswith("-"):
            assert word.partition("=")[0] in known, f"{' '.join(words)}: no option {word}"
        elif isinstance(command, click.Group):
            assert word in command.commands, f"{' '.join(words)}: no command {word}"
    assert not isinstance(command, click.Group) or "--help" in words or "--version" in words


def options(command: click.Command) -> set[str]:
    found = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return found | {"--help"}


def test_the_manual_names_the_clients_that_are_tried_with_their_versions() -> None:
    page = "".join((ROOT / "docs" / name).read_text() for name in ("openai-chat.md", "mcp.md"))
    for named in (ROOT / "tests" / "clients").glob("*.in"):
        [name] = re.findall(r"^[\w-]+", named.read_text())
        [version] = re.findall(rf"(?m)^{name}(?:\[.*\])?==(\S+)", named.with_suffix(".txt").read_text())
        assert f"| {name} {version} |" in page
    packages: dict[str, str] = json.loads((ROOT / "tests" / "clients" / "package.json").read_text())["dependencies"]
    for name in ("ai", "@ai-sdk/openai-compatible", "openai"):
        assert f"{name} {packages[name]}" in page
    for name, version in re.findall(
        r'"([\w-]+)", "([\d.]+)"\)', (ROOT / "e2e" / "conformance" / "tools.py").read_text()
    ):
        assert f"{name} {version}" in page
    for assistant in ASSISTANTS:
        assert f" {assistant.version} |" in page
        assert f"| {assistant.name} | {assistant.version} |" in (ROOT / "e2e" / "assistants" / "README.md").read_text()
