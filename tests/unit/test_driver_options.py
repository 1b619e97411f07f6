"""What agents are handed of a driver's options is data on the option."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
import pytest

from servicegroup.driver import Options, driver_class, driver_names, option_metas
from servicegroup.drivers.db import DbDriver


class Marked(Options, frozen=True, kw_only=True):
    address: Annotated[str, msgspec.Meta(description="Where.")] = "here"
    phrase: Annotated[str, msgspec.Meta(extra={"secret": True}, description="Who.")] = ""
    path: Annotated[str, msgspec.Meta(extra={"local": True}, description="A file.")] = ""
    bare: int = 3


class Example(DbDriver):
    Options = Marked


def test_secrets_and_what_is_local_stay_here() -> None:
    driver = Example(Marked(phrase="s3cret", path="/etc/key"))
    assert driver.shared_options() == {"address": "here", "bare": 3}


@pytest.mark.parametrize("name", driver_names())
def test_every_option_that_names_a_secret_or_a_file_is_marked(name: str) -> None:
    for option, meta in option_metas(driver_class(name).Options).items():
        marks = meta.extra or {}
        if re.search(r"password|secret|token|^url$", option):
            assert marks.get("secret"), option
        if re.search(r"file$|^ca$|path", option):
            assert marks.get("local"), option
