"""What a subscription is about, and what it asks for."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypedDict

from ._errors import InvalidContract
from ._times import EPOCH, micros, micros_of_seconds

__all__ = ["Contract", "ContractFields", "Demand", "Filter", "Ledger", "RawContract", "RawFilter", "RawWant"]

RawFilter = tuple[list[str], list[str], list[str], list[str], list[str]]
RawWant = tuple[str, int, str, float, int]
RawContract = tuple[RawWant, str, int, int, str, int]

Texts = str | Iterable[str]


def _texts(given: Texts) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@dataclass(frozen=True, init=False)
class Filter:
    """Which readings are meant. Within a list any entry fits; between lists all must fit; an empty list asks nothing.

    `sensors` (exact ids) and `patterns` are one list in this sense. A pattern is a key expression over
    `<sensor>/<attribute>`, both percent-encoded as in keys: `*` is one of them, `**` any number, `$*` any text inside
    one. `types` and `nodes` narrow by the sensor's type and owner.
    """

    sensors: tuple[str, ...]
    patterns: tuple[str, ...]
    attributes: tuple[str, ...]
    types: tuple[str, ...]
    nodes: tuple[str, ...]

    def __init__(
        self,
        *,
        sensors: Texts = (),
        patterns: Texts = (),
        attributes: Texts = (),
        types: Texts = (),
        nodes: Texts = (),
    ) -> None:
        for name, given in (
            ("sensors", sensors),
            ("patterns", patterns),
            ("attributes", attributes),
            ("types", types),
            ("nodes", nodes),
        ):
            object.__setattr__(self, name, _texts(given))

    @classmethod
    def of(cls, given: "Filter | str | None") -> "Filter":
        """A filter; a text is a pattern, nothing is everything."""
        if isinstance(given, Filter):
            return given
        if given is None:
            return cls()
        if isinstance(given, str):
            return cls(patterns=given)
        raise TypeError(f"{type(given).__name__} is no filter: it must be a Filter, a pattern, or None for everything")

    def raw(self) -> RawFilter:
        """As the engine takes it."""
        return (list(self.sensors), list(self.patterns), list(self.attributes), list(self.types), list(self.nodes))


class ContractFields(TypedDict, total=False):
    """The fields of a `Contract`, for those who give them by keyword."""

    pace: Literal["every", "latest"]
    max_rate: float | None
    deadband: float | None
    deadband_percent: float | None
    heartbeat: float
    overflow: Literal["drop_oldest", "drop_newest", "conflate", "block", "close"]
    block: float
    queue_max: int
    start: "Literal['live', 'latest'] | int | datetime"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What a subscription asks for beside its filter.

    What is left out by contract is counted in the ledger and is no loss. Attributes that the sensor's node marks
    `lossless` are never left out.
    """

    pace: Literal["every", "latest"] = "every"
    """Every reading, or the newest of each series that was not taken yet."""
    max_rate: float | None = None
    """At most so many readings of each series a second: the newest when its time has come. 0.001 to 100,000."""
    deadband: float | None = None
    """Changes of a number of at most so much are left out."""
    deadband_percent: float | None = None
    """Changes of a number of at most so many percent are left out; 0 to 100."""
    heartbeat: float = 0.0
    """What a deadband left out is delivered all the same after so many seconds without a delivery; 0 is never."""
    overflow: Literal["drop_oldest", "drop_newest", "conflate", "block", "close"] = "drop_oldest"
    """What a full queue does. `block` has writers who `put(…, wait=True)` wait, and acts as drop_newest on others."""
    block: float = 1.0
    """How long `block` has a writer wait at most, in seconds."""
    queue_max: int = 65_536
    """Most queued readings; 1 to 16,777,216."""
    start: "Literal['live', 'latest'] | int | datetime" = "live"
    """Live only; or first the latest reading of each series; or the newest so many; or those since a time: of another
    node's series the newest 4,096 at most."""

    def raw(self) -> RawContract:
        """As the engine takes it."""
        return (self._raw_want(), self.overflow, micros_of_seconds(self.block), self.queue_max, *self._raw_start())

    def _raw_want(self) -> RawWant:
        pace, interval = str(self.pace), 0
        if self.max_rate is not None:
            if self.pace != "every" or not self.max_rate > 0:
                rule = "must be above 0, and without pace='latest'"
                raise InvalidContract(f"contract: max_rate = {self.max_rate}: {rule}", field="max_rate")
            pace, interval = "interval", min(round(1e6 / self.max_rate), 2**62)
        if self.deadband is not None and self.deadband_percent is not None:
            raise InvalidContract("contract: deadband and deadband_percent: give one of them", field="deadband")
        deadband, width = "none", 0.0
        if self.deadband is not None:
            deadband, width = "absolute", float(self.deadband)
        if self.deadband_percent is not None:
            deadband, width = "percent", float(self.deadband_percent)
        return pace, interval, deadband, width, micros_of_seconds(self.heartbeat)

    def _raw_start(self) -> tuple[str, int]:
        if isinstance(self.start, str):
            return self.start, 0
        if isinstance(self.start, datetime):
            return "since", micros(self.start)
        return "last", self.start

    @classmethod
    def of_raw(cls, raw: RawContract) -> "Contract":
        """The contract that the engine keeps."""
        (pace, interval, deadband, width, heartbeat), overflow, block, queue_max, start, at = raw
        since = EPOCH + timedelta(microseconds=at) if start == "since" else None
        return cls(
            pace="latest" if pace == "latest" else "every",
            max_rate=1e6 / interval if pace == "interval" else None,
            deadband=width if deadband == "absolute" else None,
            deadband_percent=width if deadband == "percent" else None,
            heartbeat=heartbeat / 1e6,
            overflow=_OVERFLOWS[overflow],
            block=block / 1e6 if overflow == "block" else 1.0,
            queue_max=queue_max,
            start=since or (at if start == "last" else "latest" if start == "latest" else "live"),
        )


_OVERFLOWS: dict[str, Literal["drop_oldest", "drop_newest", "conflate", "block", "close"]] = {
    "drop_oldest": "drop_oldest",
    "drop_newest": "drop_newest",
    "conflate": "conflate",
    "block": "block",
    "close": "close",
}


class Demand(NamedTuple):
    """What all subscriptions of the cluster together want of a sensor: what a device need not exceed. False where
    nobody watches it."""

    pace: Literal["none", "latest", "every"] = "none"
    """Nothing, the newest reading, or every one."""
    max_rate: float | None = None
    """At most so many readings of each attribute a second."""
    deadband: float | None = None
    """Changes of at most so much need not be sent."""
    deadband_percent: float | None = None
    """The same in percent."""
    heartbeat: float = 0.0
    """Seconds after which one is wanted all the same; 0 is never."""

    def __bool__(self) -> bool:
        return self.pace != "none"

    @classmethod
    def of_raw(cls, raw: RawWant | None) -> "Demand":
        """The demand; nobody's is none."""
        if raw is None:
            return cls()
        pace, interval, deadband, width, heartbeat = raw
        return cls(
            pace="latest" if pace == "latest" else "every",
            max_rate=1e6 / interval if pace == "interval" else None,
            deadband=width if deadband == "absolute" else None,
            deadband_percent=width if deadband == "percent" else None,
            heartbeat=heartbeat / 1e6,
        )


class Ledger(NamedTuple):
    """What became of every reading: offered = delivered + conflated + filtered + dropped + queued, at any time."""

    offered: int
    """Readings that matched."""
    delivered: int
    """Readings that were read."""
    conflated: int
    """Readings that gave way to a newer one of their series, by contract."""
    filtered: int
    """Readings that changed too little, by contract."""
    dropped: int
    """Readings that overflowed, each inside a told gap."""
    queued: int
    """Readings that wait."""
