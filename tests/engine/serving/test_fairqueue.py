"""Fair queueing: everybody's share, whoever asks for more; nothing lost, nothing served twice."""

import itertools
import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.serving.scheduling.fair_queue import FairQueue

COSTS = st.sampled_from([0.1, 1.0, 2.5, 30.0, 1 / 3])
WEIGHTS = st.sampled_from([0.5, 1.0, 3.0])
OWNERS = st.sampled_from("abcd")


def filled(*items: tuple[str, float]) -> FairQueue[str]:
    """A queue of (name, cost); the first letter of a name is its owner."""
    queue: FairQueue[str] = FairQueue()
    for name, cost in items:
        queue.push(name, name[0], cost)
    return queue


def drain(queue: FairQueue[str]) -> str:
    return " ".join(queue.pop() for _ in range(len(queue)))


# Turns


def test_owners_take_turns_whoever_came_first() -> None:
    queue = filled(("a1", 1), ("a2", 1), ("a3", 1), ("b1", 1), ("b2", 1), ("c1", 1))
    assert list(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert [queue.rank(name) for name in ("a1", "a2", "a3", "c1")] == [1, 4, 6, 3]
    assert drain(queue) == "a1 b1 c1 a2 b2 a3"


def test_one_owner_alone_is_first_in_first_out() -> None:
    assert drain(filled(("a1", 9), ("a2", 1), ("a3", 5))) == "a1 a2 a3"


def test_shares_are_of_time_not_of_items() -> None:
    queue = filled(*((f"a{i}", 1) for i in range(6)), *((f"b{i}", 3) for i in range(2)))
    assert drain(queue) == "a0 a1 a2 b0 a3 a4 a5 b1"


def test_twice_the_weight_is_twice_the_time() -> None:
    queue: FairQueue[str] = FairQueue()
    for index in range(6):
        queue.push(f"a{index}", "a", 1.0)
        queue.push(f"b{index}", "b", 1.0, weight=2.0)
    first_half = [queue.pop() for _ in range(6)]
    assert sorted(first_half) == ["a0", "a1", "b0", "b1", "b2", "b3"]


def test_who_was_idle_has_saved_up_nothing() -> None:
    queue = filled(*((f"a{i}", 1) for i in range(10)), ("b0", 1))
    assert [queue.pop() for _ in range(6)] == ["a0", "b0", "a1", "a2", "a3", "a4"]
    for index in range(1, 4):
        queue.push(f"b{index}", "b", 1.0)
    # b starts at the present turn: not three in a row for the time it asked for nothing.
    assert drain(queue) == "b1 a5 b2 a6 b3 a7 a8 a9"


def test_going_and_coming_back_gains_nothing() -> None:
    queue = filled(("a0", 10), ("b0", 1))
    assert [queue.pop(), queue.pop()] == ["b0", "a0"]
    queue.push("a1", "a", 1.0)  # a has just had ten seconds
    queue.push("b1", "b", 1.0)
    assert queue.pop() == "b1"


def test_after_a_rest_all_begin_anew() -> None:
    queue = filled(("a0", 100))
    queue.pop()
    queue.finish("a0")
    queue.push("a1", "a", 1.0)
    queue.push("b1", "b", 1.0)
    assert drain(queue) == "a1 b1"


# What changes


def test_cancelling_gives_the_share_back() -> None:
    items = [("a1", 5.0), ("a2", 5.0), ("b1", 6.0), ("b2", 6.0), ("a3", 1.0)]
    queue = filled(*items)
    assert list(queue) == ["a1", "b1", "a2", "a3", "b2"]
    queue.remove("a1")
    assert list(queue) == ["a2", "b1", "a3", "b2"]
    queue.remove("a2")
    assert list(queue) == ["a3", "b1", "b2"]
    assert [queue.rank(name) for name in queue] == [1, 2, 3]


def test_a_new_price_moves_what_is_behind_it() -> None:
    queue = filled(("a1", 1), ("a2", 1), ("b1", 3), ("b2", 3))
    assert list(queue) == ["a1", "a2", "b1", "b2"]
    queue.reprice("a1", 4.0)
    assert list(queue) == ["b1", "a1", "a2", "b2"]


def test_a_new_price_counts_by_weight() -> None:
    queue = filled(("a1", 1), ("c1", 3))
    queue.push("b1", "b", 1.0, weight=4.0)
    queue.reprice("b1", 8.0)
    assert list(queue) == ["a1", "b1", "c1"]


def test_what_it_really_took_is_charged() -> None:
    def after(cost: float | None) -> str:
        queue = filled(("a1", 1), ("b1", 2), ("a2", 1), ("b2", 2), ("c1", 3))
        assert queue.pop() == "a1"
        queue.finish("a1", cost)
        return drain(queue)

    assert after(None) == after(1.0) == "b1 a2 c1 b2"
    assert after(2.5) == "b1 c1 a2 b2"
    assert after(3.5) == "b1 c1 b2 a2"
    assert after(0.0) == "a2 b1 c1 b2"


def test_an_item_taken_before_its_turn_is_paid_for() -> None:
    queue = filled(("a1", 1), ("a2", 1), ("b1", 1.5), ("b2", 1.5))
    queue.take("a2")
    assert list(queue) == ["b1", "a1", "b2"]
    with pytest.raises(KeyError):
        queue.take("a2")
    queue.finish("a2")


def test_what_is_put_back_is_as_if_it_had_not_been_taken() -> None:
    items = [("a1", 1.0), ("a2", 2.0), ("b1", 1.5), ("a3", 1.0), ("c1", 4.0)]
    untouched = drain(filled(*items))
    queue = filled(*items)
    taken = [queue.pop(), queue.pop()]
    assert taken == ["a1", "b1"]
    queue.take("a3")
    for name in ("a3", "a1", "b1"):
        queue.requeue(name)
    assert [queue.rank(name) for name in untouched.split()] == [1, 2, 3, 4, 5]
    assert list(queue) == untouched.split()
    assert drain(queue) == untouched


def test_what_is_put_back_goes_before_what_came_later() -> None:
    queue = filled(("a1", 1), ("b1", 1))
    queue.pop()
    queue.push("a2", "a", 1)
    queue.push("a3", "a", 1)
    queue.requeue("a1")
    assert list(queue) == ["a1", "b1", "a2", "a3"]
    assert drain(queue) == "a1 b1 a2 a3"


def test_ties_go_to_who_came_first_even_after_changes() -> None:
    queue = filled(("b1", 2), ("a1", 1), ("c1", 2))
    queue.reprice("a1", 2.0)
    assert list(queue) == ["b1", "a1", "c1"]


# What is refused


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf])
def test_impossible_costs_are_refused(cost: float) -> None:
    queue = filled(("a1", 1))
    with pytest.raises(ValueError, match="cost_s must be a number above 0"):
        queue.push("a2", "a", cost)
    with pytest.raises(ValueError, match="weight must be a number above 0"):
        queue.push("a2", "a", 1.0, weight=cost)
    with pytest.raises(ValueError, match="cost_s"):
        queue.reprice("a1", cost)
    assert list(queue) == ["a1"]


def test_what_is_not_there_is_an_error_and_changes_nothing() -> None:
    queue = filled(("a1", 1))
    with pytest.raises(ValueError, match="'a1' is in the queue already"):
        queue.push("a1", "b", 1.0)
    for act in (queue.remove, queue.take, queue.rank, queue.finish, queue.requeue):
        with pytest.raises(KeyError):
            act("nobody")
    assert queue.pop() == "a1"
    with pytest.raises(ValueError, match="already"):
        queue.push("a1", "b", 1.0)  # it is being served
    with pytest.raises(ValueError, match="cost_s must be"):
        queue.finish("a1", math.nan)
    queue.finish("a1")
    for look in (queue.pop, queue.peek):
        with pytest.raises(IndexError):
            look()
    queue.push("a1", "b", 1.0)
    assert "a1" in queue


def test_owners_that_are_gone_are_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.push(-1, "always there", 1.0)
    for index in range(1000):
        queue.push(index, f"owner {index}", 1.0)
        queue.finish(queue.pop())
        queue.push(-2 - index, "always there", 1.0)
        queue.finish(queue.pop())
    assert len(queue._owners) < 200  # no public door shows what it remembers


# Properties


@dataclass
class Naive:
    """The same order, from its definition and with nothing remembered but starts and lines."""

    clock: float = 0.0
    start: dict[str, float] = field(default_factory=dict)
    line: dict[str, list[int]] = field(default_factory=dict)
    span: dict[int, float] = field(default_factory=dict)

    def order(self) -> list[int]:
        tags = []
        for owner, line in self.line.items():
            ends = itertools.accumulate((self.span[i] for i in line), initial=self.start[owner])
            tags += [(end, i) for end, i in zip(itertools.islice(ends, 1, None), line, strict=True)]
        return [item for _, item in sorted(tags)]


class AgainstTheDefinition(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue()
        self.naive = Naive()
        self.owner: dict[int, str] = {}
        self.weight: dict[int, float] = {}
        self.serving: list[int] = []
        self.gone: set[int] = set()

    def waiting(self) -> list[int]:
        return [item for line in self.naive.line.values() for item in line]

    @rule(owner=OWNERS, cost=COSTS, weight=WEIGHTS)
    def push(self, owner: str, cost: float, weight: float) -> None:
        item, naive = len(self.owner), self.naive
        self.owner[item], self.weight[item] = owner, weight
        naive.span[item] = cost / weight
        if not naive.line.get(owner):
            naive.start[owner] = max(naive.start.get(owner, 0.0), naive.clock)
        naive.line.setdefault(owner, []).append(item)
        self.queue.push(item, owner, cost, weight)

    def _served(self, item: int) -> None:
        owner = self.owner[item]
        self.naive.line[owner].remove(item)
        self.naive.start[owner] += self.naive.span[item]
        self.serving.append(item)

    @precondition(waiting)
    @rule()
    def pop(self) -> None:
        item = self.naive.order()[0]
        assert self.queue.peek() == item
        assert self.queue.pop() == item
        self.naive.clock = max(self.naive.clock, self.naive.start[self.owner[item]])
        self._served(item)

    @precondition(waiting)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.waiting()))
        self.queue.take(item)
        self._served(item)

    @precondition(waiting)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.waiting()))
        self.queue.remove(item)
        self.naive.line[self.owner[item]].remove(item)
        self.gone.add(item)
        self._rest()

    @precondition(waiting)
    @rule(data=st.data(), cost=COSTS)
    def reprice(self, data: st.DataObject, cost: float) -> None:
        item = data.draw(st.sampled_from(self.waiting()))
        self.queue.reprice(item, cost)
        self.naive.span[item] = cost / self.weight[item]

    @precondition(lambda self: self.serving)
    @rule(data=st.data(), cost=st.none() | COSTS | st.just(0.0))
    def finish(self, data: st.DataObject, cost: float | None) -> None:
        item = data.draw(st.sampled_from(self.serving))
        self.queue.finish(item, cost)
        if cost is not None:
            difference = cost / self.weight[item] - self.naive.span[item]
            self.naive.start[self.owner[item]] += difference
        self.serving.remove(item)
        self.gone.add(item)
        self._rest()

    def _rest(self) -> None:
        if not self.serving and not self.waiting():
            self.naive = Naive(span=self.naive.span)

    @precondition(lambda self: len(self.owner) % 3 == 0)
    @rule()
    def look(self) -> None:
        # Not after every step: places that nobody has asked for must come right, too.
        order = self.naive.order()
        assert list(self.queue) == order
        assert [self.queue.rank(item) for item in order] == list(range(1, len(order) + 1))

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert len(self.queue) == len(self.owner) - len(self.serving) - len(self.gone)
        assert all((item in self.queue) == (item in self.waiting()) for item in self.owner)

    def teardown(self) -> None:
        order = self.naive.order()
        assert [self.queue.pop() for _ in range(len(self.queue))] == order


TestAgainstTheDefinition = AgainstTheDefinition.TestCase
TestAgainstTheDefinition.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(
        st.tuples(WEIGHTS, st.lists(COSTS, min_size=1, max_size=12)), min_size=2, max_size=5
    )
)
def test_no_two_owners_are_ever_further_apart_than_one_item(
    lines: list[tuple[float, list[float]]],
) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue()
    for owner, (weight, costs) in enumerate(lines):
        for index, cost in enumerate(costs):
            queue.push((owner, index), str(owner), cost, weight)
    had = [0.0] * len(lines)
    left = [len(costs) for _, costs in lines]
    while all(left):  # as long as everybody wants something
        owner, index = queue.pop()
        weight, costs = lines[owner]
        assert index == len(costs) - left[owner], "an owner's items keep their order"
        had[owner] += costs[index] / weight
        left[owner] -= 1
        longest = max(max(costs) / weight for weight, costs in lines)
        assert max(had) - min(had) <= longest + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    costs=st.lists(COSTS, min_size=20, max_size=40),
    before=st.integers(0, 15),
    newcomer=st.lists(COSTS, min_size=1, max_size=10),
)
def test_a_newcomer_has_its_share_from_the_moment_it_comes(
    costs: list[float], before: int, newcomer: list[float]
) -> None:
    queue: FairQueue[tuple[str, float, int]] = FairQueue()
    for index, cost in enumerate(costs):
        queue.push(("old", cost, index), "old", cost)
    for _ in range(before):
        queue.pop()
    for index, cost in enumerate(newcomer):
        queue.push(("new", cost, index), "new", cost)
    had = {"old": 0.0, "new": 0.0}
    for _ in range(len(queue)):
        owner, cost, index = queue.pop()
        had[owner] += cost
        if (owner, index) in {("old", len(costs) - 1), ("new", len(newcomer) - 1)}:
            break
        # Two items for the turns, one for the item that was in service when it came.
        assert abs(had["old"] - had["new"]) <= 2 * max(costs) + max(newcomer) + 1e-9
