"""One request of another agent, as everything that answers it sees it."""

from dataclasses import dataclass
from typing import Any

from a2a.auth.user import User
from a2a.extensions.common import HTTP_EXTENSION_HEADER, get_requested_extensions
from a2a.server.context import ServerCallContext
from a2a.server.routes.common import ServerCallContextBuilder
from starlette.requests import Request
from starlette.types import Scope

from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import HayhooksError
from hayhooks.core.principal import Principal

KEY = "hayhooks.a2a"  # of the visit, in the scope of a request and the state of its call


@dataclass(slots=True, eq=False)
class Visit:
    """Who calls which agent. What it leaves, as tasks, is found again by the same caller at the same agent only."""

    deployment: Deployment
    caller: Principal
    scope: Scope
    url: str  # of the agent, as its card has it
    owner: str  # of the tasks that it may see
    refusal: HayhooksError | None = None  # what its caller is told in place of the protocol's own answer
    is_streamed: bool = False
    is_read: bool = False  # its message has come to us: what fails now is ours
    is_new: bool = False  # its message begins a task, which is nowhere yet
    is_new_context: bool = False  # and a conversation
    tells_id_early: bool = True  # of its task, before that has ended

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self.deployment.name


def owner_of(agent: str, caller: Principal) -> str:
    """Whose the tasks are that *caller* leaves at *agent*."""
    return f"{agent}|{caller.id}"


def visit_of(context: ServerCallContext) -> Visit:
    """The visit that a call of the library's is part of."""
    found: Visit = context.state[KEY]
    return found


class Caller(User):
    """The caller, as the library sees it."""

    def __init__(self, caller: Principal) -> None:
        self._caller = caller

    @property
    def is_authenticated(self) -> bool:
        """Whether it has shown who it is."""
        return self._caller.is_known

    @property
    def user_name(self) -> str:
        """Its id."""
        return self._caller.id


class Contexts(ServerCallContextBuilder):
    """Makes the library's context of a request."""

    def build(self, request: Request) -> ServerCallContext:
        """The context of *request*."""
        visit: Visit = request.scope[KEY]
        state: dict[str, Any] = {KEY: visit, "headers": dict(request.headers)}
        asked = get_requested_extensions(request.headers.getlist(HTTP_EXTENSION_HEADER))
        return ServerCallContext(user=Caller(visit.caller), state=state, requested_extensions=asked)
