"""streaming_generator and async_streaming_generator over real pipelines and agents of both Haystack majors."""

import asyncio
import gc
import queue
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from haystack import component
from haystack.components.agents import Agent
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools.from_function import create_tool_from_function
from haystack.tools.tool import Tool
from loguru import logger

from hayhooks.core.errors import RunCancelled
from hayhooks.core.haystack.platform import MAJOR, AsyncPipeline, Pipeline
from hayhooks.core.haystack.streaming import (
    AsyncPipelineStream,
    PipelineStream,
    async_streaming_generator,
    default_streaming_components,
    streaming_generator,
)
from hayhooks.core.haystack.streaming_handoff import HIGH_WATER
from hayhooks.events import PipelineEvent, create_status_event
from tests.support.generators import (
    Asking,
    AttributeGenerator,
    Joining,
    ScriptedGenerator,
    SyncGenerator,
    call,
    calls_end,
    echo,
    scripted,
    text,
    thought,
)

WAIT_S = 30  # for things that happen at once unless they are broken


def pipeline_of(generator: Any, kind: Any = Pipeline) -> Any:
    """Question in, answer out, the generator between."""
    pipeline = kind()
    pipeline.add_component("ask", Asking())
    pipeline.add_component("llm", generator)
    pipeline.add_component("join", Joining())
    pipeline.connect("ask.messages", "llm.messages")
    pipeline.connect("llm.replies", "join.replies")
    return pipeline


def two_generators(first: Any, second: Any, kind: Any = Pipeline) -> Any:
    """One question to two generators in a row; the second was added before the first."""
    pipeline = kind()
    pipeline.add_component("late", second)
    pipeline.add_component("early", first)
    pipeline.add_component("ask", Asking())
    pipeline.connect("ask.messages", "early.messages")
    pipeline.connect("early.replies", "late.messages")
    return pipeline


def add(a: Annotated[int, "one"], b: Annotated[int, "other"]) -> str:
    """Add two numbers."""
    return str(a + b)


def agent_of(*turns: list[StreamingChunk], tools: list[Tool] | None = None, generator: Any = ScriptedGenerator) -> Any:
    return Agent(chat_generator=generator(scripted(*turns)), tools=tools or [create_tool_from_function(add)])


def asked(text: str = "how much?") -> dict[str, Any]:
    return {"messages": [ChatMessage.from_user(text)]}


ADDING = [*call("add", '{"a": 1,', ' "b": 2}'), calls_end()]


def shown(item: Any) -> Any:
    """An item, short enough to compare."""
    if not isinstance(item, StreamingChunk):
        return item
    if item.tool_calls:
        return ("call", item.tool_calls[0].tool_name, item.tool_calls[0].arguments)
    if item.tool_call_result:
        return ("result", item.tool_call_result.result)
    if item.reasoning:
        return ("reasoning", item.reasoning.reasoning_text)
    return item.content or ("finish", item.finish_reason)


def all_of(stream: PipelineStream) -> list[Any]:
    return [shown(item) for item in stream]


async def all_of_async(stream: AsyncPipelineStream) -> list[Any]:
    return [shown(item) async for item in stream]


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    yield lines
    logger.remove(sink)


# What a stream says


def test_chunks_come_in_order_and_the_result_is_there_in_the_end() -> None:
    stream = streaming_generator(pipeline_of(ScriptedGenerator(echo)), {"query": "a b c"})
    assert stream.result is None
    assert all_of(stream) == ["a", "b", "c", ("finish", "stop")]
    assert stream.result == {"join": {"answer": "abc"}}
    assert all_of(stream) == []


def test_outputs_can_be_included_in_the_result() -> None:
    stream = streaming_generator(
        pipeline_of(ScriptedGenerator(echo)), pipeline_run_args={"query": "a"}, include_outputs_from={"llm"}
    )
    all_of(stream)
    assert stream.result["llm"]["replies"][0].meta["usage"] == {"total_tokens": 2}


async def test_an_asynchronous_stream_says_the_same() -> None:
    stream = async_streaming_generator(pipeline_of(ScriptedGenerator(echo), AsyncPipeline), {"query": "a b c"})
    assert await all_of_async(stream) == ["a", "b", "c", ("finish", "stop")]
    assert stream.result == {"join": {"answer": "abc"}}


def test_an_asynchronous_pipeline_streams_from_its_synchronous_run_too() -> None:
    heard: list[str] = []

    async def own(chunk: StreamingChunk) -> None:
        heard.append(chunk.content)

    pipeline = pipeline_of(ScriptedGenerator(echo), AsyncPipeline)
    if MAJOR < 3:
        stream = streaming_generator(pipeline, {"ask": {"query": "a b"}, "llm": {"streaming_callback": own}})
        assert all_of(stream) == ["a", "b", ("finish", "stop")]
        assert heard == ["a", "b", ""]
    else:
        assert all_of(streaming_generator(pipeline, {"query": "a b"})) == ["a", "b", ("finish", "stop")]


def test_the_callers_arguments_stay_as_they_are() -> None:
    data: dict[str, Any] = {"ask": {"query": "a"}, "llm": {}}
    all_of(streaming_generator(pipeline_of(ScriptedGenerator(echo)), data))
    assert data == {"ask": {"query": "a"}, "llm": {}}


def test_flat_inputs_may_stand_beside_those_of_a_component(logged: list[str]) -> None:
    heard: list[str] = []
    own = {"streaming_callback": lambda chunk: heard.append(chunk.content)}
    stream = streaming_generator(pipeline_of(ScriptedGenerator(echo)), {"query": "a b", "llm": own, "nobody": 1})
    assert all_of(stream) == ["a", "b", ("finish", "stop")]
    assert heard == ["a", "b", ""]
    assert any("nobody" in line for line in logged)


def test_a_dictionary_may_be_a_flat_input() -> None:
    @component
    class Keys:
        @component.output_types(messages=list[ChatMessage])
        def run(self, options: dict[str, Any]) -> dict[str, Any]:
            return {"messages": [ChatMessage.from_user(" ".join(options))]}

    pipeline = Pipeline()
    pipeline.add_component("keys", Keys())
    pipeline.add_component("llm", ScriptedGenerator(echo))
    pipeline.connect("keys.messages", "llm.messages")
    assert all_of(streaming_generator(pipeline, {"options": {"x": 1, "y": 2}})) == ["x", "y", ("finish", "stop")]


def test_an_unknown_component_in_the_arguments_is_refused_by_haystack() -> None:
    stream = streaming_generator(pipeline_of(ScriptedGenerator(echo)), {"ask": {"query": "a"}, "nobody": {"x": 1}})
    with pytest.raises(ValueError, match="nobody"):
        all_of(stream)


@pytest.mark.parametrize("place", ["init", "run"])
def test_a_callback_of_the_users_own_is_called_as_well(place: str) -> None:
    heard: list[str] = []

    def own(chunk: StreamingChunk) -> None:
        heard.append(chunk.content)

    pipeline = pipeline_of(ScriptedGenerator(echo, own if place == "init" else None))
    data = {"ask": {"query": "a"}, "llm": {"streaming_callback": own} if place == "run" else {}}
    assert all_of(streaming_generator(pipeline, data)) == ["a", ("finish", "stop")]
    assert heard == ["a", ""]


async def test_an_asynchronous_callback_of_the_users_own_is_awaited() -> None:
    heard: list[str] = []

    async def own(chunk: StreamingChunk) -> None:
        heard.append(chunk.content)

    pipeline = pipeline_of(ScriptedGenerator(echo), AsyncPipeline)
    data = {"ask": {"query": "a"}, "llm": {"streaming_callback": own}}
    assert await all_of_async(async_streaming_generator(pipeline, data)) == ["a", ("finish", "stop")]
    assert heard == ["a", ""]
    with pytest.raises(ValueError, match="is asynchronous"):
        streaming_generator(pipeline_of(ScriptedGenerator(echo)), data)


def test_a_failure_comes_after_the_chunks_before_it() -> None:
    def breaking(messages: list[ChatMessage]) -> Iterator[StreamingChunk]:
        yield StreamingChunk(content="so far")
        raise OSError("no more")

    stream = streaming_generator(pipeline_of(ScriptedGenerator(breaking)), {"query": "a"})
    assert shown(next(stream)) == "so far"
    with pytest.raises(Exception, match="no more"):
        next(stream)
    assert list(stream) == []


async def test_a_failure_of_an_asynchronous_run_comes_after_the_chunks_before_it() -> None:
    def breaking(messages: list[ChatMessage]) -> Iterator[StreamingChunk]:
        yield StreamingChunk(content="so far")
        raise OSError("no more")

    stream = async_streaming_generator(pipeline_of(ScriptedGenerator(breaking), AsyncPipeline), {"query": "a"})
    assert shown(await anext(stream)) == "so far"
    with pytest.raises(Exception, match="no more"):
        await anext(stream)
    assert await all_of_async(stream) == []


def test_the_pipeline_sees_the_context_of_its_reader() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    who.set("the reader")
    stream = streaming_generator(pipeline_of(ScriptedGenerator(lambda _: text(who.get()))), {"query": "a"})
    assert all_of(stream)[0] == "the reader"


# Which components stream


def test_the_last_component_in_the_flow_streams_by_default() -> None:
    pipeline = two_generators(ScriptedGenerator(scripted(text("early"))), ScriptedGenerator(lambda _: text("late")))
    assert all_of(streaming_generator(pipeline, {"query": "a"})) == ["late", ("finish", "stop")]


@pytest.mark.parametrize("chosen", ["all", ["early", "late"], "early, late"])
def test_several_components_can_stream(chosen: Any) -> None:
    pipeline = two_generators(ScriptedGenerator(scripted(text("early"))), ScriptedGenerator(lambda _: text("late")))
    stream = streaming_generator(pipeline, {"query": "a"}, streaming_components=chosen)
    assert all_of(stream) == ["early", ("finish", "stop"), "late", ("finish", "stop")]


@pytest.mark.parametrize(
    ("default", "said"), [("all", {"early", "late"}), ("early,nobody", {"early"}), (["nobody"], {"late"})]
)
def test_the_server_can_set_what_streams_by_default(default: Any, said: set[str]) -> None:
    pipeline = two_generators(ScriptedGenerator(scripted(text("early"))), ScriptedGenerator(lambda _: text("late")))
    token = default_streaming_components.set(default)
    try:
        stream = streaming_generator(pipeline, {"query": "a"})
    finally:
        default_streaming_components.reset(token)
    assert {item for item in all_of(stream) if isinstance(item, str)} == said


def test_a_loop_of_model_and_joiner_has_a_last_component_too() -> None:
    from haystack.components.joiners import BranchJoiner

    pipeline = Pipeline()
    pipeline.add_component("llm", ScriptedGenerator(echo))
    pipeline.add_component("join", BranchJoiner(list[ChatMessage]))
    pipeline.add_component("second", SyncGenerator(echo))
    pipeline.connect("join", "llm.messages")
    pipeline.connect("llm.replies", "second.messages")
    stream = streaming_generator(pipeline, {"join": {"value": [ChatMessage.from_user("a")]}})
    assert all_of(stream) == ["a", ("finish", "stop")]


def test_names_that_cannot_stream_are_refused_with_those_that_can() -> None:
    pipeline = pipeline_of(ScriptedGenerator(echo))
    with pytest.raises(ValueError, match=r"Unknown streaming components: 'nobody'\. The pipeline has 'ask', 'llm'"):
        streaming_generator(pipeline, {}, streaming_components=["nobody", "llm"])
    with pytest.raises(ValueError, match=r"cannot stream: 'ask'\. Those that can: 'llm'"):
        streaming_generator(pipeline, {}, streaming_components=["ask"])


def test_a_pipeline_without_generator_is_refused() -> None:
    pipeline = Pipeline()
    pipeline.add_component("ask", Asking())
    with pytest.raises(ValueError, match=r"^No streaming-capable components found in the pipeline"):
        streaming_generator(pipeline, {"query": "a"})
    with pytest.raises(ValueError, match="Asking cannot stream"):
        streaming_generator(Asking(), {"query": "a"})
    with pytest.raises(TypeError, match="not str"):
        streaming_generator("pipeline")


def test_a_component_with_the_callback_as_attribute_streams_and_keeps_its_own() -> None:
    heard: list[str] = []

    def own(chunk: StreamingChunk) -> None:
        heard.append(chunk.content)

    generator = AttributeGenerator(echo, own)
    pipeline = pipeline_of(generator)
    for _ in range(2):
        assert all_of(streaming_generator(pipeline, {"query": "a"})) == ["a", ("finish", "stop")]
    assert heard == ["a", ""] * 2
    pipeline.run({"query": "outside"})
    assert heard[4:] == ["outside", ""]
    assert generator.streaming_callback is not None
    assert generator.streaming_callback.__qualname__ == own.__qualname__  # so that it serialises as before


def test_a_component_that_once_streamed_keeps_quiet_in_a_run_that_does_not_choose_it() -> None:
    pipeline = two_generators(AttributeGenerator(lambda _: text("early")), AttributeGenerator(lambda _: text("late")))
    for chosen in ("all", ["early"], ["late"]):
        stream = streaming_generator(pipeline, {"query": "a"}, streaming_components=chosen)
        expected = ["early", "late"] if chosen == "all" else chosen
        assert [item for item in all_of(stream) if isinstance(item, str)] == expected


@pytest.mark.parametrize("generator", [ScriptedGenerator, SyncGenerator, AttributeGenerator])
def test_concurrent_runs_of_one_pipeline_never_mix(generator: Any) -> None:
    together = threading.Barrier(2, timeout=WAIT_S)

    def in_step(messages: list[ChatMessage]) -> Iterator[StreamingChunk]:
        for chunk in echo(messages):
            together.wait()
            yield chunk

    pipeline = pipeline_of(generator(in_step))
    streams = [streaming_generator(pipeline, {"query": " ".join(letter * 5)}) for letter in "ab"]
    read: dict[int, list[Any]] = {}
    threads = [
        threading.Thread(target=lambda at=at, stream=stream: read.update({at: all_of(stream)}))
        for at, stream in enumerate(streams)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert read == {0: [*"aaaaa", ("finish", "stop")], 1: [*"bbbbb", ("finish", "stop")]}


async def test_concurrent_asynchronous_runs_of_one_pipeline_never_mix() -> None:
    pipeline = pipeline_of(ScriptedGenerator(echo), AsyncPipeline)
    streams = [async_streaming_generator(pipeline, {"query": " ".join(letter * 5)}) for letter in "abc"]
    read = await asyncio.gather(*map(all_of_async, streams))
    assert read == [[*(letter * 5), ("finish", "stop")] for letter in "abc"]


# Stopping


class Paced:
    """A script whose chunks wait to be let go, one by one, and never end by themselves."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)

    def __call__(self, messages: list[ChatMessage]) -> Iterator[StreamingChunk]:
        while self.go.acquire(timeout=WAIT_S):
            yield StreamingChunk(content="more")


@pytest.mark.parametrize("how", ["close", "let go"])
def test_a_stream_that_is_left_stops_its_pipeline_within_one_chunk(how: str) -> None:
    paced = Paced()
    generator = ScriptedGenerator(paced)
    stream = streaming_generator(pipeline_of(generator), {"query": "a"})
    paced.go.release()
    assert shown(next(stream)) == "more"
    if how == "close":
        stream.close()
        assert list(stream) == []
    else:
        del stream
        gc.collect()
    paced.go.release(5)
    assert generator.stopped.wait(WAIT_S)
    assert generator.made == 2


def test_a_user_generator_around_a_stream_stops_the_pipeline_when_it_is_closed() -> None:
    paced = Paced()
    generator = ScriptedGenerator(paced)
    pipeline = pipeline_of(generator)

    def hook() -> Iterator[str]:
        for item in streaming_generator(pipeline, {"query": "a"}):
            assert isinstance(item, StreamingChunk)
            yield item.content.upper()

    reading = hook()
    paced.go.release()
    assert next(reading) == "MORE"
    reading.close()  # type: ignore[attr-defined]
    paced.go.release(5)
    assert generator.stopped.wait(WAIT_S)
    assert generator.made == 2


def test_a_stream_that_nobody_reads_runs_nothing() -> None:
    generator = ScriptedGenerator(echo)
    stream = streaming_generator(pipeline_of(generator), {"query": "a"})
    stream.close()
    assert list(stream) == []
    assert generator.made == 0


def test_a_pipeline_waits_for_a_slow_reader() -> None:
    generator = ScriptedGenerator(lambda _: text(*["word"] * HIGH_WATER * 8))
    stream = streaming_generator(pipeline_of(generator), {"query": "a"})
    for read, _ in enumerate(stream, start=1):
        assert generator.made <= read + 2 * HIGH_WATER + 1
    assert read == HIGH_WATER * 8 + 1


async def test_an_asynchronous_pipeline_waits_for_a_slow_reader() -> None:
    generator = ScriptedGenerator(lambda _: text(*["word"] * HIGH_WATER * 8))
    read = 0
    async for _ in async_streaming_generator(pipeline_of(generator, AsyncPipeline), {"query": "a"}):
        read += 1
        await asyncio.sleep(0)
        assert generator.made <= read + 2 * HIGH_WATER + 1
    assert read == HIGH_WATER * 8 + 1


def endless(messages: list[ChatMessage]) -> Iterator[StreamingChunk]:
    while True:
        yield StreamingChunk(content="more")


async def test_closing_an_asynchronous_stream_cancels_its_pipeline() -> None:
    generator = ScriptedGenerator(endless)
    stream = async_streaming_generator(pipeline_of(generator, AsyncPipeline), {"query": "a"})
    assert shown(await anext(stream)) == "more"
    await stream.aclose()
    assert await asyncio.to_thread(generator.stopped.wait, WAIT_S)
    assert await all_of_async(stream) == []


async def test_letting_go_of_an_asynchronous_stream_cancels_its_pipeline() -> None:
    generator = ScriptedGenerator(endless)
    stream = async_streaming_generator(pipeline_of(generator, AsyncPipeline), {"query": "a"})
    assert shown(await anext(stream)) == "more"
    del stream
    gc.collect()
    assert await asyncio.to_thread(generator.stopped.wait, WAIT_S)


async def test_cancelling_the_reader_cancels_the_pipeline() -> None:
    generator = ScriptedGenerator(endless)
    stream = async_streaming_generator(pipeline_of(generator, AsyncPipeline), {"query": "a"})
    first = asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            first.set()
            await asyncio.sleep(0)

    reading = asyncio.create_task(read())
    await first.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await stream.aclose()
    assert await asyncio.to_thread(generator.stopped.wait, WAIT_S)


async def test_a_shielded_pipeline_runs_to_its_end_when_its_reader_leaves() -> None:
    ended = asyncio.Event()
    generator = ScriptedGenerator(echo)
    stream = async_streaming_generator(
        pipeline_of(generator, AsyncPipeline),
        {"query": "a b c d"},
        shield_pipeline_task=True,
        on_pipeline_end=lambda _: ended.set(),
    )
    assert shown(await anext(stream)) == "a"
    await stream.aclose()
    await ended.wait()
    assert generator.made == 5
    assert stream.result == {"join": {"answer": "abcd"}}


# Driving


def test_a_driven_pipeline_runs_in_the_calling_thread() -> None:
    generator = ScriptedGenerator(echo)
    items: list[Any] = []
    streaming_generator(pipeline_of(generator), {"query": "a b"}, on_pipeline_end=lambda _: "end").drive(items.append)
    assert [shown(item) for item in items] == ["a", "b", ("finish", "stop"), "end"]
    assert generator.threads == {threading.get_ident()}


def cancelling_after(count: int) -> tuple[list[Any], Callable[[Any], None]]:
    items: list[Any] = []

    def put(item: Any) -> None:
        if len(items) == count:
            raise RunCancelled
        items.append(item)

    return items, put


def test_a_cancelled_drive_leaves_the_pipeline_cleanly() -> None:
    generator = ScriptedGenerator(endless)
    items, put = cancelling_after(3)
    with pytest.raises(RunCancelled):
        streaming_generator(pipeline_of(generator), {"query": "a"}).drive(put)
    assert (len(items), generator.made) == (3, 4)


def test_a_cancelled_drive_leaves_an_agent_cleanly() -> None:
    items, put = cancelling_after(len(ADDING))  # the next is the tool's result
    with pytest.raises(RunCancelled):
        streaming_generator(agent_of(ADDING, text("never")), asked()).drive(put)
    assert [shown(item) for item in items][-1] == ("finish", "tool_calls")


def test_a_cancelled_drive_with_an_external_queue_has_ended_its_pipeline() -> None:
    generator = ScriptedGenerator(endless)
    _, put = cancelling_after(3)
    events: queue.Queue[Any] = queue.Queue()
    with pytest.raises(RunCancelled):
        streaming_generator(pipeline_of(generator), {"query": "a"}, external_event_queue=events).drive(put)
    assert generator.stopped.is_set()
    assert events.empty()


async def test_an_asynchronous_stream_can_be_driven_and_cancelled() -> None:
    items: list[Any] = []

    async def put(item: Any) -> None:
        items.append(item)

    await async_streaming_generator(pipeline_of(ScriptedGenerator(echo), AsyncPipeline), {"query": "a b"}).drive(put)
    assert [shown(item) for item in items] == ["a", "b", ("finish", "stop")]

    _, keep = cancelling_after(3)

    async def keep_async(item: Any) -> None:
        keep(item)

    generator = ScriptedGenerator(endless)
    with pytest.raises(RunCancelled):
        await async_streaming_generator(pipeline_of(generator, AsyncPipeline), {"query": "a"}).drive(keep_async)
    assert generator.stopped.is_set()


@pytest.mark.parametrize("shield", [False, True])
async def test_cancelling_a_driving_task_cancels_the_pipeline_unless_it_is_shielded(shield: bool) -> None:
    first, ended = asyncio.Event(), asyncio.Event()
    go = asyncio.Event()

    @component
    class Waiting:
        def __init__(self) -> None:
            self.was_cancelled = False

        @component.output_types(replies=list[ChatMessage])
        def run(self, messages: list[ChatMessage], streaming_callback: Any = None) -> dict[str, Any]:
            raise NotImplementedError

        @component.output_types(replies=list[ChatMessage])
        async def run_async(self, messages: list[ChatMessage], streaming_callback: Any = None) -> dict[str, Any]:
            await streaming_callback(StreamingChunk(content="first"))
            try:
                await go.wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
            finally:
                ended.set()
            return {"replies": [ChatMessage.from_assistant("done")]}

    waiting = Waiting()
    stream = async_streaming_generator(pipeline_of(waiting, AsyncPipeline), {"query": "a"}, shield_pipeline_task=shield)

    async def put(item: Any) -> None:
        first.set()

    driving = asyncio.create_task(stream.drive(put))
    await first.wait()
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    go.set()
    await ended.wait()
    assert waiting.was_cancelled is not shield


def test_a_stream_is_used_once() -> None:
    stream = streaming_generator(pipeline_of(ScriptedGenerator(echo)), {"query": "a b"})
    next(stream)
    with pytest.raises(RuntimeError, match="once"):
        stream.drive(lambda _: None)
    stream.close()


# Agents and callbacks


def test_an_agents_stream_tells_of_tool_calls_and_runs_them_itself() -> None:
    told: list[Any] = []

    def started(name: str, arguments: dict[str, Any], call_id: str | None) -> list[Any]:
        told.append((name, arguments, call_id))
        return ["start", create_status_event("calling")]

    stream = streaming_generator(
        agent_of([thought("hm", mood="calm"), *ADDING], text("Three", ".")),
        pipeline_run_args=asked(),
        on_tool_call_start=started,
        on_tool_call_end=lambda name, arguments, result, error: f"{name} {arguments} = {result} {error}",
        on_reasoning=lambda text, extra: f"{text} {extra}",
        on_pipeline_end=lambda result: result["messages"][-1].text,
    )
    assert stream.runs_own_tools
    assert all_of(stream) == [
        "hm {'mood': 'calm'}",
        ("reasoning", "hm"),
        ("call", "add", ""),
        ("call", None, '{"a": 1,'),
        "start",  # with the chunk that completes the arguments
        create_status_event("calling"),
        ("call", None, ' "b": 2}'),
        ("finish", "tool_calls"),
        "add {'a': 1, 'b': 2} = 3 False",
        ("result", "3"),
        ("finish", "tool_call_results"),
        "Three",
        ".",
        ("finish", "stop"),
        "Three.",
    ]
    assert told == [("add", {"a": 1, "b": 2}, "call_1")]


async def test_an_agents_asynchronous_stream_tells_the_same() -> None:
    stream = async_streaming_generator(
        agent_of(ADDING, text("Three")),
        asked(),
        on_tool_call_start=lambda *told: f"start {told}",
        on_tool_call_end=lambda *told: f"end {told}",
    )
    assert stream.runs_own_tools
    said = [item for item in await all_of_async(stream) if isinstance(item, str)]
    assert said == ["start ('add', {'a': 1, 'b': 2}, 'call_1')", "end ('add', {'a': 1, 'b': 2}, '3', False)", "Three"]


def test_an_agent_in_a_pipeline_streams_and_runs_its_own_tools() -> None:
    pipeline = Pipeline()
    pipeline.add_component("ask", Asking())
    pipeline.add_component("agent", agent_of(ADDING, text("Three")))
    pipeline.connect("ask.messages", "agent.messages")
    stream = streaming_generator(pipeline, {"query": "a"}, on_tool_call_end=lambda *told: f"{told}")
    assert stream.runs_own_tools
    assert "('add', {'a': 1, 'b': 2}, '3', False)" in all_of(stream)


def test_parallel_and_repeated_calls_are_told_once_each() -> None:
    both = [
        *call("add", '{"a": 1, "b": 1}', call_id="x", index=0),
        *call("add", '{"a": 2,', ' "b": 2}', call_id="y", index=1),
        calls_end(),
    ]
    again = [*call("add", '{"a": 3, "b": 3}', call_id="z", index=0), calls_end()]
    told: list[Any] = []
    stream = streaming_generator(
        agent_of(both, again, text("done")),
        asked(),
        on_tool_call_start=lambda *call: told.append(("start", call[2], call[1]["a"])),
        on_tool_call_end=lambda *call: told.append(("end", call[2])),
    )
    all_of(stream)
    assert told == [
        ("start", "x", 1),
        ("start", "y", 2),
        ("end", "2"),
        ("end", "4"),
        ("start", "z", 3),
        ("end", "6"),
    ]


def test_a_call_without_arguments_or_boundary_is_told_before_its_result() -> None:
    def now() -> str:
        """The time."""
        return "noon"

    told: list[Any] = []
    stream = streaming_generator(
        agent_of(call("now", call_id=None), text("done"), tools=[create_tool_from_function(now)]),
        asked(),
        on_tool_call_start=lambda *call: told.append(call),
        on_tool_call_end=lambda *call: told.append(call),
    )
    all_of(stream)
    assert told == [("now", {}, None), ("now", {}, "noon", False)]


def test_a_call_that_nothing_follows_is_told_at_the_end() -> None:
    pipeline = pipeline_of(ScriptedGenerator(scripted(call("add"))))
    assert all_of(streaming_generator(pipeline, {"query": "a"}, on_tool_call_start=lambda *told: f"{told}")) == [
        ("call", "add", ""),
        "('add', {}, 'call_1')",
    ]


def test_a_tool_that_fails_is_told_as_an_error() -> None:
    def bad() -> str:
        """Fail."""
        raise OSError("broken")

    ends: list[Any] = []
    stream = streaming_generator(
        agent_of([*call("bad"), calls_end()], text("sorry"), tools=[create_tool_from_function(bad)]),
        asked(),
        on_tool_call_end=lambda *call: ends.append((call[0], "broken" in call[2], call[3])),
    )
    assert "sorry" in all_of(stream)
    assert ends == [("bad", True, True)]


def test_a_callback_that_fails_is_logged_and_the_run_goes_on(logged: list[str]) -> None:
    def boom(*_: Any) -> str:
        raise LookupError("my callback")

    stream = streaming_generator(
        agent_of([thought("hm"), *ADDING], text("Three")),
        asked(),
        on_tool_call_start=boom,
        on_tool_call_end=boom,
        on_reasoning=boom,
        on_pipeline_end=boom,
    )
    assert all_of(stream)[-1] == ("finish", "stop")
    assert sum("my callback" in line for line in logged) == 4


def test_callbacks_may_return_nothing_or_many_things(logged: list[str]) -> None:
    event = PipelineEvent("mine", {"a": 1})
    stream = streaming_generator(
        pipeline_of(ScriptedGenerator(scripted([thought("a"), thought("b"), *text("c")]))),
        {"query": "a"},
        on_reasoning=lambda text, _: ["x", event, {"k": 1}, None, ""] if text == "a" else None,
        on_pipeline_end=lambda _: 7,  # type: ignore[arg-type,return-value]
    )
    assert all_of(stream) == ["x", event, {"k": 1}, ("reasoning", "a"), ("reasoning", "b"), "c", ("finish", "stop")]
    assert any("returned int" in line for line in logged)


# Synchronous components in asynchronous runs


async def test_a_component_that_only_streams_synchronously_is_refused_or_bridged() -> None:
    for kind in (SyncGenerator, AttributeGenerator):
        generator = kind(echo)
        pipeline = pipeline_of(generator, AsyncPipeline)
        with pytest.raises(ValueError, match="allow_sync_streaming_callbacks"):
            async_streaming_generator(pipeline, {"query": "a b"})
        stream = async_streaming_generator(pipeline, {"query": "a b"}, allow_sync_streaming_callbacks=True)
        assert await all_of_async(stream) == ["a", "b", ("finish", "stop")]
        assert threading.get_ident() not in generator.threads


async def test_a_bridged_component_stops_at_its_next_chunk() -> None:
    generator = SyncGenerator(endless)
    stream = async_streaming_generator(
        pipeline_of(generator, AsyncPipeline), {"query": "a"}, allow_sync_streaming_callbacks=True
    )
    assert shown(await anext(stream)) == "more"
    await stream.aclose()
    assert await asyncio.to_thread(generator.stopped.wait, WAIT_S)


async def test_an_agent_over_a_synchronous_generator_is_refused_or_bridged() -> None:
    agent = agent_of(ADDING, text("Three"), generator=SyncGenerator)
    with pytest.raises(ValueError, match="streaming_generator"):
        async_streaming_generator(agent, asked())
    if MAJOR < 3:
        with pytest.raises(ValueError, match="generator without run_async"):
            async_streaming_generator(agent, asked(), allow_sync_streaming_callbacks=True)
    else:
        stream = async_streaming_generator(agent, asked(), allow_sync_streaming_callbacks=True)
        assert "Three" in await all_of_async(stream)


def test_a_pipeline_without_asynchronous_run_is_refused() -> None:
    class OnlySync:
        def run(self) -> None: ...

    with pytest.raises(ValueError, match="OnlySync has no run_async"):
        async_streaming_generator(OnlySync())
    if MAJOR < 3:
        with pytest.raises(ValueError, match="Pipeline has no run_async"):
            async_streaming_generator(pipeline_of(ScriptedGenerator(echo)), {"query": "a"})


# The external queue


@pytest.mark.parametrize("make", [queue.Queue, queue.SimpleQueue, queue.LifoQueue, lambda: queue.Queue(maxsize=1)])
def test_external_items_come_at_once_while_the_pipeline_is_silent(make: Callable[[], Any]) -> None:
    events = make()
    silent = threading.Event()

    def quiet(messages: list[ChatMessage]) -> Iterator[StreamingChunk]:
        events.put({"from": "outside"})
        assert silent.wait(WAIT_S)  # goes on when the reader has seen it
        yield from text("said")
        events.put(create_status_event("last"))

    stream = streaming_generator(
        pipeline_of(ScriptedGenerator(quiet)),
        {"query": "a"},
        external_event_queue=events,
        on_pipeline_end=lambda _: "end",
    )
    assert next(stream) == {"from": "outside"}
    silent.set()
    rest = all_of(stream)
    assert rest[0] == "said"
    assert rest[-1] == "end"
    assert create_status_event("last") in rest
    assert events.empty()


async def test_external_items_come_at_once_in_an_asynchronous_stream() -> None:
    events: asyncio.Queue[Any] = asyncio.Queue()
    silent = asyncio.Event()

    @component
    class Quiet:
        @component.output_types(replies=list[ChatMessage])
        def run(self, messages: list[ChatMessage], streaming_callback: Any = None) -> dict[str, Any]:
            raise NotImplementedError

        @component.output_types(replies=list[ChatMessage])
        async def run_async(self, messages: list[ChatMessage], streaming_callback: Any = None) -> dict[str, Any]:
            events.put_nowait({"from": "outside"})
            await silent.wait()
            await streaming_callback(StreamingChunk(content="said"))
            for at in range(3):
                events.put_nowait({"last": at})
            return {"replies": [ChatMessage.from_assistant("said")]}

    stream = async_streaming_generator(
        pipeline_of(Quiet(), AsyncPipeline),
        {"query": "a"},
        external_event_queue=events,
        on_pipeline_end=lambda _: "end",
    )
    assert await anext(stream) == {"from": "outside"}
    silent.set()
    assert await all_of_async(stream) == ["said", {"last": 0}, {"last": 1}, {"last": 2}, "end"]
    await events.join()


def test_external_items_put_before_a_failure_are_not_lost() -> None:
    events: queue.Queue[Any] = queue.Queue()

    def breaking(messages: list[ChatMessage]) -> Iterator[StreamingChunk]:
        events.put("seen")
        raise OSError("no more")
        yield

    items: list[Any] = []
    stream = streaming_generator(pipeline_of(ScriptedGenerator(breaking)), {"query": "a"}, external_event_queue=events)
    with pytest.raises(Exception, match="no more"):
        items.extend(iter(stream))
    assert items == ["seen"]
    assert events.empty()


def test_two_runs_may_share_a_queue() -> None:
    events: queue.Queue[Any] = queue.Queue()
    pipeline = pipeline_of(ScriptedGenerator(echo))
    streams = [streaming_generator(pipeline, {"query": "a b"}, external_event_queue=events) for _ in range(2)]
    firsts = [shown(next(stream)) for stream in streams]
    assert firsts == ["a", "a"]
    assert [all_of(stream) for stream in streams] == [["b", ("finish", "stop")]] * 2
    assert events.empty()


async def test_the_queue_must_fit_the_stream() -> None:
    pipeline = pipeline_of(ScriptedGenerator(echo), AsyncPipeline)
    wrong_sync: Any = asyncio.Queue()
    wrong_async: Any = queue.Queue()
    with pytest.raises(TypeError, match=r"queue\.Queue"):
        streaming_generator(pipeline, {"query": "a"}, external_event_queue=wrong_sync)
    with pytest.raises(TypeError, match=r"asyncio\.Queue"):
        async_streaming_generator(pipeline, {"query": "a"}, external_event_queue=wrong_async)
