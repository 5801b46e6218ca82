"""Agent cards: what a deployment tells other agents of itself, as the JSON that they read.

Source: A2A specification 1.0, sections 4.4 and 8; for clients of 0.3 the same card says it in their words, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hayhooks.core.agent_card import AgentFacts, AgentSkill
from hayhooks.core.deployment import Deployment
from hayhooks.surfaces.a2a.agents import ENTRY, facts_of

INPUT_MODES = (
    "text/plain", "text/markdown", "text/html", "text/csv", "application/json", "application/pdf",
    "application/octet-stream", "image/png", "image/jpeg", "image/gif", "image/webp", "audio/wav", "audio/mpeg",
)  # fmt: skip
OUTPUT_MODES = ("text/plain", "application/json", "application/octet-stream")
_BINDINGS = ("JSONRPC", "HTTP+JSON")  # the first is what clients take who have no preference


@dataclass(frozen=True, slots=True)
class Offer:
    """What this server does, whichever agent is asked."""

    has_push: bool = False
    speaks_0_3: bool = True
    openid_url: str | None = None  # where an issuer's configuration is, when its tokens are taken


def card_of(
    deployment: Deployment, url: str, offer: Offer, *, needs_key: bool, is_extended: bool = False
) -> dict[str, Any]:
    """The card of *deployment*, which is called at *url*."""
    facts = facts_of(deployment)
    skills = [*facts.skills, *(facts.extended_skills if is_extended else ())] or [_skill(deployment, facts)]
    interfaces = [
        {"url": url, "protocolBinding": binding, "protocolVersion": version}
        for version in (("1.0", "0.3") if offer.speaks_0_3 else ("1.0",))
        for binding in _BINDINGS
    ]
    card: dict[str, Any] = {
        "name": facts.name or deployment.name,
        "description": _description(deployment, facts),
        "version": facts.version or deployment.version[:12],
        "supportedInterfaces": interfaces,
        "capabilities": {
            "streaming": True,
            "pushNotifications": offer.has_push,
            "extendedAgentCard": needs_key,
        },
        "defaultInputModes": input_modes(deployment),
        "defaultOutputModes": list(facts.default_output_modes or OUTPUT_MODES),
        "skills": [_skill_object(skill, deployment) for skill in skills],
    }
    if facts.provider is not None:
        card["provider"] = facts.provider.model_dump()
    if facts.documentation_url:
        card["documentationUrl"] = facts.documentation_url
    if facts.icon_url:
        card["iconUrl"] = facts.icon_url
    if needs_key:
        schemes = _schemes(offer)
        card["securitySchemes"] = schemes
        card["securityRequirements"] = [{"schemes": {name: {"list": []}}} for name in schemes]
    return _with_0_3(card, url) if offer.speaks_0_3 else card


def input_modes(deployment: Deployment) -> list[str]:
    """The media types that messages to the agent may have."""
    facts = facts_of(deployment)
    found = dict.fromkeys(facts.default_input_modes if facts.default_input_modes is not None else INPUT_MODES)
    for skill in (*facts.skills, *facts.extended_skills):
        found |= dict.fromkeys(skill.input_modes)
    return list(found)


def takes(modes: Sequence[str], media_type: str) -> bool:
    """Whether *media_type* is among *modes*, which may have patterns such as ``image/*``."""
    media = media_type.partition(";")[0].strip().lower()
    known = {mode.lower() for mode in modes}
    return not known or media in known or f"{media.partition('/')[0]}/*" in known or "*/*" in known


def _description(deployment: Deployment, facts: AgentFacts) -> str:
    said = facts.description or deployment.description or deployment.entries[ENTRY].description
    return said or f"The deployment {deployment.name}."


def _skill(deployment: Deployment, facts: AgentFacts) -> AgentSkill:
    """The one skill of an agent whose wrapper names none."""
    kind = deployment.attributes.get("deployment_type")
    tags = ["chat", *([kind] if kind in ("agent", "pipeline") else [])]
    return AgentSkill(
        id="chat", name=facts.name or deployment.name, description=_description(deployment, facts), tags=tags
    )


def _skill_object(skill: AgentSkill, deployment: Deployment) -> dict[str, Any]:
    more = {"examples": skill.examples, "inputModes": skill.input_modes, "outputModes": skill.output_modes}
    return {
        "id": skill.id,
        "name": skill.name,
        "description": skill.description or skill.name,
        "tags": skill.tags or [deployment.name],
        **{key: value for key, value in more.items() if value},
    }


def _schemes(offer: Offer) -> dict[str, dict[str, Any]]:
    schemes: dict[str, dict[str, Any]] = {
        "bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer", "description": "An API key, or a token."}},
        "apiKey": {"apiKeySecurityScheme": {"location": "header", "name": "X-API-Key", "description": "An API key."}},
    }
    if offer.openid_url:
        schemes["openId"] = {"openIdConnectSecurityScheme": {"openIdConnectUrl": offer.openid_url}}
    return schemes


def _with_0_3(card: dict[str, Any], url: str) -> dict[str, Any]:
    """*card* with the fields by which 0.3 says the same; each version's clients skip what the other's need."""
    legacy: dict[str, Any] = {
        "protocolVersion": "0.3.0",
        "url": url,
        "preferredTransport": _BINDINGS[0],
        "additionalInterfaces": [{"url": url, "transport": binding} for binding in _BINDINGS],
    }
    if card["capabilities"]["extendedAgentCard"]:
        legacy["supportsAuthenticatedExtendedCard"] = True
    schemes: Mapping[str, dict[str, Any]] = card.get("securitySchemes", {})
    if schemes:
        legacy["security"] = [{name: []} for name in schemes]
        legacy["securitySchemes"] = {name: {**scheme, **_scheme_0_3(scheme)} for name, scheme in schemes.items()}
    return {**card, **legacy}


def _scheme_0_3(scheme: Mapping[str, Any]) -> dict[str, Any]:
    (kind, facts), *_ = scheme.items()
    if kind == "httpAuthSecurityScheme":
        return {"type": "http", **facts}
    if kind == "apiKeySecurityScheme":
        return {"type": "apiKey", "in": facts["location"], "name": facts["name"], "description": facts["description"]}
    return {"type": "openIdConnect", **facts}
