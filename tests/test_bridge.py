"""Threads, the door through which they speak to the loop, and the bridges that carry streams across."""

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from queue import SimpleQueue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hayhooks.core.aio import in_thread
from hayhooks.core.context import RunContext, current_context
from hayhooks.core.errors import RunCancelled
from hayhooks.engines.bridge import TASK_HIGH_WATER, THREAD_HIGH_WATER, TaskBridge, ThreadBridge
from hayhooks.engines.inline.invocation import LoopInvocation, ThreadInvocation
from hayhooks.engines.mailbox import Mailbox
from hayhooks.engines.threads import Threads

WAIT_S = 30
LARGE = "x" * 100_000


class Pool:
    """Threads of the running loop, and jobs for them."""

    def __init__(self, keep_idle_s: float = 30.0) -> None:
        self.mailbox = Mailbox(asyncio.get_running_loop())
        self.threads = Threads(self.mailbox, keep_idle_s)

    def run(self, work: Callable[[], None]) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def ended(_: object) -> None:
            self.threads.done()
            if not future.done():
                future.set_result(None)

        def job() -> None:
            try:
                work()
            finally:
                self.mailbox.post(ended)

        self.threads.submit(job)
        return future


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what other threads do sets no event of ours
            await asyncio.sleep(0.001)


def run_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "hayhooks-run"}


def context() -> RunContext:
    return RunContext("run", "greet", "0", "run_api", "test")


# Mailbox


async def test_messages_of_one_thread_arrive_in_order_and_none_is_lost() -> None:
    mailbox = Mailbox(asyncio.get_running_loop())
    heard: list[tuple[int, int]] = []
    per_thread, threads = 2000, 4

    def send(sender: int) -> None:
        for number in range(per_thread):
            mailbox.post(heard.append, (sender, number))

    await asyncio.gather(*(in_thread(send, sender) for sender in range(threads)))
    await until(lambda: len(heard) == per_thread * threads)
    for sender in range(threads):
        assert [number for who, number in heard if who == sender] == list(range(per_thread))


async def test_a_message_that_fails_is_reported_and_those_behind_it_are_heard() -> None:
    loop = asyncio.get_running_loop()
    mailbox = Mailbox(loop)
    reported: list[object] = []
    heard: list[int] = []
    loop.set_exception_handler(lambda _, details: reported.append(details["exception"]))

    def fail(_: object) -> None:
        raise ValueError("no")

    mailbox.post(heard.append, 1)
    mailbox.post(fail)
    mailbox.post(heard.append, 2)
    await until(lambda: heard == [1, 2])
    assert [str(error) for error in reported] == ["no"]


async def test_who_catches_up_is_not_told_of_the_failures_of_others() -> None:
    loop = asyncio.get_running_loop()
    reported: list[BaseException] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    mailbox = Mailbox(loop)
    heard: list[int] = []
    mailbox.catch_up()
    mailbox.put(lambda _: void(1 / 0))
    mailbox.put(heard.append, 1)
    mailbox.catch_up()
    assert [type(error) for error in reported] == [ZeroDivisionError]
    await until(lambda: heard == [1])
    mailbox.put(heard.append, 2)
    mailbox.catch_up()
    assert heard == [1, 2]


def test_messages_after_the_end_of_the_loop_are_dropped() -> None:
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    loop.close()
    heard: list[int] = []
    mailbox.post(heard.append, 1)
    assert heard == []


# Threads


async def test_jobs_that_block_all_run_at_once() -> None:
    pool = Pool()
    barrier = threading.Barrier(100)
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(pool.run(lambda: void(barrier.wait(WAIT_S))) for _ in range(100)))
    pool.threads.close()


async def test_short_jobs_share_a_few_threads() -> None:
    pool = Pool()
    before = run_threads()
    seen: set[int] = set()
    for _ in range(20):
        await asyncio.gather(*(pool.run(lambda: seen.add(threading.get_ident())) for _ in range(200)))
    assert len(run_threads() - before) < 100
    pool.threads.close()


async def test_the_thread_that_has_slept_least_is_woken() -> None:
    pool = Pool()
    barrier = threading.Barrier(100)
    await asyncio.gather(*(pool.run(lambda: void(barrier.wait(WAIT_S))) for _ in range(100)))
    seen: set[int] = set()
    for _ in range(100):
        await pool.run(lambda: seen.add(threading.get_ident()))
    pool.threads.close()
    assert len(seen) < 50  # one or two


def computing(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_jobs_that_compute_share_a_few_threads_however_many_wait() -> None:
    pool = Pool()
    seen: set[int] = set()

    def work() -> None:
        seen.add(threading.get_ident())
        computing(0.005)

    await asyncio.gather(*(pool.run(work) for _ in range(200)))
    pool.threads.close()
    assert len(seen) < 100  # two, on a processor of their own


async def test_jobs_that_compute_do_not_keep_the_threads_of_others_that_blocked() -> None:
    before = run_threads()
    pool = Pool()
    barrier = threading.Barrier(100)
    await asyncio.gather(*(pool.run(lambda: void(barrier.wait(WAIT_S))) for _ in range(100)))
    is_over = False

    async def call_again() -> None:
        while not is_over:
            await pool.run(partial(computing, 0.005))

    callers = [asyncio.create_task(call_again()) for _ in range(20)]  # far less than threads: none waits
    await until(lambda: len(run_threads() - before) < 50)
    is_over = True
    await asyncio.gather(*callers)
    pool.threads.close()


async def test_jobs_that_block_all_run_at_once_also_beside_others_that_compute() -> None:
    pool = Pool()
    everybody = threading.Barrier(51)
    is_over = threading.Event()

    def compute() -> None:
        while not is_over.is_set():
            computing(0.005)

    busy = [pool.run(compute) for _ in range(2)]
    blocked = [pool.run(lambda: void(everybody.wait(WAIT_S))) for _ in range(50)]
    await asyncio.to_thread(everybody.wait, WAIT_S)
    is_over.set()
    await asyncio.gather(*busy, *blocked)
    pool.threads.close()


async def test_idle_threads_end_and_new_jobs_are_still_done() -> None:
    before = run_threads()
    pool = Pool(keep_idle_s=0.02)
    barrier = threading.Barrier(30)
    await asyncio.gather(*(pool.run(lambda: void(barrier.wait(WAIT_S))) for _ in range(30)))
    assert len(run_threads() - before) >= 30
    await until(lambda: len(run_threads() - before) <= 1)
    again = threading.Barrier(10)
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(pool.run(lambda: void(again.wait(WAIT_S))) for _ in range(10)))
    pool.threads.close()
    await until(lambda: run_threads() <= before)


async def test_closing_lets_a_busy_thread_end_its_job() -> None:
    before = run_threads()
    pool = Pool()
    go_on = threading.Event()
    begun, ended = threading.Event(), []

    def work() -> None:
        begun.set()
        go_on.wait(WAIT_S)
        ended.append(1)

    job = pool.run(work)
    await in_thread(begun.wait, WAIT_S)
    pool.threads.close()
    go_on.set()
    await job
    assert ended == [1]
    await until(lambda: run_threads() <= before)


async def test_an_idle_thread_keeps_nothing_of_its_last_job() -> None:
    pool = Pool()

    class Ballast:
        pass

    ballast = Ballast()
    gone = weakref.ref(ballast)
    await pool.run(partial(void, ballast))
    del ballast
    await pool.run(lambda: None)
    await until(lambda: gone() is None)
    pool.threads.close()


# ThreadBridge


@settings(deadline=None, max_examples=30)
@given(counts=st.lists(st.integers(0, 3 * THREAD_HIGH_WATER), max_size=4), sizes=st.sampled_from([1, 50_000]))
def test_every_item_crosses_from_a_thread_once_and_in_order(counts: list[int], sizes: int) -> None:
    async def play() -> None:
        bridge = ThreadBridge(Mailbox(asyncio.get_running_loop()))
        total = sum(counts)

        def produce() -> None:
            number = 0
            for place, count in enumerate(counts):
                items = [(number + i, "x" * sizes if sizes == 1 else LARGE) for i in range(count)]
                number += count
                if place % 2:
                    bridge.feed(iter(items))
                else:
                    for item in items:
                        bridge.put(item)
            bridge.end()

        producing = asyncio.ensure_future(in_thread(produce))
        seen = [item[0] async for batch in bridge.batches() for item in batch]
        await producing
        assert seen == list(range(total))

    asyncio.run(play())


@pytest.mark.parametrize(("item", "ahead"), [("x", THREAD_HIGH_WATER), (LARGE, 16), (LARGE.encode(), 16)])
async def test_a_thread_is_held_back_when_its_reader_is_slow(item: object, ahead: int) -> None:
    bridge = ThreadBridge(Mailbox(asyncio.get_running_loop()))
    made = 0

    def items() -> Iterator[object]:
        nonlocal made
        for _ in range(3 * ahead):
            made += 1
            yield item

    def produce() -> None:
        bridge.feed(items())
        bridge.end()

    producing = asyncio.ensure_future(in_thread(produce))
    await until(lambda: bridge._producer_waits)
    assert made == ahead
    read = 0
    async for batch in bridge.batches():
        read += len(batch)
        assert made - read <= ahead
    await producing
    assert read == made == 3 * ahead


@pytest.mark.parametrize("is_waiting", [True, False], ids=["while it waits for room", "between two items"])
async def test_a_thread_whose_reader_left_stops_at_its_next_item(is_waiting: bool) -> None:
    bridge = ThreadBridge(Mailbox(asyncio.get_running_loop()))
    go_on = threading.Event()
    made = 0

    def items() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            if not is_waiting and made == 3:
                go_on.wait(WAIT_S)
            yield made

    async def produce() -> None:
        with pytest.raises(RunCancelled):
            await in_thread(bridge.feed, items())

    producing = asyncio.ensure_future(produce())
    await until(lambda: bridge._producer_waits if is_waiting else made == 3)
    count = made
    bridge.close()
    go_on.set()
    await producing
    assert made == count
    with pytest.raises(RunCancelled):
        bridge.put(1)


async def test_a_failure_comes_after_the_items_that_came_before_it() -> None:
    bridge = ThreadBridge(Mailbox(asyncio.get_running_loop()))

    def produce() -> None:
        bridge.put(1)
        bridge.put(2)
        bridge.end(ValueError("late"))

    await in_thread(produce)
    batches = bridge.batches()
    assert await anext(batches) == [1, 2]
    with pytest.raises(ValueError, match="late"):
        await anext(batches)


# TaskBridge


@settings(deadline=None, max_examples=30)
@given(counts=st.lists(st.integers(0, 2 * TASK_HIGH_WATER), max_size=4), pause=st.booleans())
def test_every_item_crosses_from_a_task_once_and_in_order(counts: list[int], pause: bool) -> None:
    async def play() -> None:
        bridge = TaskBridge()

        async def some(first: int, count: int) -> AsyncIterator[int]:
            for number in range(first, first + count):
                if pause and number % 100 == 0:
                    await asyncio.sleep(0)
                yield number

        async def produce() -> None:
            number = 0
            for place, count in enumerate(counts):
                if place % 2:
                    await bridge.feed(some(number, count))
                else:
                    for item in range(number, number + count):
                        await bridge.put(item)
                number += count
            bridge.end()

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            seen = [item async for batch in bridge.batches() for item in batch]
        assert seen == list(range(sum(counts)))

    asyncio.run(play())


@pytest.mark.parametrize(("item", "ahead"), [("x", TASK_HIGH_WATER), (LARGE, 16)])
async def test_a_task_is_held_back_when_its_reader_is_slow_and_let_go_when_it_leaves(item: str, ahead: int) -> None:
    bridge = TaskBridge()
    made = 0

    async def items() -> AsyncIterator[str]:
        nonlocal made
        while True:
            made += 1
            yield item

    producing = asyncio.ensure_future(bridge.feed(items()))
    await until(lambda: bridge._room is not None)
    assert made == ahead
    async for batch in bridge.batches():
        assert len(batch) == ahead
        break
    await until(lambda: made == 2 * ahead)
    bridge.close()
    with pytest.raises(RunCancelled):
        await producing
    assert made <= 2 * ahead + 1
    with pytest.raises(RunCancelled):
        await bridge.put(item)


def report_all(bridge: ThreadBridge | TaskBridge, items: Iterable[object]) -> None:
    for item in items:
        bridge.report(item)


async def test_many_threads_that_report_are_held_back_beside_the_producer_and_nothing_is_lost() -> None:
    pool = Pool()
    bridge = ThreadBridge(pool.mailbox)
    per_thread, reporters = 2 * THREAD_HIGH_WATER, 3
    jobs = [pool.run(lambda: bridge.feed(iter(range(per_thread))))]
    jobs += [
        pool.run(partial(report_all, bridge, [(who, number) for number in range(per_thread)]))
        for who in range(reporters)
    ]
    await until(lambda: len(bridge._items) >= THREAD_HIGH_WATER)
    assert len(bridge._items) <= THREAD_HIGH_WATER + reporters
    together = asyncio.gather(*jobs)
    together.add_done_callback(lambda _: bridge.end())
    items = [item async for batch in bridge.batches() for item in batch]
    assert [item for item in items if isinstance(item, int)] == list(range(per_thread))
    for who in range(reporters):
        assert [item[1] for item in items if not isinstance(item, int) and item[0] == who] == list(range(per_thread))
    bridge.report("too late")
    assert not bridge._items


async def test_threads_that_wait_to_report_are_let_go_when_the_reader_leaves() -> None:
    pool = Pool()
    bridge = ThreadBridge(pool.mailbox)
    jobs = [pool.run(partial(report_all, bridge, range(2 * THREAD_HIGH_WATER))) for _ in range(2)]
    await until(lambda: len(bridge._items) >= THREAD_HIGH_WATER)
    bridge.close()
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*jobs)


async def test_what_is_reported_on_the_loop_never_waits_and_stays_bounded() -> None:
    for bridge in (ThreadBridge(Mailbox(asyncio.get_running_loop())), TaskBridge()):
        report_all(bridge, range(10 * TASK_HIGH_WATER))
        bridge.end()
        items = [item async for batch in bridge.batches() for item in batch]
        assert TASK_HIGH_WATER < len(items) < 10 * TASK_HIGH_WATER
        assert items == list(range(len(items)))


async def test_a_thread_reports_into_a_task_s_stream_without_waiting_for_the_loop() -> None:
    bridge = TaskBridge()
    reporter = threading.Thread(target=report_all, args=(bridge, range(100)))
    reporter.start()
    reporter.join(WAIT_S)  # the loop stands still meanwhile
    assert not reporter.is_alive()
    await asyncio.sleep(0)
    bridge.end()
    assert [item async for batch in bridge.batches() for item in batch] == list(range(100))


# Invocations: what the caller's leaving means at each moment


async def words() -> AsyncIterator[str]:
    yield "one"
    await asyncio.Event().wait()


async def test_an_async_stream_that_a_thread_hands_over_after_its_caller_left_still_ends() -> None:
    pool = Pool()
    go_on = threading.Event()
    begun = threading.Event()

    def hook() -> AsyncIterator[str]:
        begun.set()
        go_on.wait(WAIT_S)
        return words()

    invocation = ThreadInvocation(hook, {}, context(), None, pool.threads, pool.mailbox)
    finished = asyncio.Event()
    caller = asyncio.ensure_future(invocation.reply())
    await in_thread(begun.wait, WAIT_S)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    invocation.on_finished(finished.set)
    invocation.cancel()
    go_on.set()
    async with asyncio.timeout(WAIT_S):
        await finished.wait()
    pool.threads.close()


async def test_an_async_hook_that_is_cancelled_before_it_is_called_has_ended() -> None:
    pool = Pool()

    async def hook() -> str:
        return "never"

    invocation = LoopInvocation(hook, {}, context(), None, pool.threads, pool.mailbox)
    finished: list[bool] = []
    invocation.on_finished(lambda: finished.append(True))
    invocation.cancel()
    assert finished == [True]
    pool.threads.close()


async def test_an_async_stream_handed_over_after_the_reader_of_an_open_stream_left_ends_unread() -> None:
    pool = Pool()
    go_on = threading.Event()

    def hook() -> AsyncIterator[str]:
        go_on.wait(WAIT_S)
        return words()

    invocation = ThreadInvocation(hook, {}, context(), None, pool.threads, pool.mailbox, wants_stream=True)
    await invocation.reply()
    finished = asyncio.Event()
    invocation.on_finished(finished.set)
    invocation.cancel()
    go_on.set()
    async with asyncio.timeout(WAIT_S):
        await finished.wait()
    pool.threads.close()


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("has_begun", [True, False])
async def test_cancelling_an_async_stream_ends_it_whether_its_task_has_begun_or_not(
    has_begun: bool, is_open: bool
) -> None:
    pool = Pool()

    async def hook() -> AsyncIterator[str]:
        return words()

    invocation = LoopInvocation(hook, {}, context(), None, pool.threads, pool.mailbox, wants_stream=is_open)
    finished = asyncio.Event()
    await invocation.reply()
    if has_begun:
        await asyncio.sleep(0)
    assert not invocation.is_finished
    invocation.on_finished(finished.set)
    invocation.cancel()
    async with asyncio.timeout(WAIT_S):
        await finished.wait()


async def test_a_hook_sees_its_run_in_every_place_where_its_code_runs() -> None:
    pool = Pool()
    run = context()
    seen: list[object] = []

    def stream() -> Iterator[str]:
        seen.append(current_context.get())
        yield "x"

    async def async_stream() -> AsyncIterator[str]:
        seen.append(current_context.get())
        yield "x"

    async def returns_sync() -> Iterator[str]:
        seen.append(current_context.get())
        return stream()

    def returns_async() -> AsyncIterator[str]:
        seen.append(current_context.get())
        return async_stream()

    for kind, hook in (
        (ThreadInvocation, stream),
        (LoopInvocation, async_stream),
        (LoopInvocation, returns_sync),
        (ThreadInvocation, returns_async),
    ):
        for is_open in (False, True):
            invocation = kind(hook, {}, run, None, pool.threads, pool.mailbox, wants_stream=is_open)
            reply = await invocation.reply()
            assert not hasattr(reply, "json")
            assert [events async for events in reply.batches()]  # type: ignore[union-attr]
            finished = asyncio.Event()
            invocation.on_finished(finished.set)
            async with asyncio.timeout(WAIT_S):
                await finished.wait()
            assert run.report is None  # nothing of the run is kept when it is over
    assert seen == [run] * 12
    assert current_context.get() is None
    pool.threads.close()


async def test_a_thread_of_its_own_gives_back_results_errors_and_even_a_stop_iteration() -> None:
    assert await in_thread(lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(ValueError, match="no"):
        await in_thread(_raise, ValueError("no"))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await in_thread(_raise, StopIteration("no"))


async def test_leaving_a_thread_of_its_own_does_not_disturb_the_loop() -> None:
    go_on, ended = threading.Event(), SimpleQueue[int]()

    def work() -> None:
        go_on.wait(WAIT_S)
        ended.put(1)

    waiting = asyncio.ensure_future(in_thread(work))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    assert await in_thread(ended.get, timeout=WAIT_S) == 1
    await asyncio.sleep(0)


def _raise(error: BaseException) -> None:
    raise error


def void(_: object) -> None:
    return None
