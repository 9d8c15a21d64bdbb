"""Columns in: `Series.put`."""

import array
import threading
from typing import Any

import numpy as np
import pytest

import senza
from conftest import LIMIT


def numbers(batch: senza.Batch | None) -> dict[tuple[str, str], list[Any]]:
    assert batch is not None
    return {
        (source.sensor, source.attribute): batch.values[batch.index == at].tolist()
        for at, source in enumerate(batch.sources)
    }


def test_one_series_takes_a_column(node: senza.Node) -> None:
    sensor = node.register("s")
    with node.subscribe() as readings:
        series = node.series(sensor, "x")
        assert len(series) == 1
        assert series.put(np.arange(100_000.0), np.arange(100_000)) == 100_000
        batch = readings.take(LIMIT)
        assert batch is not None and batch.gaps[0].lost == 100_000 - 65_536
        assert batch.seq.tolist() == list(range(34_465, 100_001))
        assert (batch.values == batch.time).all() and (batch.seq == batch.time + 1).all()


def test_many_series_take_rows_times_and_an_index(node: senza.Node) -> None:
    sensors = [node.register(f"s{at}") for at in range(100)]
    series = node.series(sensors, ["x", "y"])
    with node.subscribe() as readings:
        matrix = np.arange(600).reshape(3, 200)
        assert series.put(matrix, times=np.array([10, 20, 30])) == 600
        batch = readings.take(LIMIT)
        assert batch is not None
        got = numbers(batch)
        assert len(got) == 200
        for at in range(100):
            assert got[f"s{at}", "x"] == [2 * at, 200 + 2 * at, 400 + 2 * at]
            assert got[f"s{at}", "y"] == [2 * at + 1, 201 + 2 * at, 401 + 2 * at]
        assert (batch.time == (batch.values // 200 + 1) * 10).all()

        index = np.array([7, 3, 7, 199, 7], np.uint32)
        assert series.put(np.array([1.5, 2.5, 3.5, 4.5, 5.5]), index=index, times=5) == 5
        assert numbers(readings.take(LIMIT)) == {
            ("s3", "y"): [1.5, 3.5, 5.5],
            ("s1", "y"): [2.5],
            ("s99", "y"): [4.5],
        }
        assert series.put([1], index=index[:1].astype(np.int64), times=np.array([1], "datetime64[s]")) == 1
        batch = readings.take(LIMIT)
        assert batch is not None and batch.time.tolist() == [1_000_000]


COLUMNS: list[Any] = [np.array([1, 0, 1], dtype) for dtype in ["d", "f", "b", "h", "i", "q", "B", "H", "I", "?"]]
FLOATS: Any = np.array([[1, 0, 1]], np.float32)


@pytest.mark.parametrize(
    "values",
    [
        *COLUMNS,
        np.array([1, 9, 0, 9, 1], np.float64)[::2],
        np.array([[1, 0, 1]], np.int64).T,
        np.array([1, 0, 1], object),
        memoryview(FLOATS[0]),
        memoryview(FLOATS),
        array.array("q", [1, 0, 1]),
        bytearray([1, 0, 1]),
        (1, 0, 1),
        [True, 0, 1.0],
    ],
    ids=str,
)  # fmt: skip
def test_any_array_or_sequence_is_a_column(node: senza.Node, values: Any) -> None:
    with node.register("s") as sensor, node.subscribe() as readings:
        assert node.series(sensor, "x").put(values) == 3
        batch = readings.take(LIMIT)
        assert batch is not None and [reading.value for reading in batch] == [1, 0, 1]
        expected = {"f": np.float64, "b": np.bool_}.get(getattr(getattr(values, "dtype", None), "kind", ""))
        assert expected is None or batch.values.dtype == expected


def test_values_of_every_kind_in_one_column(node: senza.Node) -> None:
    mixed = [1, 2.5, True, "on", b"\x01", {"x": [1]}, [1]]
    with node.register("s") as sensor, node.subscribe() as readings:
        node.series(sensor, "x").put(mixed)
        batch = readings.take(LIMIT)
        assert batch is not None
        assert batch.values.tolist() == mixed and [reading.value for reading in batch] == mixed
        assert np.isnan(batch.numbers).tolist() == [False, False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"values": np.zeros(3)}, ValueError, "3 values for 2 series"),
        ({"values": np.zeros(2), "index": np.array([0, 2], np.uint32)}, IndexError, r"index\[1\]"),
        ({"values": np.zeros(2), "index": np.array([0, -1])}, IndexError, r"index\[1\]"),
        ({"values": np.zeros(2), "index": np.array([0], np.uint32)}, ValueError, "index of 1 for 2"),
        ({"values": np.zeros(2), "index": np.zeros(2)}, TypeError, "uint32"),
        ({"values": np.zeros(2), "index": [0, 1]}, TypeError, "uint32"),
        ({"values": np.zeros(4), "times": np.zeros(3, np.int64)}, ValueError, "3 times for 4"),
        ({"values": np.zeros(2), "times": np.zeros(2)}, TypeError, "int64"),
        ({"values": np.zeros(2), "times": "now"}, TypeError, "time"),
        ({"values": np.zeros(2, np.complex128)}, senza.InvalidValue, "format"),
        ({"values": np.zeros(2, np.uint64)}, senza.InvalidValue, "format"),
        ({"values": np.zeros(2, ">f8")}, senza.InvalidValue, "format|order|compatible"),
        ({"values": np.array(["a", "b"])}, senza.InvalidValue, "format"),
        ({"values": "ab"}, TypeError, "text"),
        ({"values": b"ab"}, TypeError, "bytes"),
        ({"values": 7}, TypeError, "iterable"),
        ({"values": [1, None]}, senza.InvalidValue, "NoneType"),
    ],
)
def test_columns_that_do_not_fit_are_refused_whole(
    node: senza.Node, arguments: Any, error: type[Exception], said: str
) -> None:
    series = node.series([node.register("1"), node.register("2")], "x")
    with pytest.raises(error, match=said):
        series.put(**arguments)
    assert node.latest("1", "x") is None


def test_readings_of_sensors_that_left_are_counted(a: senza.Node, node: senza.Node) -> None:
    stays, leaves = node.register("stays"), node.register("leaves")
    series = node.series([stays, leaves], "x")
    leaves.leave()
    with pytest.raises(senza.Refused) as failed:
        series.put(np.arange(10.0))
    assert (failed.value.taken, failed.value.refused) == (5, 5)
    latest = node.latest("stays", "x")
    assert latest is not None and latest.value == 8.0
    with pytest.raises(senza.Closed):
        node.series([stays, leaves], "x")
    with pytest.raises(ValueError, match="node"):
        node.series(a.register("of a"), "x")
    assert node.series([], "x").put([], index=np.array([], np.uint32)) == 0


def test_an_index_that_another_thread_overwrites_is_refused_not_followed(node: senza.Node) -> None:
    """A second look at the array: between two windows the interpreter is free."""
    count = 200_000
    series = node.series(node.register("s"), "x")
    index = np.zeros(count, np.uint32)
    done = threading.Event()

    def overwrite() -> None:
        while not done.is_set():
            index[-1] = 2**32 - 1
            index[-1] = 0

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        for _ in range(10):
            try:
                assert series.put(np.zeros(count), index=index) == count
            except IndexError as error:
                assert "names no series" in str(error)
    finally:
        done.set()
        writer.join()


def test_readings_by_ids(node: senza.Node) -> None:
    with node.register("s"):
        refused = node.put_many([("s", "x", 1), ("t", "x", 2, 5), ["s", "y", "on", 7]])
        [(at, error)] = refused
        assert at == 1 and isinstance(error, senza.NotFound) and error.sensor == "t"
        latest = node.latest("s", "y")
        assert latest is not None and (latest.value, latest.time) == ("on", 7)
        assert node.put("s", "x", 3) == 2
        for wrong in ([("s", "x")], [7], [("s", 7, 1)]):
            with pytest.raises((senza.InvalidValue, TypeError)):
                node.put_many(wrong)  # type: ignore[arg-type]
        with pytest.raises(senza.NotFound):
            node.put("t", "x", 1)
        with pytest.raises(senza.InvalidId):
            node.put("s", "x" * 65, 1)
