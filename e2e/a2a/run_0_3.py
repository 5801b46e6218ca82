"""``python -m e2e.a2a.run_0_3 --tck PATH``: what A2A's kit for 0.3 says of this server. See README_0_3.md."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.a2a.kit import Case, Kit, serving

PIPELINES = Path(__file__).parent / "v0_3" / "pipelines"
_PUSH = {"HAYHOOKS_A2A_PUSH_HOSTS": '["example.com"]'}  # the host that the kit names
_KEYS = {"HAYHOOKS_REQUIRE_LOGIN": "true", "HAYHOOKS_ADMIN_KEY": "the admin's key of this run"}
_HTTP = ("--transports", "rest")

_KIND = "Sends a part that does not say its kind: it is taken for what it has."
_WAITS = "Wants message/send to answer before the agent has. Without 'blocking' the server waits, as 1.0 says it must."
_SNAKE = "Writes and reads names with underscores; in JSON they are camelCase (0.3.0, 5.5)."
# Tests that ask for what 0.3 does not, each with the reason; of those over HTTP+JSON the name begins with "rest:".
NOT_OURS: Mapping[str, str] = {
    "test_task_state_transitions": _WAITS,
    "test_unsupported_part_kind": _KIND,
    "test_get_push_notification_config": "Asks for a configuration by the name 'default', which it has not given.",
    "rest:test_tasks_list_method_availability": "Asks for '/tasks', a path of 1.0; 0.3 has no message for its answer.",
    "rest:test_task_history_length": _SNAKE,
    "rest:test_boundary_values": _SNAKE,
    "rest:test_message_send_continue_with_contextid": _SNAKE,
    "rest:test_task_state_transitions": _WAITS,
}


@dataclass(frozen=True, slots=True)
class Round:
    """Some of the kit's tests, and the server that they are for."""

    name: str
    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """What the names of its tests begin with in NOT_OURS."""
        return "rest:" if _HTTP[1] in self.arguments else ""


# The first five are the categories of the kit's own runner, with its own choice of tests.
ROUNDS = (
    Round("mandatory", ("tests/mandatory", "-m", "mandatory_jsonrpc or mandatory_protocol")),
    Round("capabilities", ("tests/optional/capabilities",)),
    Round("transport-equivalence", ("tests/optional/multi_transport", "-m", "transport_equivalence")),
    Round("quality", ("tests/optional/quality",)),
    Round("features", ("tests/optional/features",)),
    Round("mandatory, HTTP+JSON", ("tests/mandatory/protocol", "-m", "mandatory_protocol", *_HTTP)),
    Round("capabilities, HTTP+JSON", ("tests/optional/capabilities", *_HTTP)),
    Round("quality, HTTP+JSON", ("tests/optional/quality", *_HTTP)),
    Round("error codes", ("tests/mandatory/jsonrpc", "tests/mandatory/quality", "-m", "mandatory")),
    Round("card", ("tests/mandatory/protocol/test_agent_card_mandatory.py",)),
    Round("push", ("tests/optional/capabilities/test_push_notification_config_methods.py",), _PUSH),
    Round(
        "keys",
        (
            "tests/mandatory/authentication/test_auth_enforcement.py",
            "tests/optional/capabilities/test_authentication.py",
        ),
        _KEYS,
    ),
    Round("extended card", ("tests/mandatory/protocol", "-k", "AuthenticatedExtendedCard"), _KEYS),
)


@dataclass(slots=True)
class Verdict:
    """How many of a round's tests passed, were skipped or ask for what is not 0.3, and the words of the others."""

    passed: int = 0
    skipped: int = 0
    not_ours: int = 0
    complaints: list[str] = field(default_factory=list)


def main() -> int:
    """Play every round; the exit code is 1 when a test complains of something that is ours."""
    kit = Kit.of_command_line(__doc__)
    complaints = 0
    print("| Round | Passed | Skipped | Not of 0.3 | Complaints |\n|---|---|---|---|---|")
    for round_ in ROUNDS:
        with serving(PIPELINES, round_.env, ("a2a", "run")) as server:
            cases = kit.run((*round_.arguments, "--sut-url", f"{server.url}/tck/", "--test-scope", "all"))
        verdict = judge(cases, round_.prefix)
        complaints += len(verdict.complaints)
        counts = (verdict.passed, verdict.skipped, verdict.not_ours, len(verdict.complaints))
        print(f"| {round_.name} | {' | '.join(map(str, counts))} |", flush=True)
        for complaint in verdict.complaints:
            print(f"  {complaint}")
    return 1 if complaints else 0


def judge(cases: Iterable[Case], prefix: str) -> Verdict:
    """Tell what 0.3 asks for from what it does not; an expected failure is a skipped test to this generation."""
    verdict = Verdict()
    for case in cases:
        name = case.name.partition("::")[2]
        if case.outcome == "passed":
            verdict.passed += 1
        elif case.outcome != "failed":
            verdict.skipped += 1
        elif prefix + name in NOT_OURS:
            verdict.not_ours += 1
        else:
            verdict.complaints.append(f"{name}: {case.said}")
    return verdict


if __name__ == "__main__":
    raise SystemExit(main())
