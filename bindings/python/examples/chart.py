"""Charts a live sensor: two nodes, a device on one, a reader on the other. Writes a PNG, or an SVG.

    pip install senza[chart]
    python chart.py [chart.svg]

Without matplotlib it draws in text.
"""

import math
import sys
import threading
import time

import numpy as np

import senza

SECONDS = 2.0


def device(node: senza.Node, stop: threading.Event) -> None:
    """A pulse sensor of 100 readings a second that sends no more than is wanted."""
    with node.register("watch 1", type="watch", meta={"room": 3}) as watch:
        watch.declare("pulse")
        begin = time.monotonic()
        while not stop.wait(0.01):
            if watch.demand:
                watch.put("pulse", 72 + 6 * math.sin(3 * (time.monotonic() - begin)))


def record(node: senza.Node) -> tuple[np.ndarray, np.ndarray]:
    """What arrives in some seconds: times in seconds, and values."""
    times: list[np.ndarray] = []
    values: list[np.ndarray] = []
    until = time.monotonic() + SECONDS
    with node.subscribe(senza.Filter(attributes="pulse", types="watch"), max_rate=50) as pulses:
        while (left := until - time.monotonic()) > 0 and (batch := pulses.take(left)):
            times.append(batch.time)
            values.append(batch.numbers)
            for gap in batch.gaps:
                print(f"lost {gap.lost} readings of {gap.source.sensor}: {gap.reason}")
        print(pulses.ledger)
    at = np.concatenate([np.empty(0, np.int64), *times])
    return (at - at[:1]) / 1e6, np.concatenate([np.empty(0), *values])


def draw(seconds: np.ndarray, values: np.ndarray, path: str) -> None:
    """A picture, or lines of text."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        for second, value in list(zip(seconds, values, strict=True))[::5]:
            print(f"{second:6.2f} s {value:6.2f} {'*' * round(value - 60)}")
        return
    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    axes.plot(seconds, values, ".-")
    axes.set(xlabel="s", ylabel="pulse", title="watch 1")
    figure.savefig(path)
    print(f"{len(values)} readings in {path}")


def main() -> None:
    """Two nodes in one process; they may as well be on two machines."""
    stop = threading.Event()
    with senza.Node("a") as a, senza.Node("b", connect=a.listening) as b:
        thread = threading.Thread(target=device, args=(a, stop))
        thread.start()
        try:
            seconds, values = record(b)
        finally:
            stop.set()
            thread.join()
    draw(seconds, values, sys.argv[1] if len(sys.argv) > 1 else "chart.png")


if __name__ == "__main__":
    main()
