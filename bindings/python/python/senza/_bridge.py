"""Between the engine's bell and an event loop, or a thread that runs callbacks. See `Bell` in `src/bell.rs` for why."""

import asyncio
import logging
import select
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from ._contract import Demand
from ._errors import Busy
from ._native import Bell

__all__ = ["Bridge", "Callbacks"]

_log = logging.getLogger("senza")


class Polled(Protocol):
    """Demands, as a thread of callbacks looks at them."""

    @property
    def closed(self) -> bool: ...

    def close(self) -> None: ...

    def poll(self, bell: Bell, token: int) -> Demand | None: ...


class Bridge:
    """One bell per event loop, for all that waits in it."""

    @classmethod
    def of_running_loop(cls) -> "Bridge":
        """The bridge of the loop that runs in this thread."""
        loop = asyncio.get_running_loop()
        bridge = _bridges.get(loop)
        if bridge is None:
            bridge = _bridges[loop] = cls()
            # The loop drops this with its other watchers when it is closed; nobody need take it away.
            loop.add_reader(bridge.bell.fileno(), bridge._answer)
        return bridge

    def __init__(self) -> None:
        self.bell = Bell()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def wait(self, token: int) -> None:
        """Waits until the bell rings for a token. What rang between the look and this is heard: the loop answers only
        when this awaits."""
        if token in self._waiting:
            raise Busy("another task is reading this just now")
        future = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        try:
            await future
        finally:
            self._waiting.pop(token, None)

    def _answer(self) -> None:
        for token in self.bell.answer():
            future = self._waiting.pop(token, None)
            if future is not None and not future.done():
                future.set_result(None)


_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Bridge] = weakref.WeakKeyDictionary()


class Callbacks:
    """A thread of one node that calls whoever asked to be told of demands. One for all sensors."""

    def __init__(self) -> None:
        self._bell = Bell()
        self._stop = self._bell.token()
        self._lock = threading.Lock()
        self._followed: dict[int, tuple[Polled, Callable[[Demand], object]]] = {}
        self._thread = threading.Thread(target=self._run, name="senza-callbacks", daemon=True)
        self._thread.start()

    def follow(self, demands: Polled, tell: Callable[[Demand], object]) -> Callable[[], None]:
        """Has `tell` called with the demand as it is, and as it changes. Answers what ends that; a call that is under
        way then goes on."""
        token = self._bell.token()
        with self._lock:
            self._followed[token] = (demands, tell)
        self._bell.ring(token)
        return lambda: self._end(token)

    def stop(self) -> None:
        """Ends the thread, after the call that is under way."""
        self._bell.ring(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _end(self, token: int) -> None:
        with self._lock:
            followed = self._followed.pop(token, None)
        if followed is not None:
            followed[0].close()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._bell.fileno(), select.POLLIN)
        while True:
            poll.poll()
            for token in self._bell.answer():
                if token == self._stop:
                    return
                self._tell(token)

    def _tell(self, token: int) -> None:
        with self._lock:
            demands, tell = self._followed.get(token, (None, None))
        while demands is not None and tell is not None:
            demand = demands.poll(self._bell, token)
            if demand is None:
                break
            try:
                tell(demand)
            except Exception:
                _log.exception("a callback for demands raised; it is called again with the next one")
        if demands is not None and demands.closed:
            self._end(token)
