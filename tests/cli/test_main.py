"""The command line as a whole: it starts light, and every error is one sentence and a code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from servicegroup import errors
from servicegroup.cli.main import COMMANDS, cli
from servicegroup.group import ServiceGroup
from support.waiting import until

from .conftest import Desk

HEAVY = ("sqlalchemy", "alembic", "rich", "oslo_config", "starlette", "uvicorn", "urllib3", "json")


def test_help_imports_nothing_that_help_does_not_need() -> None:
    code = (
        "import sys, click; from click.testing import CliRunner;"
        " already = set(sys.modules);"
        " from servicegroup.cli.main import cli;"
        " assert CliRunner().invoke(cli, ['--help']).exit_code == 0;"
        " print(*{name.partition('.')[0] for name in set(sys.modules) - already})"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "servicegroup" in found
    assert not set(found) & {*HEAVY, "msgspec"}


def test_help_lists_every_command_and_every_exit_code(bare_desk: Desk) -> None:
    text = bare_desk.run("--help").stdout
    for name, (_, sentence) in COMMANDS.items():
        assert f"  {name} " in text
        assert sentence in text
    for code in ("0", "1", "2", "3", "4", "5", "130"):
        assert f"\n    {code} " in text


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            found.append((*path, name))
            if isinstance(command, click.Group):
                found += _commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", _commands(cli), ids=" ".join)
def test_every_command_of_the_table_exists_and_has_help(bare_desk: Desk, path: str) -> None:
    result = bare_desk.type(*path, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_a_mistyped_command_is_told_the_right_one(bare_desk: Desk) -> None:
    result = bare_desk.type("servise")
    assert result.exit_code == 2
    assert "service" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidInput, 2),
        (errors.ConfigError, 2),
        (errors.NotFound, 3),
        (errors.Unavailable, 4),
        (errors.StoreUnavailable, 4),
        (errors.ControlPlaneUnavailable, 4),
        (errors.Conflict, 5),
        (errors.Forbidden, 5),
        (errors.ServiceGroupError, 1),
        (ZeroDivisionError, 1),
        (PermissionError, 1),
    ],
)
def test_an_error_is_one_sentence_and_its_code(
    bare_desk: Desk, monkeypatch: pytest.MonkeyPatch, error: type[Exception], code: int
) -> None:
    @click.command()
    def failing() -> None:
        raise error("It broke \x1b[31mbadly.")

    module = type(sys)("failing_command")
    module.failing = failing  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "failing_command", module)
    monkeypatch.setitem(COMMANDS, "failing", ("failing_command:failing", "Fail."))
    result = bare_desk.type("failing")
    assert result.exit_code == code
    assert result.stderr.count("\n") == 1
    assert "It broke \\x1b[31mbadly." in result.stderr
    assert isinstance(bare_desk.type("--debug", "failing").exception, error)


def test_a_missing_library_is_named_with_its_remedy(
    bare_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, "odd", ("no_such_library.odd:odd", "Odd."))
    result = bare_desk.type("odd")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: no_such_library is not installed; pip install 'servicegroup[server]'.\n"
    )


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--config-file", "/nowhere.conf", "service", "list"), 2, "/nowhere.conf cannot be read"),
        (("service", "list"), 2, "There is no register at"),
        (("--url", "nonsense", "service", "list"), 2, "'nonsense' is not http://"),
        (("--url", " , ", "service", "list"), 2, "names no control plane"),
        (
            ("--url", "http://127.0.0.1:1", "service", "list"),
            4,
            "http://127.0.0.1:1 gave no answer",
        ),
        (("--url", "http://x", "--token", "ü", "service", "list"), 2, "The token holds"),
        (("service", "list", "--limit", "0"), 2, "--limit"),
        (("service", "list", "--host", ""), 2, "it is empty"),
        (("service", "list", "-c", "Colour"), 2, "'Colour' is no column; choose from ID, Binary"),
        (("service", "list", "-f", "nova-manage", "-c", "ID"), 2, "columns of its own"),
        (("service", "list", "-f", "json", "--watch"), 2, "leave out -f json"),
        (("service", "show"), 2, "Missing argument"),
        (("service", "show", "a", "b", "c"), 2, "'a b c' is neither an ID nor HOST BINARY"),
        (("service", "show", "../../etc/passwd"), 2, "is neither an ID nor HOST BINARY"),
        (("service", "delete", "1"), 2, "add --yes"),
    ],
)
def test_bad_input_gets_one_clear_answer(
    bare_desk: Desk, words: tuple[str, ...], code: int, sentence: str
) -> None:
    result = bare_desk.type(*words)
    assert result.exit_code == code
    assert sentence in result.stderr
    assert result.stdout == ""
    assert not bare_desk.database.exists(), "asking must not create a register"


def test_text_that_is_not_utf_8_is_refused(bare_desk: Desk) -> None:
    found = bare_desk.run("service", "list", "--host", "\udcff")
    assert found.returncode == 2
    assert "is not UTF-8" in found.stderr


def test_a_reader_that_goes_away_is_no_error(desk: Desk, group: ServiceGroup) -> None:
    for number in range(200):
        group.join(f"host{number}", "web")
    with subprocess.Popen(
        desk.command("service", "list", "-f", "json"),
        env=desk.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""


def test_a_full_disk_is_an_error(bare_desk: Desk) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, not a path
        found = subprocess.run(
            bare_desk.command("config", "sample"), stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert found.returncode == 1
    assert found.stderr == b"Error: No space left on device; add --debug to see where.\n"


def test_a_terminal_that_knows_less_than_unicode_is_enough(desk: Desk, group: ServiceGroup) -> None:
    group.join("host-😀", "web")
    found = desk.run("service", "list", PYTHONIOENCODING="latin-1")
    assert found.returncode == 0
    assert "host-\\U0001f600" in found.stdout


def test_an_interrupt_ends_it_quietly_with_130(bare_desk: Desk) -> None:
    fifo = bare_desk.directory / "slow.conf"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    with subprocess.Popen(
        bare_desk.command("--config-file", str(fifo), "service", "list"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        writer = until(lambda: _writer(fifo), what="the command reads its configuration")
        process.send_signal(signal.SIGINT)
        output, complaint = process.communicate(timeout=30)
        os.close(writer)
    assert process.returncode == 130
    assert output + complaint == b""


def _writer(fifo: Path) -> int | None:
    """Open a FIFO for writing, which works once somebody waits to read it."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_python_m_servicegroup_is_the_command(bare_desk: Desk) -> None:
    found = bare_desk.run("--version")
    assert found.stdout.startswith("servicegroup, version ")
    assert "Usage: servicegroup [OPTIONS]" in bare_desk.run("--help").stdout
