"""What a name means, who still uses an older version, and who may run: pure rules, without a server."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hayhooks.core.deployment import Call, Deployment, Entry, Limits, Stream
from hayhooks.core.errors import (
    DeploymentBusy,
    DeploymentNotFound,
    EntryNotFound,
    RunFailed,
    RunTimeout,
    ServerStopping,
)
from hayhooks.core.events import Result
from hayhooks.core.load import Load
from hayhooks.core.registry import Live, Registry
from hayhooks.core.run import Grounds, Run


@dataclass
class HandInvocation:
    """A call that ends when the test says so, and whose user code may outlive its caller."""

    answer: "asyncio.Future[Result]"
    is_finished: bool = False
    is_cancelled: bool = False
    callbacks: list[Any] = field(default_factory=list)
    tell: Any = None

    def begin(self, tell: Any, _ahead: Any) -> bool:
        self.tell = tell
        return True

    async def reply(self) -> Result | Stream:
        return await self.answer

    def cancel(self) -> None:
        self.is_cancelled = True

    def on_finished(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def finish(self) -> None:
        self.is_finished = True
        for callback in self.callbacks:
            callback()


class HandWorker:
    """A worker whose calls the test ends."""

    def __init__(self) -> None:
        self.invocations: list[HandInvocation] = []

    def invoke(self, entry: str, call: Call, context: Any) -> HandInvocation:
        self.invocations.append(HandInvocation(asyncio.get_running_loop().create_future()))
        return self.invocations[-1]

    def graph(self) -> None:
        return None

    def close(self) -> None:
        return


def deployment(name: str = "greet", limits: Limits | None = None) -> Deployment:
    return Deployment(name, "0" * 64, {"run_api": Entry("run_api")}, HandWorker(), limits or Limits())


def worker_of(deployment: Deployment) -> HandWorker:
    assert isinstance(deployment.worker, HandWorker)
    return deployment.worker


def run_of(registry: Registry, entry: str = "run_api") -> Run:
    grounds = Grounds(registry, lambda name, _caller, session: registry.choose(name, session), Load())
    return Run(grounds, "greet", entry, Call(), "test")


async def turns() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_listing_does_not_change_under_its_reader() -> None:
    registry = Registry()
    registry.publish(deployment("one"))
    listing, table, revision = registry.deployments, registry.live, registry.revision
    registry.publish(deployment("two"))
    registry.withdraw("one")
    assert list(listing) == list(table) == ["one"]
    assert list(registry.deployments) == ["two"]
    assert registry.revision == revision + 2


def test_publishing_gives_back_what_it_replaces() -> None:
    registry = Registry()
    first, second = deployment(), deployment()
    assert registry.publish(first) is None
    old = registry.publish(second)
    assert old is not None
    assert old.deployment is first
    assert registry.get("greet") is second


def test_what_is_not_live_is_not_found() -> None:
    registry = Registry()
    with pytest.raises(DeploymentNotFound, match="greet"):
        registry.get("greet")
    with pytest.raises(DeploymentNotFound, match="greet"):
        registry.lease("greet")
    revision = registry.revision
    assert registry.withdraw("greet") is None
    assert registry.revision == revision


def test_a_retired_version_is_idle_at_once_or_when_its_last_lease_ends() -> None:
    registry = Registry()
    idle: list[Live] = []
    registry.publish(deployment())
    leases = [registry.lease("greet") for _ in range(3)]
    old = registry.publish(deployment())
    assert old is not None
    old.retire(idle.append)
    for lease in leases[:2]:
        lease.release()
    assert idle == []
    leases[2].release()
    assert idle == [old]
    unused = registry.withdraw("greet")
    assert unused is not None
    unused.retire(idle.append)
    assert idle == [old, unused]


async def test_changes_to_one_name_wait_for_each_other_and_to_different_names_do_not() -> None:
    registry = Registry()
    order: list[str] = []
    go_on = asyncio.Event()

    async def change(name: str, label: str) -> None:
        async with registry.changing(name):
            order.append(label)
            await go_on.wait()
            order.append(label)

    async with asyncio.TaskGroup() as group:
        group.create_task(change("a", "a1"))
        group.create_task(change("a", "a2"))
        group.create_task(change("b", "b1"))
        await turns()
        assert order == ["a1", "b1"]
        go_on.set()
    assert order.index("a2") > order.index("a1", 1)
    assert len(registry._changes) == 0, "locks of names that nobody changes are kept"


async def test_a_change_given_up_while_waiting_leaves_no_lock() -> None:
    registry = Registry()

    async def change() -> None:
        async with registry.changing("a"):
            await asyncio.Event().wait()

    tasks = [asyncio.ensure_future(change()) for _ in range(3)]
    await turns()
    for task in (tasks[1], tasks[0], tasks[2]):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(registry._changes) == 0


async def test_slots_go_round_first_come_first_served() -> None:
    live = Live(deployment(limits=Limits(max_concurrent_runs=2)))
    order: list[int] = []

    async def come(number: int) -> None:
        await live.acquire_slot()
        order.append(number)

    tasks = [asyncio.ensure_future(come(number)) for number in range(6)]
    await turns()
    assert (order, live.running, live.queued) == ([0, 1], 2, 4)
    for _ in range(4):
        live.release_slot()
        await turns()
    assert order == [0, 1, 2, 3, 4, 5]
    await asyncio.gather(*tasks)
    live.release_slot()
    live.release_slot()
    assert (live.running, live.queued) == (0, 0)


async def test_a_full_queue_refuses_with_what_is_going_on() -> None:
    live = Live(deployment(limits=Limits(max_concurrent_runs=1, max_queued_runs=1)))
    await live.acquire_slot()
    waiting = asyncio.ensure_future(live.acquire_slot())
    await turns()
    with pytest.raises(DeploymentBusy, match="1 running, 1 waiting") as busy:
        await live.acquire_slot()
    assert busy.value.retry_after_s >= 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert live.queued == 0


async def test_one_who_leaves_the_queue_while_a_slot_is_freed_does_not_take_it_along() -> None:
    live = Live(deployment(limits=Limits(max_concurrent_runs=1)))
    await live.acquire_slot()
    leaving, next_one = asyncio.ensure_future(live.acquire_slot()), asyncio.ensure_future(live.acquire_slot())
    await turns()
    leaving.cancel()
    live.release_slot()  # before the one who leaves has noticed
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await next_one
    assert (live.running, live.queued) == (1, 0)


async def test_one_who_leaves_just_after_getting_a_slot_gives_it_back() -> None:
    live = Live(deployment(limits=Limits(max_concurrent_runs=1)))
    await live.acquire_slot()
    leaving = asyncio.ensure_future(live.acquire_slot())
    await turns()
    live.release_slot()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (live.running, live.queued) == (0, 0)


@settings(deadline=None, max_examples=200)
@given(
    limit=st.integers(1, 3),
    room=st.one_of(st.none(), st.integers(0, 3)),
    # What happens next, and to whom; several happen before anyone may notice.
    moves=st.lists(st.tuples(st.sampled_from(["come", "end", "leave", "turn"]), st.integers(0, 5)), max_size=40),
)
def test_whatever_happens_no_slot_is_lost_and_no_limit_broken(
    limit: int, room: int | None, moves: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        live = Live(deployment(limits=Limits(max_concurrent_runs=limit, max_queued_runs=room)))
        asked: list[asyncio.Task[None]] = []
        holding: list[asyncio.Task[None]] = []
        served: list[int] = []

        async def come(number: int) -> None:
            await live.acquire_slot()
            served.append(number)

        def settle() -> None:
            for task in [task for task in asked if task.done()]:
                asked.remove(task)
                if not task.cancelled() and task.exception() is None:
                    holding.append(task)

        for number, (move, which) in enumerate(moves):
            if move == "come":
                asked.append(asyncio.ensure_future(come(number)))
                await asyncio.sleep(0)  # it asks before anything else happens
            elif move == "leave" and asked:
                asked[which % len(asked)].cancel()
            elif move == "end" and holding:
                holding.pop(which % len(holding))
                live.release_slot()
            else:
                await turns()
            settle()
            assert 0 <= live.running <= limit
            assert room is None or live.queued <= room
        await turns()
        settle()
        assert live.running == len(holding)
        assert live.queued == len(asked)
        assert live.queued == 0 or live.running == limit, "someone waits beside a free slot"
        assert served == sorted(served), "someone was served out of turn"
        while holding:
            holding.pop()
            live.release_slot()
            await turns()
            settle()
        assert (live.running, live.queued, asked) == (0, 0, [])

    asyncio.run(play())


async def test_a_run_gives_lease_and_slot_back_when_it_ends() -> None:
    registry = Registry()
    registry.publish(deployment(limits=Limits(max_concurrent_runs=1)))
    live = registry.live["greet"]
    async with run_of(registry) as run:
        assert (live.leases, live.running) == (1, 1)
        reply = asyncio.ensure_future(run.reply())
        await turns()
        invocation = worker_of(live.deployment).invocations[0]
        invocation.finish()
        invocation.answer.set_result(Result(b"1"))
        assert await reply == Result(b"1")
    assert (live.leases, live.running, invocation.is_cancelled) == (0, 0, False)


def nobody() -> None:
    return None


def begun(registry: Registry, stop: Any = None) -> Run | None:
    grounds = Grounds(registry, lambda name, _caller, session: registry.choose(name, session), Load())
    run = Run(grounds, "greet", "run_api", Call(), "test", registry.live["greet"])
    return run if run.begin(stop or list) else None


async def test_a_run_without_a_task_takes_and_gives_back_the_same() -> None:
    registry = Registry()
    registry.publish(deployment(limits=Limits(max_concurrent_runs=1)))
    live = registry.live["greet"]
    run = begun(registry)
    assert run is not None
    assert (live.leases, live.running) == (1, 1)
    assert begun(registry) is None  # it would have to wait
    heard: list[Any] = []
    assert run.call(heard.append, nobody)
    invocation = worker_of(live.deployment).invocations[0]
    invocation.finish()
    invocation.tell(Result(b"1"), None)
    assert heard == [Result(b"1")]
    assert run.leave() is None
    assert (live.leases, live.running, invocation.is_cancelled) == (0, 0, False)


async def test_a_run_without_a_task_that_is_left_early_keeps_lease_and_slot_until_its_code_has_ended() -> None:
    registry = Registry()
    registry.publish(deployment())
    live = registry.live["greet"]
    run = begun(registry)
    assert run is not None
    run.call(lambda _: None, nobody)
    assert isinstance(run.leave(asyncio.CancelledError()), asyncio.CancelledError)
    invocation = worker_of(live.deployment).invocations[0]
    assert invocation.is_cancelled
    assert (live.leases, live.running) == (1, 1)
    invocation.finish()
    assert (live.leases, live.running) == (0, 0)


@pytest.mark.parametrize("error", [SystemExit(3), ValueError("x"), asyncio.CancelledError()])
async def test_what_is_more_than_a_result_is_the_reply_of_the_run_once_it_is_entered(error: BaseException) -> None:
    registry = Registry()
    registry.publish(deployment())
    live = registry.live["greet"]
    run = begun(registry)
    assert run is not None
    heard: list[Any] = []
    run.call(heard.append, nobody)
    invocation = worker_of(live.deployment).invocations[0]
    invocation.finish()
    invocation.tell(None, error)
    assert heard == [None]
    with pytest.raises(RunFailed) as failed:
        async with run:
            await run.reply()
    assert failed.value.__cause__ is error
    assert (live.leases, live.running) == (0, 0)


async def test_runs_that_could_have_to_wait_do_not_begin_without_a_task() -> None:
    registry = Registry()
    registry.publish(deployment(limits=Limits(run_timeout_s=60)))
    assert begun(registry) is None
    live = registry.live["greet"]
    assert (live.leases, live.running) == (0, 0)


async def test_a_door_that_is_cleared_stops_runs_without_a_task() -> None:
    registry = Registry()
    registry.publish(deployment())
    stopped: list[bool] = []
    run = begun(registry, lambda: stopped.append(True))
    assert run is not None
    registry.door.clear()
    assert stopped == [True]
    assert isinstance(run.leave(asyncio.CancelledError()), ServerStopping)
    registry.door.clear()
    assert stopped == [True]


async def test_a_run_that_is_left_keeps_lease_and_slot_until_its_code_has_ended() -> None:
    registry = Registry()
    registry.publish(deployment(limits=Limits(max_concurrent_runs=1)))
    live = registry.live["greet"]
    idle: list[Live] = []

    async def call() -> None:
        async with run_of(registry) as run:
            await run.reply()

    caller = asyncio.ensure_future(call())
    await turns()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    invocation = worker_of(live.deployment).invocations[0]
    assert invocation.is_cancelled
    assert (live.leases, live.running) == (1, 1)
    registry.withdraw("greet")
    live.retire(idle.append)
    assert idle == []
    invocation.finish()
    assert (live.leases, live.running, idle) == (0, 0, [live])


async def test_a_run_of_an_unknown_entry_or_name_holds_nothing() -> None:
    registry = Registry()
    with pytest.raises(DeploymentNotFound):
        await run_of(registry).__aenter__()
    registry.publish(deployment())
    with pytest.raises(EntryNotFound):
        await run_of(registry, "run_chat_completion").__aenter__()
    assert (registry.live["greet"].leases, registry.live["greet"].running) == (0, 0)


async def test_waiting_for_a_slot_counts_towards_the_timeout_and_leaves_the_queue() -> None:
    registry = Registry()
    registry.publish(deployment(limits=Limits(max_concurrent_runs=1, run_timeout_s=0.01)))
    live = registry.live["greet"]
    await live.acquire_slot()
    with pytest.raises(RunTimeout, match=r"longer than 0\.01 s"):
        await run_of(registry).__aenter__()
    assert (live.leases, live.queued, live.running) == (0, 0, 1)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("x"), asyncio.CancelledError()])
async def test_whatever_a_hook_raises_is_a_failed_run(error: BaseException) -> None:
    registry = Registry()
    registry.publish(deployment())
    live = registry.live["greet"]

    class Raising(HandInvocation):
        async def reply(self) -> Result | Stream:
            self.is_finished = True
            raise error

    worker_of(live.deployment).invoke = lambda *_: Raising(asyncio.get_running_loop().create_future())  # type: ignore[method-assign]
    with pytest.raises(RunFailed) as failed:
        async with run_of(registry) as run:
            await run.reply()
    assert failed.value.__cause__ is error
    assert (live.leases, live.running) == (0, 0)
