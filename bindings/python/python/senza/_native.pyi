"""The compiled part of senza. What programs use is in `senza`, whose classes extend these."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self, final

from typing_extensions import disjoint_base

from ._batch import RawBatch, RawReading
from ._contract import RawContract, RawFilter, RawWant
from ._latency import RawLatency
from ._log import RawRecord
from ._streams import RawEvent, RawHeal
from ._values import Columns

__all__ = [
    "VERSION",
    "Bell",
    "Cursor",
    "Demands",
    "Events",
    "Listed",
    "Log",
    "Node",
    "Reader",
    "Sensor",
    "Series",
    "Source",
    "Whereis",
    "forked",
]

VERSION: Final[str]

def forked() -> None:
    """Counts a fork; the package has it called in every child."""

@final
class Bell:
    """What a loop, or a thread, hears the engine by."""

    def __new__(cls) -> Self: ...
    def fileno(self) -> int:
        """What to watch for reading."""

    def token(self) -> int:
        """A number for a new waiter."""

    def ring(self, token: int) -> None:
        """Rings for one waiter."""

    def answer(self) -> list[int]:
        """Who is ready since the last answer."""

    def __reduce__(self) -> Any: ...

@disjoint_base
class Node:
    """A node inside this process."""

    def __new__(
        cls,
        *,
        name: str | None = None,
        listen: Sequence[str] = ...,
        connect: Sequence[str] = ...,
        config: str | os.PathLike[str] | None = None,
        root: str | None = None,
        insecure: bool = False,
        sensors_max: int | None = None,
        attributes_max: int | None = None,
        history_max: int | None = None,
        idle_unregister_s: int | None = None,
        lease_ms: int | None = None,
        silence_ms: int | None = None,
        takeover_holdoff_ms: int | None = None,
        mode: str | None = None,
        lossless: Sequence[str] = ...,
        zenoh: Sequence[tuple[str, str]] = ...,
    ) -> Self: ...
    @property
    def name(self) -> str:
        """The node's name, unique in its cluster."""

    @property
    def listening(self) -> list[str]:
        """Endpoints it listens on, ports filled in: what others connect to."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    @property
    def ending(self) -> str | None:
        """Why the node is about to end by itself, if it is: another node of its name, older, is up."""

    @property
    def mode(self) -> str:
        """How far it takes part in its cluster: `cluster` or `local`."""

    @mode.setter
    def mode(self, word: str) -> None: ...
    def close(self) -> None:
        """Stops the node in good order; what still stands of it refuses from then on."""

    def whereis(self, sensor: str, /) -> Whereis | None:
        """Where a sensor is: its owner and the claim's number, or None."""

    def whereis_many(self, sensors: Iterable[str], /) -> list[Whereis | None]:
        """The same for many, whose waits for memory overlap: a list in the order of theirs."""

    def put(self, sensor: str, attribute: str, value: Any, time: Any = None) -> int:
        """Puts one reading by ids and answers its number. Who puts often holds a `Sensor`, or a `Series`."""

    def put_many(self, readings: Iterable[Iterable[Any]], /) -> list[tuple[int, Exception]]:
        """Puts many readings by ids, each (sensor, attribute, value) or (sensor, attribute, value, time). Answers those
        that were refused, by their place, with the reason; the others are taken."""

    def unregister(self, sensor: str, /) -> bool:
        """Unregisters a sensor of this node, whoever registered it. Answers whether it was here."""

    def latest_raw(self, sensor: str, attribute: str) -> RawReading | None: ...
    def history_raw(
        self, sensor: str, attribute: str, last: int, span: tuple[int, int], timeout: float
    ) -> tuple[bytes, Columns]: ...
    def page(self, from_: Cursor | None, raw: RawFilter, limit: int) -> tuple[list[Listed], Cursor | None]: ...
    def nodes_raw(self) -> list[tuple[str, int, int, bool]]: ...
    def heals_raw(self) -> list[RawHeal]: ...
    def latencies_raw(self) -> list[RawLatency]: ...
    def clocks_raw(self) -> list[tuple[str, int, int]]: ...
    def __reduce__(self) -> Any: ...

@disjoint_base
class Sensor:
    """A sensor of this node, until it is left."""

    def __new__(cls, node: Node, sensor_id: str, kind: str | None, meta: str | None, takeover: bool) -> Self: ...
    @property
    def id(self) -> str:
        """Its id."""

    @property
    def epoch(self) -> int:
        """The number of the claim that was made by registering it."""

    @property
    def closed(self) -> bool:
        """Whether it was left."""

    def put(self, attribute: str, value: Any, time: Any = None, *, wait: bool = False) -> int:
        """Puts one reading and answers its number. Without a time it is stamped now. With `wait`, readers of this node
        whose contract has writers wait are waited for, each as long as it says."""

    def declare(self, *attributes: str) -> None:
        """Makes attributes without putting a reading: a device that waits to be watched makes its own first."""

    def leave(self) -> None:
        """Ends this registration; the last one's end unregisters the sensor. The second time it does nothing."""

    def demand_raw(self) -> RawWant | None: ...
    def __reduce__(self) -> Any: ...

@disjoint_base
class Series:
    """A set of series of this node, to put columns to."""

    def __new__(cls, node: Node, sensors: Sequence[Sensor], attributes: Sequence[str]) -> Self: ...
    def __len__(self) -> int: ...
    def put_columns(self, values: Any, times: Any = None, index: Any = None, truth: bool = False) -> int:
        """Puts a column of values; with `truth`, bytes are truth values. See the class that extends this one."""

    def __reduce__(self) -> Any: ...

@disjoint_base
class Reader:
    """A subscription of this node."""

    def __new__(cls, node: Node, raw_filter: RawFilter, raw: RawContract, batch_max: int, /) -> Self: ...
    @property
    def closed(self) -> bool:
        """Whether nothing more comes: it was closed, by itself, its contract or its node."""

    def take_raw(self, timeout: float | None = None) -> RawBatch | None: ...
    def poll_raw(self, bell: Bell, token: int) -> RawBatch | None: ...
    def close_raw(self) -> None: ...
    def discard(self) -> None:
        """Ends it and forgets what is queued."""

    def contract_raw(self) -> RawContract: ...
    def ledger_raw(self) -> tuple[int, int, int, int, int, int]: ...
    def change_raw(self, raw: Sequence[RawFilter]) -> None: ...
    def __reduce__(self) -> Any: ...

@disjoint_base
class Events:
    """What happens from its making on, in order per sensor."""

    def __new__(cls, node: Node, /) -> Self: ...
    @property
    def closed(self) -> bool:
        """Whether nothing more comes."""

    def take_raw(self, timeout: float | None = None) -> list[RawEvent]: ...
    def poll_raw(self, bell: Bell, token: int) -> list[RawEvent]: ...
    def close_raw(self) -> None: ...
    def __reduce__(self) -> Any: ...

@disjoint_base
class Demands:
    """The demand of one sensor of this node. It keeps the latest alone."""

    def __new__(cls, sensor: Sensor, /) -> Self: ...
    @property
    def closed(self) -> bool:
        """Whether nothing more comes."""

    def take_raw(self, timeout: float | None = None) -> tuple[RawWant | None] | None: ...
    def poll_raw(self, bell: Bell, token: int) -> tuple[RawWant | None] | None: ...
    def close_raw(self) -> None: ...
    def __reduce__(self) -> Any: ...

@final
class Log:
    """What is logged from its making on, until it is closed or another one is made."""

    def __new__(cls, filter: str, /) -> Self: ...
    def change(self, filter: str, /) -> None:
        """Has what passes another filter told from now on."""

    def poll(self, bell: Bell, token: int) -> tuple[list[RawRecord], int]:
        """What was logged since, at most 64 records, and how many more were dropped: those come after what is queued.
        Where it is nothing, `bell` rings for `token` when there is something. What the calling thread logs is left out
        from then on."""

    def close(self) -> None:
        """Ends it; what is queued can still be polled."""

    def __reduce__(self) -> Any: ...

@final
class Whereis:
    """Where a sensor is: the owner's name, the claim's number, whether that is this node."""

    @property
    def node(self) -> str:
        """The owner's name."""

    @property
    def epoch(self) -> int:
        """The claim's number."""

    @property
    def local(self) -> bool:
        """Whether the owner is this node."""

    def __hash__(self) -> int: ...

@final
class Cursor:
    """Where a listing goes on."""

@final
class Listed:
    """A sensor as a listing tells it."""

    __hash__ = None  # type: ignore[assignment]
    @property
    def sensor(self) -> str:
        """Its id."""

    @property
    def type(self) -> str:
        """What kind of thing it is."""

    @property
    def node(self) -> str:
        """The owner's name."""

    @property
    def epoch(self) -> int:
        """The claim's number."""

    @property
    def local(self) -> bool:
        """Whether the owner is this node."""

@final
class Source:
    """What all readings of one attribute of a sensor under one claim share."""

    @property
    def sensor(self) -> str:
        """The sensor's id."""

    @property
    def attribute(self) -> str:
        """The attribute's id."""

    @property
    def type(self) -> str:
        """What kind of thing the sensor is."""

    @property
    def node(self) -> str:
        """The owner's name."""

    @property
    def epoch(self) -> int:
        """The claim under which the owner numbers its readings."""

    @property
    def lossless(self) -> bool:
        """Whether none of its readings may be left out by a contract."""

    def __hash__(self) -> int: ...
