"""Heads that the parser takes and the server does not."""

import pytest

from hayhooks.server.heads import MAX_HEADERS, MAX_TARGET_BYTES, objection

HOST = (b"host", b"localhost")
CHUNKED = (b"transfer-encoding", b"Chunked ")


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ([HOST], "1.1"),
        ([(b"host", b"")], "1.1"),
        ([], "1.0"),
        ([HOST], "1.0"),
        ([HOST, CHUNKED], "1.1"),
        ([HOST, *[(b"x", b"")] * (MAX_HEADERS - 1)], "1.1"),
    ],
)
@pytest.mark.parametrize("read_bytes", [100, 1_000_000])
def test_what_is_clear_is_taken(headers: list[tuple[bytes, bytes]], version: str, read_bytes: int) -> None:
    assert objection(b"/echo/run", headers, version, read_bytes, 64_000) is None


@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ([], "1.1", 400),
        ([HOST, HOST], "1.1", 400),
        ([HOST, HOST], "1.0", 400),
        ([HOST, CHUNKED], "1.0", 400),
        ([HOST, CHUNKED, CHUNKED], "1.1", 400),
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], "1.1", 400),
        ([HOST, *[(b"x", b"")] * MAX_HEADERS], "1.1", 431),
    ],
)
@pytest.mark.parametrize("read_bytes", [100, 1_000_000])
def test_what_is_in_doubt_is_refused_however_long_its_body(
    headers: list[tuple[bytes, bytes]], version: str, status: int, read_bytes: int
) -> None:
    found = objection(b"/echo/run", headers, version, read_bytes, 64_000)
    assert found is not None
    assert found.status == status


def test_heads_and_targets_are_bounded() -> None:
    long = objection(b"/echo/run", [HOST, (b"x", b"y" * 64_000)], "1.1", 64_100, 64_000)
    assert long is not None
    assert long.status == 431
    far = objection(b"/" * (MAX_TARGET_BYTES + 1), [HOST], "1.1", 100, 64_000)
    assert far is not None
    assert far.status == 414
