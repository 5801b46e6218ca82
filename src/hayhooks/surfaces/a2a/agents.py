"""Which deployments are agents, and who may see them."""

from hayhooks.core.agent_card import AgentFacts
from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import HayhooksError
from hayhooks.core.principal import ANONYMOUS, Action, Principal
from hayhooks.core.runtime import Runtime

ENTRY = "run_chat_completion"


class AgentNotFound(HayhooksError):
    """The deployment is live, but it is no agent."""

    kind = "not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Deployment {name[:80]!r} is no agent: it has no chat hook, or says skip_a2a.")


def is_agent(deployment: Deployment) -> bool:
    """Whether *deployment* is offered to other agents."""
    return ENTRY in deployment.entries and not deployment.attributes.get("skip_a2a")


def facts_of(deployment: Deployment) -> AgentFacts:
    """What its wrapper says of the agent."""
    facts = deployment.attributes.get("a2a_card")
    return facts if isinstance(facts, AgentFacts) else AgentFacts()


def agents(runtime: Runtime, caller: Principal) -> list[str]:
    """The names of the agents that *caller* may call."""
    return sorted(name for name, found in runtime.open_to(caller).items() if is_agent(found))


def cards(runtime: Runtime, caller: Principal) -> list[str]:
    """The names of the agents whose cards *caller* may read: those it may call, and those with a public one."""
    live = {name: found.deployment for name, found in runtime.live.items()}
    public = {name for name, found in live.items() if is_agent(found) and facts_of(found).public}
    return sorted(public | set(agents(runtime, caller)))


def find_agent(runtime: Runtime, name: str, caller: Principal, action: Action = "run") -> Deployment:
    """The agent of that name, for *caller* to do that with. Raises as ``Runtime.find``, and AgentNotFound."""
    deployment = runtime.find(name, caller, action)
    if not is_agent(deployment):
        raise AgentNotFound(name)
    return deployment


def find_card(runtime: Runtime, name: str, caller: Principal) -> Deployment:
    """The agent whose card *caller* may read. Raises as ``find_agent``."""
    live = runtime.live.get(name)
    if live is not None and is_agent(live.deployment) and facts_of(live.deployment).public:
        return live.deployment
    return find_agent(runtime, name, caller, "read")


def needs_key(runtime: Runtime, name: str) -> bool:
    """Whether only some may call the agent."""
    return not runtime.may(name, ANONYMOUS)
