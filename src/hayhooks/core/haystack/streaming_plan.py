"""One run to be: the pipeline, its inputs, and the components that stream from it."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loguru import logger

from hayhooks.core.haystack.platform import MAJOR, AsyncPipeline, is_pipeline
from hayhooks.core.haystack.streaming_dispatch import install, own_callback, receiving
from hayhooks.core.haystack.streaming_targets import StreamingComponents, Target, find_targets
from hayhooks.core.names import printable

_CALLBACK = "streaming_callback"


@dataclass(frozen=True, slots=True, eq=False)
class RunPlan:
    """What a stream needs to know to run its pipeline, once."""

    pipeline: Any
    inputs: Mapping[str, Any]  # by component for a pipeline, else the arguments of run
    targets: tuple[Target, ...]
    include_outputs_from: set[str] | None

    def run(self, inputs: dict[str, Any]) -> Any:
        """Run in this thread and return the result."""
        if is_pipeline(self.pipeline):
            return self.pipeline.run(data=inputs, include_outputs_from=self.include_outputs_from)
        return self.pipeline.run(**inputs)

    async def run_async(self, inputs: dict[str, Any]) -> Any:
        """Run in this task and return the result."""
        if is_pipeline(self.pipeline):
            return await self.pipeline.run_async(data=inputs, include_outputs_from=self.include_outputs_from)
        return await self.pipeline.run_async(**inputs)

    def own_callback(self, target: Target) -> Any:
        """The callback that *target* would have called without us: that of this run, else the component's own."""
        return self._arguments_of(target).get(_CALLBACK) or own_callback(target.instance)

    def awaits(self, target: Target) -> bool:
        """Whether *target* awaits its callback in a synchronous run.

        The asynchronous pipeline of Haystack 2 runs an event loop of its own there.
        """
        return MAJOR < 3 and isinstance(self.pipeline, AsyncPipeline) and target.is_async

    def check_synchronous(self) -> None:
        """Raise ValueError if a target has an asynchronous callback that a synchronous run cannot await."""
        for target in self.targets:
            if inspect.iscoroutinefunction(self.own_callback(target)) and not self.awaits(target):
                raise ValueError(
                    f"The streaming_callback of {target.name or type(target.instance).__name__!r} is asynchronous; "
                    "use async_streaming_generator."
                )

    @contextmanager
    def wired(self, callback_for: Callable[[Target], Callable[..., Any]]) -> Iterator[dict[str, Any]]:
        """The inputs with a callback for each target; those that take none as input are reached through the context.

        No component is changed for the sake of one run, so that concurrent runs never mix.
        """
        inputs = dict(self.inputs)
        sinks = {}
        for target in self.targets:
            callback = callback_for(target)
            if not target.takes_input:
                install(target.instance)
                sinks[id(target.instance)] = callback
            elif target.name:
                inputs[target.name] = {**inputs.get(target.name, {}), _CALLBACK: callback}
            else:
                inputs[_CALLBACK] = callback
        with receiving(sinks):
            yield inputs

    def _arguments_of(self, target: Target) -> Mapping[str, Any]:
        return self.inputs.get(target.name, {}) if target.name else self.inputs


def plan_run(
    pipeline: Any,
    pipeline_run_args: Mapping[str, Any] | None,
    streaming_components: StreamingComponents | None,
    include_outputs_from: set[str] | None,
) -> RunPlan:
    """Check the request and work out the run; *pipeline_run_args* is not changed.

    Raises:
        TypeError: If *pipeline* cannot run at all.
        ValueError: If the streaming components cannot be told, see `find_targets`.
    """
    if not is_pipeline(pipeline) and not callable(getattr(pipeline, "run", None)):
        raise TypeError(f"A pipeline, an agent or a component is needed, not {type(pipeline).__name__}.")
    targets = find_targets(pipeline, streaming_components)
    arguments = dict(pipeline_run_args or {})
    inputs = by_component(pipeline, arguments) if is_pipeline(pipeline) else arguments
    return RunPlan(pipeline, inputs, targets, include_outputs_from)


def by_component(pipeline: Any, data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """*data* as ``{component: {input: value}}``.

    Flat data, ``{input: value}``, goes to every component with a free input of that name, as Haystack does it.
    A component's own dictionary may stand beside flat inputs, and its values win.
    """
    if _is_nested(pipeline, data):
        return {name: dict(inputs) for name, inputs in data.items()}
    components = pipeline.graph.nodes
    inputs: dict[str, dict[str, Any]] = defaultdict(dict)
    available = pipeline.inputs()
    unmatched = []
    for name, value in data.items():
        if name in components and isinstance(value, Mapping):
            continue
        takers = [component for component, sockets in available.items() if name in sockets]
        if not takers:
            unmatched.append(name)
        for component in takers:
            inputs[component][name] = value
    for name, value in data.items():
        if name in components and isinstance(value, Mapping):
            inputs[name].update(value)
    if unmatched:
        logger.warning("No component takes these inputs, they are left out: {}.", printable(", ".join(unmatched)))
    return dict(inputs)


def _is_nested(pipeline: Any, data: Mapping[str, Any]) -> bool:
    if not all(isinstance(value, Mapping) for value in data.values()):
        return False
    if not data or any(name in pipeline.graph.nodes for name in data):
        return True
    # A dictionary may also be the value of a flat input. An unknown component stays one, for Haystack to refuse.
    sockets = pipeline.inputs(include_components_with_connected_inputs=True).values()
    return not data.keys() <= {name for of_component in sockets for name in of_component}
