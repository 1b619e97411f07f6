"""A value in each process (ZK-14)."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from servicegroup.per_process import PerProcess


def test_a_process_keeps_its_value_until_it_is_popped() -> None:
    values = PerProcess(list[int])
    first = values.get()
    assert values.get() is first
    assert values.pop() is first
    assert values.pop() is None
    assert values.get() is not first


def test_a_forked_child_makes_its_own() -> None:
    values = PerProcess(os.getpid)
    parent = values.get()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(values.get()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 20) == str(child).encode()
    assert values.get() == parent
    os.close(reading)
    os.close(writing)


def test_threads_that_ask_first_at_once_get_one_value() -> None:
    """What is made twice may be a thread, or a connection, that nobody ends."""
    made: list[object] = []
    late = threading.Event()

    def make() -> object:
        made.append(object())
        late.wait(0.2)  # as long as another thread is about it, or a moment
        return made[-1]

    values = PerProcess(make)
    with ThreadPoolExecutor(4) as threads:
        found = {id(value) for value in threads.map(lambda _: values.get(), range(4))}
    assert len(made) == len(found) == 1
