"""Weighted fair queueing: whose turn it is on devices that several owners share.

Every item is given a *finish tag*: the virtual time at which it would be done if all owners were
served at once, each in proportion to its weight. Items are served by their tags. The idea is
Demers, Keshav and Shenker, "Analysis and Simulation of a Fair Queueing Algorithm" (SIGCOMM 1989).
Their virtual time has to be simulated beside the queue; it is taken from the items being served
instead, as in self-clocked fair queueing (Golestani, INFOCOM 1994) and start-time fair queueing
(Goyal, Vin and Cheng, SIGCOMM 1996), whose clock is used here: the start tag of the item in
service. It asks nothing about how many devices there are and how fast they run, and with it finish
tags keep nearer to the ideal than with Golestani's clock, and nearer than start tags do (see
``benchmarks/README.md``).

Two orders are kept. The *heads*, one item an owner, have tags that are always right, so that a
change of one owner's costs touches one entry. The *listed* tags of all items tell places; those of
a changed owner are brought up to date when somebody asks for a place.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Generic, TypeVar

from sortedcontainers import SortedList

Item = TypeVar("Item", bound=Hashable)


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item]):
    """An item that waits or is being served.

    Attributes:
        number: counts all items that were ever pushed; the earlier of two equal tags is first.
        span: cost / weight, virtual seconds.
        tag: the finish tag it is listed under; exact unless its owner is stale.
    """

    item: Item
    owner: _Owner[Item]
    number: int
    weight: float
    span: float
    tag: float = 0.0

    def key(self) -> tuple[float, int, _Entry[Item]]:
        return self.tag, self.number, self  # numbers differ, so entries are never compared


@dataclass(slots=True, eq=False)
class _Owner(Generic[Item]):
    """An owner, whose items share one turn.

    Attributes:
        start: virtual time from which its first waiting item counts.
        line: its waiting items in order.
        head: the key under which the first of them stands among the heads.
        stale: the tags of its line have to be computed anew before they tell places.
        served: how many of its items are being served.
    """

    start: float
    line: OrderedDict[Item, _Entry[Item]] = field(default_factory=OrderedDict)
    head: tuple[float, int, _Entry[Item]] | None = None
    stale: bool = False
    served: int = 0


class FairQueue(Generic[Item]):
    """Items in the order in which weighted fair queueing serves them. Not thread-safe.

    Owners with waiting items get device time in proportion to their weights; an owner's own items
    keep their order, and equal turns are first come, first served. Who had nothing to do has saved
    up nothing: it starts at the present turn. Once taken out by `pop` or `take`, an item is *being
    served* until `finish`, and its owner has been charged for it.

    Every operation takes O(log n) steps. Of a changed owner (an item removed, repriced, taken out
    of turn or finished at another cost) also the k items behind the change are put in their new
    places, O(k log n), once and only when `rank` or the iteration are asked for places.

    Items are hashable and differ from each other.
    """

    def __init__(self) -> None:
        self._entries: dict[Item, _Entry[Item]] = {}
        self._serving: dict[Item, _Entry[Item]] = {}
        self._owners: dict[str, _Owner[Item]] = {}
        self._heads: Any = SortedList()
        self._listed: Any = SortedList()
        self._stale: list[_Owner[Item]] = []
        self._clock = 0.0
        self._pushed = 0
        self._owners_kept = 64

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: object) -> bool:
        return item in self._entries

    def __iter__(self) -> Iterator[Item]:
        """The waiting items as `pop` would give them if nothing came in between."""
        self._refresh()
        for _, _, entry in self._listed:
            yield entry.item

    def push(self, item: Item, owner: str, cost_s: float, weight: float = 1.0) -> None:
        """Append an item to those of its owner.

        Args:
            item: what waits.
            owner: on whose share it counts.
            cost_s: device time that it will take, as far as one knows; seconds > 0.
            weight: > 0; an owner whose items have twice the weight gets twice the time.

        Raises:
            ValueError: the item is in the queue already, or cost or weight are out of range.
        """
        if item in self._entries or item in self._serving:
            raise ValueError(f"{item!r} is in the queue already")
        span = _positive("cost_s", cost_s) / _positive("weight", weight)
        whose = self._owners.get(owner)
        if whose is None:
            self._forget_idle_owners()
            whose = self._owners[owner] = _Owner(self._clock)
        if not whose.line:
            whose.start = max(whose.start, self._clock)
        last = next(reversed(whose.line.values())).tag if whose.line else whose.start
        entry = _Entry(item, whose, self._pushed, weight, span, last + span)
        self._pushed += 1
        self._entries[item] = whose.line[item] = entry
        self._listed.add(entry.key())
        self._set_head(whose)

    def peek(self) -> Item:
        """The item whose turn it is, which stays.

        Raises:
            IndexError: nothing waits.
        """
        if not self._heads:
            raise IndexError("the queue is empty")
        entry: _Entry[Item] = self._heads[0][-1]
        return entry.item

    def pop(self) -> Item:
        """Take out the item whose turn it is.

        Raises:
            IndexError: nothing waits.
        """
        entry = self._entries[self.peek()]
        self._clock = max(self._clock, entry.owner.start)
        self._serve(entry)
        return entry.item

    def take(self, item: Item) -> None:
        """Take out an item before its turn; what its owner has still waiting comes later for it.

        Raises:
            KeyError: the item does not wait.
        """
        entry = self._entries[item]
        self._serve(entry)
        self._changed(entry.owner)

    def finish(self, item: Item, cost_s: float | None = None) -> None:
        """Note that an item which was taken out is done, and charge what it really took.

        Args:
            item: one that `pop` or `take` has given.
            cost_s: device time that it took, seconds >= 0; None: as much as was thought.

        Raises:
            KeyError: the item is not being served.
            ValueError: the cost is out of range.
        """
        if cost_s is not None and not (math.isfinite(cost_s) and cost_s >= 0):
            raise ValueError(f"cost_s must be a number of seconds, not {cost_s}")
        entry = self._serving.pop(item)
        owner = entry.owner
        owner.served -= 1
        if cost_s is not None:
            owner.start += cost_s / entry.weight - entry.span
            self._changed(owner)
        self._rest_if_empty()

    def requeue(self, item: Item) -> None:
        """Let an item that is being served wait again as if it had not been taken out.

        It has its old place among its owner's items, and nothing is charged for it.

        Raises:
            KeyError: the item is not being served.
        """
        entry = self._serving.pop(item)
        owner = entry.owner
        owner.served -= 1
        owner.start -= entry.span
        earlier = list(takewhile(lambda other: other.number < entry.number, owner.line.values()))
        self._entries[item] = owner.line[item] = entry
        for one in (entry, *reversed(earlier)):
            owner.line.move_to_end(one.item, last=False)
        self._listed.add(entry.key())
        self._changed(owner)

    def remove(self, item: Item) -> None:
        """Drop a waiting item; what its owner has behind it moves up as if it had never been.

        Raises:
            KeyError: the item does not wait.
        """
        entry = self._entries[item]
        self._take_out(entry)
        self._changed(entry.owner)
        self._rest_if_empty()

    def reprice(self, item: Item, cost_s: float) -> None:
        """Change what a waiting item is thought to take, seconds > 0.

        Raises:
            KeyError: the item does not wait.
            ValueError: the cost is out of range.
        """
        entry = self._entries[item]
        entry.span = _positive("cost_s", cost_s) / entry.weight
        self._changed(entry.owner)

    def rank(self, item: Item) -> int:
        """The place of a waiting item; 1 is next.

        Raises:
            KeyError: the item does not wait.
        """
        entry = self._entries[item]
        self._refresh()
        place: int = self._listed.bisect_left(entry.key())
        return place + 1

    def _serve(self, entry: _Entry[Item]) -> None:
        """Take an item out and charge its owner. If it was the head, no other tag changes."""
        self._take_out(entry)
        self._serving[entry.item] = entry
        entry.owner.served += 1
        entry.owner.start += entry.span
        self._set_head(entry.owner)

    def _take_out(self, entry: _Entry[Item]) -> None:
        del self._entries[entry.item]
        del entry.owner.line[entry.item]
        self._listed.remove(entry.key())

    def _set_head(self, owner: _Owner[Item]) -> None:
        first = next(iter(owner.line.values()), None)
        head = None if first is None else (owner.start + first.span, first.number, first)
        if head != owner.head:
            if owner.head is not None:
                self._heads.remove(owner.head)
            if head is not None:
                self._heads.add(head)
            owner.head = head

    def _changed(self, owner: _Owner[Item]) -> None:
        """Mark an owner whose tags have to be computed anew."""
        if owner.line and not owner.stale:
            owner.stale = True
            self._stale.append(owner)
        self._set_head(owner)

    def _refresh(self) -> None:
        """Bring the listed tags up to date."""
        for owner in self._stale:
            owner.stale = False
            tag = owner.start
            for entry in owner.line.values():
                tag += entry.span
                if tag != entry.tag:
                    self._listed.remove(entry.key())
                    entry.tag = tag
                    self._listed.add(entry.key())
        self._stale.clear()

    def _rest_if_empty(self) -> None:
        """At the end of a busy period nobody is ahead of anybody any more."""
        if not self._entries and not self._serving:
            self._owners.clear()
            self._stale.clear()
            self._clock = 0.0

    def _forget_idle_owners(self) -> None:
        """Drop owners that would start at the present turn anyway; amortised O(1) a push."""
        if len(self._owners) < self._owners_kept:
            return
        self._owners = {
            name: owner
            for name, owner in self._owners.items()
            if owner.line or owner.served or owner.start > self._clock
        }
        self._owners_kept = max(64, 2 * len(self._owners))


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a number above 0, not {value}")
    return value
