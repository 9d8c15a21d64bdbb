"""Times: microseconds since 1970 (UTC) as int, or an aware `datetime`; and durations in seconds."""

from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["EPOCH", "Time", "micros", "micros_of_seconds"]

Time = int | datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(time: Any) -> int:
    """The microseconds since 1970 of a time; exact."""
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError("a datetime must have a time zone: datetime.now(UTC), or .astimezone()")
        return (time - EPOCH) // _MICROSECOND
    if hasattr(time, "__index__"):
        return int(time.__index__())
    if getattr(getattr(time, "dtype", None), "kind", "") == "M" and time.shape == ():
        return int(time.astype("datetime64[us]").astype("int64"))
    kind = type(time).__name__
    raise TypeError(f"{kind} is no time: it must be an int (microseconds since 1970) or an aware datetime")


def micros_of_seconds(seconds: float) -> int:
    """A duration as the engine counts it."""
    if not 0 <= seconds < 1e12:
        raise ValueError(f"{seconds!r} is no duration: it must be seconds, at least 0")
    return round(seconds * 1e6)
