"""What can go wrong, by kind. Every exception is a `senza.Error`; what it names is among its attributes."""

__all__ = [
    "Busy",
    "Closed",
    "Error",
    "Forked",
    "Full",
    "HeldOff",
    "InvalidConfig",
    "InvalidContract",
    "InvalidId",
    "InvalidPattern",
    "InvalidValue",
    "NameTaken",
    "NotFound",
    "NotOwner",
    "NotRegistered",
    "Refused",
    "StartFailed",
    "TimedOut",
]


class Error(Exception):
    """Anything that senza refuses. Its text says what and why."""

    def __init__(self, message: str = "", **facts: str | int) -> None:
        super().__init__(message)
        self.__dict__.update(facts)


class InvalidId(Error, ValueError):
    """A sensor, attribute, type or node name that breaks its rule."""


class InvalidValue(Error, ValueError):
    """A value of a type, or of a size, that a reading cannot have."""


class InvalidPattern(Error, ValueError):
    """A pattern of a filter that is none."""


class InvalidContract(Error, ValueError):
    """A field of a contract, named by `field`, that is out of its range."""

    field: str = ""


class InvalidConfig(Error, ValueError):
    """A setting of a node, named by `setting`, that breaks its rule; or a file that cannot be read."""

    setting: str = ""


class StartFailed(Error, OSError):
    """A node cannot start: an endpoint is taken, or Zenoh refused a setting."""


class NameTaken(StartFailed):
    """Another node that is up holds this `name`."""

    name: str = ""


class Closed(Error):
    """The node, sensor or subscription, as `what` says, is closed."""

    what: str = ""


class NotRegistered(Error):
    """The sensor is no longer registered here."""


class Refused(NotRegistered):
    """Of a column of readings so many were `taken`, and `refused`: their sensors are no longer registered here."""

    taken: int = 0
    refused: int = 0


class NotFound(Error, LookupError):
    """Nobody knows the `sensor`."""

    sensor: str = ""


class NotOwner(Error):
    """The `sensor` is owned by another `node`."""

    sensor: str = ""
    node: str = ""


class HeldOff(NotOwner):
    """Another `node` took the `sensor` over a moment ago; it can be taken back in `left_ms` milliseconds."""

    left_ms: int = 0


class Full(Error):
    """A bound is reached: of `what`, at `max`."""

    what: str = ""
    max: int = 0


class TimedOut(Error, TimeoutError):
    """Another node did not answer in time."""


class Busy(Error):
    """Another thread is reading just now: one subscription has one reader at a time."""


class Forked(Error):
    """The object is of the process that this one was forked from, or a node ran there: its threads stayed there. Start
    nodes after the fork, or start processes by `spawn`."""
