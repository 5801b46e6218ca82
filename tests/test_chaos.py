"""A server under checked calls is killed and starved, a few rounds; ``python -m e2e.chaos`` plays more of them."""

import os
import random

import pytest
from e2e.chaos.scenarios import SCENARIOS, Skipped

ROUNDS = int(os.environ.get("HAYHOOKS_CHAOS_ROUNDS", "1"))


@pytest.mark.timeout(60 + 120 * ROUNDS)
@pytest.mark.parametrize("name", ["worker-kill", "server-kill", "disk-full"])
async def test_nothing_is_lost_and_no_answer_is_wrong_whatever_is_done_to_the_server(name: str) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    try:
        await SCENARIOS[name](ROUNDS, random.Random(seed))
    except Skipped as reason:
        pytest.skip(str(reason))
    except AssertionError as error:
        raise AssertionError(f"{error} (python -m e2e.chaos --only {name} --rounds {ROUNDS} --seed {seed})") from error
