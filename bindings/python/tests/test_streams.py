"""Waiting: in threads, in event loops, for callbacks; ends, time-outs and Ctrl-C."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import senza
from conftest import LIMIT, wait_for


async def test_a_loop_awaits_batches(a: senza.Node, b: senza.Node, name: str) -> None:
    with a.register(name) as sensor, b.subscribe(senza.Filter(sensors=name)) as readings:
        sensor.declare("x")
        await asyncio.to_thread(wait_for, lambda: sensor.demand)
        seqs: list[int] = []
        putting = asyncio.create_task(put_slowly(sensor, 50))
        async with asyncio.timeout(LIMIT):
            async for batch in readings:
                seqs += batch.seq.tolist()
                if len(seqs) >= 50:
                    break
        await putting
        assert seqs == list(range(1, 51))


async def put_slowly(sensor: senza.Sensor, count: int) -> None:
    for number in range(count):
        sensor.put("x", number)
        if number % 7 == 0:
            await asyncio.sleep(0)
        if number % 20 == 0:
            await asyncio.to_thread(sensor.declare, "x")


async def test_many_subscriptions_share_a_loop(node: senza.Node) -> None:
    sensors = [node.register(f"s{at}") for at in range(50)]
    readers = [node.subscribe(senza.Filter(sensors=sensor.id)) for sensor in sensors]

    async def first(reader: senza.Subscription) -> Any:
        return (await anext(reader))[0].value

    tasks = [asyncio.create_task(first(reader)) for reader in readers]
    await asyncio.sleep(0)
    thread = threading.Thread(target=lambda: [sensor.put("x", at) for at, sensor in enumerate(sensors)])
    thread.start()
    async with asyncio.timeout(LIMIT):
        assert await asyncio.gather(*tasks) == list(range(50))
    thread.join()


async def test_a_wait_that_is_cancelled_loses_nothing(node: senza.Node) -> None:
    with node.register("s") as sensor, node.subscribe() as readings:
        for number in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(readings), timeout=0.001)
            sensor.put("x", number)
            batch = await asyncio.wait_for(anext(readings), timeout=LIMIT)
            assert batch.values.tolist() == [number]


async def test_two_tasks_of_one_subscription_are_refused(node: senza.Node) -> None:
    with node.subscribe() as readings:
        waits = asyncio.create_task(anext(readings))
        await asyncio.sleep(0)
        with pytest.raises(senza.Busy):
            await anext(readings)
        readings.close()
        with pytest.raises(StopAsyncIteration):
            await waits


@pytest.mark.parametrize("what", ["subscription", "events", "demands", "node"])
async def test_closing_ends_whoever_waits(what: str) -> None:
    with senza.Node("closing", mode="local") as node, node.register("s") as sensor:
        streams: dict[str, Any] = {
            "subscription": node.subscribe(),
            "events": node.events(),
            "demands": sensor.demands(),
        }
        got: list[Any] = []

        async def wait_loop() -> None:
            async for item in streams[what if what != "node" else "events"]:
                got.append(item)

        task = asyncio.create_task(wait_loop())
        await asyncio.sleep(0)
        closes = node if what == "node" else streams[what]
        await asyncio.to_thread(closes.close)
        await asyncio.wait_for(task, LIMIT)


@pytest.mark.parametrize("what", ["subscription", "events", "demands"])
def test_closing_ends_a_thread_that_waits(node: senza.Node, what: str) -> None:
    sensor = node.register("s")
    make: dict[str, Callable[[], Any]] = {
        "subscription": node.subscribe,
        "events": node.events,
        "demands": sensor.demands,
    }
    stream = make[what]()
    got: list[Any] = []
    waits = threading.Thread(target=lambda: got.extend(stream))
    waits.start()
    stream.close()
    waits.join(LIMIT)
    assert not waits.is_alive()


def test_a_timeout_is_kept(node: senza.Node) -> None:
    with node.subscribe() as readings, node.events() as events:
        for stream in (readings, events):
            begin = time.monotonic()
            assert stream.take(0.2) is None
            assert 0.15 < time.monotonic() - begin < LIMIT
            assert stream.take(0) is None
            for wrong in (-1, float("nan")):
                with pytest.raises(ValueError, match="timeout"):
                    stream.take(wrong)


def test_ctrl_c_ends_a_wait(node: senza.Node) -> None:
    with node.subscribe() as readings, node.events() as events, node.register("s") as sensor:
        demands = sensor.demands()
        assert demands.take(LIMIT) is not None
        assert events.take(LIMIT) is not None
        for stream in (readings, events, demands):
            timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                next(iter(stream))
            timer.join()


def test_one_thread_at_a_time_reads(node: senza.Node) -> None:
    with node.subscribe() as readings, node.register("s") as sensor:
        taken: list[int] = []
        refused = []
        total = 20_000

        def read() -> None:
            while sum(taken) < total:
                try:
                    batch = readings.take(0.05)
                except senza.Busy as busy:
                    refused.append(busy)
                    continue
                taken.append(len(batch) if batch else 0)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(total):
            sensor.put("x", number)
        for thread in threads:
            thread.join(LIMIT)
        assert sum(taken) == total


def test_demand_is_told_as_it_changes(a: senza.Node, b: senza.Node, name: str) -> None:
    with a.register(name) as sensor, sensor.demands() as demands:
        sensor.declare("x")
        assert not sensor.demand
        assert demands.take(LIMIT) == senza.Demand("none")
        told: list[senza.Demand] = []
        end = sensor.on_demand(told.append)
        with b.subscribe(senza.Filter(sensors=name), max_rate=10):
            demand = demands.take(LIMIT)
            assert demand is not None and (demand.pace, demand.max_rate) == ("every", 10)
            wait_for(lambda: told[-1:] == [demand])
        assert demands.take(LIMIT) == senza.Demand("none")
        wait_for(lambda: told[-1:] == [senza.Demand("none")])
        assert told[0] == senza.Demand("none")
        end()
        with b.subscribe(senza.Filter(sensors=name)):
            assert demands.take(LIMIT) == senza.Demand("every")
        assert senza.Demand("every") not in told


async def test_demand_is_awaited(node: senza.Node) -> None:
    with node.register("s") as sensor, sensor.demands() as demands:
        sensor.declare("x")
        assert not await anext(demands)
        waits = asyncio.create_task(anext(demands))
        await asyncio.sleep(0)
        with node.subscribe(pace="latest"):
            assert (await asyncio.wait_for(waits, LIMIT)).pace == "latest"


def test_a_callback_that_raises_is_logged_and_called_again(node: senza.Node, caplog: pytest.LogCaptureFixture) -> None:
    told = []

    def callback(demand: senza.Demand) -> None:
        told.append(demand)
        raise RuntimeError("of the test")

    with node.register("s") as sensor:
        sensor.declare("x")
        sensor.on_demand(callback)
        wait_for(lambda: len(told) == 1)
        with node.subscribe():
            wait_for(lambda: len(told) == 2)
        wait_for(lambda: "of the test" in caplog.text)


def test_a_sensor_that_left_calls_nobody(node: senza.Node) -> None:
    told: list[senza.Demand] = []
    for number in range(100):
        sensor = node.register(f"s{number}")
        sensor.declare("x")
        sensor.on_demand(told.append)
        if number % 2:
            sensor.leave()
    del sensor
    assert node._callbacks is not None
    wait_for(lambda: node._callbacks and not node._callbacks._followed)


async def test_events_are_awaited(node: senza.Node) -> None:
    with node.events() as events:
        waits = asyncio.create_task(anext(events))
        await asyncio.sleep(0)
        sensors = await asyncio.to_thread(lambda: [node.register(f"s{at}") for at in range(3000)])
        got = [await asyncio.wait_for(waits, LIMIT)]
        async for event in events:
            got.append(event)
            if len(got) == 3000:
                break
        assert [event.sensor for event in got if isinstance(event, senza.Registered)] == [s.id for s in sensors]


def test_a_callback_may_use_the_node_and_other_threads_go_on(node: senza.Node) -> None:
    """Writers hold locks of the engine while they wake whoever waits: nothing there may wait for the interpreter."""
    stop = threading.Event()
    counts = [0, 0]

    def put(at: int) -> None:
        with node.register(f"s{at}") as sensor:
            while not stop.is_set():
                counts[at] = sensor.put("x", counts[at])

    async def read() -> int:
        count = 0
        with node.subscribe(queue_max=1_000_000) as readings:
            async with asyncio.timeout(LIMIT):
                async for batch in readings:
                    assert not batch.gaps
                    count += len(batch)
                    if count > 20_000:
                        return count
        return count

    threads = [threading.Thread(target=put, args=(at,)) for at in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert asyncio.run(read()) > 20_000
    finally:
        stop.set()
        for thread in threads:
            thread.join()
