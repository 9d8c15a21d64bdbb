"""What the engine logs, as Python's `logging` gets it."""

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import senza
from conftest import LIMIT, wait_for
from senza._native import Log

# A debug build has it; it returns once another thread has logged, while this one has the interpreter.
log_some: Callable[[int, str], bool] = getattr(Log, "_log_some", lambda *_: pytest.skip("a release build"))


class Kept(logging.Handler):
    """Keeps records; while `held`, whoever hands one over waits."""

    def __init__(self) -> None:
        super().__init__()
        self.records: queue.Queue[logging.LogRecord] = queue.Queue()
        self.free = threading.Event()
        self.free.set()

    def emit(self, record: logging.LogRecord) -> None:
        assert self.free.wait(LIMIT)
        self.records.put(record)

    def next(self, wanted: str = "") -> Any:
        """The next record like that, whose attributes are no type's."""
        while True:
            record = self.records.get(timeout=LIMIT)
            if re.search(wanted, record.getMessage()):
                return record

    def rest(self) -> list[str]:
        """The messages of those that were kept since."""
        return [self.records.get().getMessage() for _ in range(self.records.qsize())]


@pytest.fixture
def kept() -> Iterator[Kept]:
    kept, logger = Kept(), logging.getLogger("senza")
    logger.addHandler(kept)
    logger.setLevel(1)
    yield kept
    kept.free.set()
    senza.stop_logging()
    logger.removeHandler(kept)
    logger.setLevel(logging.NOTSET)


def test_what_the_engine_logs_comes_with_its_level_target_and_fields(a: senza.Node, kept: Kept) -> None:
    senza.start_logging()
    before = time.time()
    with senza.Node("logged", connect=a.listening):
        up = kept.next("node up node=logged")
        assert re.fullmatch(r"node up node=logged incarnation=\d+", up.getMessage())
        assert (up.levelno, up.levelname, up.target) == (logging.INFO, "INFO", "senza_mesh::engine::driven")
        assert up.name == "senza.senza_mesh.engine.driven"
        assert up.fields.keys() == {"node", "incarnation"} and isinstance(up.fields["incarnation"], int)
        assert before <= up.created <= time.time() and abs(up.created % 1 * 1000 - up.msecs) <= 1
        assert up.filename == "driven.rs" and up.lineno > 1 and up.threadName not in ("senza-log", "MainThread")
        assert "INFO" in logging.Formatter("%(asctime)s %(levelname)s %(thread)d %(module)s").format(up)
    assert kept.next("node down").fields["node"] == "logged"


def test_fields_of_every_kind_and_no_more_text_than_is_kept(kept: Kept) -> None:
    senza.start_logging("debug")
    assert log_some(1, "ä %s")
    record = kept.next("as a test asked for")
    natural = 2**64 - 1
    fields = {"number": 0, "natural": natural, "integer": -1, "float": 0.5, "truth": True, "text": "ä %s"}
    assert record.fields == fields and record.fields["truth"] is True and record.threadName == "logs-some"
    shown = f"as a test asked for number=0 natural={natural} integer=-1 float=0.5 truth=True text=ä %s"
    assert record.getMessage() == shown and record.levelno == logging.WARNING
    assert kept.next("beside it").levelno == logging.DEBUG
    assert log_some(1, "ä" * 10_000)
    text = kept.next("as a test asked for").fields["text"]
    assert 4_000 <= len(text.encode()) <= 4_100 and text.endswith("ä…")


def test_nobody_is_waited_for_and_what_that_drops_is_told(kept: Kept) -> None:
    senza.start_logging(logging.WARNING)
    kept.free.clear()
    assert log_some(10_000, "")
    assert kept.records.empty()
    kept.free.set()
    numbers: list[int] = []
    lost = 0
    while len(numbers) + lost < 10_000:
        record = kept.next("as a test|were dropped")
        if "lost" in record.fields:
            lost += record.fields["lost"]
            assert (record.name, record.levelno) == ("senza", logging.WARNING)
            assert record.getMessage().startswith(f"{record.fields['lost']} records")
        else:
            numbers.append(record.fields["number"])
    assert 1_024 <= len(numbers) <= 1_024 + 64 and numbers == sorted(numbers) and numbers[0] == 0
    assert log_some(1, "goes on")
    assert kept.next("text=").fields["text"] == "goes on"


def test_it_ends_and_begins_anew_and_what_was_logged_before_is_handed_over(kept: Kept) -> None:
    assert log_some(1, "before")
    senza.stop_logging()
    for number in range(20):
        senza.start_logging("warning")
        assert log_some(100, f"of {number}")
        senza.stop_logging()
        assert [message.endswith(f"text=of {number}") for message in kept.rest()] == [True] * 100
        assert log_some(1, "of nobody")
    senza.stop_logging()
    assert kept.rest() == []
    for level, words in (("ERROR", []), (logging.CRITICAL, []), (31, []), (30, ["as"]), (11, ["as"]), (1, ["as", "b"])):
        senza.start_logging(level)
        assert log_some(1, "")
        senza.stop_logging()
        assert [message[: len(word)] for message, word in zip(kept.rest(), words, strict=True)] == words
    senza.start_logging(filter="off")
    senza.start_logging(filter="off,senza_python=debug")
    assert log_some(1, "") and kept.next("beside it")


def test_levels_of_loggers_hold_as_well(kept: Kept) -> None:
    logger = logging.getLogger("senza.senza_python")
    logger.setLevel(logging.WARNING)
    try:
        senza.start_logging("debug")
        assert log_some(1, "")
        senza.stop_logging()
    finally:
        logger.setLevel(logging.NOTSET)
    assert not any("beside it" in message for message in kept.rest())


def test_a_handler_may_use_senza_and_end_it(kept: Kept) -> None:
    done = threading.Event()

    class Uses(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not done.is_set():
                with senza.Node("within", mode="local") as node, node.register("s") as sensor:
                    sensor.put("x", 1)
                senza.stop_logging()
                senza.start_logging("warning")
                done.set()

    uses = Uses()
    logging.getLogger("senza").addHandler(uses)
    try:
        senza.start_logging("warning")
        assert log_some(2, "first") and done.wait(LIMIT)
        assert log_some(1, "second")
        assert kept.next("second")
    finally:
        logging.getLogger("senza").removeHandler(uses)


def test_what_raises_is_told_and_does_not_end_it(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def refuse(record: logging.LogRecord) -> bool:
        if getattr(record, "fields", {}).get("text") == "bad":
            raise KeyError("bad")
        return True

    kept.addFilter(refuse)
    senza.start_logging("warning")
    assert log_some(1, "bad") and log_some(1, "good")
    assert kept.next("text=").fields["text"] == "good"
    assert [(one.exc_type, one.thread.name) for one in told] == [(KeyError, "senza-log")]


def test_one_thread_is_there_while_it_is_wanted(kept: Kept) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "senza-log"]

    senza.start_logging()
    senza.start_logging("debug")
    wait_for(lambda: threads() == ["senza-log"])
    senza.stop_logging()
    senza.stop_logging()
    assert threads() == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"level": "loud"}, "level = 'loud': must be one of logging"),
        ({"level": 1.5}, "level = 1.5: must be one of logging"),
        ({"level": None}, "level = None: must be one of logging"),
        ({"filter": "senza=loud"}, "filter"),
    ],
)
def test_wrong_levels_and_filters_name_themselves(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(senza.InvalidConfig, match=re.escape(said)) as refused:
        senza.start_logging(**wrong)
    assert refused.value.setting == next(iter(wrong))
