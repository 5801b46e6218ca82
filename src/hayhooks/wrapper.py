"""The class that users derive their ``PipelineWrapper`` from."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class BasePipelineWrapper(ABC):
    """A pipeline and the hooks by which it is called.

    Override ``setup`` and at least one ``run_*`` hook, in its sync or its async form; with both, the async one is
    used. The signature of ``run_api`` is the request model of ``POST /{name}/run``. Any hook may take
    ``headers: Headers | None = None`` and gets the request's headers.
    """

    pipeline: Any = None
    skip_mcp: bool = False
    skip_mcp_chat: bool = False  # no MCP tool for its chat hook; the one for run_api stays
    # What MCP clients may think of the tool, such as {"readOnlyHint": True}: then they need not ask before each call.
    mcp_annotations: dict[str, bool] | None = None
    # Prompt builders of the pipeline whose templates are offered as prompts: {"name": "component"}.
    prompts: dict[str, Any] | None = None
    skip_a2a: bool = False
    a2a_card: dict[str, Any] | None = None
    deployment_type: str | None = None
    # Titles, tags and the like for Open WebUI: a "default" answer, or that of a hook for them; "hook" when there must
    # be one; or "chat" as ever.
    open_webui_tasks: str = "default"
    # Whether runs ask for no key; None: as the server's settings say.
    public: bool | None = None
    # A scope of your own, such as "finance", that a caller's key must have besides the right to run this.
    required_scope: str | None = None
    # Whether streams show the documents that a pipeline used as sources.
    show_sources: bool = False

    # Limits of this deployment; unset ones follow the server's settings. None is no limit.
    max_concurrent_runs: ClassVar[int | None]
    max_queued_runs: ClassVar[int | None]
    run_timeout_s: ClassVar[float | None]
    max_body_bytes: ClassVar[int | None]
    max_upload_bytes: ClassVar[int | None]

    @abstractmethod
    def setup(self) -> None:
        """Build ``self.pipeline``. Called once per deployment, before the first run."""

    def teardown(self) -> None:  # noqa: B027 - optional for subclasses
        """Release what ``setup`` acquired. Called once, after the last run of this version has ended."""

    # The hooks below exist so that editors complete them; one counts as there when a subclass overrides it.

    def run_api(self, *args: Any, **kwargs: Any) -> Any:
        """Answer ``POST /{name}/run``."""
        raise NotImplementedError

    async def run_api_async(self, *args: Any, **kwargs: Any) -> Any:
        """Answer ``POST /{name}/run``, asynchronously."""
        raise NotImplementedError

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Any:
        """Answer OpenAI chat completions with text, a generator, a ChatMessage or a whole completion."""
        raise NotImplementedError

    async def run_chat_completion_async(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Any:
        """Answer OpenAI chat completions, asynchronously."""
        raise NotImplementedError

    def run_response(self, model: str, input_items: list[dict[str, Any]], body: dict[str, Any]) -> Any:
        """Answer the OpenAI Responses API."""
        raise NotImplementedError

    async def run_response_async(self, model: str, input_items: list[dict[str, Any]], body: dict[str, Any]) -> Any:
        """Answer the OpenAI Responses API, asynchronously."""
        raise NotImplementedError

    def run_embedding(self, model: str, inputs: list[Any], body: dict[str, Any]) -> Any:
        """Answer OpenAI embeddings: one list of numbers for each of *inputs*."""
        raise NotImplementedError

    async def run_embedding_async(self, model: str, inputs: list[Any], body: dict[str, Any]) -> Any:
        """Answer OpenAI embeddings, asynchronously."""
        raise NotImplementedError

    def run_open_webui_task(self, task: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Any:
        """Answer what Open WebUI asks for around a chat: a title, tags, ... None or nothing gives the default."""
        raise NotImplementedError

    async def run_open_webui_task_async(self, task: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Any:
        """Answer what Open WebUI asks for around a chat, asynchronously."""
        raise NotImplementedError

    def run_file_upload(self, filename: str, content_type: str | None, content: bytes, purpose: str) -> dict[str, Any]:
        """Take over uploads to the OpenAI Files API and return a FileObject."""
        raise NotImplementedError
