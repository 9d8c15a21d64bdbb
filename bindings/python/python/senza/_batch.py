"""What a subscription yields: readings in columns, and what was lost between them as values."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from ._native import Source
from ._values import BOOL, FLOAT, INT, KIND, SKIPPED, START, Columns, Value, exact, numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Batch", "End", "Gap", "RawBatch", "RawReading", "Reading"]

RawBatch = tuple[
    list[Source],
    bytes,
    bytes,
    bytes,
    bytes,
    Columns,
    list[tuple[int, int]],
    list[tuple[int, int, int, int | None, str]],
    list[tuple[int, int, int, str]],
]

RawReading = tuple[str, str, Any, int, int, int, int, str]


class Reading(NamedTuple):
    """One reading. `(epoch, seq)` names it for ever among those of its sensor and attribute."""

    sensor: str
    attribute: str
    value: Value
    time: int
    """When, as the device says: microseconds since 1970."""
    received: int
    """When its owner took it."""
    seq: int
    """Its number: from 1, without a hole. A hole is a loss."""
    epoch: int
    node: str


class Gap(NamedTuple):
    """Told loss: these readings of a series will not come."""

    source: Source
    first: int
    """The first lost number."""
    last: int | None
    """The last one; None where nobody knows it, as its owner crashed."""
    reason: str
    """`overflow` (this queue), `relay` (the queue to this node), `link` (on the way), `beaten` (another owns it)."""
    at: int
    """It comes before the batch's reading at this place."""

    @property
    def lost(self) -> int | None:
        """How many readings are lost, where that is known."""
        return None if self.last is None else self.last - self.first + 1


class End(NamedTuple):
    """A series is over. Whatever is registered anew goes on under another epoch."""

    source: Source
    last: int
    """The number of its last reading: all up to there were delivered or told."""
    reason: str
    """`unregistered` or `moved`."""
    at: int
    """It comes before the batch's reading at this place."""


class Batch:
    """Readings in columns, in order per series. Arrays are read-only views of it; `copy()` what is to be changed.

    It also reads like a list of `Reading`s, for those who have few.
    """

    def __init__(self, raw: RawBatch) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw[5][0])

    def __bool__(self) -> bool:
        """True: a batch without readings tells gaps or ends."""
        return True

    @property
    def sources(self) -> list[Source]:
        """The series of this batch: sensor, attribute, type, node and epoch each. `index` counts in it."""
        return self._raw[0]

    @cached_property
    def index(self) -> "NDArray[np.uint32]":
        """Of each reading, its place in `sources`."""
        import numpy as np

        return np.frombuffer(self._raw[1], np.uint32)

    @cached_property
    def seq(self) -> "NDArray[np.uint64]":
        """Of each reading, its number in its series: without holes but those that `gaps` tell or the contract asks."""
        import numpy as np

        return np.frombuffer(self._raw[2], np.uint64)

    @cached_property
    def time(self) -> "NDArray[np.int64]":
        """Of each reading, when, as the device says: microseconds since 1970."""
        import numpy as np

        return np.frombuffer(self._raw[3], np.int64)

    @property
    def time64(self) -> "NDArray[np.datetime64]":
        """The same as numpy's `datetime64[us]`, UTC."""
        return self.time.view("datetime64[us]")

    @cached_property
    def received(self) -> "NDArray[np.int64]":
        """Of each reading, when its owner took it: microseconds since 1970."""
        import numpy as np

        return np.frombuffer(self._raw[4], np.int64)

    @cached_property
    def values(self) -> "NDArray[Any]":
        """The values as they are: float64, int64 or bool where all are of one kind, float64 where numbers mix, else
        objects."""
        return exact(self._raw[5])

    @cached_property
    def numbers(self) -> "NDArray[np.float64]":
        """The values as float64, NaN for what is no number."""
        return numbers(self._raw[5])

    @cached_property
    def gaps(self) -> list[Gap]:
        """Readings that will not come."""
        sources = self.sources
        return [Gap(sources[of], first, last, reason, at) for at, of, first, last, reason in self._raw[7]]

    @cached_property
    def ends(self) -> list[End]:
        """Series that are over."""
        sources = self.sources
        return [End(sources[of], last, reason, at) for at, of, last, reason in self._raw[8]]

    @cached_property
    def is_start(self) -> "NDArray[np.bool_]":
        """Of each reading, whether it is one from before the subscription, as its contract's start asks."""
        return self._flag(START)

    @cached_property
    def is_after_skip(self) -> "NDArray[np.bool_]":
        """Of each reading, whether numbers before it were left out as the contract says. No loss."""
        return self._flag(SKIPPED)

    @property
    def start_positions(self) -> dict[int, int]:
        """By a start's place, its series' counter then: the next live reading is the one after it."""
        return dict(self._raw[6])

    def _flag(self, flag: int) -> "NDArray[np.bool_]":
        import numpy as np

        flags: NDArray[np.bool_] = (np.frombuffer(self._raw[5][0], np.uint8) & flag) != 0
        return flags

    def of(self, sensor: str, attribute: str | None = None) -> "NDArray[np.bool_]":
        """Which readings are of a sensor, and attribute: a mask for the columns."""
        import numpy as np

        wanted = [
            at
            for at, source in enumerate(self.sources)
            if source.sensor == sensor and attribute in (None, source.attribute)
        ]
        mask: NDArray[np.bool_] = np.isin(self.index, np.array(wanted, np.uint32))
        return mask

    def columns(self) -> "dict[str, NDArray[Any]]":
        """Everything by name, ids included: what `pandas.DataFrame` and `polars.DataFrame` take."""
        import numpy as np

        sensors = np.array([source.sensor for source in self.sources], object)
        attributes = np.array([source.attribute for source in self.sources], object)
        return {
            "sensor": sensors[self.index],
            "attribute": attributes[self.index],
            "time": self.time64,
            "value": self.values,
            "seq": self.seq,
        }

    @overload
    def __getitem__(self, at: int) -> Reading: ...
    @overload
    def __getitem__(self, at: slice) -> list[Reading]: ...
    def __getitem__(self, at: int | slice) -> Reading | list[Reading]:
        """One reading, or some."""
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        kinds, slots, beside = self._raw[5]
        kind = kinds[at] & KIND
        value: Value
        if kind == FLOAT:
            value = memoryview(slots).cast("d")[at]
        elif kind == INT:
            value = memoryview(slots).cast("q")[at]
        elif kind == BOOL:
            value = memoryview(slots).cast("q")[at] != 0
        else:
            value = beside[at]
        source = self.sources[memoryview(self._raw[1]).cast("I")[at]]
        seq = memoryview(self._raw[2]).cast("Q")[at]
        time, received = (memoryview(column).cast("q")[at] for column in self._raw[3:5])
        return Reading(source.sensor, source.attribute, value, time, received, seq, source.epoch, source.node)

    def __iter__(self) -> Iterator[Reading]:
        return (self[at] for at in range(len(self)))

    def __repr__(self) -> str:
        parts = [f"{len(self)} readings of {len(self.sources)} series"]
        parts += [f"{len(self.gaps)} gaps"] if self.gaps else []
        parts += [f"{len(self.ends)} ends"] if self.ends else []
        return f"<senza.Batch: {', '.join(parts)}>"
