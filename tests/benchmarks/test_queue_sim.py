"""The simulation of the queue: small traffic, and cases that can be worked out by hand."""

from dataclasses import replace

import pytest

from benchmarks.queue_orders import FirstInFirstOut, ideal, serve
from benchmarks.queue_sim import OPERATIONS, compare, main, time_operations
from benchmarks.queue_traffic import CLIPS, Request, Traffic, draw_requests
from engine.serving.scheduling.fair_queue import FairQueue

CLIP = CLIPS[0][0]


def request(user: str, arrival_s: float, seconds: float, gives_up: float | None = None) -> Request:
    return Request(user, arrival_s, CLIP, seconds, 1.0, gives_up)


def test_the_ideal_gives_equal_parts() -> None:
    requests = [request("a", 0, 10), request("b", 0, 10), request("a", 0, 5)]
    # Half each until 20, when both first clips are ready; then a is alone.
    assert ideal(requests, 1) == pytest.approx([20, 20, 25])


def test_the_ideal_never_gives_a_clip_more_than_one_device() -> None:
    requests = [request("a", 0, 10), request("b", 0, 10), request("b", 0, 10), request("b", 0, 10)]
    # a cannot use more than one of three; b has the other two, and from 10 on all it can use.
    assert ideal(requests, 3) == pytest.approx([10, 10, 10, 20])


def test_in_the_ideal_who_comes_late_has_its_part_from_then_on() -> None:
    requests = [request("a", 0, 10), request("b", 4, 3), request("c", 5, 100, gives_up=8)]
    # b: 1/2 from 4, 1/3 from 5 to 8, 1/2 from 8: 0.5 + 1 + 1.5 = 3 at 11; a has had 7 by then.
    assert ideal(requests, 1) == pytest.approx([14, 11, None])


def test_first_come_first_served() -> None:
    requests = [request("a", 0, 10), request("a", 0, 10), request("b", 1, 5, gives_up=2)]
    requests += [request("b", 3, 5), request("a", 4, 5, gives_up=21)]
    served = serve(requests, 1, FirstInFirstOut())
    assert served == [10, 20, None, 25, None]


def test_the_fair_queue_lets_the_light_user_in() -> None:
    requests = [*(request("heavy", 0, 40) for _ in range(10)), request("light", 1, 40)]
    assert serve(requests, 1, FirstInFirstOut())[-1] == 440
    assert serve(requests, 1, FairQueue())[-1] == 80
    fair = compare(requests, 1, serve(requests, 1, FairQueue()), ideal(requests, 1))
    # The light user has the second turn, so the heavy one waits 0, 80, 120, … 400 seconds.
    assert fair.wait_s == pytest.approx((39, sum(range(80, 401, 40)) / 10))
    assert max(fair.shares) < 1


def test_a_clip_that_is_given_up_while_it_runs_makes_room() -> None:
    requests = [request("a", 0, 100, gives_up=10), request("b", 1, 5)]
    for line in (FirstInFirstOut(), FairQueue[int]()):
        assert serve(requests, 1, line) == [None, 15]


def test_a_seed_means_one_traffic() -> None:
    traffic = Traffic(requests=300)
    requests = draw_requests(traffic, 2, 5)
    assert requests == draw_requests(traffic, 2, 5)
    assert requests != draw_requests(traffic, 2, 6)
    assert len(requests) == 300
    assert requests == sorted(requests, key=lambda one: one.arrival_s)
    span = requests[-1].arrival_s - requests[0].arrival_s
    assert sum(one.seconds for one in requests) / (2 * span) == pytest.approx(0.95, rel=0.25)
    heavy = sum(one.user.startswith("heavy") for one in requests)
    assert 60 < heavy < 240
    assert replace(traffic, requests=10).light_users == 400


def test_the_command_shows_that_turns_are_fair_and_that_none_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--requests", "400", "--devices", "1", "2", "--seeds", "1", "--waiting", "50"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ") for line in lines if " fair |" in line or " first come |" in line]
    assert [row[2] for row in rows] == ["first come", "fair"] * 2
    for unfair, fair in zip(rows[::2], rows[1::2], strict=True):
        assert float(unfair[6]) > 2 > float(fair[6])
    assert lines[-3] == f"| waiting | {' | '.join(OPERATIONS)} |"
    assert main([*arguments[:-2], "--waiting", "--limit", "0.01"]) == 1


def test_all_operations_are_timed() -> None:
    spent = time_operations(waiting=20, rounds=5, seed=1)
    assert list(spent) == list(OPERATIONS)
    assert all(microseconds > 0 for microseconds in spent.values())
