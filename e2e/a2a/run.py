"""``python -m e2e.a2a.run --tck PATH``: what A2A's conformance kit for 1.0 says of this server. See README.md."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.a2a.kit import Case, Kit, serving

PIPELINES = Path(__file__).parent / "pipelines"
AGENT = "tck"
KEY = "hh_of_the_kit_of_conformance_tests"

# Tests of the kit that ask for what is not offered, or what the protocol does not ask for, each with the reason.
ALWAYS = {
    "TestMessageResponse": "Agents answer with a task, always; the kit's agent is to answer one message without.",
}
WITH_0_3 = {
    "test_agent_card_validates_against_schema": "The card has the fields of 0.3, too, for clients that know no other.",
}
WITH_PUSH = {
    "test_must_requirement[PUSH-": "They name a task that nobody has made; test_push_notifications makes one first.",
}
_WITHOUT_KEY = "It asks by itself, without the key that the kit was given, and is told so."
WITH_KEY = dict.fromkeys(
    (
        "TestVersionErrors",
        "test_content_type_not_supported",
        "test_version_not_supported",
        "bad-version",
        "TestIgnoreUnrecognizedFields",
    ),
    _WITHOUT_KEY,
)


@dataclass(frozen=True, slots=True)
class Server:
    """One way to serve the agent, and what the kit may complain of then."""

    name: str
    env: Mapping[str, str]
    not_ours: Mapping[str, str] = field(default_factory=dict)
    kit: Mapping[str, str] = field(default_factory=dict)  # the kit's own variables


SERVERS = (
    Server("1.0 and 0.3", {}, WITH_0_3),
    Server("1.0 alone", {"HAYHOOKS_A2A_V0_3_COMPAT": "false"}),
    Server(
        "with push",
        {"HAYHOOKS_A2A_V0_3_COMPAT": "false", "HAYHOOKS_A2A_PUSH_HOSTS": '["localhost", "example.com"]'},
        WITH_PUSH,
    ),
    Server(
        "with a key",
        {
            "HAYHOOKS_A2A_V0_3_COMPAT": "false",
            "HAYHOOKS_REQUIRE_LOGIN": "true",
            "HAYHOOKS_ADMIN_KEY": KEY,
        },
        WITH_KEY,
        kit={"A2A_AUTH_TYPE": "bearer", "A2A_AUTH_TOKEN": KEY},
    ),
)


@dataclass(slots=True)
class Verdict:
    """What the kit found, by the names of its tests."""

    passed: int = 0
    skipped: int = 0
    not_ours: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)  # which the protocol recommends
    complaints: list[str] = field(default_factory=list)


def main() -> int:
    """Run the kit against every server; the exit code is 1 when it complains of something that is ours."""
    kit = Kit.of_command_line(__doc__)
    complaints = 0
    lines = ["| Server | Passed | Failed | Recommended, not met | Not ours | Skipped |", "|---|---|---|---|---|---|"]
    for server in SERVERS:
        with serving(PIPELINES, server.env) as running:
            cases = kit.run(("tests/compatibility", f"--sut-host={running.url}/a2a/{AGENT}"), server.kit)
        verdict = judge(cases, {**ALWAYS, **server.not_ours})
        complaints += len(verdict.complaints)
        counts = (verdict.complaints, verdict.optional, verdict.not_ours)
        cells = [server.name, str(verdict.passed), *(str(len(found)) for found in counts), str(verdict.skipped)]
        lines.append(f"| {' | '.join(cells)} |")
        for kind, found in zip(("failed", "not met", "not ours"), counts, strict=True):
            for test in found:
                print(f"{server.name}: {kind}: {test}")
    print("\n".join(lines))
    return 1 if complaints else 0


def judge(cases: Iterable[Case], not_ours: Mapping[str, str]) -> Verdict:
    """Tell what is ours from what is not; the keys of *not_ours* are parts of names."""
    verdict = Verdict()
    for case in cases:
        if case.outcome == "passed":
            verdict.passed += 1
        elif case.outcome == "skipped":
            verdict.skipped += 1
        else:
            known = any(part in case.name for part in not_ours)
            kind = verdict.optional if case.outcome == "not met" else verdict.complaints
            (verdict.not_ours if known else kind).append(f"{case.name}: {case.said}")
    return verdict


if __name__ == "__main__":
    raise SystemExit(main())
