"""How long readings took on their way through a node, hop by hop, and by how much the other nodes' clocks differ.

numpy is imported when an array is first asked for.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Clock", "Histogram", "Latency", "RawLatency"]

RawLatency = tuple[
    Literal["source", "owner", "link", "queue", "local", "remote"],
    str | None,
    int,
    int,
    tuple[int, int, int, int],
    int,
    bytes,
    bytes,
]


@dataclass(frozen=True, repr=False)
class Histogram:
    """Latencies in buckets, shortest first, those that are empty left out. They add up over nodes, and of two answers
    of one node the difference is what came between. Arrays are read-only."""

    _up_to: bytes
    _readings: bytes

    @property
    def up_to_us(self) -> "NDArray[np.uint64]":
        """Of each bucket the longest that it counts, in microseconds; the shortest is above the bucket before."""
        import numpy as np

        return np.frombuffer(self._up_to, np.uint64)

    @property
    def readings(self) -> "NDArray[np.uint64]":
        """Of each bucket how many readings took so long."""
        import numpy as np

        return np.frombuffer(self._readings, np.uint64)

    def __len__(self) -> int:
        return len(self._up_to) // 8

    def __repr__(self) -> str:
        return f"<senza.Histogram of {len(self)} buckets>"


class Latency(NamedTuple):
    """How long one part of the way took, as a node saw it: microseconds, within one per cent; an hour is the most.

    Parts are `source` (from the device's time to the owner's table: its clock and its queue are in it), `owner` (from
    the table until a frame to another node was sent), `link` (until that was taken in), `queue` (in the queue of a
    reader); and the whole way from the table to a reader: `local` (of the same node) and `remote` (of another one).
    """

    hop: Literal["source", "owner", "link", "queue", "local", "remote"]
    node: str | None
    """The other node, of `owner` and `link`."""
    readings: int
    """How many took it."""
    impossible: int
    """How many others arrived before they were sent, by the clocks and what is known of them: no latency."""
    p50_us: int
    """Half of the readings took at most so long."""
    p90_us: int
    p99_us: int
    p999_us: int
    """999 of 1,000."""
    max_us: int
    histogram: Histogram

    @classmethod
    def of_raw(cls, raw: RawLatency) -> "Latency":
        """What the engine saw."""
        hop, node, readings, impossible, percentiles, longest, up_to, counts = raw
        return cls(hop, node, readings, impossible, *percentiles, longest, Histogram(up_to, counts))


class Clock(NamedTuple):
    """By how much another node's clock differs from this one's. Latencies that cross clocks are corrected by it."""

    offset_us: int
    """Its clock less this one's."""
    error_us: int
    """The estimate is off by so much at most."""
