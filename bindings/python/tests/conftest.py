"""Nodes on loopback, started once for all tests: every test has sensors of its own names."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

import senza

LIMIT = 20.0
"""Seconds after which whatever a test waits for has failed."""

T = TypeVar("T")


def wait_for(look: Callable[[], T]) -> T:
    """What `look` finds, once it is true."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.001)
    raise AssertionError("waited in vain")


def take(subscription: senza.Subscription, count: int) -> list[senza.Reading]:
    """The next so many readings."""
    readings: list[senza.Reading] = []
    while len(readings) < count:
        batch = subscription.take(LIMIT)
        assert batch is not None, f"got {readings} alone"
        readings += batch
    assert len(readings) == count, readings
    return readings


@pytest.fixture(scope="session")
def nodes() -> Iterator[tuple[senza.Node, senza.Node]]:
    with (
        senza.Node("a", lossless="button", history_max=1000) as a,
        senza.Node("b", connect=a.listening) as b,
    ):
        wait_for(lambda: len(a.nodes()) == 2)
        yield a, b


@pytest.fixture
def a(nodes: tuple[senza.Node, senza.Node]) -> senza.Node:
    return nodes[0]


@pytest.fixture
def b(nodes: tuple[senza.Node, senza.Node]) -> senza.Node:
    return nodes[1]


@pytest.fixture
def node() -> Iterator[senza.Node]:
    """A node of one test's own, without a network."""
    with senza.Node("own", mode="local") as node:
        yield node


_names = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A sensor id of one test's own, with what real ids hold."""
    return f"hall 3/№{next(_names)} *?#$@%"
