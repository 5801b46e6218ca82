"""What conformance tools of others say of the server. Part of ``pytest -m clients``; by hand: e2e/conformance."""

from collections.abc import Iterator

import pytest
from e2e.conformance.fuzz import fuzz
from e2e.conformance.servers import TYPED, serving
from e2e.conformance.tools import WIRES, Tool

from hayhooks.testing import RunningServer
from tests.support.clients import NoNpm

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]  # tools are installed first, and take their time

NOT_OURS = (
    "catalog.declared-v2",  # a price list for a market place
    "compact-response",  # a warning: responses are not compacted here
)
WIRES_AND_TOOLS = [(wire, tool) for wire, tools in WIRES.items() for tool in tools]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with serving() as server:
        yield server


def check(tool: Tool, server: RunningServer) -> None:
    try:
        verdict = tool.run(f"{server.url}/v1")
    except NoNpm as missing:
        pytest.skip(str(missing))
    complaints = [found for found in verdict.complaints if not any(name in found for name in NOT_OURS)]
    assert complaints == []
    assert verdict.counts["pass"] >= 5


@pytest.mark.parametrize(("wire", "tool"), WIRES_AND_TOOLS, ids=lambda part: str(getattr(part, "name", part)))
def test_conformance_tools_find_nothing_wrong(wire: str, tool: Tool, server: RunningServer) -> None:
    check(tool, server)


def test_a_fuzzer_finds_the_server_to_be_as_its_openapi_document_says() -> None:
    with serving(TYPED) as server:
        verdict = fuzz(server.url, max_examples=5)
    assert verdict.complaints == []
    assert verdict.counts["pass"] > 500
    assert verdict.counts["skip"] == 0
