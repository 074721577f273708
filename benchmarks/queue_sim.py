"""Fair share, simulated: how long users wait in the engine's queue, and in one without turns.

    python -m benchmarks.queue_sim --requests 10000 --devices 1 2 4 --seeds 1 2 3

The same requests go through the engine's :class:`FairQueue`, with costs from its
:class:`CostModel`, which learns as the clips are done; through a first-in first-out queue; and
through the ideal: generalised processor sharing (Parekh and Gallager, IEEE/ACM Transactions on
Networking 1993), in which at every moment all users who want something have equal parts of the
devices, a clip never more than one device. It knows how long each clip takes, and interrupts clips
at will.

A user's *fair share* of waiting is what they would wait in the ideal, and for each clip the longest
one divided by the number of devices: Parekh and Gallager's bound for what no order can do
anything about as long as clips are not interrupted. The command fails if somebody waits longer than
``--limit`` times their fair share. The second figure compares the time from asking to the clip
with the ideal as it is, nothing added.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.queue_orders import FirstInFirstOut, Line, ideal, serve
from benchmarks.queue_traffic import Request, Traffic, draw_requests
from engine.serving.scheduling.fair_queue import FairQueue

OPERATIONS: Final = ("push", "rank", "pop", "finish", "remove", "reprice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """One queue against the ideal, over all users.

    Attributes:
        wait_s: mean waiting time of light users' clips, and of heavy users'.
        shares: for each user the time waited, as a multiple of the fair share.
        slowdowns: for each user the time from asking to the clip, as a multiple of the ideal's.
    """

    wait_s: tuple[float, float]
    shares: list[float]
    slowdowns: list[float]


def compare(
    requests: Sequence[Request],
    devices: int,
    finished: Sequence[float | None],
    best: Sequence[float | None],
) -> Fairness:
    """Sum up the clips that were not given up in either."""
    longest_s = max(request.seconds for request in requests) / devices
    users: dict[str, list[float]] = {}
    for request, end, ideal_end in zip(requests, finished, best, strict=True):
        if end is None or ideal_end is None:
            continue
        took, should = end - request.arrival_s, ideal_end - request.arrival_s
        sums = users.setdefault(request.user, [0.0] * 5)
        for index, value in enumerate(
            (took, should, took - request.seconds, should - request.seconds + longest_s, 1)
        ):
            sums[index] += value

    def mean_wait(kind: str) -> float:
        own = [sums for user, sums in users.items() if user.startswith(kind)]
        return sum(sums[2] for sums in own) / max(sum(sums[4] for sums in own), 1)

    return Fairness(
        wait_s=(mean_wait("light"), mean_wait("heavy")),
        shares=sorted(sums[2] / sums[3] for sums in users.values()),
        slowdowns=sorted(sums[0] / sums[1] for sums in users.values()),
    )


def time_operations(waiting: int, rounds: int, seed: int) -> dict[str, float]:
    """Microseconds of each operation while so many items wait, five of each owner on average.

    Processor time, for other programs may run. Of a place the first look after several changes is
    measured, which is the expensive one.
    """
    rng = random.Random(seed)
    queue: FairQueue[int] = FairQueue()
    items = list(range(waiting))
    owners = max(1, waiting // 5)
    for item in items:
        queue.push(item, str(rng.randrange(owners)), rng.uniform(10, 300))
    spent = dict.fromkeys(OPERATIONS, 0.0)

    def timed(operation: str, *arguments: object) -> int | None:
        began = time.thread_time()
        answer: int | None = getattr(queue, operation)(*arguments)
        spent[operation] += time.thread_time() - began
        return answer

    for item in range(waiting, waiting + 2 * rounds, 2):
        for new in (item, item + 1):
            timed("push", new, str(rng.randrange(owners)), rng.uniform(10, 300))
            items.append(new)
        place = rng.randrange(len(items))
        items[place], items[-1] = items[-1], items[place]
        timed("remove", items.pop())
        timed("reprice", rng.choice(items), rng.uniform(10, 300))
        first = timed("pop")
        timed("finish", first, rng.uniform(10, 300))
        items.remove(first)  # type: ignore[arg-type]
        timed("rank", rng.choice(items))
    calls = {operation: rounds * (2 if operation == "push" else 1) for operation in OPERATIONS}
    return {operation: spent[operation] / calls[operation] * 1e6 for operation in OPERATIONS}


def fairness_table(rows: Sequence[tuple[int, int, str, Fairness]]) -> str:
    """(devices, seed, queue, result) as a Markdown table."""
    head = (
        "| devices | seed | queue | wait, light users | wait, heavy users "
        "| share of waiting: p99 | most | time to the clip: mean | p99 | most |"
    )
    lines = [head, "|---" * 10 + "|"]
    for devices, seed, name, one in rows:
        light, heavy = one.wait_s
        lines.append(
            f"| {devices} | {seed} | {name} | {light / 60:.0f} min | {heavy / 60:.0f} min "
            f"| {_p99(one.shares):.2f} | {one.shares[-1]:.2f} "
            f"| {sum(one.slowdowns) / len(one.slowdowns):.2f} "
            f"| {_p99(one.slowdowns):.2f} | {one.slowdowns[-1]:.2f} |"
        )
    return "\n".join(lines)


def operations_table(rows: Sequence[tuple[int, dict[str, float]]]) -> str:
    """(items waiting, microseconds of each operation) as a Markdown table."""
    lines = [f"| waiting | {' | '.join(OPERATIONS)} |", "|---" * (1 + len(OPERATIONS)) + "|"]
    for waiting, spent in rows:
        cells = " | ".join(f"{spent[operation]:.1f}" for operation in OPERATIONS)
        lines.append(f"| {waiting} | {cells} |")
    return "\n".join(lines)


def _p99(ordered: Sequence[float]) -> float:
    return ordered[math.ceil(0.99 * len(ordered)) - 1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print tables; 1 if somebody waits longer than they should."""
    options = _parser().parse_args(arguments)
    traffic = Traffic(
        requests=options.requests,
        load=options.load,
        noise=options.noise,
        misjudgement=options.misjudgement,
    )
    rows, worst = [], 0.0
    for devices in options.devices:
        for seed in options.seeds:
            requests = draw_requests(traffic, devices, seed)
            best = ideal(requests, devices)
            lines: dict[str, Line] = {"first come": FirstInFirstOut(), "fair": FairQueue()}
            for name, line in lines.items():
                result = compare(requests, devices, serve(requests, devices, line), best)
                rows.append((devices, seed, name, result))
            worst = max(worst, result.shares[-1])
    print(fairness_table(rows))
    print(f"\nNo user of the fair queue waits more than {worst:.2f} x their fair share.")
    if options.waiting:
        print("\nMicroseconds of an operation:\n")
        print(operations_table([(n, time_operations(n, 500, 1)) for n in options.waiting]))
    return 0 if worst <= options.limit else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.queue_sim", description="Fair share, simulated."
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--devices", type=int, nargs="+", default=(1, 2, 4))
    parser.add_argument("--seeds", type=int, nargs="+", default=(1, 2, 3))
    parser.add_argument("--load", type=float, default=0.95, help="asked for / available, in time")
    parser.add_argument("--noise", type=float, default=0.1, help="spread of equal clips' durations")
    parser.add_argument(
        "--misjudgement", type=float, default=0.15, help="spread of the estimates' own error"
    )
    parser.add_argument("--limit", type=float, default=2.0, help="fail above so many fair shares")
    parser.add_argument(
        "--waiting",
        type=int,
        nargs="*",
        default=(100, 1_000, 10_000, 100_000),
        help="queue lengths at which single operations are timed",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
