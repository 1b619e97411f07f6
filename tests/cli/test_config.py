"""``servicegroup config sample`` explains every option, and taken at its word changes nothing."""

from __future__ import annotations

import re

import msgspec

from servicegroup import config
from servicegroup.driver import Options, load
from servicegroup.options import list_opts

from .conftest import Desk


def _sample(desk: Desk) -> str:
    result = desk.type("config", "sample")
    assert result.exit_code == 0
    return str(result.stdout)


def test_every_option_is_there_with_help_and_default(bare_desk: Desk) -> None:
    text = _sample(bare_desk)
    for section, options in list_opts():
        body = text.split(f"\n[{section}]\n")[1].split("\n[")[0]
        for option in options:
            assert re.search(rf"^# .+\n#{option.name} =", body, re.MULTILINE), option.name


def test_the_sample_as_it_is_reads_as_the_defaults(bare_desk: Desk) -> None:
    bare_desk.config.write_text("")
    plain = config.load(str(bare_desk.config))
    bare_desk.config.write_text(_sample(bare_desk))
    shown = config.load(str(bare_desk.config))
    assert _options(shown) == _options(plain)
    assert msgspec.structs.replace(shown, driver=plain.driver) == plain


def test_every_default_shown_is_the_default(bare_desk: Desk) -> None:
    bare_desk.config.write_text("")
    plain = config.load(str(bare_desk.config))
    uncommented = re.sub(r"^#(\w+ = .)", r"\1", _sample(bare_desk), flags=re.MULTILINE)
    assert "\nreport_interval = 10\n" in uncommented
    bare_desk.config.write_text(uncommented)
    shown = config.load(str(bare_desk.config))
    assert _options(shown) == _options(plain)
    assert msgspec.structs.replace(shown, driver=plain.driver) == plain


def _options(settings: config.Settings) -> Options:
    """Return the options of the driver, those that are not set as well."""
    return load(settings.driver.name, settings.driver.options).options


def test_lines_are_short_enough_to_read(bare_desk: Desk) -> None:
    assert max(map(len, _sample(bare_desk).splitlines())) <= 100
