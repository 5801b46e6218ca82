"""Who may call and see which deployment: rules over a caller and a deployment, the same for every protocol."""

from dataclasses import dataclass

from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import DeploymentNotFound, Forbidden, HayhooksError, Unauthorized
from hayhooks.core.principal import Action, Principal

HOW_TO_SEND = "send it as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'"


@dataclass(frozen=True, slots=True)
class Access:
    """What the server's owner has decided for deployments that say nothing themselves."""

    requires_login: bool = False  # runs need a key or token

    def is_open(self, deployment: Deployment) -> bool:
        """Whether anybody may call *deployment*."""
        if deployment.required_scope is not None:
            return False
        return not self.requires_login if deployment.is_public is None else deployment.is_public

    def allows(self, caller: Principal, action: Action, deployment: Deployment) -> bool:
        """Whether *caller* may do that with *deployment*; what is open may be called and read by everybody."""
        if action in ("run", "read") and self.is_open(deployment):
            return True
        if not caller.is_known or not caller.may(action, deployment.name):
            return False
        return action != "run" or deployment.required_scope is None or caller.has(deployment.required_scope)


OPEN = Access()


def refusal(
    caller: Principal, action: Action, name: str, deployment: Deployment | None, *, hides: bool
) -> HayhooksError:
    """What to tell *caller*, who may not do that with *name*, or asks for what is not there.

    With *hides*, when some deployments are not for everybody, the answer is the same whether *name* is there or not,
    to all who may not know it.
    """
    if not hides:
        return DeploymentNotFound(name[:80])
    if not caller.is_known:
        return Unauthorized(f"{_shown(name)} is not there for callers without a key: {HOW_TO_SEND}.")
    if not caller.may(action, name):
        return Forbidden(f"The key {caller.name!r} may not {action} {_shown(name)}.")
    if deployment is None:
        return DeploymentNotFound(name[:80])
    return Forbidden(f"{_shown(name)} is for callers with the scope {deployment.required_scope!r}.")


def _shown(name: str) -> str:
    return repr(name[:80])
