"""``servicegroup config``: the configuration file, explained, with every option at its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import click

from servicegroup.cli.output import printable

_HEAD = """\
The configuration of servicegroup. It is read from the file given as --config-file or in
SERVICEGROUP_CONFIG, else ./servicegroup.conf, else /etc/servicegroup/servicegroup.conf. The
environment overrides it: OS_<SECTION>__<OPTION>, say OS_DEFAULT__REPORT_INTERVAL=5. Every line
below is a comment and shows a default."""


@click.group()
def config() -> None:
    """Print a sample of the configuration."""


@config.command(epilog="servicegroup config sample > servicegroup.conf")
def sample() -> None:
    """Print a configuration file with every option, its help and its default."""
    from servicegroup.options import list_opts

    lines = [*_comment(_HEAD)]
    for section, options in list_opts():
        lines += ["", f"[{section}]"]
        for option in options:
            lines += ["", *_comment(_help(option)), f"#{option.name} = {_default(option)}".rstrip()]
    click.echo("\n".join(lines))


def _comment(text: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), width=96):
        yield f"# {printable(line)}"


def _help(option: Any) -> str:
    """Return the option's help with what its type allows."""
    text = (option.help or "").rstrip()
    choices = getattr(option.type, "choices", None)
    least = getattr(option.type, "min", None)
    if choices:
        text += f" Choices: {', '.join(choices)}."
    if least is not None:
        text += f" At least {least:g}."
    return text


def _default(option: Any) -> str:
    value = option.default if option.sample_default is None else option.sample_default
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in (None, []) else str(value)
