"""The headline: a Nova with its own intervals knows in seconds that a compute died."""

from __future__ import annotations

import time

import pytest

from servers.cloud import Cloud
from support.waiting import until

from .conftest import SESSION, TICK

SLACK = 0.3
"""Seconds granted beyond the session and a tick: the look at the API."""


def test_a_killed_compute_is_down_when_its_session_has_ended(
    default_cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    before = default_cloud.service_list()
    default_cloud.computes["two"].kill()
    killed = time.monotonic()
    until(lambda: default_cloud.state("two") == "down", 50, 0.02, "two is down")
    took = time.monotonic() - killed
    after = default_cloud.service_list()
    with capsys.disabled():
        print("", before, "$ kill -9 the nova-compute of two", after, sep="\n")
        print(
            f"Down {took:.2f} s after kill -9: the session of {SESSION} s and a tick of {TICK} s,"
            " where service_down_time is 60 s."
        )
    assert took <= SESSION + TICK + SLACK
    assert default_cloud.state("one") == "up"
