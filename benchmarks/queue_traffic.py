"""Requests that nobody made: users, bursts, clips of every length, and what was thought of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from engine.serving import RequestShape

DAY_S: Final = 86_400.0

CLIPS: Final = (
    # What is asked for, its seconds on one device, and how often.
    (RequestShape(model="t2v", width=512, height=320, num_frames=16, steps=25), 40.0, 10),
    (RequestShape(model="t2v", width=512, height=320, num_frames=16, steps=50), 76.0, 3),
    (RequestShape(model="i2v", width=512, height=320, num_frames=16, steps=25), 45.0, 5),
    (RequestShape(model="large", width=1024, height=576, num_frames=16, steps=25), 190.0, 2),
    (RequestShape(model="large", width=1024, height=576, num_frames=16, steps=50), 360.0, 1),
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request of the simulation; times are seconds from its beginning.

    Attributes:
        seconds: what the clip really takes on a device.
        misjudged: factor between what is estimated and what should be.
        cancelled_s: when the user gives up, if the clip is not there by then.
    """

    user: str
    arrival_s: float
    work: RequestShape
    seconds: float
    misjudged: float
    cancelled_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The properties of the simulated requests.

    Attributes:
        requests: how many.
        load: device time asked for, as a part of the device time there is.
        light_users: they ask for one to three clips at a time.
        heavy_users: they ask for 20 to 60 clips at a time, about as many as all others together.
        noise: spread (logarithmic) of the durations of equal clips.
        misjudgement: spread (logarithmic) of an error of the estimates, beside what the estimator
            does not know yet.
        cancelled: part of the requests that are given up, after five minutes on average.
    """

    requests: int = 10_000
    load: float = 0.95
    light_users: int = 400
    heavy_users: int = 5
    noise: float = 0.1
    misjudgement: float = 0.15
    cancelled: float = 0.05


def draw_requests(traffic: Traffic, devices: int, seed: int) -> list[Request]:
    """Requests in the order of their arrival; more in the evening than in the morning."""
    rng = random.Random(seed)
    sessions = list(_sessions(traffic, rng))
    clips = [
        [(work, s * rng.lognormvariate(0, traffic.noise)) for work, s, _ in _choose(rng, count)]
        for _, count in sessions
    ]
    asked_s = sum(seconds for session in clips for _, seconds in session)
    horizon_s = asked_s / (devices * traffic.load)
    requests = []
    for (user, _), session in zip(sessions, clips, strict=True):
        moment = _time_of_day(rng, horizon_s)
        for work, seconds in session:
            gives_up = rng.random() < traffic.cancelled
            requests.append(
                Request(
                    user,
                    moment,
                    work,
                    seconds,
                    rng.lognormvariate(0, traffic.misjudgement),
                    moment + rng.expovariate(1 / 300) if gives_up else None,
                )
            )
            moment += rng.expovariate(1 / 5 if user.startswith("heavy") else 1 / 60)
    return sorted(requests, key=lambda request: request.arrival_s)


def _sessions(traffic: Traffic, rng: random.Random) -> Iterator[tuple[str, int]]:
    """A user, and how many clips are asked for in one go."""
    left = traffic.requests
    while left > 0:
        if rng.random() < 0.05:
            user, count = f"heavy-{rng.randrange(traffic.heavy_users)}", rng.randint(20, 60)
        else:
            user, count = f"light-{rng.randrange(traffic.light_users)}", rng.randint(1, 3)
        yield user, min(count, left)
        left -= count


def _choose(rng: random.Random, count: int) -> list[tuple[RequestShape, float, int]]:
    return rng.choices(CLIPS, [often for _, _, often in CLIPS], k=count)


def _time_of_day(rng: random.Random, horizon_s: float) -> float:
    while True:
        moment = rng.random() * horizon_s
        if rng.random() < (1 + 0.8 * math.sin(2 * math.pi * moment / DAY_S)) / 1.8:
            return moment
