"""senza: a sharded in-memory data plane for sensor fleets. A `Node` is this process's part of a cluster.

    import senza

    with senza.Node("a") as node, node.register("watch 1", type="watch") as watch:
        watch.put("pulse", 72)
        with node.subscribe("*/pulse", start="latest") as pulses:
            print(pulses.take(timeout=1.0))

Every sensor is owned by one node, every node finds any sensor, and readings reach whoever asked, on any node.
"""

import os as _os

from . import _native
from ._batch import Batch, End, Gap, Reading
from ._contract import Contract, Demand, Filter, Ledger
from ._errors import (
    Busy,
    Closed,
    Error,
    Forked,
    Full,
    HeldOff,
    InvalidConfig,
    InvalidContract,
    InvalidId,
    InvalidPattern,
    InvalidValue,
    NameTaken,
    NotFound,
    NotOwner,
    NotRegistered,
    Refused,
    StartFailed,
    TimedOut,
)
from ._latency import Clock, Histogram, Latency
from ._log import start_logging, stop_logging
from ._native import Listed, Source, Whereis
from ._node import History, Node, NodeView, Sensor, Series
from ._streams import (
    Claim,
    Demands,
    Duplicate,
    Event,
    Events,
    EventsLost,
    Healed,
    Moved,
    NodeDown,
    NodeUp,
    Registered,
    Subscription,
    Unregistered,
)

__version__ = _native.VERSION

# A child has none of the threads of its parent's nodes: what it inherits refuses instead of waiting for them.
_os.register_at_fork(after_in_child=_native.forked)

__all__ = [
    "Batch",
    "Busy",
    "Claim",
    "Clock",
    "Closed",
    "Contract",
    "Demand",
    "Demands",
    "Duplicate",
    "End",
    "Error",
    "Event",
    "Events",
    "EventsLost",
    "Filter",
    "Forked",
    "Full",
    "Gap",
    "Healed",
    "HeldOff",
    "Histogram",
    "History",
    "InvalidConfig",
    "InvalidContract",
    "InvalidId",
    "InvalidPattern",
    "InvalidValue",
    "Latency",
    "Ledger",
    "Listed",
    "Moved",
    "NameTaken",
    "Node",
    "NodeDown",
    "NodeUp",
    "NodeView",
    "NotFound",
    "NotOwner",
    "NotRegistered",
    "Reading",
    "Refused",
    "Registered",
    "Sensor",
    "Series",
    "Source",
    "StartFailed",
    "Subscription",
    "TimedOut",
    "Unregistered",
    "Whereis",
    "__version__",
    "start_logging",
    "stop_logging",
]
