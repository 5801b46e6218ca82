"""Prompts that deployments offer: templates of their prompt builders, filled by the client."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from hayhooks.core.deployment import Call, Deployment
from hayhooks.core.events import Result
from hayhooks.core.principal import Principal
from hayhooks.core.runtime import Runtime
from hayhooks.surfaces.mcp.asker import Asker
from hayhooks.surfaces.mcp.calls import VIA
from hayhooks.surfaces.mcp.content import COMPLETE
from hayhooks.surfaces.mcp.errors import unknown

_Found = tuple[Deployment, str, str, Mapping[str, bool]]  # of whom, name there, description, variables


class Prompts:
    """Lists and fills them, for who may run the deployment."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def listed(self, caller: Principal) -> list[dict[str, Any]]:
        """Those that *caller* may use."""
        return [
            {
                "name": name,
                "title": own.replace("_", " ").replace("-", " ").strip().capitalize() or own,
                "description": description or f"A prompt of {deployment.name}.",
                "arguments": [{"name": variable, "required": is_needed} for variable, is_needed in variables.items()],
                "_meta": {"hayhooks/deployment": deployment.name},
            }
            for name, (deployment, own, description, variables) in sorted(self._found(caller).items())
        ]

    async def get(self, name: str, arguments: Mapping[str, str], asker: Asker) -> dict[str, Any]:
        """The prompt of that name, filled. Raises MCPError when there is none, or not for this caller."""
        found = self._found(asker.caller).get(name)
        if found is None:
            raise unknown("prompt", name)
        deployment, own, description, _ = found
        call = Call(
            body=msgspec.json.encode({"name": own, "arguments": dict(arguments)}),
            headers=asker.headers,
            session=asker.session,
            caller=asker.caller,
            trace=asker.trace,
        )
        async with self._runtime.run(deployment.name, "run_prompt", call, via=VIA) as run:
            reply = await run.reply()
        assert isinstance(reply, Result)
        messages = [
            {"role": message["role"], "content": part}
            for message in msgspec.json.decode(reply.json)
            for part in message["content"]  # a message has one block here
        ]
        return {**COMPLETE, "description": description or f"A prompt of {deployment.name}.", "messages": messages}

    def _found(self, caller: Principal) -> dict[str, _Found]:
        """By the name that it has here: with its deployment's before it, where two have the same."""
        offered = [
            (found, own, description, variables)
            for found in self._runtime.open_to(caller).values()
            if not found.attributes.get("skip_mcp")
            for own, (description, variables) in found.attributes.get("prompts", {}).items()
        ]
        counts = Counter(own for _, own, _, _ in offered)
        return {own if counts[own] == 1 else f"{one[0].name}.{own}": one for one in offered for own in [one[1]]}
