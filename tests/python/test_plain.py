"""A plain eclipse-zenoh client, with no code of ours, against a cluster of two real nodes."""

import json
import os
import queue
import subprocess
import tempfile
import time
import uuid

import pytest
import zenoh

SENZA = os.environ["SENZA_BIN"]
LIMIT_S = 60.0


class Node:
    """One node in a process of its own."""

    def __init__(self, name, connect=()):
        args = [SENZA, "--log", "off", "node", "--name", name, "--listen", "tcp/127.0.0.1:0"]
        for endpoint in connect:
            args += ["--connect", endpoint]
        env = {key: value for key, value in os.environ.items() if not key.startswith("SENZA_")}
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, text=True, env=env, cwd=tempfile.gettempdir())
        self.endpoint = json.loads(self.process.stdout.readline())["listen"][0]

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def nodes():
    a = Node("a")
    b = Node("b", [a.endpoint])
    yield a, b
    b.stop()
    a.stop()


def connect(node):
    config = zenoh.Config()
    config.insert_json5("mode", '"client"')
    config.insert_json5("connect/endpoints", json.dumps([node.endpoint]))
    config.insert_json5("scouting/multicast/enabled", "false")
    return zenoh.open(config)


@pytest.fixture
def on_a(nodes):
    with connect(nodes[0]) as session:
        yield session


@pytest.fixture
def on_b(nodes):
    with connect(nodes[1]) as session:
        yield session


@pytest.fixture
def sensor():
    """A sensor of this test's own, with everything that a key must not hold."""
    return f"hall 3/№{uuid.uuid4().hex[:8]} *?#$@%"


def encoded(text):
    """The documented escape: every byte outside A-Z a-z 0-9 . _ ~ : - becomes %XX."""
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:-"
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in text.encode())


def get(session, selector, **more):
    replies = session.get(selector, timeout=10.0, **more)
    return {str(reply.ok.key_expr): json.loads(reply.ok.payload.to_bytes()) for reply in replies if reply.ok}


def wait_for(condition):
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
    raise AssertionError("waited in vain")


def test_a_client_at_b_follows_a_sensor_of_a_live(on_a, on_b, sensor):
    got = queue.Queue()
    key = f"senza/readings/{encoded(sensor)}/pulse"
    with on_b.declare_subscriber(key, lambda sample: got.put((str(sample.key_expr), sample.payload.to_bytes()))):
        number, readings = 0, []

        def take(timeout):
            at, payload = got.get(timeout=timeout)
            assert at == key
            readings.append(json.loads(payload))

        # A subscription takes effect at its own time: put until the first arrives.
        while not readings:
            number += 1
            on_a.put(f"senza/in/a/{encoded(sensor)}/pulse", str(number))
            try:
                take(timeout=0.2)
            except queue.Empty:
                pass
        for _ in range(20):
            number += 1
            on_a.put(f"senza/in/a/{encoded(sensor)}/pulse", str(number))
        while readings[-1]["value"] != number:
            take(timeout=LIMIT_S)
    seqs = [reading["seq"] for reading in readings]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "in order, once, without a gap"
    assert {reading["node"] for reading in readings} == {"a"}
    assert len({reading["epoch"] for reading in readings}) == 1
    assert all(set(reading) == {"value", "time_us", "received_us", "seq", "epoch", "node"} for reading in readings)
    assert get(on_b, key)[key]["value"] == number, "and the latest by query"


def test_a_put_through_b_reaches_a(on_b, sensor):
    key = f"senza/readings/{encoded(sensor)}/x"
    on_b.put(f"senza/in/a/{encoded(sensor)}/x", "1.5")
    assert wait_for(lambda: get(on_b, key)).get(key)["value"] == 1.5


@pytest.mark.parametrize(
    ("encoding", "payload", "value", "kind"),
    [
        (None, "72", 72, None),
        (None, "warm", "warm", None),
        (None, b"\xff\x00", "/wA=", "bytes"),
        (zenoh.Encoding.TEXT_PLAIN, "true", True, None),
        (zenoh.Encoding.APPLICATION_JSON, "7.25", 7.25, None),
        (zenoh.Encoding.APPLICATION_JSON, '{"value": 3, "time_us": 1700000000000000}', 3, None),
        (zenoh.Encoding.APPLICATION_JSON, '{"x": 1, "y": [2]}', {"x": 1, "y": [2]}, None),
        (zenoh.Encoding.APPLICATION_JSON, '{"value": "NaN", "kind": "f64"}', "NaN", "f64"),
        (zenoh.Encoding.APPLICATION_CBOR, b"\xfb\x40\x09\x21\xfb\x54\x44\x2d\x18", 3.141592653589793, None),
    ],
)
def test_every_payload_reads_back(on_a, on_b, sensor, encoding, payload, value, kind):
    more = {} if encoding is None else {"encoding": encoding}
    on_a.put(f"senza/in/a/{encoded(sensor)}/x", payload, **more)
    key = f"senza/readings/{encoded(sensor)}/x"
    reading = wait_for(lambda: get(on_b, key))[key]
    assert (reading["value"], reading.get("kind")) == (value, kind)


def test_a_pack_carries_several_attributes(on_a, on_b, sensor):
    pack = json.dumps([{"bn": sensor + "/", "n": "temperature", "v": 21.5}, {"n": "door", "vb": True}])
    on_a.put(f"senza/in/a/{encoded(sensor)}", pack, encoding=zenoh.Encoding("application/senml+json"))
    at = f"senza/readings/{encoded(sensor)}"
    wait_for(lambda: len(get(on_b, f"{at}/*")) == 2)
    on_a.put(f"senza/in/a/{encoded(sensor)}", '{"temperature": 22, "hum": 40}', encoding=zenoh.Encoding.APPLICATION_JSON)
    wait_for(lambda: len(get(on_b, f"{at}/*")) == 3)
    values = {key.rsplit("/", 1)[1]: reading["value"] for key, reading in get(on_b, f"{at}/*").items()}
    assert values == {"temperature": 22, "door": True, "hum": 40}


def test_an_acknowledged_put_is_answered_after_it_was_taken(on_b, sensor):
    key = f"senza/in/a/{encoded(sensor)}/x"
    for seq in (1, 2, 3):
        answer = get(on_b, key, payload=str(seq))
        assert (answer[key]["seq"], answer[key]["node"]) == (seq, "a")
    # All replies, also what would be left out because a later one of the same key came.
    everything = {"target": zenoh.QueryTarget.ALL, "consolidation": zenoh.ConsolidationMode.NONE}
    asked = on_b.get(f"senza/readings/{encoded(sensor)}/x?last=2", timeout=10.0, **everything)
    [readings] = [json.loads(reply.ok.payload.to_bytes()) for reply in asked]
    assert [reading["value"] for reading in readings] == [2, 3], "one reply a key, with an array"
    refused = [reply.err for reply in on_b.get(key, payload=b"", timeout=10.0)]
    assert "empty" in refused[0].payload.to_string()


def test_the_directory_is_complete_and_says_so(on_a, on_b, sensor):
    for node in ("a", "b"):
        key = f"senza/in/{node}/{encoded(sensor)}-{node}/x"
        assert get(on_a, key, payload="1")
    listing = get(on_b, "senza/sensors/**")
    counts = {key.rsplit("/", 1)[1]: count for key, count in listing.items() if "/%count/" in key}
    records = {record["sensor"]: record for key, record in listing.items() if "/%count/" not in key}
    assert set(counts) == {"a", "b"}
    assert sum(count["sensors"] for count in counts.values()) == len(records), "complete"
    assert all(sorted(count["nodes"]) == ["a", "b"] and count["sent"] == count["sensors"] for count in counts.values())
    record = records[f"{sensor}-b"]
    assert (record["node"], record["state"], record["attributes"]) == ("b", "live", ["x"])
    only_a = get(on_b, "senza/sensors/**?node=a;limit=1")
    assert {record["node"] for record in only_a.values()} == {"a"}
    assert len(only_a) == 2, "one record and the count"


def test_sensors_come_and_go_as_events(on_a, on_b, sensor):
    events = queue.Queue()
    key = f"senza/sensors/{encoded(sensor)}"
    path = f"senza/in/a/{encoded(sensor)}"
    with on_b.declare_subscriber("senza/sensors/**", events.put):

        def seen(kind, event):
            while not events.empty():
                sample = events.get()
                if str(sample.key_expr) == key and sample.kind == kind:
                    if kind == zenoh.SampleKind.DELETE or json.loads(sample.payload.to_bytes())["event"] == event:
                        return True
            return False

        def registered():
            on_a.delete(path)
            on_a.put(f"{path}/x", "1")
            return seen(zenoh.SampleKind.PUT, "registered")

        wait_for(registered)
        on_a.delete(path)
        wait_for(lambda: seen(zenoh.SampleKind.DELETE, None))
    wait_for(lambda: not get(on_b, key))


def test_nodes_have_tokens_and_pages(on_b):
    tokens = [str(reply.ok.key_expr) for reply in on_b.liveliness().get("senza/nodes/**", timeout=10.0)]
    assert sorted(token.split("/")[2] for token in tokens) == ["a", "b"]
    pages = get(on_b, "senza/nodes/a/**")
    parts = ("", "/stats", "/links", "/subscriptions", "/latency", "/heals")
    assert set(pages) == {f"senza/nodes/a{part}" for part in parts}
    latency = pages["senza/nodes/a/latency"]
    assert {hop["hop"] for hop in latency["hops"]} >= {"source", "queue", "local", "remote"}
    assert pages["senza/nodes/a"]["node"] == "a" and set(pages["senza/nodes/a"]["sees"]) == {"a", "b"}


def test_wide_subscriptions_see_no_internal_traffic(on_b):
    keys = queue.Queue()
    with on_b.declare_subscriber("senza/**", lambda sample: keys.put(str(sample.key_expr))):
        # Beacons go out every 0.8 s; none of them is for a plain client.
        with pytest.raises(queue.Empty):
            while "/@" not in keys.get(timeout=2.0):
                pass
            pytest.fail("an internal key was seen")
