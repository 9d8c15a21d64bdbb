"""Readings in and out: values, times, history, batches, gaps."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

import senza
from conftest import LIMIT, take, wait_for


def test_a_reading_of_a_reaches_b_and_b_finds_its_sensor(a: senza.Node, b: senza.Node, name: str) -> None:
    with b.subscribe(senza.Filter(sensors=name)) as readings, a.register(name, type="watch") as watch:
        assert a.whereis_many([name, "nobody's"]) == [a.whereis(name), None]
        found = wait_for(lambda: b.whereis(name))
        assert found is not None
        assert (found.node, found.local, found.epoch) == ("a", False, watch.epoch)
        wait_for(lambda: watch.put("pulse", 71) and watch.demand)
        seq = watch.put("pulse", 72, time=1_700_000_000_000_000)
        last = None
        while last is None or last.seq < seq:
            batch = readings.take(LIMIT)
            assert batch is not None
            last = batch[-1]
        assert last[:4] == (name, "pulse", 72, 1_700_000_000_000_000)
        assert (last.node, last.epoch) == ("a", watch.epoch)
        assert batch is not None and batch.sources[0].type == "watch"


@pytest.mark.parametrize(
    "value",
    [
        0.1, float("inf"), -0.0, 2**63 - 1, -(2**63), True, False, "ℕ, and 'quotes'", "", b"\x00\xff", b"",
        {"x": [1, 2.5, None, {"y": "z"}]}, [], [True, "a"],
    ],
)  # fmt: skip
def test_every_value_comes_back_as_it_went(node: senza.Node, value: Any) -> None:
    with node.subscribe() as readings, node.register("s") as sensor:
        sensor.put("x", value)
        [reading] = take(readings, 1)
        latest = node.latest("s", "x")
        assert latest is not None and latest == reading
        assert type(reading.value) is type(value) and reading.value == value
        assert np.signbit(reading.value) == np.signbit(value) if isinstance(value, float) else True


def test_values_of_numpy_are_what_they_stand_for(node: senza.Node) -> None:
    with node.subscribe() as readings, node.register("s") as sensor:
        given = [np.float64(0.5), np.float32(0.25), np.int8(-3), np.uint64(7), np.bool_(True), np.str_("text")]
        for value in given:
            sensor.put("x", value)
        sensor.put("x", (1, 2))
        sensor.put("x", bytearray(b"ab"))
        sensor.put("x", np.array([1.5, 2.5], np.float32))
        values = [reading.value for reading in take(readings, 9)]
        assert values[:8] == [0.5, 0.25, -3, 7, True, "text", [1, 2], b"ab"]
        assert [type(value) for value in values[:6]] == [float, float, int, int, bool, str]
        assert values[8].dtype == np.float32 and values[8].tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "NoneType"),
        (2**63, "64 bits"),
        (object(), "object"),
        ({"x": float("nan")}, "JSON"),
        ({1j: 2}, "JSON"),
        ("\ud800", "UTF-8"),
        ("x" * 70_000, "70000"),
        (np.zeros(3), "float32"),
        (np.zeros((2, 2), np.float32), "one dimension"),
        (np.zeros(5000, np.float32), "5000"),
        (np.datetime64("now"), "datetime64"),
    ],
)
def test_what_is_no_value_is_refused_with_the_rule(node: senza.Node, value: Any, said: str) -> None:
    with node.register("s") as sensor:
        with pytest.raises(senza.InvalidValue, match=said):
            sensor.put("x", value)
        with pytest.raises(senza.InvalidValue):
            node.series(sensor, "x").put([value])
        assert node.latest("s", "x") is None
    assert issubclass(senza.InvalidValue, ValueError)


def test_times_are_microseconds_or_aware(node: senza.Node) -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    micros = 1_767_355_200_000_000
    with node.register("s") as sensor:
        for time in (noon, noon.astimezone(None), micros, np.datetime64(micros, "us"), np.int64(micros)):
            sensor.put("x", 1.0, time)
            latest = node.latest("s", "x")
            assert latest is not None and latest.time == micros
        for wrong, error in ((noon.replace(tzinfo=None), ValueError), ("now", TypeError), (1.5, TypeError)):
            with pytest.raises(error):
                sensor.put("x", 1.0, wrong)
        with pytest.raises(OverflowError):
            sensor.put("x", 1.0, 2**63)


def test_history_of_any_node_is_arrays(a: senza.Node, b: senza.Node, name: str) -> None:
    start = datetime(2026, 1, 2, tzinfo=UTC)
    with a.register(name) as sensor:
        for minute in range(10):
            sensor.put("t", minute / 2, start + timedelta(minutes=minute))
            sensor.put("n", minute, start + timedelta(minutes=minute))
            sensor.put("mixed", minute if minute else "off")
        wait_for(lambda: b.whereis(name))
        for node in (a, b):
            times, values = node.history(name, "t", last=3)
            assert values.dtype == np.float64 and values.tolist() == [3.5, 4.0, 4.5]
            assert times.tolist() == sorted(times.tolist()) and times.dtype == np.int64
            since, until = start + timedelta(minutes=2), start + timedelta(minutes=4)
            assert node.history(name, "n", since=since, until=until).values.tolist() == [2, 3, 4]
            assert node.history(name, "n").values.dtype == np.int64
            assert node.history(name, "mixed").values.tolist() == ["off", *range(1, 10)]
            assert len(node.history(name, "none").times) == 0
    with pytest.raises(senza.NotFound) as failed:
        b.history("nobody's", "x")
    assert failed.value.sensor == "nobody's" and isinstance(failed.value, LookupError)
    with pytest.raises(senza.InvalidValue, match="last"):
        a.history(name, "t", last=0)


def test_a_start_is_marked_and_seamless(node: senza.Node) -> None:
    with node.register("s") as sensor:
        for number in range(5):
            sensor.put("x", number)
        with node.subscribe("s/x", start=3) as readings:
            sensor.put("x", 5)
            batch = readings.take(LIMIT)
            assert batch is not None
            assert batch.seq.tolist() == [3, 4, 5, 6]
            assert batch.is_start.tolist() == [True, True, True, False]
            assert batch.start_positions[2] == 5
        with node.subscribe("s/x", start="latest", max_rate=1000) as readings:
            assert readings.contract.start == "latest" and readings.contract.max_rate == 1000
            assert [reading.seq for reading in take(readings, 1)] == [6]


def test_loss_is_told_as_a_gap_with_its_place(node: senza.Node) -> None:
    with node.register("s") as sensor, node.subscribe("s/*", queue_max=4) as readings:
        for number in range(10):
            sensor.put("x", number)
        batch = readings.take(LIMIT)
        assert batch is not None and batch.seq.tolist() == [7, 8, 9, 10]
        [gap] = batch.gaps
        assert (gap.source.sensor, gap.first, gap.last, gap.lost, gap.reason, gap.at) == ("s", 1, 6, 6, "overflow", 0)
        ledger = readings.ledger
        assert ledger == (10, 4, 0, 0, 6, 0) and ledger.offered == ledger.delivered + ledger.dropped
        sensor.leave()
        batch = readings.take(LIMIT)
        assert batch is not None and bool(batch) and len(batch) == 0
        [end] = batch.ends
        assert (end.source.attribute, end.last, end.reason) == ("x", 10, "unregistered")


def test_contracts_leave_out_what_they_say(a: senza.Node, name: str) -> None:
    with (
        a.register(name) as sensor,
        a.subscribe(senza.Filter(sensors=name), deadband=1.0) as steps,
        a.subscribe(senza.Filter(sensors=name), senza.Contract(pace="latest")) as newest,
    ):
        for number in (0.0, 0.5, 2.0, 2.5):
            sensor.put("x", number)
            sensor.put("button", number)
        batch = steps.take(LIMIT)
        assert batch is not None
        assert batch.values[batch.of(name, "x")].tolist() == [0.0, 2.0]
        assert batch.is_after_skip.any() and not batch.gaps
        assert batch.values[batch.of(name, "button")].tolist() == [0.0, 0.5, 2.0, 2.5], "lossless"
        assert steps.ledger.filtered == 2
        batch = newest.take(LIMIT)
        assert batch is not None
        assert batch.values[batch.of(name, "x")].tolist() == [2.5]
        assert [source.lossless for source in batch.sources if source.attribute == "button"] == [True]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"queue_max": 0}, "queue_max"),
        ({"queue_max": 2**40}, "queue_max"),
        ({"max_rate": 1e9}, "pace.interval"),
        ({"max_rate": 0}, "max_rate"),
        ({"max_rate": 1e-9}, "max_rate"),
        ({"deadband": float("nan")}, "deadband.absolute"),
        ({"deadband_percent": 101}, "deadband.percent"),
        ({"deadband": 1, "deadband_percent": 1}, "deadband"),
        ({"heartbeat": 1e6}, "heartbeat"),
        ({"overflow": "explode"}, "overflow"),
        ({"pace": "often"}, "pace"),
        ({"start": "yesterday"}, "start"),
        ({"start": 0}, "start.last"),
    ],
)
def test_a_contract_out_of_range_names_the_field(node: senza.Node, fields: Any, field: str) -> None:
    with pytest.raises(senza.InvalidContract) as failed:
        node.subscribe(**fields)
    assert failed.value.field == field, failed.value


def test_filters_are_checked_and_changed(node: senza.Node) -> None:
    for wrong in (senza.Filter(patterns="a//b"), senza.Filter(patterns="a*"), "?"):
        with pytest.raises(senza.InvalidPattern):
            node.subscribe(wrong)
    with pytest.raises(senza.InvalidId):
        node.subscribe(senza.Filter(sensors=""))
    with pytest.raises(senza.InvalidId):
        node.subscribe(senza.Filter(nodes="Not A Name"))
    with pytest.raises(senza.Full):
        node.subscribe(senza.Filter(sensors=[str(number) for number in range(5000)]))
    with pytest.raises(TypeError):
        node.subscribe(7)  # type: ignore[arg-type]
    one, two = node.register("1"), node.register("2")
    with node.subscribe("1/*") as readings:
        readings.change("2/*", senza.Filter(sensors="3"))
        one.put("x", 1)
        two.put("x", 2)
        assert [reading.value for reading in take(readings, 1)] == [2]


def test_writers_wait_where_a_contract_asks_for_it(node: senza.Node) -> None:
    with node.register("s") as sensor, node.subscribe(queue_max=2, overflow="block", block=LIMIT) as readings:
        sensor.put("x", 1, wait=True)
        sensor.put("x", 2, wait=True)
        waits = threading.Thread(target=sensor.put, args=("x", 3), kwargs={"wait": True})
        waits.start()
        assert [reading.value for reading in take(readings, 2)] == [1, 2]
        waits.join(LIMIT)
        assert [reading.value for reading in take(readings, 1)] == [3]


def test_a_queue_that_closes_when_full_says_so(node: senza.Node) -> None:
    with node.register("s") as sensor, node.subscribe(queue_max=1, overflow="close") as readings:
        sensor.put("x", 1)
        sensor.put("x", 2)
        assert readings.closed
        assert sum(len(batch) for batch in readings) == 1, "what was queued, then the end"


def test_a_batch_is_columns_and_a_sequence(node: senza.Node) -> None:
    with node.register("s") as sensor, node.subscribe(batch_max=3) as readings:
        for number in range(4):
            sensor.put("x", number)
            sensor.put("y", number / 2)
        batch = readings.take(LIMIT)
        assert batch is not None and len(batch) == 3, "batch_max"
        assert batch.values.dtype == np.float64 and batch.values.tolist() == [0.0, 0.0, 1.0], "numbers that mix"
        assert [batch.sources[at].attribute for at in batch.index] == ["x", "y", "x"]
        assert batch[-1].value == 1 and isinstance(batch[-1].value, int), "exact"
        assert [reading.value for reading in batch[1:]] == [0.0, 1]
        assert batch.columns()["attribute"].tolist() == ["x", "y", "x"]
        assert batch.time64.dtype == "datetime64[us]" and (batch.received >= batch.time).all()
        with pytest.raises(ValueError, match="read-only"):
            batch.seq[0] = 1
        with pytest.raises(IndexError):
            batch[3]
        repr(batch)
    with pytest.raises(senza.InvalidContract):
        node.subscribe(batch_max=0)
