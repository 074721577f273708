"""The growth of the bot's memory with the number of clips that it has made.

A real bot process serves the demo model; Discord is the tests' server on a local port. Commands are
sent a few at a time, and the process's resident memory is read after every round.

    python -m benchmarks.endurance --jobs 200 --steps 4
"""

from __future__ import annotations

import argparse
from functools import partial

import psutil

from benchmarks.loopback import USERS, running_bot
from tests.loopback_discord import LoopbackDiscord

_PATIENCE_S = 900.0


def measure(jobs: int, at_once: int, steps: int) -> list[tuple[int, float]]:
    """Clips delivered so far, and the bot's resident memory in MB, after each round."""
    seen = []
    with running_bot(_PATIENCE_S) as (discord, bots):
        assert bots.pid is not None
        process = psutil.Process(bots.pid)
        for first in range(0, jobs, at_once):
            wanted = min(first + at_once, jobs)
            for number in range(first, wanted):
                prompt = f"a red circle moving left {number}"
                discord.slash(USERS[number % len(USERS)], "imagine", prompt=prompt, steps=steps)
            discord.until(partial(_has_delivered, discord, wanted), timeout_s=_PATIENCE_S)
            seen.append((wanted, process.memory_info().rss / 1e6))
    return seen


def _has_delivered(discord: LoopbackDiscord, clips: int) -> bool:
    # The second thumb comes after everything else.
    return sum(len(m.reactions) == 2 for m in discord.state.shown()) == clips


def main() -> None:
    """Measure and print a line a round, and the growth from the first quarter on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=20, help="commands a round (default 20)")
    parser.add_argument("--steps", type=int, default=4, help="of sampling (default 4)")
    options = parser.parse_args()
    seen = measure(options.jobs, options.at_once, options.steps)
    for clips, megabytes in seen:
        print(f"{clips:6d} clips  {megabytes:8.0f} MB")
    later = seen[len(seen) // 4 :]
    growth = later[-1][1] - later[0][1]
    print(f"growth over the last {later[-1][0] - later[0][0]} clips: {growth:+.1f} MB")


if __name__ == "__main__":
    main()
