"""What is measured, and what is expected of it."""

from bench import idle, mcp, measures, overload
from bench.cases import Case, Metric, Scenario, Within
from bench.fleets import AND_IDLE_STREAMS, EVERY_WRAPPER, NOOPS, Fleet, crowd, crowd_then_echo

OLD = "hayhooks-2.1"
HAYHOOKS = frozenset({"ours", OLD})
OURS = frozenset({"ours"})

CPU = Metric("cpu_us", "us of processor time each", more_is_better=False)


def _requests(**goals: float) -> tuple[Metric, ...]:
    named = {name.replace("hayhooks_21", OLD): times for name, times in goals.items()}
    return (Metric("rate", "requests/s", more_is_better=True, goals=named), CPU)


def _run_case(deployment: str, connections: int, fleet: Fleet, metrics: tuple[Metric, ...]) -> Case:
    return Case(f"{deployment} c={connections}", measures.runs(deployment, connections), metrics, fleet)


def _run() -> Scenario:
    cases = []
    for deployment in ("noop_async", "noop_sync", "echo_sync", "echo_async", "five_components"):
        for connections in (1, 16, 64):
            metrics = _requests()
            if deployment.startswith("echo"):
                times = 6 if (deployment, connections) == ("echo_sync", 16) else 4
                metrics = _requests(hayhooks_21=times, floor=0.7)
            cases.append(_run_case(deployment, connections, EVERY_WRAPPER, metrics))
    return Scenario("run", "POST /{name}/run of no-ops and small Haystack pipelines", tuple(cases))


def _closed() -> Scenario:
    metrics = (
        Metric("rate", "requests/s", more_is_better=True, overheads={"ours-closed": 0.1}),
        Metric("p99_ms", "ms, the slowest of 100", more_is_better=False),
        CPU,
    )
    peers = frozenset({"ours", "ours-closed"})
    cases = tuple(
        Case(f"{name} c={connections}, with and without keys", measures.runs(name, connections), metrics,
             EVERY_WRAPPER, peers=peers)
        for name in ("noop_async", "echo_sync")
        for connections in (1, 16)
    )  # fmt: skip
    return Scenario("closed", "what keys, scopes, rates and concurrency of a key cost on the way of a run", cases)


def _many() -> Scenario:
    many = crowd_then_echo(300)
    cases = [
        _run_case(deployment, connections, many, _requests(hayhooks_21=8))
        for deployment in ("zz_echo_sync", "zz_echo_async")
        for connections in (1, 16, 64)
    ]
    for size in (1, 3000):
        measure = measures.runs("zz_echo_sync", 16)
        cases.append(Case(f"{size} deployed, last, c=16", measure, _requests(), crowd_then_echo(size), peers=OURS))
    within = Within(
        "3,000 deployed against 1", "rate", "3000 deployed, last, c=16", "1 deployed, last, c=16", at_least=0.9
    )
    return Scenario("many", "the last of 300 deployments; 3,000 against 1", tuple(cases), (within,))


def _chat() -> Scenario:
    cases = []
    goals = {OLD: 8.0, "floor": 0.7}
    for kind in ("sync", "async"):
        for connections in (1, 10, 100):
            name = f"chat_stream_{kind}"
            measure = measures.chats(name, connections, tokens=500)
            metrics = (Metric("rate", "chunks/s", more_is_better=True, goals=goals), CPU)
            cases.append(Case(f"{name} c={connections}", measure, metrics, EVERY_WRAPPER))
    return Scenario("chat", "streamed chats of 500 chunks without a pause", tuple(cases))


def _paced() -> Scenario:
    metrics = (
        Metric("rate", "chunks/s", more_is_better=True, goals={OLD: 4}),
        Metric("slowest_rate", "chunks/s of the slowest stream", more_is_better=True),
        # Fair: the slowest stream is not far behind the middle one.
        Metric("slowest_share", "slowest stream / median stream", more_is_better=True, limit=0.5),
        Metric("longest_gap_s", "s of the longest silence", more_is_better=False),
        CPU,
    )
    measure = measures.paced_chats(500, tokens=100)
    case = Case("500 streams, 20 ms a chunk", measure, metrics, EVERY_WRAPPER)
    return Scenario("paced", "500 streams of 100 chunks at the pace of a model (ideal: 25,000 chunks/s)", (case,))


def _sleep() -> Scenario:
    metrics = (Metric("seconds", "s", more_is_better=False, limit=3),)
    case = Case("500 runs that sleep 2 s", measures.sleeping_runs, metrics, EVERY_WRAPPER)
    return Scenario("sleep", "500 sync runs that wait, all at once (ideal: 2 s)", (case,))


def _startup() -> Scenario:
    cases = []
    for size in (0, 10, 100, 300):
        goals = {OLD: 2.0} if size == 300 else {}
        metrics = (
            Metric("seconds", "s", more_is_better=False, goals=goals),
            Metric("resident_mb", "MiB resident", more_is_better=False),
        )
        name = f"ready with {size} trivial wrappers"
        cases.append(Case(name, measures.start_up, metrics, crowd(size), cold=True, remote=False))
    return Scenario("startup", "from the start of the process until /status lists everything", tuple(cases))


def _deploy() -> Scenario:
    metrics = (Metric("ms", "ms", more_is_better=False),)
    cases = tuple(
        Case(f"deploy with {size} there", measures.deploys(9), metrics, crowd(size), peers=HAYHOOKS, remote=False)
        for size in (0, 300)
    )
    within = Within("deploy with 300 against 0", "ms", "deploy with 300 there", "deploy with 0 there", at_most=1.5)
    return Scenario("deploy", "POST /deploy_files of one more wrapper", cases, (within,))


def _upload() -> Scenario:
    metrics = (
        Metric("seconds", "s", more_is_better=False),
        Metric("growth_mb", "MiB more at the peak", more_is_better=False, limit=50),
    )
    case = Case("upload of 500 MB", measures.upload, metrics, EVERY_WRAPPER, cold=True)
    return Scenario("upload", "a multipart upload of 500 MB", (case,))


def _cli() -> Scenario:
    metrics = (Metric("ms", "ms", more_is_better=False, goals={OLD: 6}),)
    cases = tuple(
        Case(f"hayhooks {word}", measures.command(word), metrics, EVERY_WRAPPER, peers=HAYHOOKS, remote=False)
        for word in ("--help", "status")
    )
    return Scenario("cli", "commands that a person waits for", cases)


def _overload() -> Scenario:
    metrics = (
        Metric("capacity", "requests/s at capacity", more_is_better=True),
        Metric("p99_at_ms", "ms, p99 at capacity", more_is_better=False),
        Metric("p99_over_ms", "ms, p99 of accepted calls at 4 times that", more_is_better=False),
        Metric("times", "times the p99 at capacity", more_is_better=False, limit=2),
        Metric("goodput", "of the capacity served meanwhile", more_is_better=True),
        Metric("refused_over", "of the calls refused", more_is_better=False),
        Metric("broken_over", "of the calls without an answer", more_is_better=False, limit=0),
        Metric("unsent_over", "of the calls not sent, for lack of connections here", more_is_better=False),
        Metric("refusal_p99_ms", "ms, p99 of refusals", more_is_better=False),
        Metric("growth_mb", "MiB more after the first quarter", more_is_better=False, limit=20),
        Metric("refused_after", "refused 5 s later", more_is_better=False, limit=0),
    )
    loads = (("wait_50ms", 20), ("cpu_5ms", 16), ("echo_sync", 64), ("echo_async", 64))
    cases = [
        Case(f"{name}, 4 times its capacity", overload.overload(name, connections), metrics, EVERY_WRAPPER, peers=OURS)
        for name, connections in loads
    ]
    beside = (*metrics, Metric("streams_ended", "of the streams ended", more_is_better=False, limit=0))
    cases.extend(
        Case(
            f"{name}, 4 times its capacity beside 2,000 idle streams",
            overload.overload_beside_streams(name, connections, 2000), beside, AND_IDLE_STREAMS, peers=OURS,
        )
        for name, connections in loads
    )  # fmt: skip
    streams = (
        Metric("kb_per_stream", "KiB per stream", more_is_better=False),
        Metric("idle_cpu", "of a processor while nothing happens", more_is_better=False),
        Metric("p99_alone_ms", "ms, p99 of calls before", more_is_better=False),
        Metric("p99_beside_ms", "ms, p99 of calls beside them", more_is_better=False),
    )
    cases.append(Case("2,000 idle streams", idle.idle_streams(2000), streams, AND_IDLE_STREAMS, peers=OURS, cold=True))
    fair = (
        Metric("p99_alone_ms", "ms, p99 alone", more_is_better=False),
        Metric("p99_beside_ms", "ms, p99 beside the flood", more_is_better=False),
        Metric("refused", "of the quiet one's calls refused", more_is_better=False, limit=0),
    )
    cases.extend(
        Case(f"{busy} flooded, {quiet} called", overload.flood(busy, quiet), fair, EVERY_WRAPPER, peers=OURS)
        for busy, quiet in (("cpu_5ms", "echo_sync"), ("echo_sync", "noop_sync"), ("wait_50ms", "echo_sync"))
    )
    return Scenario(
        "overload", "4 times more calls than can be served; idle streams; a flooded neighbour", tuple(cases)
    )


def _mcp() -> Scenario:
    metrics = (
        Metric("mcp_us", "us of processor time, as a tool", more_is_better=False),
        Metric("rest_us", "us of processor time, over REST", more_is_better=False),
        Metric("sdk_us", "us of processor time, the SDK with nothing behind it", more_is_better=False),
        Metric("times", "times the two together", more_is_better=False, limit=1.5),
        Metric("times_wall", "the same of the time that passes", more_is_better=False),
    )
    cases = tuple(
        Case(f"MCP {revision} c={connections}", mcp.tool_calls(revision, connections), metrics, NOOPS, peers=OURS)
        for revision in (mcp.OLD, mcp.NEW)
        for connections in (1, 16)
    )
    return Scenario("mcp", "a no-op called as a tool, over REST, and the SDK's own server", cases)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        _run(),
        _closed(),
        _many(),
        _chat(),
        _paced(),
        _sleep(),
        _startup(),
        _deploy(),
        _upload(),
        _cli(),
        _overload(),
        _mcp(),
    )
}
