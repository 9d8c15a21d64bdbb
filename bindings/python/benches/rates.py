"""How fast the binding is, as JSON: columns in, single puts, look-ups, batches out. One process; build it optimised.

maturin develop --release && python benches/rates.py [seconds per row]
"""

import asyncio
import json
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import senza

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
ROUNDS = 3


def rate(step: Callable[[], int]) -> dict[str, float]:
    """The median of some rounds, and the best and worst: things a second, and a second of this thread's processor time,
    which says more where others share the machine."""
    rates, of_processor = [], []
    step()
    for _ in range(ROUNDS):
        begin, processor, count = time.perf_counter(), time.thread_time(), 0
        while time.perf_counter() - begin < SECONDS / ROUNDS:
            count += step()
        rates.append(count / (time.perf_counter() - begin))
        of_processor.append(count / (time.thread_time() - processor))
    return {**told(rates), "per_cpu_second": round(sorted(of_processor)[ROUNDS // 2])}


def told(rates: list[float]) -> dict[str, float]:
    """Median, worst and best."""
    rates = sorted(rates)
    return {"per_second": round(rates[len(rates) // 2]), "worst": round(rates[0]), "best": round(rates[-1])}


def columns(node: senza.Node, sensors: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Columns of 64-bit floats in, nobody watching."""
    held = [node.register(f"column {number} of {sensors}") for number in range(sensors)]
    series = node.series(held, "x")
    rows = max(1, 1_000_000 // sensors)
    values = np.random.default_rng(1).normal(size=(rows, sensors))
    flat = values.reshape(-1)
    index = np.tile(np.arange(sensors, dtype=np.uint32), rows)
    shuffled = np.random.default_rng(2).permutation(index)
    # Times go on from now: readings that come late take another way.
    row_times = np.arange(rows) + time.time_ns() // 1000 + 60_000_000
    each = np.repeat(row_times, sensors) + 3_600_000_000

    def go_on(times: "np.ndarray[Any, np.dtype[np.int64]]") -> "np.ndarray[Any, np.dtype[np.int64]]":
        times += 1_000_000
        return times

    yield f"series.put rows, {sensors} sensors", rate(lambda: series.put(values))
    yield f"series.put rows and times, {sensors} sensors", rate(lambda: series.put(values, go_on(row_times)))
    yield f"series.put times and index, {sensors} sensors", rate(lambda: series.put(flat, go_on(each), index))
    yield f"the same, shuffled, {sensors} sensors", rate(lambda: series.put(flat, go_on(each), shuffled))


def singly(node: senza.Node) -> Iterator[tuple[str, dict[str, float]]]:
    """One call per reading or look-up."""
    sensor = node.register("single")

    def put() -> int:
        for _ in range(10_000):
            sensor.put("x", 1.5)
        return 10_000

    def put_by_id() -> int:
        for _ in range(10_000):
            node.put("single", "x", 1.5)
        return 10_000

    yield "sensor.put", rate(put)
    yield "node.put by ids", rate(put_by_id)
    for count in (1_000, 100_000):
        names = [f"look-up {number} of {count}" for number in range(count)]
        held = [node.register(name) for name in names]
        order = np.random.default_rng(3).permutation(count).tolist()
        scattered = [names[at] for at in order]

        def whereis(scattered: list[str] = scattered) -> int:
            find = node.whereis
            for name in scattered:
                find(name)
            return len(scattered)

        def whereis_many(scattered: list[str] = scattered) -> int:
            for begin in range(0, len(scattered), 1000):
                node.whereis_many(scattered[begin : begin + 1000])
            return len(scattered)

        yield f"node.whereis, {count} sensors, scattered", rate(whereis)
        yield f"node.whereis_many, {count} sensors, scattered", rate(whereis_many)
        del held


async def read(readings: senza.Subscription, count: int) -> tuple[int, int]:
    """Reads until so many came or were told as lost."""
    got = lost = batches = 0
    async for batch in readings:
        batches += 1
        got += len(batch)
        float(batch.numbers[-1]) if len(batch) else None
        lost += sum(gap.lost or 0 for gap in batch.gaps)
        if got + lost >= count:
            break
    return got, batches


def batches(writer: senza.Node, reader: senza.Node, sensors: int) -> dict[str, float]:
    """A thread puts columns as fast as they are read, an event loop reads batches: readings a second that were read."""
    held = [writer.register(f"batch {number} of {writer.name}") for number in range(sensors)]
    series = writer.series(held, "x")
    rows = max(1, 10_000 // sensors)
    values = np.random.default_rng(4).normal(size=(rows, sensors))
    goal = 100 * values.size
    rates, of_processor = [], []
    with reader.subscribe(senza.Filter(patterns="batch$*/x"), queue_max=1_000_000) as readings:
        while not held[0].demand:
            time.sleep(0.001)
        for _ in range(ROUNDS):
            begin, processor = time.perf_counter(), time.process_time()

            def put() -> None:
                for _ in range(goal // values.size):
                    series.put(values)
                    while readings.ledger.queued > 500_000:
                        time.sleep(0.0005)

            thread = threading.Thread(target=put)
            thread.start()
            got, _ = asyncio.run(read(readings, goal))
            thread.join()
            rates.append(got / (time.perf_counter() - begin))
            of_processor.append(got / (time.process_time() - processor))
            ledger = readings.ledger
            assert ledger.offered == sum(ledger[1:]), ledger
    return {**told(rates), "per_cpu_second": round(sorted(of_processor)[ROUNDS // 2])}


def main() -> None:
    """Prints one JSON object."""
    rows: dict[str, dict[str, float]] = {}
    with senza.Node("bench-a") as a, senza.Node("bench-b", connect=a.listening) as b:
        for sensors in (1, 1_000, 100_000):
            rows.update(columns(a, sensors))
        rows.update(singly(a))
        rows["async for, same node, 1000 sensors"] = batches(a, a, 1000)
        rows["async for, from another node, 1000 sensors"] = batches(a, b, 1000)
    answer = {
        "python": platform.python_version(),
        "senza": senza.__version__,
        "numpy": np.__version__,
        "seconds_per_row": SECONDS,
        "rows": rows,
    }
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
