"""The wait of a user for the first answer while many jobs are queued and one is rendered.

A real bot process serves the demo model on this machine; Discord is the tests' server on a local
port. Time is counted from the moment the server sends the command to the moment the answer arrives
there, so it holds the bot's work and a local connection, and no internet.

    python -m benchmarks.acknowledge --queued 500 --commands 200
"""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.loopback import USERS, running_bot
from tests.loopback_discord import LoopbackDiscord
from tests.loopback_discord.state import Interaction

_PATIENCE_S = 600.0


def measure(queued: int, commands: int, pause_s: float) -> list[float]:
    """Seconds until each of ``commands`` was acknowledged, after ``queued`` jobs were taken.

    ``pause_s`` is the time between two of them.
    """
    with running_bot(_PATIENCE_S) as (discord, _):
        waiting = [_ask(discord, number) for number in range(queued)]
        discord.until(lambda: all(i.acknowledged_at is not None for i in waiting), _PATIENCE_S)
        asked = []
        for number in range(commands):
            asked.append(_ask(discord, number))
            time.sleep(pause_s)
        discord.until(lambda: all(i.acknowledged_at is not None for i in asked), _PATIENCE_S)
        return [(i.acknowledged_at or 0.0) - i.sent_at for i in asked]


def _ask(discord: LoopbackDiscord, number: int) -> Interaction:
    user = USERS[number % len(USERS)]
    made = discord.slash(user, "imagine", prompt="a red circle moving left", steps=50)
    assert made is not None
    return made


def main() -> None:
    """Measure and print p50, p90, p99 and the longest."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.acknowledge", description=__doc__)
    parser.add_argument("--queued", type=int, default=500, help="jobs that wait (default 500)")
    parser.add_argument("--commands", type=int, default=200, help="commands timed (default 200)")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two of them")
    options = parser.parse_args()
    seconds = measure(options.queued, options.commands, options.pause)
    shares = statistics.quantiles(seconds, n=100, method="inclusive")
    print(f"{options.queued} queued jobs, {len(seconds)} commands, {options.pause:g} s apart")
    for name, value in (("p50", shares[49]), ("p90", shares[89]), ("p99", shares[98])):
        print(f"{name}  {value * 1000:7.1f} ms")
    print(f"max  {max(seconds) * 1000:7.1f} ms")


if __name__ == "__main__":
    main()
