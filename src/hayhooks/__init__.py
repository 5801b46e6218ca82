"""Hayhooks serves Haystack pipelines and agents. Public names load when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hayhooks._version import __version__

if TYPE_CHECKING:
    from loguru import logger as log

    from hayhooks.callbacks import (
        default_on_pipeline_end,
        default_on_tool_call_end,
        default_on_tool_call_start,
        sources_on_pipeline_end,
    )
    from hayhooks.core.haystack.embedding import embed_texts, embed_texts_async
    from hayhooks.core.haystack.inputs import coerce_pipeline_inputs
    from hayhooks.core.haystack.platform import AsyncPipeline, Pipeline
    from hayhooks.core.haystack.streaming import async_streaming_generator, streaming_generator
    from hayhooks.current import current_run
    from hayhooks.events import PipelineEvent
    from hayhooks.input_files import InputFile, read_input_file, read_input_file_async
    from hayhooks.messages import (
        chat_messages_from_openai,
        chat_messages_from_openai_response,
        get_input_files,
        get_last_user_input_text,
        get_last_user_message,
        is_user_message,
    )
    from hayhooks.server.app import create_app
    from hayhooks.server.main import run_app
    from hayhooks.sse import SSEStream
    from hayhooks.wrapper import BasePipelineWrapper
    from hayhooks.yaml_wrapper import YAMLPipelineWrapper

_HOMES = {
    "AsyncPipeline": "core.haystack.platform",
    "BasePipelineWrapper": "wrapper",
    "InputFile": "input_files",
    "Pipeline": "core.haystack.platform",
    "PipelineEvent": "events",
    "SSEStream": "sse",
    "YAMLPipelineWrapper": "yaml_wrapper",
    "async_streaming_generator": "core.haystack.streaming",
    "chat_messages_from_openai": "messages",
    "chat_messages_from_openai_response": "messages",
    "coerce_pipeline_inputs": "core.haystack.inputs",
    "create_app": "server.app",
    "current_run": "current",
    "default_on_pipeline_end": "callbacks",
    "default_on_tool_call_end": "callbacks",
    "default_on_tool_call_start": "callbacks",
    "embed_texts": "core.haystack.embedding",
    "embed_texts_async": "core.haystack.embedding",
    "get_input_files": "messages",
    "get_last_user_input_text": "messages",
    "get_last_user_message": "messages",
    "is_user_message": "messages",
    "read_input_file": "input_files",
    "read_input_file_async": "input_files",
    "run_app": "server.main",
    "sources_on_pipeline_end": "callbacks",
    "streaming_generator": "core.haystack.streaming",
}

__all__ = [
    "AsyncPipeline",
    "BasePipelineWrapper",
    "InputFile",
    "Pipeline",
    "PipelineEvent",
    "SSEStream",
    "YAMLPipelineWrapper",
    "__version__",
    "async_streaming_generator",
    "chat_messages_from_openai",
    "chat_messages_from_openai_response",
    "coerce_pipeline_inputs",
    "create_app",
    "current_run",
    "default_on_pipeline_end",
    "default_on_tool_call_end",
    "default_on_tool_call_start",
    "embed_texts",
    "embed_texts_async",
    "get_input_files",
    "get_last_user_input_text",
    "get_last_user_message",
    "is_user_message",
    "log",
    "read_input_file",
    "read_input_file_async",
    "run_app",
    "sources_on_pipeline_end",
    "streaming_generator",
]


def __getattr__(name: str) -> Any:
    if name == "log":
        value: Any = import_module("loguru").logger
    elif name in _HOMES:
        value = getattr(import_module(f"hayhooks.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
