"""Tables of medians and ratios, as Markdown."""

from collections.abc import Iterator, Sequence

from bench.cases import Case, Metric, Scenario, Within
from bench.results import Results

OURS = "ours"


def markdown(results: Results, scenarios: Sequence[Scenario]) -> str:
    """The whole report: machine, versions, a table for each scenario, failures."""
    lines = [*_about(results), ""]
    for scenario in scenarios:
        if any(sample.scenario == scenario.name for sample in results.samples):
            lines += [*_scenario(results, scenario), ""]
    failures = results.failures()
    if failures:
        lines += ["## Failed measurements", ""]
        lines += [f"- {s.scenario}: {s.case}: {s.peer}, round {s.round + 1}: {s.failure}" for s in failures]
        lines += [""]
    return "\n".join(lines)


def missed_goals(results: Results, scenarios: Sequence[Scenario]) -> list[str]:
    """The goals that this run did not reach, a sentence each; those that it did not measure are left out."""
    missed = []
    for scenario in scenarios:
        for case in scenario.cases:
            for metric in case.metrics:
                missed += [f"{case.name}: {text}" for text, met in _goals(results, scenario, case, metric) if not met]
        for within in scenario.within:
            found = _within(results, scenario, within, OURS)
            if found is not None and not _holds(within, found):
                missed.append(f"{within.name}: {found:.2f}, wanted {_bound(within)}")
    return missed


def _about(results: Results) -> Iterator[str]:
    m = results.machine
    yield f"Measured {m['date']}: {m['processor']}, {m['cores']} cores, {m['memory_gib']} GiB, {m['system']}; "
    yield (
        f"one worker each, in turn in one run; medians of {m['rounds']} rounds of {m['seconds']} s; "
        f"load average at the start {m['load_at_start']}."
    )
    if results.versions:
        yield ""
        names = sorted({name for found in results.versions.values() for name in found})
        yield from _table(
            ["", *results.versions],
            [[name, *(found.get(name, "") for found in results.versions.values())] for name in names],
        )


def _scenario(results: Results, scenario: Scenario) -> Iterator[str]:
    peers = list(dict.fromkeys(sample.peer for sample in results.samples if sample.scenario == scenario.name))
    if OURS in peers:
        peers = [OURS, *(peer for peer in sorted(peers) if peer != OURS)]
    others = [peer for peer in peers if peer != OURS] if OURS in peers else []
    yield f"## {scenario.name}: {scenario.about}"
    yield ""
    rows = []
    for case in scenario.cases:
        for metric in case.metrics:
            values = {peer: results.middle(scenario.name, case.name, peer, metric.key) for peer in peers}
            if any(value is not None for value in values.values()):
                ratios = [_shown_ratio(values[OURS], values[other], metric) for other in others]
                goals = "; ".join(
                    f"{text} {'✔' if met else '✘'}" for text, met in _goals(results, scenario, case, metric)
                )
                shown = [_number(values[peer]) for peer in peers]
                rows.append([case.name, metric.unit, *shown, *ratios, goals])
    head = ["case", "unit", *peers, *(f"ours / {other}" for other in others), "goals"]
    yield from _table(head, rows)
    for within in scenario.within:
        for peer in peers:
            found = _within(results, scenario, within, peer)
            if found is not None:
                mark = ("✔" if _holds(within, found) else "✘") if peer == OURS else ""
                yield ""
                yield f"{within.name}, {peer}: {found:.2f} (goal {_bound(within)}) {mark}".rstrip()


def _goals(results: Results, scenario: Scenario, case: Case, metric: Metric) -> Iterator[tuple[str, bool]]:
    """Each goal of ours that could be checked, and whether it is met."""
    ours = results.middle(scenario.name, case.name, OURS, metric.key)
    if ours is None:
        return
    for peer, times in metric.goals.items():
        ratio = _ratio(ours, results.middle(scenario.name, case.name, peer, metric.key), metric)
        if ratio is not None:
            yield f"{times:g} x {peer} (is {ratio:.2f})", ratio >= times
    for peer, share in metric.overheads.items():
        ratio = _ratio(ours, results.middle(scenario.name, case.name, peer, metric.key), metric)
        if ratio is not None:
            yield f"{peer} at most {share:.0%} behind (is {1 - 1 / ratio:.0%})", 1 - 1 / ratio <= share
    if metric.limit is not None:
        met = ours >= metric.limit if metric.more_is_better else ours <= metric.limit
        yield f"{'at least' if metric.more_is_better else 'at most'} {metric.limit:g} (is {_number(ours)})", met


def _ratio(ours: float | None, other: float | None, metric: Metric) -> float | None:
    """How many times better ours is, whichever way better is."""
    if ours is None or other is None:
        return None
    over, under = (ours, other) if metric.more_is_better else (other, ours)
    return over / under if under > 0 else None


def _shown_ratio(ours: float | None, other: float | None, metric: Metric) -> str:
    ratio = _ratio(ours, other, metric)
    return "" if ratio is None else f"{ratio:.2f}"


def _within(results: Results, scenario: Scenario, within: Within, peer: str) -> float | None:
    first = results.middle(scenario.name, within.first, peer, within.key)
    second = results.middle(scenario.name, within.second, peer, within.key)
    return first / second if first is not None and second else None


def _holds(within: Within, found: float) -> bool:
    return (within.at_least is None or found >= within.at_least) and (within.at_most is None or found <= within.at_most)


def _bound(within: Within) -> str:
    return f"at least {within.at_least:g}" if within.at_least is not None else f"at most {within.at_most:g}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
