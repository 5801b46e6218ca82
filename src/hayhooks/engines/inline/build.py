"""Build a bundle into a deployment of this process."""

import functools
import importlib.metadata
import inspect
import math
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Union

from loguru import logger
from typing_extensions import TypedDict

from hayhooks.core.agent_card import AgentFacts, read_agent_facts, unknown_fields
from hayhooks.core.bundle import WRAPPER_FILE, Bundle
from hayhooks.core.deployment import Deployment, Entry, Limits
from hayhooks.core.errors import BuildFailed, HayhooksError
from hayhooks.core.haystack.platform import forget_components, is_agent, is_pipeline, runs_own_tools, warm_up
from hayhooks.core.haystack.prompts import PromptTemplate, prompt_templates
from hayhooks.core.principal import ACTIONS, check_scope
from hayhooks.engines.inline.result import ResultModel, streams
from hayhooks.engines.inline.signature import read_arguments, signature_of
from hayhooks.engines.inline.vectors import VectorsModel
from hayhooks.engines.inline.worker import Hook, InlineWorker
from hayhooks.engines.loader import PrivatePackage, public_names
from hayhooks.engines.mailbox import Mailbox
from hayhooks.engines.threads import Threads
from hayhooks.wrapper import BasePipelineWrapper
from hayhooks.yaml_wrapper import YAMLPipelineWrapper

HOOKS = ("run_api", "run_chat_completion", "run_response", "run_embedding", "run_file_upload", "run_open_webui_task")
_CHAT_HOOKS = ("run_chat_completion", "run_response", "run_open_webui_task")
_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_READMES = ("readme.md", "readme.txt", "readme")
_LONGEST_README = 1024 * 1024
_LIMITS = ("max_concurrent_runs", "max_queued_runs", "run_timeout_s", "max_body_bytes", "max_upload_bytes")


def build(
    bundle: Bundle,
    directory: Path,
    *,
    limits: Limits,
    yaml_result: Literal["components", "outputs"],
    streaming_components: Sequence[str] | Literal["all"] | None,
    threads: Callable[[], tuple[Threads, Mailbox]],
    forget: Callable[[], None],
) -> Deployment:
    """Load *bundle* from *directory*, set the wrapper up and warm it up. Blocks.

    Raises:
        BuildFailed: With file, line and the user's own message; what was loaded is dropped again.
    """
    package: PrivatePackage | None = None
    wrapper: BasePipelineWrapper | None = None
    is_set_up = False
    try:
        yaml_file = bundle.yaml_file
        if yaml_file is not None:
            wrapper = _yaml_wrapper(directory / yaml_file, yaml_result)
        elif WRAPPER_FILE in bundle.files:
            package = PrivatePackage(bundle.name, directory)
            wrapper = _wrapper(package)
        else:
            raise BuildFailed(f"Missing required file: {WRAPPER_FILE}")
        with _explained("setup() failed", directory):
            wrapper.setup()
        is_set_up = True
        with _explained("The pipeline's warm_up() failed", directory):
            pipeline = getattr(wrapper, "pipeline", None)
            if is_pipeline(pipeline) or is_agent(pipeline):
                warm_up(pipeline)
        hooks, entries = _hooks(wrapper)
        with _explained("Its prompts cannot be offered", directory):
            prompts = prompt_templates(pipeline, wrapper.prompts or {})
        if prompts:
            hooks["run_prompt"], entries["run_prompt"] = _prompt_hook(prompts)
        if isinstance(wrapper, YAMLPipelineWrapper) and wrapper.unclear_chat and "run_chat_completion" not in entries:
            logger.info("Pipeline YAML {!r} is not offered for chat: {}", bundle.name, wrapper.unclear_chat)
        return Deployment(
            name=bundle.name,
            version=bundle.version,
            entries=entries,
            worker=InlineWorker(
                wrapper, hooks, package, threads, forget, streaming_components, shows_sources=bool(wrapper.show_sources)
            ),
            limits=_limits(wrapper, limits),
            description=_description(wrapper, entries),
            # An agent beside the pipeline may be the one that answers; without a pipeline nobody can know.
            runs_own_tools=pipeline is None or any(map(runs_own_tools, vars(wrapper).values())),
            is_public=_public(wrapper),
            required_scope=_scope(wrapper),
            takes_legacy_calls="run_pipeline" in entries,
            attributes={
                "skip_mcp": wrapper.skip_mcp,
                "skip_mcp_chat": wrapper.skip_mcp_chat,
                "prompts": {prompt.name: (prompt.description, dict(prompt.variables)) for prompt in prompts},
                "mcp_annotations": _annotations(wrapper),
                **(_yaml_outputs(wrapper) if isinstance(wrapper, YAMLPipelineWrapper) else {}),
                "skip_a2a": wrapper.skip_a2a,
                "a2a_card": _agent_facts(wrapper, bundle.name),
                "deployment_type": wrapper.deployment_type or _type_of(pipeline),
                "open_webui_tasks": _tasks(wrapper, entries),
            },
            readme=_readme(bundle),
            created_s=int(time.time()),
        )
    except BaseException:
        if is_set_up and wrapper is not None:
            # What setup() has taken must be given back; the error that is on its way says more than one from here.
            with suppress(BaseException):
                wrapper.teardown()
        if package is not None:
            forget_components(package.name)
            package.forget()
        raise


def _readme(bundle: Bundle) -> str:
    """The text of the bundle's README, when it has one that is not a book."""
    names = {path.lower(): path for path in bundle.files}
    path = next((names[name] for name in _READMES if name in names), None)
    if path is None:
        return ""
    content = bundle.files[path]
    return content.decode("utf-8", "replace") if len(content) <= _LONGEST_README else ""


def _yaml_outputs(wrapper: YAMLPipelineWrapper) -> dict[str, Any]:
    """Where the declared outputs are to be found in an answer that goes by component, and what they are."""
    types = wrapper.output_types
    if not types:
        return {}
    model = TypedDict("Outputs", {name: _nullable(kind) for name, kind in types.items()})  # type: ignore[misc]
    return {"component_outputs": wrapper.component_outputs, "outputs_schema": ResultModel(model).schema}


def _nullable(annotation: Any) -> Any:
    """*annotation*, or null: of a branch that was not taken."""
    return Any if annotation is Any else Union[annotation, None]  # noqa: UP007 - it may be a string


def _yaml_wrapper(path: Path, result: Literal["components", "outputs"]) -> YAMLPipelineWrapper:
    with _explained(f"{path.name} cannot be served", path.parent):
        wrapper = YAMLPipelineWrapper.from_yaml(path.read_text(encoding="utf-8"))
        wrapper.result_default = result
        return wrapper


def _wrapper(package: PrivatePackage) -> BasePipelineWrapper:
    with _explained(f"Cannot load {WRAPPER_FILE}", package.directory):
        module = package.load(WRAPPER_FILE.removesuffix(".py"))
    cls = getattr(module, "PipelineWrapper", None)
    if cls is None:
        raise BuildFailed(f"{WRAPPER_FILE} does not define a class named PipelineWrapper.")
    if isinstance(cls, BasePipelineWrapper):  # an instance, as YAMLPipelineWrapper.from_file gives
        return cls
    if not (isinstance(cls, type) and issubclass(cls, BasePipelineWrapper)):
        raise BuildFailed("PipelineWrapper must be a class derived from hayhooks.BasePipelineWrapper.")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise BuildFailed(f"PipelineWrapper must define {missing}().")
    with _explained("PipelineWrapper() failed", package.directory):
        return cls()


def _hooks(wrapper: BasePipelineWrapper) -> tuple[dict[str, Hook], dict[str, Entry]]:
    hooks: dict[str, Hook] = {}
    entries: dict[str, Entry] = {}
    for name in HOOKS:
        in_loop = _override(wrapper, name + "_async")
        call = in_loop or _override(wrapper, name)
        if call is None:
            continue
        is_yaml = isinstance(wrapper, YAMLPipelineWrapper) and _is_from(call, YAMLPipelineWrapper)
        is_request = name == "run_api"
        try:
            signature = (
                wrapper.run_api_signature  # type: ignore[attr-defined]
                if is_yaml and is_request
                else signature_of(call, is_request=is_request)
            )
            # Not getdoc(), which gives a hook without a docstring the base class's.
            docstring = wrapper.description if is_yaml else inspect.cleandoc(call.__doc__ or "")  # type: ignore[attr-defined]
            arguments = read_arguments(signature, docstring, "RunRequest", is_request=is_request)
        except TypeError as error:
            raise BuildFailed(f"{call.__name__}(): {error}") from error
        result = ResultModel(signature.return_annotation if is_request else Any)
        if name == "run_open_webui_task":
            call = _never_none(call)
        answer = None if name in _CHAT_HOOKS else VectorsModel() if name == "run_embedding" else result
        hooks[name] = Hook(call, arguments, answer, returns_awaitable=in_loop is not None)
        entries[name] = Entry(
            name=name,
            description=docstring or "",
            request_schema=arguments.schema,
            response_schema=result.schema,
            file_fields=arguments.file_fields,
            required_files=arguments.required_files,
            streams=_streams(call, signature.return_annotation),
        )
    if not hooks.keys() - {"run_open_webui_task"}:  # it stands beside a chat hook
        raise BuildFailed(
            "PipelineWrapper has no run hook: override at least one of "
            + ", ".join(f"{name}, {name}_async" for name in HOOKS[:4])
            + "."
        )
    if isinstance(wrapper, YAMLPipelineWrapper):
        legacy = read_arguments(inspect.signature(wrapper.run_pipeline), None, "RunPipelineRequest")
        hooks["run_pipeline"] = Hook(wrapper.run_pipeline, legacy, ResultModel(Any))
        entries["run_pipeline"] = Entry(name="run_pipeline")
    return hooks, entries


def _override(wrapper: BasePipelineWrapper, name: str) -> Callable[..., Any] | None:
    own = getattr(wrapper, name, None)
    if own is None or _is_from(own, BasePipelineWrapper):
        return None
    if isinstance(wrapper, YAMLPipelineWrapper) and name == "run_chat_completion" and not wrapper.can_chat:
        return None if _is_from(own, YAMLPipelineWrapper) else own
    return own  # type: ignore[no-any-return]


def _never_none(call: Callable[..., Any]) -> Callable[..., Any]:
    """*call*, with None as nothing said: such a hook need not have an answer to everything."""

    @functools.wraps(call)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        value = await call(*args, **kwargs)
        return "" if value is None else value

    @functools.wraps(call)
    def called(*args: Any, **kwargs: Any) -> Any:
        value = call(*args, **kwargs)
        return "" if value is None else value

    return awaited if inspect.iscoroutinefunction(inspect.unwrap(call)) else called


def _is_from(call: Any, cls: type) -> bool:
    """Whether *call* is the method as *cls* has it, not overridden."""
    return getattr(call, "__func__", call) is getattr(cls, getattr(call, "__name__", ""), None)


def _streams(call: Callable[..., Any], annotation: Any) -> Literal["text", "sse", None]:
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        return "text"
    return streams(annotation)


def _limits(wrapper: BasePipelineWrapper, defaults: Limits) -> Limits:
    values = {name: getattr(wrapper, name, getattr(defaults, name)) for name in _LIMITS}
    for name, value in values.items():
        if value is None:
            continue
        if name == "run_timeout_s":
            what, is_right = "a positive number", _is_number(value) and 0 < value < math.inf
        elif name == "max_queued_runs":
            what, is_right = "a whole number from 0", _is_number(value) and value >= 0 and value == int(value)
        else:
            what, is_right = "a whole number from 1", _is_number(value) and value >= 1 and value == int(value)
        if not is_right:
            raise BuildFailed(f"PipelineWrapper.{name} must be {what} or None, not {value!r}.")
    return Limits(**values)


def _prompt_hook(prompts: Sequence[PromptTemplate]) -> tuple[Hook, Entry]:
    """The hook that fills the templates, and its entry."""
    by_name = {prompt.name: prompt for prompt in prompts}

    def run_prompt(name: str, arguments: dict[str, str]) -> list[dict[str, Any]]:
        return by_name[name].render(arguments)

    arguments = read_arguments(inspect.signature(run_prompt), None, "RunPromptRequest")
    return Hook(run_prompt, arguments, ResultModel(Any)), Entry("run_prompt", "Fill the template of a prompt.")


def _annotations(wrapper: BasePipelineWrapper) -> dict[str, bool]:
    given = wrapper.mcp_annotations or {}
    if not isinstance(given, dict) or not all(key in _HINTS and isinstance(given[key], bool) for key in given):
        raise BuildFailed(f"PipelineWrapper.mcp_annotations may map {', '.join(_HINTS)} to True or False.")
    return dict(given)


def _public(wrapper: BasePipelineWrapper) -> bool | None:
    if wrapper.public is not None and not isinstance(wrapper.public, bool):
        raise BuildFailed(f"PipelineWrapper.public must be True, False or None, not {wrapper.public!r}.")
    if wrapper.public and wrapper.required_scope is not None:
        raise BuildFailed("PipelineWrapper.public is True, and required_scope asks for a key that has it: choose one.")
    return wrapper.public


def _scope(wrapper: BasePipelineWrapper) -> str | None:
    scope = wrapper.required_scope
    if scope is None:
        return None
    try:
        if not isinstance(scope, str):
            raise ValueError(f"{scope!r} is no text.")
        check_scope(scope)
        if scope.partition(":")[0] in ACTIONS:
            raise ValueError(f"{scope!r} is a right over deployments; take a word of your own, such as 'finance'.")
    except ValueError as error:
        raise BuildFailed(f"PipelineWrapper.required_scope: {error}") from None
    return scope


def _agent_facts(wrapper: BasePipelineWrapper, name: str) -> AgentFacts:
    try:
        facts = read_agent_facts(wrapper.a2a_card)
    except ValueError as error:
        raise BuildFailed(f"PipelineWrapper.a2a_card: {error}") from None
    for field in unknown_fields(wrapper.a2a_card):
        logger.warning("The a2a_card of {!r} has a field {!r} that no agent card has: it is left out.", name, field)
    return facts


def _one_of(wrapper: BasePipelineWrapper, name: str, known: tuple[str, ...]) -> str:
    value = getattr(wrapper, name)
    if value not in known:
        raise BuildFailed(f"PipelineWrapper.{name} must be one of {', '.join(map(repr, known))}, not {value!r}.")
    return str(value)


def _tasks(wrapper: BasePipelineWrapper, entries: Mapping[str, Entry]) -> str:
    value = _one_of(wrapper, "open_webui_tasks", ("default", "hook", "chat"))
    if value == "hook" and "run_open_webui_task" not in entries:
        raise BuildFailed(
            "PipelineWrapper.open_webui_tasks is 'hook', and there is none: override run_open_webui_task or "
            "run_open_webui_task_async, or take 'default'."
        )
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _description(wrapper: BasePipelineWrapper, entries: dict[str, Entry]) -> str:
    """What the wrapper says of itself, or else its hooks."""
    own = getattr(wrapper, "description", None) or vars(type(wrapper)).get("__doc__")
    if own is not None and not isinstance(own, str):
        raise BuildFailed(f"PipelineWrapper.description must be text, not {own!r}.")
    if own and type(wrapper) is not YAMLPipelineWrapper:
        return inspect.cleandoc(own)
    if own and getattr(wrapper, "description", None):
        return str(wrapper.description)  # type: ignore[attr-defined]
    texts = [entry.description for entry in entries.values() if entry.description]
    return texts[0].partition("\n\n")[0] if texts else ""


def _type_of(pipeline: Any) -> str:
    if is_agent(pipeline):
        return "agent"
    return "pipeline" if is_pipeline(pipeline) else "unknown"


@contextmanager
def _explained(what: str, directory: Path) -> Iterator[None]:
    """Turn what user code raises into a message with the place in the user's files."""
    try:
        yield
    except HayhooksError:
        raise
    except SyntaxError as error:
        name = _inside(error.filename, directory) or error.filename
        text = f" near {error.text.strip()[:80]!r}" if error.text else ""
        place = f"{name}, line {error.lineno}" if name and error.lineno else name
        raise BuildFailed(f"{what}: {error.msg}{f' ({place})' if place else ''}{text}") from error
    except ModuleNotFoundError as error:
        raise BuildFailed(
            f"{what}: {_said(error, directory)}{_place(error, directory)}{_how_to_install(error, directory)}"
        ) from error
    except BaseException as error:  # user code may raise what is no Exception, and this thread is its own
        kind = "" if isinstance(error, ValueError) and type(error) is not ValueError else f"{type(error).__name__}: "
        message = _said(error, directory) or "no message"
        raise BuildFailed(f"{what}: {kind}{message}{_place(error, directory)}") from error


def _said(error: BaseException, directory: Path) -> str:
    """The text of *error*, with modules and files named as their author knows them."""
    return public_names(str(error)).replace(f"{directory}{os.sep}", "")


def _place(error: BaseException, directory: Path) -> str:
    frame = _frame(error, directory)
    return f" ({_inside(frame.filename, directory)}, line {frame.lineno})" if frame is not None else ""


def _frame(error: BaseException, directory: Path) -> traceback.FrameSummary | None:
    """The last of the user's own lines on the way to *error*."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return next((frame for frame in frames if _inside(frame.filename, directory) is not None), None)


def _inside(filename: str | None, directory: Path) -> str | None:
    if filename and Path(filename).is_relative_to(directory):
        return Path(filename).relative_to(directory).as_posix()
    return None


def _how_to_install(error: ModuleNotFoundError, directory: Path) -> str:
    missing = error.name or ""
    if missing.startswith("haystack_integrations"):  # one namespace of many packages: the user's line has the rest
        frame = _frame(error, directory)
        asked = re.search(r"haystack_integrations[.\w]*", frame.line or "") if frame is not None else None
        missing = asked[0] if asked else missing
    if not missing or missing.startswith("_hayhooks_"):
        return ""
    top = missing.partition(".")[0]
    is_shared = top == "haystack_integrations"  # that another of its packages is there says nothing of this one
    if not is_shared and top in importlib.metadata.packages_distributions():
        return ""  # the package is there, a module inside it is not
    package = _PACKAGES.get(top) or re.sub(r"_", "-", top)
    if missing.startswith("haystack_integrations."):
        package = missing.split(".")[-1].replace("_", "-") + "-haystack"
    return f". Install it in the server's environment, for example: pip install {package}"


# Modules whose package has another name.
_PACKAGES = {
    "PIL": "pillow", "bs4": "beautifulsoup4", "cv2": "opencv-python", "docx": "python-docx", "dotenv": "python-dotenv",
    "fitz": "pymupdf", "sklearn": "scikit-learn", "yaml": "pyyaml",
}  # fmt: skip
