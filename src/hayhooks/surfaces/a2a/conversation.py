"""A context of A2A as a conversation: what was said in its tasks so far, as the messages of a chat."""

from typing import Any

from a2a.server.agent_execution import RequestContext
from a2a.server.cluster import VersionedTaskStore
from a2a.types.a2a_pb2 import ListTasksRequest, Message, Role, Task, TaskState

from hayhooks.surfaces.a2a.parts import answer_message, chat_message

_TASKS = 100  # of one context, the newest


async def messages_of(context: RequestContext, tasks: VersionedTaskStore, *, is_new: bool) -> list[dict[str, Any]]:
    """The messages of the conversation that *context*'s message continues, and that message as the last.

    A conversation that *is_new* has no others.
    """
    message = context.message
    assert message is not None
    if is_new:
        return [chat_message(message)]
    request = ListTasksRequest(context_id=context.context_id or "", page_size=_TASKS, include_artifacts=True)
    page = await tasks.list(request, context.call_context)
    earlier = [task for task in reversed(page.tasks) if task.status.state == TaskState.TASK_STATE_COMPLETED]
    found = [said for task in earlier if task.id != context.task_id for said in _of_task(task)]
    current = context.current_task
    if current is not None:
        found += _of_history(current, message)
        if current.status.HasField("message"):
            found.append(chat_message(current.status.message))
    return [*found, chat_message(message)]


def _of_task(task: Task) -> list[dict[str, Any]]:
    answers = [answer_message(artifact.parts) for artifact in task.artifacts]
    return [*_of_history(task), *answers]


def _of_history(task: Task, besides: Message | None = None) -> list[dict[str, Any]]:
    return [
        chat_message(message)
        for message in task.history
        if not _is_note(message) and (besides is None or message.message_id != besides.message_id)
    ]


def _is_note(message: Message) -> bool:
    """Whether it is a line for whoever watched, and no answer."""
    return message.role == Role.ROLE_AGENT and "event" in message.metadata.fields
