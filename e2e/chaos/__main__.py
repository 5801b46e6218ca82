"""``python -m e2e.chaos --rounds 50 --only NAME``: kill it, starve it, confuse it, and check every answer meanwhile."""

import argparse
import asyncio
import os
import random
import sys
import time

from e2e.chaos.scenarios import SCENARIOS, Skipped


def main() -> int:
    """Play the scenarios; the exit code is 1 when one of them found something wrong."""
    parser = argparse.ArgumentParser(prog="python -m e2e.chaos", description=__doc__)
    default = int(os.environ.get("HAYHOOKS_CHAOS_ROUNDS", "3"))
    parser.add_argument("--rounds", type=int, default=default, help="of each scenario (HAYHOOKS_CHAOS_ROUNDS)")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="a scenario; may be given several times")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    is_well = True
    for name in options.only or SCENARIOS:
        begun_s = time.monotonic()
        try:
            told = f"ok: {asyncio.run(SCENARIOS[name](options.rounds, random.Random(options.seed)))}"
        except Skipped as reason:
            told = f"skipped: {reason}"
        except AssertionError as error:
            told, is_well = f"WRONG: {error}", False
        took_s = time.monotonic() - begun_s
        sys.stdout.write(f"{name}, {options.rounds} rounds, seed {options.seed}, {took_s:.0f} s: {told}\n")
        sys.stdout.flush()
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
