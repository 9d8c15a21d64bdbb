"""A node of this process, the sensors registered on it, and columns of readings for many of them."""

import atexit
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypedDict, Unpack

from . import _native
from ._batch import Reading
from ._bridge import Callbacks
from ._contract import Contract, ContractFields, Demand, Filter
from ._errors import Closed, InvalidConfig, InvalidValue
from ._latency import Clock, Latency
from ._native import Cursor, Listed
from ._streams import Demands, Events, Healed, Subscription
from ._times import Time, micros
from ._values import exact, to_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["History", "Node", "NodeView", "Sensor", "Series", "Settings"]

_MIN, _MAX = -(2**63), 2**63 - 1
_PAGE = 4096


class Settings(TypedDict, total=False):
    """The settings of a node. They win over those of a file or mapping that `config` names."""

    listen: str | Iterable[str]
    """Endpoints; port 0 picks a free one. A free port of this machine alone where it is left out."""
    connect: str | Iterable[str]
    """Endpoints of other nodes; those they know are met by themselves."""
    root: str
    """The first chunk of all keys."""
    insecure: bool
    """Allows an address that is not loopback without TLS."""
    sensors_max: int
    """Most sensors of this node."""
    attributes_max: int
    """Most attributes of one sensor."""
    history_max: int
    """Readings kept per attribute."""
    idle_unregister_s: int
    """A sensor that came by a plain key is unregistered after so many seconds of silence."""
    lease_ms: int
    """After so many milliseconds of silence a link is closed."""
    silence_ms: int
    """A node that is not heard for so many milliseconds is down; the same on all nodes."""
    takeover_holdoff_ms: int
    """For so long after another node took a sensor over, its readings here are refused."""
    mode: str
    """`cluster`, or `local`: no other node hears of this one."""
    lossless: str | Iterable[str]
    """Attributes, of all sensors, of which no contract may leave a reading out: an ECG, a button."""
    zenoh: Mapping[str, Any]
    """Further settings of Zenoh: path to value."""


_SETTINGS = frozenset(Settings.__annotations__) | {"name"}
_LISTS = ("listen", "connect", "lossless")


class NodeView(NamedTuple):
    """A node of the cluster, as this one sees it."""

    name: str
    incarnation: int
    """Which of its lives; a restart is a newer one."""
    sensors: int
    """How many it owns."""
    local: bool
    """Whether it is this one."""


class History(NamedTuple):
    """Readings of one attribute, oldest first."""

    times: "NDArray[np.int64]"
    """When, as the device says: microseconds since 1970."""
    values: "NDArray[Any]"
    """float64, int64 or bool where all are of one kind, float64 where numbers mix, else objects."""


class _Closes(Protocol):
    def close(self) -> None: ...


class Node(_native.Node):
    """A node inside this process: it owns the sensors registered on it, sees everybody else's, and relays readings to
    whoever asked, on any node.

    `name` is unique in the cluster: lower-case letters, digits and `-`; the host's where it is left out. Starting
    blocks until it has met the others, five seconds at most. `config` names a TOML file or is a mapping; settings by
    keyword win over it. Leaving its `with` stops it in good order. All of it may be used by many threads.
    """

    def __new__(
        cls,
        name: str | None = None,
        *,
        config: "Mapping[str, Any] | str | os.PathLike[str] | None" = None,
        **settings: Unpack[Settings],
    ) -> Self:
        """Starts a node."""
        given: dict[str, Any] = {}
        if isinstance(config, Mapping):
            given.update(config)
        elif config is not None:
            given["config"] = os.fspath(config)
        given.update(settings)
        if name is not None:
            given["name"] = name
        unknown = sorted(set(given) - _SETTINGS - {"config"})
        if unknown:
            raise InvalidConfig(f"setting {unknown[0]}: there is none of this name", setting=unknown[0])
        for key in _LISTS:
            if key in given:
                given[key] = [given[key]] if isinstance(given[key], str) else list(given[key])
        if "zenoh" in given:
            given["zenoh"] = [(path, to_json(value)) for path, value in dict(given["zenoh"]).items()]
        return super().__new__(cls, **given)

    def __init__(
        self,
        name: str | None = None,
        *,
        config: "Mapping[str, Any] | str | os.PathLike[str] | None" = None,
        **settings: Unpack[Settings],
    ) -> None:
        self._streams: weakref.WeakSet[_Closes] = weakref.WeakSet()
        self._callbacks: Callbacks | None = None
        _open.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the node: its subscriptions end, the other nodes are told, its threads are joined. The second time it
        does nothing."""
        for stream in list(self._streams):
            stream.close()
        super().close()
        if self._callbacks is not None:
            self._callbacks.stop()
            self._callbacks = None

    def register(
        self, sensor: str, *, type: str | None = None, meta: Mapping[str, Any] | None = None, takeover: bool = True
    ) -> "Sensor":
        """Registers a sensor here: the device is here now. One that another node owns is taken over, or with
        `takeover=False` refused as `NotOwner`. Registered twice, it has to be left twice.

        `type` says what kind of thing it is; `meta`, a mapping that is JSON, is for people.
        """
        return Sensor(self, sensor, type, meta, takeover)

    def series(self, sensors: "Iterable[Sensor] | Sensor", attributes: str | Iterable[str]) -> "Series":
        """A set of series to put columns of readings to: each attribute of each sensor, a sensor's side by side."""
        sensors = [sensors] if isinstance(sensors, Sensor) else list(sensors)
        attributes = [attributes] if isinstance(attributes, str) else list(attributes)
        return Series(self, sensors, attributes)

    def latest(self, sensor: str, attribute: str) -> Reading | None:
        """The latest reading of a sensor of this node. Of another node's, ask for its history."""
        raw = self.latest_raw(sensor, attribute)
        return None if raw is None else Reading(*raw)

    def history(
        self,
        sensor: str,
        attribute: str,
        last: int = 100,
        *,
        since: Time | None = None,
        until: Time | None = None,
        timeout: float = 5.0,
    ) -> History:
        """The newest `last` readings of an attribute of any sensor of the cluster, within times where they are given.
        Asks the sensor's owner, which keeps `history_max` of each attribute. In an event loop, call it by
        `asyncio.to_thread`."""
        if not 0 < last < 2**32:
            raise InvalidValue(f"last = {last}: must be 1 to 4294967295 readings")
        span = (_MIN if since is None else micros(since), _MAX if until is None else micros(until))
        times, values = self.history_raw(sensor, attribute, last, span, timeout)
        import numpy as np

        return History(np.frombuffer(times, np.int64), exact(values))

    def sensors(self, filter: Filter | str | None = None) -> list[Listed]:
        """All sensors of the cluster that match; of a pattern only the sensor's part counts."""
        return [listed for page in self.pages(filter) for listed in page]

    def pages(self, filter: Filter | str | None = None, size: int = _PAGE) -> Iterator[list[Listed]]:
        """The same in pages. Each is consistent in itself; the last one is the end: nothing was left out."""
        raw = Filter.of(filter).raw()
        cursor: Cursor | None = None
        while True:
            page, cursor = self.page(cursor, raw, size)
            if page:
                yield page
            if cursor is None:
                return

    def nodes(self) -> list[NodeView]:
        """The nodes that are up, this one first."""
        return [NodeView(*view) for view in self.nodes_raw()]

    def heals(self) -> list[Healed]:
        """What the last 16 heals settled, oldest first: which sensors two nodes had claimed, and whose they are now."""
        return [Healed.of_raw(raw) for raw in self.heals_raw()]

    def latencies(self) -> list[Latency]:
        """How long readings took, hop by hop: those of this node's links, and those that its readers took. Counts since
        the node started, of a link since it was opened; always on."""
        return [Latency.of_raw(raw) for raw in self.latencies_raw()]

    def clocks(self) -> dict[str, Clock]:
        """The clocks of the other nodes that are up, by their names, as far as is known."""
        return {node: Clock(offset, error) for node, offset, error in self.clocks_raw()}

    def subscribe(
        self,
        filter: Filter | str | None = None,
        contract: Contract | None = None,
        *,
        batch_max: int = 65_536,
        **fields: Unpack[ContractFields],
    ) -> Subscription:
        """Subscribes to what matches, on every node, sensors that come later included. A text is a pattern.

        The contract is given whole, or by its fields: `node.subscribe("*/pulse", max_rate=10, start="latest")`.
        """
        if contract is not None and fields:
            raise TypeError("give a contract, or its fields, not both")
        contract = Contract(**fields) if contract is None else contract
        subscription = Subscription(self, Filter.of(filter).raw(), contract.raw(), batch_max)
        subscription._keeps = self
        self._streams.add(subscription)
        return subscription

    def events(self) -> Events:
        """What happens to the sensors and nodes of the cluster from now on."""
        events = Events(self)
        events._keeps = self
        self._streams.add(events)
        return events

    def _tell_demands(self, demands: Demands, callback: Callable[[Demand], object]) -> Callable[[], None]:
        if self.closed:
            raise Closed("the node is closed", what="node")
        if self._callbacks is None:
            self._callbacks = Callbacks()
            weakref.finalize(self, self._callbacks.stop).atexit = False
        return self._callbacks.follow(demands, callback)


class Sensor(_native.Sensor):
    """A sensor registered on a node of this process. Leaving its `with`, or dropping it, unregisters it."""

    def __new__(
        cls,
        node: Node,
        sensor: str,
        type: str | None = None,
        meta: Mapping[str, Any] | None = None,
        takeover: bool = True,
    ) -> Self:
        """Registers it; see `Node.register`."""
        if meta is not None and not isinstance(meta, Mapping):
            raise InvalidValue("meta must be a mapping that is JSON")
        text = None if meta is None else to_json(dict(meta))
        return super().__new__(cls, node, sensor, type, text, takeover)

    def __init__(
        self,
        node: Node,
        sensor: str,
        type: str | None = None,
        meta: Mapping[str, Any] | None = None,
        takeover: bool = True,
    ) -> None:
        self._node = node
        self._callbacks: list[Callable[[], object]] = []

    @property
    def node(self) -> Node:
        """The node it is registered on."""
        return self._node

    @property
    def demand(self) -> Demand:
        """What all subscriptions of the cluster together want of it; false where nobody watches it. A subscription is
        to attributes: `declare` those that were never put."""
        return Demand.of_raw(self.demand_raw())

    def demands(self) -> Demands:
        """Its demand as it is, and then as it changes."""
        demands = Demands(self)
        demands._keeps = self
        self._node._streams.add(demands)
        return demands

    def on_demand(self, callback: Callable[[Demand], object]) -> Callable[[], object]:
        """Has `callback` called with its demand as it is, and then as it changes, in a thread of the node that all its
        callbacks share. Answers what ends that; leaving the sensor, or dropping it, does too."""
        end = weakref.finalize(self, self._node._tell_demands(Demands(self), callback))
        end.atexit = False
        self._callbacks.append(end)
        return end

    def leave(self) -> None:
        """Ends this registration; the last one's end unregisters the sensor. The second time it does nothing."""
        super().leave()
        while self._callbacks:
            self._callbacks.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class Series(_native.Series):
    """A set of series of one node, to put columns of readings to: `node.series(sensors, "pulse")`.

    Series are counted from 0, a sensor's attributes side by side. It keeps its sensors registered.
    """

    def __new__(cls, node: Node, sensors: list[Sensor], attributes: list[str]) -> Self:
        """See `Node.series`."""
        return super().__new__(cls, node, sensors, attributes)

    def __init__(self, node: Node, sensors: list[Sensor], attributes: list[str]) -> None:
        self._sensors = sensors

    def put(self, values: Any, times: Any = None, index: Any = None) -> int:
        """Puts a column of readings and answers how many. The interpreter is free meanwhile.

        `values` is anything with a buffer: float64, float32, int8 to int64, uint8 to uint32, bool; or a sequence of any
        values. `index` (uint32 or int64) says of each which series of this set it is of. Without it they come in rows
        of all series: one value for each series, or a matrix (time, series). `times` (int64 microseconds since 1970,
        or datetime64) is one for all, one for each value, or one for each row; without it they are stamped now.

        Readings of a series keep their order. Where some sensor is no longer registered here, the others' are taken,
        and `Refused` says how many were.
        """
        if getattr(getattr(times, "dtype", None), "kind", "") == "M" and times.ndim > 0:
            times = times.astype("datetime64[us]").view("int64")
        truth = getattr(getattr(values, "dtype", None), "kind", "") == "b"
        return self.put_columns(values.view("uint8") if truth else values, times, index, truth)


_open: weakref.WeakSet[Node] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for node in list(_open):
        node.close()
