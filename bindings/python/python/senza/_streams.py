"""What a program iterates over, in a thread or in an event loop: readings, events, demands."""

from collections import deque
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from . import _native
from ._batch import Batch
from ._bridge import Bridge
from ._contract import Contract, Demand, Filter, Ledger, RawWant

__all__ = [
    "Claim",
    "Demands",
    "Duplicate",
    "Event",
    "Events",
    "EventsLost",
    "Healed",
    "Moved",
    "NodeDown",
    "NodeUp",
    "RawEvent",
    "RawHeal",
    "Registered",
    "Subscription",
    "Unregistered",
]

_T = TypeVar("_T")

RawClaim = tuple[str, int, int]
RawHeal = tuple[str, int, bool, int, int, list[tuple[str, RawClaim, RawClaim]]]
RawEvent = tuple[str, str, str, str, int, str, int, RawHeal | None]


class _Stream(Generic[_T]):
    """What iterating has in common. A compiled class before it takes the next item, or has a bell ring for it."""

    _waits: tuple[Bridge, int] | None = None
    _keeps: object = None
    """What must not go while this is there: its node, or its sensor."""

    @property
    def closed(self) -> bool:
        """Whether nothing more comes: it was closed, or its node was."""
        raise NotImplementedError

    def close_raw(self) -> None:
        """Ends it for the engine."""
        raise NotImplementedError

    def take(self, timeout: float | None = None) -> _T | None:
        """The next item; waits for it up to `timeout` seconds, else as long as it takes. None when the time, or all, is
        over. Ctrl-C ends the wait."""
        raise NotImplementedError

    def poll(self, bell: _native.Bell, token: int) -> _T | None:
        """The next item, or None: then `bell` rings for `token` when there may be one, or the end."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends it, and whoever iterates over it. The second time it does nothing."""
        self.close_raw()
        self._ring()

    def _ring(self) -> None:
        if self._waits is not None:
            bridge, token = self._waits
            bridge.bell.ring(token)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _T:
        item = self.take()
        if item is None:
            raise StopIteration
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        bridge = Bridge.of_running_loop()
        if self._waits is None or self._waits[0] is not bridge:
            self._waits = bridge, bridge.bell.token()
        token = self._waits[1]
        while True:
            item = self.poll(bridge.bell, token)
            if item is not None:
                return item
            if self.closed:
                raise StopAsyncIteration
            await bridge.wait(token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Subscription(_native.Reader, _Stream[Batch]):
    """Readings of this and all other nodes that match a filter, under a contract, in batches.

    Iterate over it, or `async for`; or `take` one batch. One thread reads at a time; any may `close` it: what is queued
    can then still be read, and iterating ends. Leaving its `with` forgets what is queued.
    """

    def take(self, timeout: float | None = None) -> Batch | None:
        """The next batch; waits for it up to `timeout` seconds, else as long as it takes. None when the time, or all,
        is over. Ctrl-C ends the wait."""
        raw = self.take_raw(timeout)
        return None if raw is None else Batch(raw)

    def poll(self, bell: _native.Bell, token: int) -> Batch | None:
        """The next one, or None: then `bell` rings for `token` when there may be one, or the end."""
        raw = self.poll_raw(bell, token)
        return None if raw is None else Batch(raw)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self.discard()

    @property
    def contract(self) -> Contract:
        """The contract that is kept, which may ask less than was asked for."""
        return Contract.of_raw(self.contract_raw())

    @property
    def ledger(self) -> Ledger:
        """What became of every reading so far. The numbers add up at any time."""
        return Ledger(*self.ledger_raw())

    def change(self, *filters: Filter | str) -> None:
        """Asks for what matches any of these from now on. What matched before and still does goes on without gap or
        duplicate; what matches only now begins live."""
        self.change_raw([Filter.of(one).raw() for one in filters])


class Registered(NamedTuple):
    """A sensor has an owner and had none."""

    sensor: str
    type: str
    node: str
    epoch: int


class Moved(NamedTuple):
    """A sensor has another owner, or a newer claim, than before."""

    sensor: str
    type: str
    node: str
    epoch: int
    previous_node: str
    previous_epoch: int


class Unregistered(NamedTuple):
    """A sensor has no owner any more."""

    sensor: str
    type: str
    node: str
    epoch: int


class NodeUp(NamedTuple):
    """A node is up."""

    node: str
    incarnation: int


class NodeDown(NamedTuple):
    """A node is down, and all its sensors with it: of these nothing is told singly."""

    node: str
    incarnation: int


class Claim(NamedTuple):
    """A node's claim of a sensor."""

    node: str
    incarnation: int
    """Which of the node's lives."""
    epoch: int


class Duplicate(NamedTuple):
    """A sensor that two nodes had claimed. The winner's node owns it."""

    sensor: str
    winner: Claim
    loser: Claim


class Healed(NamedTuple):
    """A node came into reach and its sensors were fetched. Those that it and another one had claimed are settled."""

    node: str
    incarnation: int
    returned: bool
    """Whether it had been here before, in this life: a split healed."""
    time: int
    """When all that it owns was known here: microseconds since 1970."""
    total: int
    """How many sensors two nodes had claimed."""
    duplicates: tuple[Duplicate, ...]
    """The first of them, in order of their ids: at most 10,000."""

    @classmethod
    def of_raw(cls, raw: RawHeal) -> "Healed":
        """The report that the engine made."""
        node, incarnation, returned, time, total, duplicates = raw
        settled = tuple(Duplicate(sensor, Claim(*winner), Claim(*loser)) for sensor, winner, loser in duplicates)
        return cls(node, incarnation, returned, time, total, settled)


class EventsLost(NamedTuple):
    """So many events found the queue of 65,536 full: list the sensors anew."""

    lost: int


Event = Registered | Moved | Unregistered | NodeUp | NodeDown | Healed | EventsLost


def _event(raw: RawEvent) -> Event:
    what, sensor, kind, node, number, previous, before, heal = raw
    if what == "registered":
        return Registered(sensor, kind, node, number)
    if what == "moved":
        return Moved(sensor, kind, node, number, previous, before)
    if what == "unregistered":
        return Unregistered(sensor, kind, node, number)
    if what == "node_up":
        return NodeUp(node, number)
    if what == "node_down":
        return NodeDown(node, number)
    if heal is not None:
        return Healed.of_raw(heal)
    return EventsLost(number)


class Events(_native.Events, _Stream[Event]):
    """What happens to the sensors and nodes of the cluster from its making on, in order per sensor.

    Iterate over it, or `async for`; or `take` one event.
    """

    def __init__(self, node: _native.Node) -> None:
        self._told: deque[Event] = deque()

    def take(self, timeout: float | None = None) -> Event | None:
        """The next event; waits for it up to `timeout` seconds, else as long as it takes. None when the time, or all,
        is over. Ctrl-C ends the wait."""
        if not self._told:
            self._told.extend(map(_event, self.take_raw(timeout)))
        return self._told.popleft() if self._told else None

    def poll(self, bell: _native.Bell, token: int) -> Event | None:
        """The next one, or None: then `bell` rings for `token` when there may be one, or the end."""
        if not self._told:
            self._told.extend(map(_event, self.poll_raw(bell, token)))
        return self._told.popleft() if self._told else None


class Demands(_native.Demands, _Stream[Demand]):
    """What the cluster wants of one sensor: as it is, and then as it changes. It keeps the latest alone.

    Iterate over it, or `async for`; or `take` one demand.
    """

    def take(self, timeout: float | None = None) -> Demand | None:
        """The demand, once it is another than was told before; waits for it up to `timeout` seconds, else as long as it
        takes. None when the time, or all, is over. Ctrl-C ends the wait."""
        return self._of(self.take_raw(timeout))

    def poll(self, bell: _native.Bell, token: int) -> Demand | None:
        """The next one, or None: then `bell` rings for `token` when there may be one, or the end."""
        return self._of(self.poll_raw(bell, token))

    @staticmethod
    def _of(raw: tuple[RawWant | None] | None) -> Demand | None:
        return None if raw is None else Demand.of_raw(raw[0])
