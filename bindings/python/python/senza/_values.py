"""Values that are not a number, a truth value, text or bytes; and columns of values as arrays.

numpy is imported when an array is first asked for.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._errors import InvalidValue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Columns", "Value", "exact", "from_json", "numbers", "to_json", "vector"]

Value = Any
"""float, int, bool, str, bytes, a dict, list or tuple that is JSON, or one dimension of float32."""

Columns = tuple[bytes, bytes, Mapping[int, Any]]
"""Kinds, eight bytes each, and by place what does not fit in them."""

FLOAT, INT, BOOL, TEXT = 0, 1, 2, 3
KIND = 0x1F
START, SKIPPED = 0x80, 0x40


def to_json(value: object) -> str:
    """JSON as short as it gets."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(f"{type(value).__name__} is no JSON: {error}") from error


def from_json(text: str) -> Any:
    """What JSON says; the text itself where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def vector(numbers: bytes) -> "NDArray[np.float32]":
    """A vector as an array."""
    import numpy as np

    return np.frombuffer(numbers, np.float32)


def exact(columns: Columns) -> "NDArray[Any]":
    """Values as they are: float64, int64 or bool where all are of one kind, float64 where numbers mix, else objects."""
    import numpy as np

    kinds, slots, beside = columns
    kind = np.frombuffer(kinds, np.uint8) & KIND
    if not beside:
        if not kind.any():
            return np.frombuffer(slots, np.float64)
        if (kind == INT).all():
            return np.frombuffer(slots, np.int64)
        if (kind == BOOL).all():
            return np.frombuffer(slots, np.int64).astype(np.bool_)
        return numbers(columns)
    out = np.empty(len(kinds), object)
    floats, ints = memoryview(slots).cast("d"), memoryview(slots).cast("q")
    for at, one in enumerate(kind.tolist()):
        if one == FLOAT:
            out[at] = floats[at]
        elif one == INT:
            out[at] = ints[at]
        elif one == BOOL:
            out[at] = bool(ints[at])
        else:
            out[at] = beside[at]
    return out


def numbers(columns: Columns) -> "NDArray[np.float64]":
    """Values as float64: ints and truth values as numbers, NaN for what is none."""
    import numpy as np

    kinds, slots, _ = columns
    kind = np.frombuffer(kinds, np.uint8) & KIND
    floats = np.frombuffer(slots, np.float64)
    if not kind.any():
        return floats
    out = np.where(kind == FLOAT, floats, np.frombuffer(slots, np.int64).astype(np.float64))
    out[kind >= TEXT] = np.nan
    return out
