"""What a wrapper says of itself to other agents, in its ``a2a_card``: read and checked when it is deployed."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


class _Facts(BaseModel):
    # Both spellings, as the protocol's own text and its Python library have one each.
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, strict=True)


class AgentSkill(_Facts):
    """Something that the agent can do, as a client or a model chooses by it."""

    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    description: str = ""
    tags: list[str] = []
    examples: list[str] = []
    input_modes: list[str] = []
    output_modes: list[str] = []


class AgentProvider(_Facts):
    """Who runs the agent."""

    organization: str
    url: str


class AgentFacts(_Facts):
    """The fields of an agent card that a wrapper may set; what it leaves out is found elsewhere.

    ``extended_skills`` are shown to callers who have said who they are, besides ``skills``. With ``public`` anybody may
    read the card of a deployment that only some may call.
    """

    name: str | None = Field(default=None, min_length=1)
    description: str | None = Field(default=None, min_length=1)
    version: str | None = Field(default=None, min_length=1)
    skills: list[AgentSkill] = []
    extended_skills: list[AgentSkill] = []
    provider: AgentProvider | None = None
    documentation_url: str | None = None
    icon_url: str | None = None
    default_input_modes: list[str] | None = None
    default_output_modes: list[str] | None = None
    public: bool = False


def read_agent_facts(given: Any) -> AgentFacts:
    """The facts in a wrapper's ``a2a_card``; None says nothing.

    A skill needs an ``id`` or a ``name``; the other is made of it.

    Raises:
        ValueError: Naming the field that is wrong, and how.
    """
    if given is None:
        return AgentFacts()
    if not isinstance(given, Mapping):
        raise ValueError(f"must be a dict or None, not {type(given).__name__}.")
    facts = _said(given)
    for key in ("skills", "extended_skills", "extendedSkills"):
        if isinstance(facts.get(key), (list, tuple)):
            facts[key] = [_with_id(_said(skill)) for skill in facts[key]]
    try:
        return AgentFacts.model_validate(facts)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, found["loc"]))
        raise ValueError(f"{place}: {found['msg']}.") from None


def unknown_fields(given: Any) -> list[str]:
    """Keys of an ``a2a_card`` that mean nothing here: a slip of the pen perhaps."""
    known = {name for field in AgentFacts.model_fields for name in (field, to_camel(field))}
    return [str(key) for key in given if key not in known] if isinstance(given, Mapping) else []


def _said(given: Any) -> Any:
    """*given* without what is empty or None, which says nothing; a version may be a number."""
    if not isinstance(given, Mapping):
        return given
    said = {key: value for key, value in given.items() if value is not None and value != ""}
    if isinstance(said.get("version"), (int, float)) and not isinstance(said["version"], bool):
        said["version"] = str(said["version"])
    return said


def _with_id(skill: Any) -> Any:
    if not isinstance(skill, Mapping):
        return skill
    name = skill.get("name") or skill.get("id")
    made = {**skill, "name": name, "id": skill.get("id") or "-".join(str(name).lower().split())} if name else {**skill}
    for key in ("tags", "examples"):
        if isinstance(made.get(key), (tuple, set, frozenset)):
            made[key] = list(made[key])
    return made
