"""The benchmark's own parts, against a small server that behaves well or badly on purpose."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent

Answer = Callable[[dict[str, object]], bytes]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """An HTTP server that answers every POST with the bytes that *answer* makes of its JSON body."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A caller may leave at any time: a load generator does when its time is over.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.strip().split(b"\r\n")[1:])
                body = json.loads(await reader.readexactly(int(fields[b"content-length"])))
                writer.write(answer(body))
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


def plain(body: dict[str, object]) -> bytes:
    payload = json.dumps({"result": body["text"]}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(payload), payload)


def chat(tokens: int, *, done: bool = True) -> Answer:
    events = [b'data: {"choices": [{"delta": {"content": "lorem"}}]}\n\n'] * tokens
    if done:
        events.append(b"data: [DONE]\n\n")
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return lambda _: head + chunked


async def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m bench`` as a user does, while this loop goes on serving it."""
    command = [sys.executable, "-m", "bench", *arguments]
    running: Awaitable[subprocess.CompletedProcess[str]] = asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return await running


async def measure(url: str, scenario: str, only: str) -> subprocess.CompletedProcess[str]:
    where = ("--url", url, "--scenario", scenario, "--only", only)
    return await bench("run", *where, "--rounds", "1", "--seconds", "1")


async def test_a_server_at_any_address_can_be_measured() -> None:
    async with serving(plain) as url:
        done = await measure(url, "run", "noop_async c=16")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| noop_async c=16 | requests/s |" in done.stdout


async def test_wrong_answers_fail_a_measurement_instead_of_being_counted() -> None:
    async with serving(lambda body: plain({**body, "text": "wrong"})) as url:
        done = await measure(url, "run", "noop_async c=64")
    assert done.returncode == 1
    assert "answered {'result': 'wrong'}" in done.stdout


async def test_streams_are_counted_by_their_chunks() -> None:
    async with serving(chat(500)) as url:
        done = await measure(url, "chat", "chat_stream_sync c=100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| chat_stream_sync c=100 | chunks/s |" in done.stdout


async def test_a_stream_that_lacks_a_chunk_fails_a_measurement() -> None:
    async with serving(chat(499)) as url:
        done = await measure(url, "chat", "chat_stream_sync c=100")
    assert done.returncode == 1
    assert "a stream of 500 tokens had 499 tokens" in done.stdout


async def test_a_stream_without_an_end_marker_fails_a_measurement() -> None:
    async with serving(chat(500, done=False)) as url:
        done = await measure(url, "chat", "chat_stream_sync c=100")
    assert done.returncode == 1
    assert "did not end with [DONE]" in done.stdout


async def test_results_are_kept_and_can_be_shown_again(tmp_path: Path) -> None:
    kept = tmp_path / "results" / "out.json"
    async with serving(plain) as url:
        where = ("--url", url, "--scenario", "run", "--only", "noop_sync c=64")
        await bench("run", *where, "--rounds", "2", "--seconds", "1", "--json", str(kept))
    again = await bench("report", str(kept))
    samples = json.loads(kept.read_text(encoding="utf-8"))["samples"]
    assert [sample["round"] for sample in samples if sample["case"] == "noop_sync c=64"] == [0, 1]
    assert "| noop_sync c=64 | requests/s |" in again.stdout


async def test_every_scenario_and_peer_is_listed() -> None:
    done = await bench("list")
    for name in ("run:", "many:", "chat:", "paced:", "sleep:", "startup:", "deploy:", "upload:", "cli:", "floor:"):
        assert name in done.stdout
