"""What is done to the server. Each scenario plays its rounds on one directory, with the timing of *chance*."""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from e2e.chaos.calls import NAME, Connection, Tally, calling, seen
from e2e.chaos.house import House

_CALLS_PER_CHANGE = 1000  # calls after each change of `everywhere`
_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


class Skipped(Exception):
    """The scenario cannot be played here; the message says why."""


Scenario = Callable[[int, random.Random], Coroutine[Any, Any, str]]


async def worker_kill(rounds: int, chance: random.Random) -> str:
    """Kill (-9) a worker under load and while versions are deployed."""
    async with _house(chance, workers=3) as house:
        await house.start()
        _require(await house.deploy())
        unanswered = 0
        async with calling(house.port, house.truth, chance) as tally:
            for _ in _played(rounds):
                deploying = asyncio.ensure_future(house.deploy())
                await asyncio.sleep(chance.uniform(0.0, 0.4))
                chance.choice(house.processes).kill()
                answer = await deploying
                unanswered += answer is None
                assert answer is None or answer.status_code == 200, answer.text
                await house.agreed()
                await house.all_ready()
        _require_right(tally)
        return f"{_told(tally)}; {unanswered} deploys whose worker was killed"


async def server_kill(rounds: int, chance: random.Random) -> str:
    """Kill (-9) all processes of the server while it deploys and undeploys; one process and two by turns."""
    async with _house(chance, workers=2) as house:
        await house.start()
        _require(await house.deploy())
        kept = await house.post("/deploy_files", {"name": "kept", "files": {"pipeline_wrapper.py": _KEPT}})
        _require(kept)
        found = []
        for round_ in _played(rounds):
            async with calling(house.port, house.truth, chance, clients=3) as tally:
                changing = asyncio.ensure_future(_change(house))
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                house.kill()
                await changing
            assert not tally.wrong, tally.wrong[:3]
            await house.start(workers=1 + round_ % 2)
            found.append(await house.agreed())
            status, body = await Connection(house.port).run("kept", keeps=False)
            assert (status, body) == (200, b'{"result":"kept"}'), (status, body)
            failed = (await house.get("/status")).json()["failed"]
            assert failed == {}, failed
        return f"{sum(version is None for version in found)} of {rounds} restarts found it undeployed"


async def rollback_kill(rounds: int, chance: random.Random) -> str:
    """Kill (-9) all processes while `POST /rollback/{name}` goes back to the version before."""
    async with _house(chance, workers=2) as house:
        await house.start()
        _require(await house.deploy())
        await _require_route(house, f"/rollback/{NAME}")
        answered = back = 0
        for round_ in _played(rounds):
            before = await house.agreed()
            async with calling(house.port, house.truth, chance, clients=3) as tally:
                _require(await house.deploy())
                rolling = asyncio.ensure_future(house.rollback(before))
                await asyncio.sleep(chance.uniform(0.0, 0.4))
                house.kill()
                answer = await rolling
            assert not tally.wrong, tally.wrong[:3]
            if answer is not None:
                _require(answer)
                answered += 1
            await house.start(workers=1 + round_ % 2)
            back += await house.agreed() == before
        return f"{answered} of {rounds} rollbacks were answered, {back} restarts served the version from before"


async def keys_kill(rounds: int, chance: random.Random) -> str:
    """Kill (-9) all processes while keys are made and revoked: after a restart those work that were handed out.

    Of these, the ones whose revocation was confirmed do not.
    """
    async with _house(chance, workers=2) as house:
        await house.start()
        await _require_route(house, "/keys")
        works: dict[str, str] = {}  # what a holder sends, by the key's id
        revoked: set[str] = set()
        for round_ in _played(rounds):
            bodies = [{"name": f"key-{round_}-{number}", "scopes": ["run", "read"]} for number in range(5)]
            making = [asyncio.ensure_future(house.post("/keys", body)) for body in bodies]
            asked = chance.sample(sorted(works.keys() - revoked), min(2, len(works.keys() - revoked)))
            revoking = {key_id: asyncio.ensure_future(house.delete(f"/keys/{key_id}")) for key_id in asked}
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            house.kill()
            for made in await asyncio.gather(*making):
                if made is not None:
                    _require(made)
                    works[made.json()["id"]] = made.json()["key"]
            unsure = set(asked)
            for key_id, answer in revoking.items():
                if (told := await answer) is not None:
                    _require(told)
                    revoked.add(key_id)
                    unsure.remove(key_id)
            await house.start(workers=1 + round_ % 2)
            for key_id, key in works.items():
                status = (await house.get("/status", key)).status_code
                if key_id in unsure and status == 401:
                    revoked.add(key_id)
                assert status == (401 if key_id in revoked else 200), f"{status} with {key_id}, {revoked=}"
        return f"{len(works)} keys were handed out and {len(revoked)} revoked; none is lost or back"


async def disk_full(rounds: int, chance: random.Random) -> str:
    """The disk of the state and pipelines directories is full during deploys; then it has room, or a restart comes."""
    with tempfile.TemporaryDirectory() as base:
        mounted = subprocess.run(  # noqa: ASYNC221 - before anything runs
            ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", base], capture_output=True, text=True, check=False
        )
        if mounted.returncode:
            raise Skipped(f"a tmpfs cannot be mounted: {mounted.stderr.strip()}")
        try:
            return await _disk_full(House(Path(base), chance, 2, ballast=100_000), rounds, chance)
        finally:
            subprocess.run(["umount", "--lazy", base], check=True)  # noqa: ASYNC221 - after all


async def _disk_full(house: House, rounds: int, chance: random.Random) -> str:
    refused = 0
    try:
        await house.start()
        _require(await house.deploy())
        for round_ in _played(rounds):
            filler = house.root / "filler"
            async with calling(house.port, house.truth, chance, clients=3) as tally:
                _fill(filler, leave=chance.randrange(0, 400_000))
                answer = await (house.undeploy() if chance.random() < 0.2 else house.deploy())
                assert answer is not None, "no answer while the disk was full"
                if answer.status_code != 200:
                    refused += 1
                    assert answer.status_code in (404, 500), answer.text
                    assert answer.status_code == 404 or "cannot be" in answer.json()["detail"], answer.text
                await house.agreed()
                if chance.random() < 0.3:
                    await seen(house.port, house.truth, 20)
                filler.unlink()
            assert not tally.wrong, tally.wrong[:3]
            if round_ % 5 == 4:
                house.kill()
                await house.start()
            await house.agreed()
            _require(await house.deploy())  # with room again
            await house.agreed()
    finally:
        house.kill()
    return f"{refused} of {rounds} changes were refused for want of room, with the old version live"


async def clock(rounds: int, chance: random.Random) -> str:
    """The wall clock jumps by up to ten years, back and forth, before and during deploys, under load."""
    if not await asyncio.to_thread(_FAKETIME.exists):
        raise Skipped(f"{_FAKETIME} is not there: apt-get install faketime")
    async with _house(chance, workers=2) as house:
        offset = house.root / "offset"
        offset.write_text("+0")
        house.env = {
            "LD_PRELOAD": str(_FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
        await house.start()
        _require(await house.deploy())
        for round_ in _played(rounds):
            async with calling(house.port, house.truth, chance, clients=3) as tally:
                changing = asyncio.ensure_future(house.deploy())
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                days = chance.randrange(-3650, 3650)
                offset.write_text(f"{days:+d}d")
                _require(await changing)
                _require(await house.deploy())
                await house.agreed()
            _require_right(tally)
            assert tally.counts["broken"] == 0, tally.broken[0]
            if round_ % 10 == 9:
                assert await house.stop() == 0
                await house.start()
                await house.agreed()
        return f"{rounds} jumps"


async def sigterm(rounds: int, chance: random.Random) -> str:
    """SIGTERM under load: of the calls that were accepted none fails; one process and two by turns."""
    failed: list[str] = []
    answered = 0
    async with _house(chance, workers=2) as house:
        for round_ in _played(rounds):
            await house.start(workers=1 + round_ % 2)
            if house.truth.now() == {None}:
                _require(await house.deploy())
            async with calling(house.port, house.truth, chance, clients=8) as tally:
                await asyncio.sleep(chance.uniform(0.1, 0.5))
                code = await house.stop()
                assert code == 0, f"exit code {code}"
            answered += tally.counts["200"]
            failed += [str(broken) for broken in tally.broken if broken.was_accepted] + tally.wrong
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(failed).most_common(4))
    assert not failed, f"{len(failed)} accepted calls failed ({kinds}), {answered} were answered"
    return f"{answered} calls, none of the accepted failed"


async def everywhere(rounds: int, chance: random.Random) -> str:
    """Four workers, a change per round under load: after each, 1,000 calls over 50 connections all see it."""
    async with _house(chance, workers=4) as house:
        await house.start()
        async with calling(house.port, house.truth, chance, clients=4) as tally:
            for _ in _played(rounds):
                changed = (
                    house.undeploy() if None not in house.truth.now() and chance.random() < 0.2 else house.deploy()
                )
                _require(await changed)
                found = await seen(house.port, house.truth, _CALLS_PER_CHANGE)
                assert found == house.truth.now(), f"{found} seen, {house.truth.now()} is live"
        _require_right(tally)
        assert tally.counts["broken"] == 0, tally.broken[0]
        return f"{rounds} changes, {rounds * _CALLS_PER_CHANGE} calls after them; meanwhile {_told(tally)}"


SCENARIOS: dict[str, Scenario] = {
    "worker-kill": worker_kill,
    "server-kill": server_kill,
    "rollback-kill": rollback_kill,
    "keys-kill": keys_kill,
    "disk-full": disk_full,
    "clock": clock,
    "sigterm": sigterm,
    "everywhere": everywhere,
}

_KEPT = """\
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        pass

    def run_api(self) -> str:
        return "kept"
"""


@asynccontextmanager
async def _house(chance: random.Random, workers: int) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory() as base:
        house = House(Path(base), chance, workers)
        try:
            yield house
        finally:
            if house.is_running:
                house.kill()


def _played(rounds: int) -> Iterator[int]:
    """The numbers of the rounds, shown as they begin where somebody watches."""
    for number in range(rounds):
        if sys.stderr.isatty() or sys.flags.dev_mode:
            sys.stderr.write(f"\r{number} of {rounds} rounds ")
            sys.stderr.flush()
        yield number


async def _change(house: House) -> None:
    """Deploy or undeploy until the server breaks."""
    while True:
        answer = await (house.undeploy() if house.chance.random() < 0.3 else house.deploy())
        if answer is None:
            return


async def _require_route(house: House, path: str) -> None:
    answer = await house.post(path, {})
    assert answer is not None
    if answer.status_code == 404:
        raise Skipped(f"this server has no POST {path}")


def _require(answer: object) -> None:
    assert answer is not None, "no answer"
    assert getattr(answer, "status_code", None) == 200, getattr(answer, "text", answer)


def _require_right(tally: Tally) -> None:
    assert not tally.wrong, f"{len(tally.wrong)} wrong answers, the first: {tally.wrong[0]}"


def _told(tally: Tally) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(tally.counts.items()))


def _fill(path: Path, leave: int) -> None:
    """Take all room of the disk but *leave* bytes."""
    stat = os.statvfs(path.parent)
    with path.open("wb") as filler:
        filler.truncate(0)
        os.posix_fallocate(filler.fileno(), 0, max(1, stat.f_bavail * stat.f_frsize - leave))
