"""What a process may do with it: beside eclipse-zenoh, forks, pickles, exits, development mode, types."""

import asyncio
import copy
import json
import os
import pathlib
import pickle
import queue
import subprocess
import sys
import textwrap

import pytest

import senza
from conftest import LIMIT, wait_for

HOME = pathlib.Path(__file__).parent.parent


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own, in development mode with warnings as errors."""
    command = [sys.executable, "-X", "dev", "-W", "error", *options, "-c", textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_lives_beside_eclipse_zenoh(a: senza.Node, name: str) -> None:
    zenoh = pytest.importorskip("zenoh")
    config = zenoh.Config()
    config.insert_json5("mode", '"client"')
    config.insert_json5("connect/endpoints", json.dumps(a.listening))
    config.insert_json5("scouting/multicast/enabled", "false")
    got: queue.Queue[bytes] = queue.Queue()
    chunk = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}" for byte in name.encode())
    with zenoh.open(config) as session, a.subscribe(senza.Filter(sensors=name)) as readings:
        session.put(f"senza/in/a/{chunk}/pulse", "72")
        batch = readings.take(LIMIT)
        assert batch is not None and batch.values.tolist() == [72]
        with session.declare_subscriber(f"senza/readings/{chunk}/*", lambda s: got.put(s.payload.to_bytes())):
            wait_for(lambda: a.put(name, "pulse", 73) and not got.empty())
            assert json.loads(got.get(timeout=LIMIT))["value"] == 73


def test_pickles_and_copies_are_refused(node: senza.Node) -> None:
    sensor = node.register("s")
    things = [node, sensor, node.series(sensor, "x"), node.subscribe(), node.events(), sensor.demands()]
    for thing in things:
        for copies in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="process"):
                copies(thing)


def test_errors_and_values_survive_a_pickle(node: senza.Node) -> None:
    with pytest.raises(senza.NotFound) as failed:
        node.put("nobody's", "x", 1)
    again = pickle.loads(pickle.dumps(failed.value))
    assert type(again) is senza.NotFound and again.sensor == "nobody's" and str(again) == str(failed.value)
    contract = senza.Contract(max_rate=10, start="latest")
    assert pickle.loads(pickle.dumps(contract)) == contract


def test_a_forked_child_is_refused_and_ends() -> None:
    program = """
        import gc, os, sys, warnings
        import senza
        warnings.simplefilter("ignore", DeprecationWarning)
        node = senza.Node("parent")
        sensor, readings, events = node.register("s"), node.subscribe(), node.events()
        series, demands = node.series(sensor, "x"), sensor.demands()
        if os.fork() == 0:
            refused = 0
            uses = [
                lambda: node.whereis("s"), lambda: node.register("t"), lambda: node.close(), lambda: node.name,
                lambda: sensor.put("x", 1), lambda: sensor.leave(), lambda: series.put([1.0]),
                lambda: readings.take(0), lambda: readings.ledger, lambda: events.take(0), lambda: demands.take(0),
                lambda: senza.Node("child"),
            ]
            for use in uses:
                try:
                    use()
                except senza.Forked:
                    refused += 1
            assert refused == len(uses), refused
            del node, sensor, readings, events, series, demands, uses, use
            gc.collect()
            sys.exit(7)
        _, status = os.wait()
        assert os.waitstatus_to_exitcode(status) == 7, status
        assert sensor.put("x", 1) == 1 and readings.take(20.0).values.tolist() == [1]
        node.close()
        print("parent goes on")
    """
    done = run(program)
    assert done.stdout == "parent goes on\n" and done.returncode == 0, done.stderr


def test_logs_end_with_the_program_and_stay_with_its_process() -> None:
    program = """
        import logging, os, sys
        import senza
        logging.basicConfig(stream=sys.stdout, format="%(name)s %(message)s", level=logging.INFO)
        senza.start_logging()
        child = os.fork()
        if child == 0:
            refused = 0
            for use in (senza.start_logging, senza.stop_logging, senza.start_logging):
                try:
                    use()
                except senza.Forked:
                    refused += 1
            with senza.Node("child", mode="local") as node, node.register("s") as sensor:
                sensor.put("x", 1)
            sys.exit(refused)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 3, status
        node = senza.Node("parent")
        node.mode = "local"
    """
    done = run(program)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == "senza.senza_mesh.engine.mode mode switched from=cluster to=local\n"


def test_a_child_of_a_process_without_nodes_has_its_own() -> None:
    program = """
        import os, sys
        import senza
        if os.fork() == 0:
            with senza.Node("child") as node, node.register("s") as sensor:
                sys.exit(6 + sensor.put("x", 1))
        _, status = os.wait()
        with senza.Node("parent") as node:
            print(os.waitstatus_to_exitcode(status))
    """
    done = run(program)
    assert done.stdout == "7\n" and done.returncode == 0, done.stderr


def test_development_mode_says_nothing() -> None:
    program = """
        import asyncio
        import senza

        async def main(sensor: senza.Sensor, readings: senza.Subscription) -> None:
            asyncio.get_running_loop().call_later(0.01, sensor.put, "x", 1)
            async for batch in readings:
                print([reading.value for reading in batch])
                break

        with senza.Node("a") as node, node.register("s") as sensor, node.subscribe() as readings:
            asyncio.run(main(sensor, readings))
            asyncio.run(main(sensor, readings))
    """
    done = run(program)
    assert (done.stdout, done.stderr, done.returncode) == ("[1]\n[1]\n", "", 0)


@pytest.mark.parametrize(
    "ends", ["pass", "raise SystemExit(0)", "threading.Thread(target=node.subscribe().take, daemon=True).start()"]
)
def test_a_program_that_closes_nothing_ends(ends: str) -> None:
    program = f"""
        import threading, senza
        node = senza.Node("a")
        sensor = node.register("s")
        sensor.on_demand(lambda demand: None)
        sensor.put("x", 1)
        {ends}
    """
    done = run(program)
    assert (done.stderr, done.returncode) == ("", 0)


def test_numpy_is_imported_when_an_array_is_asked_for() -> None:
    program = """
        import sys, senza
        with senza.Node("a", mode="local") as node, node.register("s") as sensor, node.subscribe() as readings:
            sensor.put("x", 1)
            assert [reading.value for reading in readings.take(20.0)] == [1]
        assert "numpy" not in sys.modules
    """
    done = run(program)
    assert done.returncode == 0, done.stderr


def test_a_loop_of_libuv_awaits_too(node: senza.Node) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def first() -> list[int]:
        with node.register("s") as sensor, node.subscribe() as readings:
            asyncio.get_running_loop().call_later(0.01, sensor.put, "x", 1)
            return list((await asyncio.wait_for(anext(readings), LIMIT)).values)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(first()) == [1]


def test_the_readme_and_the_example_run(tmp_path: pathlib.Path) -> None:
    readme = (HOME / "README.md").read_text(encoding="utf-8")
    done = run(readme.split("```python\n")[1].split("```")[0])
    assert done.returncode == 0, done.stderr
    assert "[72]" in done.stdout and "node='a'" in done.stdout
    example = [sys.executable, str(HOME / "examples" / "chart.py"), str(tmp_path / "chart.svg")]
    done = subprocess.run(example, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ledger" in done.stdout and ("readings in" in done.stdout or "***" in done.stdout), done.stdout


def test_types_are_those_of_the_code_and_it_is_formatted() -> None:
    pytest.importorskip("mypy")
    pytest.importorskip("ruff")
    package = pathlib.Path(senza.__file__).parent
    cache = os.environ.get("MYPY_CACHE_DIR", str(package.parent / "mypy-cache"))
    env = {**os.environ, "PYTHONPATH": str(package.parent), "MYPYPATH": str(package.parent), "MYPY_CACHE_DIR": cache}
    for command in (
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml"],
        [sys.executable, "-m", "mypy.stubtest", "senza"],
        [sys.executable, "-m", "ruff", "check", "--no-cache"],
        [sys.executable, "-m", "ruff", "format", "--check", "--no-cache"],
    ):
        done = subprocess.run(command, cwd=HOME, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
