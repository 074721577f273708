"""The orders in which requests can be served, as discrete-event simulations."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from benchmarks.queue_traffic import Request
from engine.serving.scheduling.cost_model import CostModel

_ARRIVES, _GIVES_UP, _ENDS = range(3)


class Line(Protocol):
    """The interface of a queue in the simulation; items are numbers of requests."""

    def __len__(self) -> int: ...
    def __contains__(self, item: object) -> bool: ...
    def push(self, item: int, owner: str, cost_s: float) -> None:
        """Append a request."""

    def pop(self) -> int:
        """The next one."""

    def remove(self, item: int) -> None:
        """One that has been given up."""

    def finish(self, item: int, cost_s: float) -> None:
        """One that was served."""


class FirstInFirstOut:
    """The queue without turns."""

    def __init__(self) -> None:
        self._line: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, item: object) -> bool:
        return item in self._line

    def push(self, item: int, owner: str, cost_s: float) -> None:
        """Append a request."""
        self._line[item] = None

    def pop(self) -> int:
        """The next one."""
        return self._line.popitem(last=False)[0]

    def remove(self, item: int) -> None:
        """One that has been given up."""
        del self._line[item]

    def finish(self, item: int, cost_s: float) -> None:
        """One that was served."""


def _events(requests: Sequence[Request]) -> list[tuple[float, int, int]]:
    arrivals = [(request.arrival_s, _ARRIVES, i) for i, request in enumerate(requests)]
    ends = [(r.cancelled_s, _GIVES_UP, i) for i, r in enumerate(requests) if r.cancelled_s]
    return sorted(arrivals + ends)


def serve(requests: Sequence[Request], devices: int, line: Line) -> list[float | None]:
    """Return the time at which each clip is finished, or None if it was given up before."""
    finished: list[float | None] = [None] * len(requests)
    began: dict[int, float] = {}
    estimator = CostModel()
    events = _events(requests)
    while events:
        now, kind, i = heapq.heappop(events)
        request = requests[i]
        if kind == _ARRIVES:
            estimate = estimator.predict(request.work).seconds
            line.push(i, request.user, estimate * request.misjudged)
        elif i in line:
            line.remove(i)
        elif i in began:  # it runs; otherwise it has ended before it was given up, or after
            line.finish(i, now - began.pop(i))
            if kind == _ENDS:
                finished[i] = now
                estimator.observe(request.work, request.seconds)
        while len(began) < devices and len(line):
            i = line.pop()
            began[i] = now
            heapq.heappush(events, (now + requests[i].seconds, _ENDS, i))
    return finished


class _Ideal:
    """Generalised processor sharing: who is there, and at what rates their clips are made."""

    def __init__(self, devices: int) -> None:
        self._devices = devices
        self._lines: dict[str, dict[int, float]] = {}
        self.rates: dict[int, float] = {}

    def add(self, user: str, item: int, seconds: float) -> None:
        self._lines.setdefault(user, {})[item] = seconds
        self._share()

    def drop(self, user: str, item: int) -> None:
        line = self._lines.get(user, {})
        if line.pop(item, None) is not None:
            if not line:
                del self._lines[user]
            self._share()

    def next_end(self, user_of: Sequence[Request]) -> tuple[float, int]:
        """In how many seconds a clip is ready if nothing comes in between, and which."""
        ends = (
            (self._lines[user_of[item].user][item] / rate, item)
            for item, rate in self.rates.items()
        )
        return min(ends, default=(math.inf, -1))

    def work(self, seconds: float, user_of: Sequence[Request]) -> None:
        for item, rate in self.rates.items():
            self._lines[user_of[item].user][item] -= seconds * rate

    def _share(self) -> None:
        """Equal parts; who cannot use theirs, with too few clips, leaves the rest to the others."""
        self.rates = {}
        left, users = float(self._devices), len(self._lines)
        for line in sorted(self._lines.values(), key=len):
            part = min(float(len(line)), left / users)
            left, users = left - part, users - 1
            for item in islice(line, math.ceil(part)):
                self.rates[item] = min(1.0, part)
                part -= self.rates[item]
                if part <= 1e-9:
                    break


def ideal(requests: Sequence[Request], devices: int) -> list[float | None]:
    """Return the time at which generalised processor sharing would finish each clip."""
    finished: list[float | None] = [None] * len(requests)
    sharing, now = _Ideal(devices), 0.0
    for moment, kind, i in [*_events(requests), (math.inf, _ENDS, -1)]:
        while True:
            pause, first = sharing.next_end(requests)
            if now + pause > moment or first < 0:
                break
            sharing.work(pause, requests)
            now += pause
            finished[first] = now
            sharing.drop(requests[first].user, first)
        if kind == _ENDS:
            break
        sharing.work(moment - now, requests)
        now = moment
        if kind == _ARRIVES:
            sharing.add(requests[i].user, i, requests[i].seconds)
        else:
            sharing.drop(requests[i].user, i)
    return finished
