"""Carries a schedule out: each lane in a thread of its own, each fault written down."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

from nemesis.faults import KINDS, Kind
from nemesis.faults.kinds import Path
from nemesis.schedule import Step
from nemesis.world import World
from promises.history import Fault


class Storm:
    """What is done to a world; ``done`` counts the faults by kind."""

    def __init__(self, world: World, lanes: Mapping[str, Sequence[Step]]) -> None:
        self.done: Counter[str] = Counter()
        self._world = world
        self._lanes = lanes
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._backends_turn = threading.Lock()

    def rage(self) -> None:
        """Do all of it, and return when all is mended. Raises what failed of it."""
        self._begun = time.monotonic()
        with ThreadPoolExecutor(len(self._lanes)) as hands:
            works = [hands.submit(self._follow, steps) for steps in self._lanes.values()]
            try:
                failures = [error for work in works if (error := work.exception()) is not None]
            finally:
                self._stop.set()
        if failures:
            raise BaseExceptionGroup("a storm that could not go on", failures)

    def _follow(self, steps: Sequence[Step]) -> None:
        try:
            for step in steps:
                self._wait_until(self._begun + step.at)
                if self._stop.is_set():
                    return
                self._do(step)
        except BaseException:
            self._stop.set()  # the other lanes end too, each after mending what it broke
            raise

    def _do(self, step: Step) -> None:
        kind = KINDS[step.kind]
        with self._turn(kind):
            begun = time.monotonic()
            target = self._carry_out(step, kind, begun)
            ended = time.monotonic()
        self.done[step.kind] += 1
        if kind.touches:
            self._world.record(
                Fault(
                    kind=step.kind,
                    target=target,
                    begun=begun,
                    ended=ended,
                    touches=self._touched(kind),
                    holds=kind.holds,
                )
            )

    def _touched(self, kind: Kind) -> frozenset[Path]:
        """Return the paths that a fault touches here: presence is in the record with sessions."""
        both = self._world.backend.is_recorded and "record" in kind.touches
        return kind.touches | frozenset(("backend",)) if both else kind.touches

    def _turn(self, kind: Kind) -> AbstractContextManager[object]:
        """Give the turn to what is done to the backend's servers."""
        own = "backend" in kind.touches and kind.lane != "ways"
        return self._backends_turn if own else nullcontext()

    def _lasting(self, kind: Kind) -> AbstractContextManager[Callable[[], None]]:
        """Let all who wait for commits know of what may prevent them, until it is mended."""
        if "record" in kind.touches:
            return self._world.lasting.fault(kind.name)
        return nullcontext(lambda: None)

    def _carry_out(self, step: Step, kind: Kind, begun: float) -> str:
        dice = random.Random(step.seed)
        with self._lasting(kind) as over, kind.doing(self._world, dice) as target:
            self._say(begun, f"{step.kind}: {target}, for {step.seconds:.1f} s")
            self._wait_until(begun + step.seconds)
            over()
        return target

    def _wait_until(self, moment: float) -> None:
        self._stop.wait(max(0.0, moment - time.monotonic()))

    def _say(self, at: float, text: str) -> None:
        print(f"{at - self._begun:6.1f} s  {text}", file=sys.stderr, flush=True)
