"""Who owns what: registering, taking over, look-ups, listings, events, settings."""

import pathlib
import time
from typing import Any

import numpy as np
import pytest

import senza
from conftest import LIMIT, take, wait_for


def test_a_sensor_is_registered_while_somebody_holds_it(node: senza.Node) -> None:
    with node.register("s", type="imu", meta={"room": 3}) as first:
        second = node.register("s")
        assert (first.id, first.node, first.epoch, first.closed) == ("s", node, second.epoch, False)
        first.leave()
        first.leave()
        assert node.whereis("s") and first.closed
        with pytest.raises(senza.Closed, match="sensor"):
            first.put("x", 1)
        second.put("x", 1)
        del second
        assert node.whereis("s") is None
    node.register("dropped")
    assert node.whereis("dropped") is None
    left = node.register("left")
    assert node.unregister("left") and not node.unregister("left")
    with pytest.raises(senza.NotRegistered):
        left.put("x", 1)


def test_a_sensor_of_another_node_is_refused_or_taken_over(a: senza.Node, b: senza.Node, name: str) -> None:
    on_a = a.register(name)
    wait_for(lambda: b.whereis(name))
    with pytest.raises(senza.NotOwner) as refused:
        b.register(name, takeover=False)
    assert (refused.value.sensor, refused.value.node) == (name, "a")
    with pytest.raises(senza.NotOwner):
        b.put(name, "x", 1)
    on_b = b.register(name)
    wait_for(lambda: not (found := a.whereis(name)) or found.node == "b")
    with pytest.raises(senza.NotOwner) as late:
        on_a.put("x", 1)
    assert late.value.node == "b"
    with pytest.raises(senza.HeldOff) as held_off:
        a.register(name)
    assert 0 < held_off.value.left_ms <= 5000 and isinstance(held_off.value, senza.NotOwner)
    assert on_b.put("x", 1) == 1


@pytest.mark.parametrize("wrong", ["", "x" * 257])
def test_ids_hold_to_their_rule(node: senza.Node, wrong: str) -> None:
    with pytest.raises(senza.InvalidId):
        node.register(wrong)
    assert node.whereis(wrong) is None
    with pytest.raises(senza.InvalidId):
        node.register("s", type="x" * 65)
    with node.register("s") as sensor:
        with pytest.raises(senza.InvalidId):
            sensor.put("", 1)
        with pytest.raises(senza.InvalidId):
            sensor.put("x" * 65, 1)
    for surrogate in (
        lambda: node.register("\ud800"),
        lambda: node.whereis("\ud800"),
        lambda: node.put("\ud800", "x", 1),
    ):
        with pytest.raises((ValueError, UnicodeError)):
            surrogate()
    seven: Any = 7
    for number in (lambda: node.register(seven), lambda: node.whereis(seven), lambda: node.whereis_many([seven])):
        with pytest.raises(TypeError):
            number()
    with pytest.raises(senza.InvalidValue, match="meta"):
        node.register("s", meta=[1])  # type: ignore[arg-type]


def test_listings_are_whole_and_come_in_pages(node: senza.Node) -> None:
    sensors = [node.register(f"s{number}", type="even" if number % 2 == 0 else "odd") for number in range(100)]
    assert {listed.sensor for listed in node.sensors()} == {sensor.id for sensor in sensors}
    pages = list(node.pages(senza.Filter(types="even"), size=7))
    assert sum(map(len, pages)) == 50 and max(map(len, pages)) == 7
    assert {listed.type for page in pages for listed in page} == {"even"}
    [one] = node.sensors("s77/*")
    assert (one.sensor, one.node, one.local, one.epoch) == ("s77", "own", True, sensors[77].epoch)
    found = node.whereis_many(f"s{number}" for number in range(50, 150))
    assert [at is not None for at in found] == [True] * 50 + [False] * 50
    assert found[0] == node.whereis("s50") and {found[0]: 1}[node.whereis("s50")] == 1
    assert "own" in repr(found[0])


def test_events_tell_sensors_and_nodes_in_order(a: senza.Node, name: str) -> None:
    with a.events() as events:
        sensor = a.register(name, type="watch")
        with senza.Node("c", connect=a.listening) as c:
            wait_for(lambda: c.whereis(name))
            taken = c.register(name)
            wait_for(lambda: (at := a.whereis(name)) and at.node == "c")
            taken.leave()
            wait_for(lambda: a.whereis(name) is None)
        told = []
        for event in events:
            told.append(event)
            if isinstance(event, senza.NodeDown):
                break
        sensors = [event for event in told if getattr(event, "sensor", None) == name]
        first, second, third = sensors
        assert first == senza.Registered(name, "watch", "a", sensor.epoch)
        assert isinstance(second, senza.Moved)
        assert (second.node, second.previous_node, second.previous_epoch) == ("c", "a", sensor.epoch)
        assert isinstance(third, senza.Unregistered) and third.epoch == second.epoch
        assert [event.node for event in told if isinstance(event, senza.NodeUp | senza.NodeDown)] == ["c", "c"]
        assert events.take(0) is None


def test_heals_tell_which_sensors_two_nodes_had_claimed(a: senza.Node, b: senza.Node, name: str) -> None:
    with senza.Node("c", connect=a.listening) as c:
        nodes, told = (a, b, c), [node.events() for node in (a, b, c)]
        lives = {view.name: view.incarnation for node in nodes for view in node.nodes()}
        c.mode = "local"
        wait_for(lambda: all(view.name != "c" for node in (a, b) for view in node.nodes()))
        with a.register(name) as loser, c.register(name) as winner:
            before = time.time_ns() // 1000
            c.mode = "cluster"

            def settled() -> list[tuple[int, senza.Healed]]:
                heals = [(at, heal) for at, node in enumerate(nodes) for heal in node.heals()]
                return [(at, heal) for at, heal in heals if any(one.sensor == name for one in heal.duplicates)]

            # Whoever hears of both sets first finds it; the loser lets go as soon as it hears of that.
            at, heal = wait_for(settled)[0]
            [duplicate] = heal.duplicates
            assert (duplicate.sensor, heal.total) == (name, 1)
            assert duplicate.winner == senza.Claim("c", lives["c"], winner.epoch)
            assert duplicate.loser == senza.Claim("a", lives["a"], loser.epoch)
            assert heal.incarnation == lives[heal.node]
            assert before <= heal.time <= time.time_ns() // 1000
            assert next(event for event in told[at] if isinstance(event, senza.Healed) and event.total) == heal
    with pytest.raises(senza.Closed):
        c.heals()


def test_latencies_are_told_hop_by_hop(a: senza.Node, name: str) -> None:
    def seen(node: senza.Node, hop: str, other: str | None = None) -> senza.Latency:
        """Once all are counted, which is a moment after they were sent or taken."""

        def look() -> senza.Latency | None:
            found = [one for one in node.latencies() if (one.hop, one.node) == (hop, other)]
            # A link sends the latest reading of a series once more where it begins meanwhile.
            return next((one for one in found if one.readings + one.impossible >= 100), None)

        found = wait_for(look)
        assert found is not None
        return found

    with senza.Node("c", connect=a.listening) as c, c.register(name) as sensor:
        assert [(one.hop, one.readings, one.max_us, len(one.histogram)) for one in c.latencies()][:4] == [
            (hop, 0, 0, 0) for hop in ("source", "queue", "local", "remote")
        ]
        sensor.declare("x")
        with a.subscribe(senza.Filter(sensors=name)) as there:
            wait_for(lambda: sensor.demand)
            here = c.subscribe(senza.Filter(sensors=name))
            for number in range(100):
                sensor.put("x", number, time=time.time_ns() // 1000 - 1_000_000)
            take(here, 100)
            take(there, 100)
            source = seen(c, "source")
            assert 990_000 <= source.p50_us <= source.p90_us <= source.p99_us <= source.p999_us <= source.max_us
            assert source.impossible == 0
            up_to, readings = source.histogram.up_to_us, source.histogram.readings
            assert up_to.dtype == readings.dtype == np.uint64 and len(up_to) == len(readings) == len(source.histogram)
            assert readings.sum() == source.readings == 100 and readings.all() and (up_to[1:] > up_to[:-1]).all()
            assert up_to[readings.cumsum() >= 50][0] == source.p50_us
            assert source.histogram == seen(c, "source").histogram and "buckets" in repr(source.histogram)
            seen_by_two = [seen(c, "owner", "a"), seen(a, "link", "c"), seen(a, "remote")]
            assert all(one.p50_us < 60_000_000 for one in [seen(c, "queue"), seen(c, "local"), *seen_by_two])
            wait_for(lambda: "c" in a.clocks() and "a" in c.clocks())
            # The same clock, of course.
            assert all(abs(clock.offset_us) <= clock.error_us + 1_000 for clock in (a.clocks()["c"], c.clocks()["a"]))
    for ask in (c.latencies, c.clocks):
        with pytest.raises(senza.Closed):
            ask()


def test_settings_come_from_keywords_mappings_and_files(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "senza.toml"
    file.write_text('name = "from-file"\nmode = "local"\nhistory_max = 3\n', encoding="utf-8")
    with senza.Node(config=file) as node:
        assert (node.name, node.mode) == ("from-file", "local")
        with node.register("s") as sensor:
            for number in range(5):
                sensor.put("x", number)
            assert node.history("s", "x").values.tolist() == [2, 3, 4]
    with senza.Node("by-name", config=str(file), history_max=1) as node:
        assert node.name == "by-name"
    settings = {"name": "m", "mode": "local", "listen": "tcp/127.0.0.1:0", "zenoh": {"scouting/delay": 1}}
    with senza.Node(config=settings) as node:
        assert node.name == "m" and node.listening[0].startswith("tcp/127.0.0.1:")
        node.mode = "cluster"
        assert node.mode == "cluster"
        with pytest.raises(senza.InvalidConfig):
            node.mode = "shadow"


def test_wrong_settings_name_themselves(a: senza.Node) -> None:
    with pytest.raises(senza.InvalidConfig) as failed:
        senza.Node("x", history_max=0)
    assert failed.value.setting == "history_max"
    with pytest.raises(senza.InvalidConfig, match="nmae"):
        senza.Node(nmae="x")  # type: ignore[call-arg]
    with pytest.raises(senza.InvalidConfig, match=r"not-there\.toml"):
        senza.Node(config="not-there.toml")
    with pytest.raises(senza.InvalidConfig, match="insecure"):
        senza.Node("x", listen="tcp/0.0.0.0:0")
    with pytest.raises(senza.InvalidConfig):
        senza.Node("Not a Name")
    with pytest.raises((OverflowError, TypeError)):
        senza.Node("x", history_max=-1)
    with pytest.raises(senza.InvalidId):
        senza.Node("x", lossless=[""])
    with pytest.raises(senza.StartFailed):
        senza.Node("x", zenoh={"no/such/setting": 1})
    with pytest.raises(senza.StartFailed, match="listen"):
        senza.Node("x", listen=a.listening)
    with pytest.raises(senza.NameTaken) as taken:
        senza.Node("a", connect=a.listening)
    assert taken.value.name == "a" and isinstance(taken.value, OSError)


def test_what_is_of_a_node_keeps_it() -> None:
    readings = senza.Node("kept", mode="local").subscribe()
    assert readings.take(0) is None and not readings.closed
    sensor = senza.Node("kept", mode="local").register("s")
    assert sensor.put("x", 1) == 1
    node = sensor.node
    del sensor, readings
    assert node.whereis("s") is None
    stays = node.register("stays")
    del node
    assert stays.put("x", 1) == 1


def test_everything_of_a_closed_node_refuses() -> None:
    node = senza.Node("closing", mode="local")
    readings, events = node.subscribe(), node.events()
    sensor = node.register("s")
    demands, series = sensor.demands(), node.series(sensor, "x")
    sensor.put("x", 1)
    assert node.latest("s", "x") and events.take(LIMIT)
    node.close()
    node.close()
    assert node.closed and sensor.closed and readings.closed and events.closed and demands.closed
    for use in (
        lambda: node.register("t"),
        lambda: node.whereis("s"),
        lambda: node.put("s", "x", 1),
        lambda: node.subscribe(),
        lambda: node.history("s", "x"),
        lambda: node.latest("s", "x"),
        lambda: node.sensors(),
        lambda: node.events(),
        lambda: sensor.put("x", 1),
        lambda: sensor.put("x", 1, wait=True),
        lambda: sensor.demand,
        lambda: series.put([1]),
        lambda: readings.change("*/x"),
    ):
        with pytest.raises(senza.Closed, match="node"):
            use()
    assert sum(map(len, readings)) == 1, "what was queued, then the end"
    assert list(events) == []
    sensor.leave()
    assert "closed" in repr(node) and "closed" in repr(sensor)
