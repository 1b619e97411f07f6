"""What operators do meanwhile, through any control plane, and write down."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any, Literal

import urllib3

from nemesis.fleet import Process
from nemesis.world import World
from promises.history import Act, Key

What = Literal["enable", "disable", "force_down", "unforce", "delete"]

CHANGES: dict[What, dict[str, Any]] = {
    "enable": {"disabled": False},
    "disable": {"disabled": True, "disabled_reason": "new disks"},
    "force_down": {"forced_down": True},
    "unforce": {"forced_down": False},
}


def do(world: World, dice: random.Random, what: What, process: Process, key: Key) -> bool:
    """Try once, by any control plane, on a service's newest record; tell whether it is so."""
    life = process.lives()[key]
    plane = dice.choice(world.planes)
    asked = time.monotonic()
    method, body = ("DELETE", None) if what == "delete" else ("PATCH", CHANGES[what])
    try:
        status, _, _ = plane.request(method, f"/v1/services/{life.uuid}", body)
    except urllib3.exceptions.HTTPError:
        status = 0
    done = status in (200, 204)
    world.record(
        Act(
            what=what,
            host=life.host,
            binary=life.binary,
            uuid=life.uuid,
            asked=asked,
            answered=time.monotonic(),
            done=done,
        )
    )
    # Tried before without an answer, a delete may have been done.
    return done or (what == "delete" and status == 404)


def insist(world: World, dice: random.Random, what: What, process: Process, key: Key) -> None:
    """Try until it is done."""
    done = partial(do, world, dice, what, process, key)
    world.lasting.until(done, lambda: f"an operator cannot {what} {key}", 0.5)
