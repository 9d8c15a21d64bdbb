"""What the compiled part logs, handed to Python's `logging` by a thread of its own."""

import atexit
import contextlib
import logging
import select
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ._errors import Forked, InvalidConfig
from ._native import Bell, Log

__all__ = ["RawRecord", "start_logging", "stop_logging"]

RawRecord = tuple[int, int, str, str, list[tuple[str, Any]], str | None, int | None, str | None]

_T = TypeVar("_T")

_log = logging.getLogger("senza")
_WORDS = ((5, "trace"), (logging.DEBUG, "debug"), (logging.INFO, "info"), (logging.WARNING, "warn"))
_EXIT_SECONDS = 5.0


def start_logging(level: int | str = logging.INFO, *, filter: str | None = None) -> None:
    """Has what senza logs handed to Python's `logging` from now on, until `stop_logging` or the end of the program.
    Called again, it sets another level. Without it, senza logs nowhere.

    `level`, as of `logging`, is the least that is handed over, of senza alone. `filter` instead has levels by target,
    such as `"info,senza_mesh=debug,zenoh=warn"`, by the rules of `EnvFilter` of the crate `tracing-subscriber`. Loggers
    are named by targets, such as `senza.senza_mesh.engine`, and their own levels hold as well: `logging`'s root is at
    WARNING unless it is told otherwise. What Rust calls trace has level 5.

    A record's message is what happened, followed by its fields as `name=value`; its attributes `target` and `fields` (a
    dict) have them as they are; its time, thread, file and line are where it was logged.

    Whoever logs waits for nobody: at most 1,024 records wait for the handlers, and what comes then is dropped and
    counted, which a warning of the logger `senza` tells. A record keeps 4 KiB of text.
    """
    global _delivery
    filter = f"{_word(level)},zenoh=off" if filter is None else filter
    with _lock:
        if _delivery is None:
            _delivery = _Delivery(Log(filter))
        else:
            _delivery.log.change(filter)


def stop_logging() -> None:
    """Ends `start_logging`: what was logged until then is still handed over before this returns, unless a handler calls
    it. Where there is nothing to end it does nothing."""
    _stop(None)


def _word(level: int | str) -> str:
    number = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if not isinstance(number, int):
        raise InvalidConfig(
            f"level = {level!r}: must be one of logging, such as logging.INFO or 'info'", setting="level"
        )
    if number > logging.ERROR:
        return "off"
    return next((word for bound, word in _WORDS if number <= bound), "error")


class _Delivery:
    """The thread that hands over what was logged. What it logs itself of senza is left out."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._bell = Bell()
        self._token = self._bell.token()
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="senza-log", daemon=True)
        self._thread.start()

    def stop(self, timeout: float | None) -> None:
        """Ends the thread, after what was logged until now."""
        self.log.close()
        self._ends = True
        self._bell.ring(self._token)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._bell.fileno(), select.POLLIN)
        while True:
            # First whether it ends: then all that was logged before is queued.
            ends = self._ends
            records, lost = self.log.poll(self._bell, self._token)
            for record in records:
                _hand_over(_deliver, record)
            if lost:
                _hand_over(_tell_lost, lost)
            if not records:
                if ends:
                    return
                poll.poll()
                self._bell.answer()


def _hand_over(deliver: Callable[[_T], None], what: _T) -> None:
    try:
        deliver(what)
    except Exception:
        # A handler tells its own errors; a filter's, or a factory's of records, would end the thread.
        kind, error, trace = sys.exc_info()
        if kind is not None:
            threading.excepthook(threading.ExceptHookArgs((kind, error, trace, threading.current_thread())))


def _deliver(raw: RawRecord) -> None:
    level, time, target, message, fields, file, line, thread = raw
    logger = logging.getLogger(f"senza.{target.replace('::', '.')}")
    if not logger.isEnabledFor(level):
        return
    message += "".join(f" {name}={value}" for name, value in fields)
    extra = {"target": target, "fields": dict(fields)}
    record = logger.makeRecord(logger.name, level, file or "", line or 0, message, (), None, None, extra)
    late, record.created = record.created - time / 1e6, time / 1e6
    record.msecs = time % 1_000_000 // 1000 + 0.0
    record.relativeCreated -= late * 1e3
    record.thread, record.threadName = 0, thread or "unnamed"
    logger.handle(record)


def _tell_lost(lost: int) -> None:
    told = "%d records of senza's log were dropped: more came than handlers took"
    _log.warning(told, lost, extra={"fields": {"lost": lost}})


_lock = threading.Lock()
_delivery: _Delivery | None = None


def _stop(timeout: float | None) -> None:
    global _delivery
    with _lock:
        ending, _delivery = _delivery, None
    if ending is not None:
        ending.stop(timeout)


@atexit.register
def _stop_at_exit() -> None:
    # Nodes are closed before: what is registered later runs earlier.
    with contextlib.suppress(Forked):
        _stop(_EXIT_SECONDS)
