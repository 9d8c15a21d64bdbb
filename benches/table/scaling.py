"""What a cluster of so many nodes and sensors costs, from constants that were measured on small ones.

`benches/run --docs` puts its tables into docs/SCALING.md, between its two marks.

`constants(points)` fits the model to measurements of senza with at most 100,000 sensors and at most three nodes, the
ones called small below; `check(points)` holds what it then says of larger ones against what was measured there. A point
is `{"scenario", "params": {...}, "metrics": {...}}`, with a `"contender"` where it is not senza's; a metric is a
number, or an object with its `"median"`.
Where the points do not suffice, as those of a quick run, all of this raises a ValueError.

It knows the names of the family `discovery` and the constants of the protocol, and nothing of how points come about.
"""

import math
from statistics import median

SENSORS_SMALL, NODES_SMALL = 100_000, 3
# Times of fewer sensors are of timers and of starting, not of sensors.
SENSORS_TIMED = 10_000
TOLERANCE = 0.2
# Of the machine that all nodes shared; all were busy while sensors were registered.
CORES = 2
MARKS = ("<!-- tables of benches/table/scaling.py -->", "<!-- end of tables -->")

# Fixed by the protocol and the code, not fitted.
BEACONS_PER_S = 1.25
PARTITIONS = 256
ID_BYTES = 24
RECORD_BYTES = 8 * (2 + math.ceil((ID_BYTES - 4) / 8))
PARTITION_WORDS = 1 << 24
LINKS_MAX = 1000
SLOTS_FIRST, SLOTS_FILLED = 16, 3 / 4

# Of docs/BENCHMARKS.md, measured by other families. Nothing that is checked depends on these.
GIVEN = {
    "ring_bytes_per_series": 323.0,  # a full ring of 16 samples, beside the latest reading
    "relay_bytes_per_reading": 20.0,  # 16 taken together, 24 each at its own time
}


# === points ===


def value(metric):
    return metric["median"] if isinstance(metric, dict) else metric


def select(points, what, metric, **params):
    """Measured values of senza as {(sensors, nodes): median}."""
    found = {}
    for point in points:
        given = {"sensors": 1000, "nodes": 3 if what == "simulated" else 2, "place": "apart", **point["params"]}
        wanted = {"what": what, "place": "apart", **params}
        ours = point.get("contender", "senza") == "senza" and metric in point["metrics"]
        if ours and all(given.get(name) == wanted[name] for name in wanted):
            key = (int(given["sensors"]), int(given["nodes"]))
            found.setdefault(key, []).append(value(point["metrics"][metric]))
    return {key: median(values) for key, values in found.items()}


def is_small(sensors, nodes):
    return sensors <= SENSORS_SMALL and nodes <= NODES_SMALL


def small(found):
    return {key: measured for key, measured in found.items() if is_small(*key)}


def fit(rows):
    """Weights of the features that come nearest by relative squares: `rows` are (features, measured)."""
    if not rows:
        raise ValueError("no small measurement to fit this to")
    size = len(rows[0][0])
    matrix = [[0.0] * (size + 1) for _ in range(size)]
    for features, measured in rows:
        scaled = [feature / measured for feature in features] + [1.0]
        for i in range(size):
            for j in range(size + 1):
                matrix[i][j] += scaled[i] * scaled[j]
    for i in range(size):  # Gauss, with pivots
        pivot = max(range(i, size), key=lambda row: abs(matrix[row][i]))
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        if abs(matrix[i][i]) < 1e-30:
            raise ValueError("these measurements do not tell the features apart")
        for row in range(size):
            if row != i:
                factor = matrix[row][i] / matrix[i][i]
                matrix[row] = [a - factor * b for a, b in zip(matrix[row], matrix[i])]
    return [matrix[i][size] / matrix[i][i] for i in range(size)]


# === the model ===


def index_bytes(total):
    """Bytes of a directory's index per sensor: tables that double, the old ones kept."""
    each, slots = total / PARTITIONS, SLOTS_FIRST
    while each > slots * SLOTS_FILLED:
        slots *= 2
    return 4 * (2 * slots - SLOTS_FIRST) / each


def entry_bytes(total):
    return RECORD_BYTES + index_bytes(total)


def beacon_bytes(c, nodes):
    return c["beacon_head"] + c["beacon_each"] * (nodes - 1)


def idle_features(_sensors, nodes):
    links = nodes - 1.0
    return links * BEACONS_PER_S, links * links * BEACONS_PER_S


def burst_features(sensors, _nodes):
    # One delta a partition, however many changes are in it.
    return 1.0, min(PARTITIONS, sensors) / sensors


def constants(points):
    """The model's constants by name, each fitted to small measurements."""
    c = {}

    def add(names, what, metric, features, least=0, **params):
        found = small(select(points, what, metric, **params))
        rows = [(features(s, n), measured) for (s, n), measured in sorted(found.items()) if s >= least]
        c.update(zip(names, fit(rows)))

    # Resident memory: what buffers left over, and for each sensor its entry, with the slack of the arena.
    memory = small(select(points, "remote-memory", "bytes_per_remote_sensor"))
    entries = [((1.0, s * entry_bytes(s)), measured * s) for (s, _), measured in sorted(memory.items())]
    c["leftover_bytes"], c["entry_factor"] = fit(entries)
    own = small(select(points, "remote-memory", "bytes_per_own_sensor"))
    own = [((1.0, s), measured * s) for (s, _), measured in sorted(own.items())]
    c["own_leftover_bytes"], c["own_bytes"] = fit(own)
    add(["node_bytes"], "idle", "resident_bytes", lambda s, n: (1.0,), sensors=1000)

    add(["beacon_head", "beacon_each"], "simulated", "beacon_bytes", lambda s, n: (1.0, n - 1.0))
    # On the wire: the same with shorter names, and what the transport adds to each message.
    add(["wire_head", "wire_each"], "idle", "idle_bytes_per_s", idle_features)
    add(["change_bytes", "partition_bytes"], "simulated", "burst_bytes_per_sensor", burst_features)
    add(["storm_bytes"], "storm", "message_bytes_per_sensor", lambda s, n: (1.0,), SENSORS_TIMED)
    add(["churn_bytes"], "churn", "bytes_per_change", lambda s, n: (1.0,))
    join = ["join_sensor_bytes", "join_node", "join_bytes"]
    add(join, "simulated", "join_bytes", lambda s, n: join_features(c, s, n))

    # The owner and each other node have about the same to do, on cores that they share.
    add(["register_s"], "storm", "visible_s", lambda s, n: (s * n / CORES,), SENSORS_TIMED)
    add(["join_fixed_s", "join_sensor_s"], "storm", "join_s", lambda s, n: (1.0, s), SENSORS_TIMED)
    return c


def join_features(c, sensors, nodes):
    # The simulation registers 100 more one by one. Each node answers twice, its token and its first message, with all
    # digests, and with a beacon that names everybody.
    return sensors + 100.0, nodes * 2 * (PARTITIONS * 20 + beacon_bytes(c, nodes)), 1.0


# === the model against what was measured on larger clusters ===

CACHE = "a million sensors do not fit the processor's caches, the small runs nearly do"
QUEUES = "more nodes than cores: they take turns, and how is not modelled"
RECEIVERS = "taken for as dear as the owner, a node that only listens costs less: an upper bound"
STARTS = "fitted to short joins, most of which is their start"
OPENING = "a session that opens waits up to half a second for the peers that it is told of"


def check(points):
    """What the model says of more than 100,000 sensors or more than three nodes, and what was measured there.

    Each row has "what", "predicted", "measured", "error" (relative), "holds" (within 20 %), and "why" where it does not
    and a reason is known.
    """
    c, rows = constants(points), []

    def hold(name, what, metric, predict, least=0, **params):
        for (s, n), measured in sorted(select(points, what, metric, **params).items()):
            if is_small(s, n) or s < least:
                continue
            error = predict(s, n) / measured - 1
            row = {"what": f"{name}: {s:,} sensors, {n} nodes", "predicted": predict(s, n), "measured": measured}
            row |= {"error": error, "holds": abs(error) <= TOLERANCE}
            # Times are of the machine, and there are reasons for other ones; whatever else is off is a mistake.
            if metric in ("visible_s", "join_s") and error < -TOLERANCE:
                row["why"] = CACHE if s > SENSORS_SMALL else OPENING if metric == "join_s" else QUEUES
            if metric in ("visible_s", "join_s") and error > TOLERANCE:
                row["why"] = STARTS if metric == "join_s" else RECEIVERS
            rows.append(row)

    def remote(s, _n):
        return c["leftover_bytes"] / s + c["entry_factor"] * entry_bytes(s)

    def of(names, features):
        return lambda s, n: sum(c[name] * feature for name, feature in zip(names, features(s, n)))

    hold("bytes of a remote sensor", "remote-memory", "bytes_per_remote_sensor", remote)
    own = of(["own_leftover_bytes", "own_bytes"], lambda s, n: (1 / s, 1))
    hold("bytes of an own sensor", "remote-memory", "bytes_per_own_sensor", own)
    hold("resident bytes of a node", "idle", "resident_bytes", lambda s, n: c["node_bytes"], sensors=1000)
    hold("bytes of a beacon", "simulated", "beacon_bytes", lambda s, n: beacon_bytes(c, n))
    idle = of(["wire_head", "wire_each"], idle_features)
    hold("bytes/s of an idle node", "idle", "idle_bytes_per_s", idle)
    burst = of(["change_bytes", "partition_bytes"], burst_features)
    hold("bytes of a registration in a burst", "simulated", "burst_bytes_per_sensor", burst)
    storm = of(["storm_bytes"], lambda s, n: (1,))
    hold("bytes of a registration in real time", "storm", "message_bytes_per_sensor", storm, SENSORS_TIMED)
    join = of(["join_sensor_bytes", "join_node", "join_bytes"], lambda s, n: join_features(c, s, n))
    hold("bytes to a late joiner", "simulated", "join_bytes", join)
    visible = of(["register_s"], lambda s, n: (s * n / CORES,))
    hold("seconds until all is visible", "storm", "visible_s", visible, SENSORS_TIMED)
    joined = of(["join_fixed_s", "join_sensor_s"], lambda s, n: (1, s))
    hold("seconds to join", "storm", "join_s", joined, SENSORS_TIMED)
    return rows


# === worked out ===

GRID = [(3, 100_000), (8, 1_000_000), (30, 100_000), (100, 10_000), (100, 100_000), (100, 1_000_000), (1000, 100_000)]
UPLINK_BYTES_PER_S = 1.25e9  # 10 Gbit/s


def cost(c, nodes, sensors):
    """What one node of `nodes` costs, each of which owns `sensors`."""
    others, total = nodes - 1, nodes * sensors
    remote = others * sensors
    changes = sensors / 600  # a tenth of its sensors a minute
    return {
        "directory_bytes": c["leftover_bytes"] + c["entry_factor"] * remote * entry_bytes(total),
        "own_bytes": sensors * c["own_bytes"],
        "ring_bytes": sensors * GIVEN["ring_bytes_per_series"],
        "links": others,
        "links_all": nodes * others // 2,
        "idle_bytes_per_s": others * BEACONS_PER_S * (c["wire_head"] + c["wire_each"] * others),
        "storm_out_s": sensors * c["storm_bytes"] * others / UPLINK_BYTES_PER_S,
        "storm_core_s": total * c["register_s"],
        "churn_bytes_per_s": changes * others * c["churn_bytes"],
        "churn_core_share": nodes * changes * c["register_s"],
        "join_bytes": total * c["join_sensor_bytes"] + c["join_node"] * join_features(c, 0, nodes)[1] + c["join_bytes"],
        "join_s": c["join_fixed_s"] + total * c["join_sensor_s"],
    }


def limits(c):
    """Where something ends."""
    loud = next(nodes for nodes in range(2, 1 << 20) if cost(c, nodes, 1)["idle_bytes_per_s"] > 1e6)
    uplink = UPLINK_BYTES_PER_S / (1e6 * GIVEN["relay_bytes_per_reading"])
    return {
        "sensors in all, 8 GB of directory on every node": 8e9 / (c["entry_factor"] * entry_bytes(100_000_000)),
        "sensors in all, as many as partitions can name": PARTITIONS * PARTITION_WORDS / (RECORD_BYTES / 8),
        "nodes, each sending a megabyte of beacons a second": loud,
        "nodes, by the links that one may have": LINKS_MAX + 1,
        "changes a second in all, one core of every node to follow them": 1 / c["register_s"],
        "nodes that want all of a node's million readings a second, over its 10 Gbit/s": uplink,
    }


# === Markdown ===


def short(number, unit=""):
    """Three digits and a prefix of thousands."""
    if unit == "s" and 0 < abs(number) < 1:
        power, prefix = (1e-3, "m") if abs(number) >= 1e-3 else (1e-6, "µ")
        return f"{number / power:.3g} {prefix}s"
    for power, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * power:
            return f"{number / power:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".rstrip()


def table(header, rows, text=()):
    """A table whose first column and those named in `text` are words."""
    lines = ["---" if at == 0 or name in text else "--:" for at, name in enumerate(header)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, lines, *rows]) + "\n"


MEANINGS = {
    "node_bytes": ("B", "resident memory of a node with 1,000 sensors"),
    "own_bytes": ("B", "an own sensor without a reading: directory, table, handle, what waits to be told"),
    "leftover_bytes": ("B", "what taking in others' sensors leaves over in buffers, once"),
    "entry_factor": ("", "memory of a remote sensor, over its record and its place in the index"),
    "beacon_head": ("B", "a beacon without the nodes that it names"),
    "beacon_each": ("B", "… each node that it names, by 4 letters"),
    "wire_head": ("B", "a beacon on the wire, without the nodes that it names"),
    "wire_each": ("B", "… each node that it names, by 1 letter"),
    "change_bytes": ("B", "a registration in a delta"),
    "partition_bytes": ("B", "a delta without its changes"),
    "storm_bytes": ("B", "one of many registrations, to each other node"),
    "churn_bytes": ("B", "a change by itself on the wire, to each other node, beacons included"),
    "join_sensor_bytes": ("B", "a sensor to a late joiner"),
    "join_node": ("", "a node's digests and beacons to a late joiner, over what two answers have"),
    "register_s": ("s", "a registration, on one core, for its owner and for each other node"),
    "join_fixed_s": ("s", "joining without sensors"),
    "join_sensor_s": ("s", "… for each sensor"),
}


def tables(points):
    """All tables, from one set of points."""
    c = constants(points)
    return "\n".join(
        [
            "### Constants, fitted to at most 100,000 sensors and three nodes\n",
            constants_table(c),
            "### What they say of larger clusters, and what was measured there\n",
            check_table(check(points)),
            "### One node of N, each of which owns S sensors\n",
            *cost_tables(c),
            "### Where it ends\n",
            table(["what", "at"], [[what, short(number)] for what, number in limits(c).items()]),
        ]
    )


def constants_table(c):
    rows = [[f"`{name}`", short(c[name], unit), what] for name, (unit, what) in MEANINGS.items()]
    return table(["constant", "value", "what it is"], rows, ["what it is"])


def check_table(rows):
    def told(row):
        why = row.get("why", "" if row["holds"] else "not explained")
        return [row["what"], short(row["predicted"]), short(row["measured"]), f"{row['error']:+.0%}", why]

    header = ["what", "predicted", "measured", "error", "why not within 20 %"]
    return table(header, map(told, rows), header[-1:])


def cost_tables(c):
    costs = [(f"{nodes:,} × {sensors:,}", cost(c, nodes, sensors)) for nodes, sensors in GRID]
    stays = ["N × S", "directory", "own sensors", "full rings of 16", "links, of all nodes", "idle, out"]
    yield table(
        stays,
        [
            [
                name,
                short(k["directory_bytes"], "B"),
                short(k["own_bytes"], "B"),
                short(k["ring_bytes"], "B"),
                f"{k['links']}, {k['links_all']:,}",
                short(k["idle_bytes_per_s"], "B/s"),
            ]
            for name, k in costs
        ],
    )
    moves = ["N × S", "all register: out, at 10 Gbit/s", "… on one core", "10 % a minute change: out", "… of a core"]
    yield table(
        [*moves, "one more joins: in", "… time"],
        [
            [
                name,
                short(k["storm_out_s"], "s"),
                short(k["storm_core_s"], "s"),
                short(k["churn_bytes_per_s"], "B/s"),
                f"{k['churn_core_share']:.1%}",
                short(k["join_bytes"], "B"),
                short(k["join_s"], "s"),
            ]
            for name, k in costs
        ],
    )


def put_into(path, made):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    (before, rest), (begin, end) = text.split(MARKS[0]), MARKS
    after = rest.split(end)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n\n{made}\n{end}{after}")
