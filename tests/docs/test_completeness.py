"""Nothing that a user can set, call, type or be told lacks its place in the documentation."""

from __future__ import annotations

import re
from typing import Any

import click
import pytest
from starlette.routing import Route

import servicegroup
from docs.pages import DOCS, ROOT, Page, page
from servicegroup.agent.join import State
from servicegroup.api.access.strategies import TrustEveryone
from servicegroup.api.app import create_app
from servicegroup.api.compute import microversions
from servicegroup.api.compute import routes as compute
from servicegroup.api.compute.microversions import text_of
from servicegroup.api.v1 import routes as v1
from servicegroup.cli.main import EXIT_CODES, cli
from servicegroup.controlplane.intake import NOBODY, Intake
from servicegroup.controlplane.plane import Plane
from servicegroup.driver import driver_names, load
from servicegroup.errors import ServiceGroupError
from servicegroup.events import Event, EventKind
from servicegroup.group import ServiceGroup
from servicegroup.model import Limits, Reason
from servicegroup.nova import settings as nova_options
from servicegroup.nova.rpc import options as rpc_options
from servicegroup.options import list_opts
from servicegroup.store.database import connect
from servicegroup.store.store import Store
from support.control_plane import ControlPlane


def rows(found: Page) -> dict[tuple[str, ...], list[str]]:
    """Return the rows of a page by the words in code in their first two cells."""
    keyed = {}
    for row in found.rows:
        codes = (re.fullmatch(r"`([^`]+)`", cell) for cell in row[:2])
        keyed[tuple(code[1] for code in codes if code)] = row
    return keyed


OPTIONS = [(section, option) for section, options in list_opts() for option in options]


@pytest.mark.parametrize(
    ("section", "option"), OPTIONS, ids=[f"{section}.{option.name}" for section, option in OPTIONS]
)
def test_an_option_has_its_row_with_its_default(section: str, option: Any) -> None:
    text = page("docs/configuration.md").section(f"[{section}]")
    row = next((one for one in text.splitlines() if one.startswith(f"| `{option.name}` |")), None)
    assert row, f"configuration.md, section [{section}]: no row for {option.name}"
    default = option.default if option.sample_default is None else option.sample_default
    shown = "" if default in (None, [], "") else f"`{default}`"
    assert row.split("|")[2].strip().lower() == shown.lower(), "its default is another"
    assert all(cell.strip() for cell in row.split("|")[3:-1]), "unit, meaning or extremes lack"


def test_no_option_is_described_that_there_is_not() -> None:
    known = {option.name for _, option in OPTIONS}
    described = {key[0] for key in rows(page("docs/configuration.md")) if key}
    assert described == known


@pytest.mark.parametrize(
    "option", [*nova_options.OPTIONS, *rpc_options.OPTIONS], ids=lambda option: str(option.name)
)
def test_an_option_of_the_layer_for_nova_has_its_row(option: Any) -> None:
    default = str(option.default).lower()
    assert rows(page("docs/nova.md"))[(option.name, default) if default else (option.name,)]


@pytest.mark.parametrize("name", driver_names())
def test_a_driver_has_its_page(name: str) -> None:
    assert page(f"docs/drivers/{name}.md").headings


def served() -> set[tuple[str, str]]:
    """Return every method and path the application routes, Nova's and HEAD beside GET aside."""
    register = ServiceGroup(Store(connect("sqlite:///never-opened")), load("db"), Limits())
    intake = Intake(lambda reports, marking, deadline: NOBODY, 1)
    app = create_app(Plane(register, intake), TrustEveryone())
    routes = [route for route in app.routes if isinstance(route, Route)]
    return {
        (method, route.path)
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
        if "{rest" not in route.path
    }


def test_the_routes_have_their_rows() -> None:
    described = {key for key in rows(page("docs/api.md")) if len(key) == 2}
    nova = {(route.method, f"/v2.1{route.path}") for route in compute.ROUTES}
    assert {key for key in described if key[1].startswith("/v2.1/")} == nova
    assert {key for key in described if not key[1].startswith("/v2")} - {("GET", "/")} == served()


@pytest.mark.parametrize(
    "route", [*v1.WAITING, *v1.ROUTES], ids=lambda route: f"{route.method} {route.path}"
)
def test_a_route_of_v1_names_its_roles_and_query(route: v1.Route) -> None:
    row = rows(page("docs/api.md"))[route.method, route.path]
    assert row[2] == ", ".join(sorted(route.roles))
    for name in route.query:
        assert f"`{name}`" in row[3]


@pytest.mark.parametrize("version", microversions.CHANGES, ids=text_of)
def test_a_microversion_has_its_row(version: tuple[int, int]) -> None:
    assert (text_of(version),) in rows(page("docs/api.md"))


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_has_its_heading_and_sentence(reason: Reason) -> None:
    text = page("docs/reasons.md").section(f"`{reason.value}`")
    state = "Up" if reason.is_up else "Down"
    assert f"**{state}.** {reason.sentence}" in text
    assert ("At 3 a.m." in text) or reason.is_up, "what is there to do?"
    link = f"reasons.md#{reason.value}"
    assert reason.is_up or link in page("docs/troubleshooting.md").links


@pytest.mark.parametrize("kind", EventKind)
def test_a_kind_of_event_has_its_row_and_sentence(kind: EventKind) -> None:
    assert rows(page("docs/events.md"))[kind.value,][1] == kind.sentence


def test_no_event_and_no_field_of_one_is_described_that_there_is_not() -> None:
    described = {key[0] for key in rows(page("docs/events.md")) if key}
    assert described == set(EventKind) | set(Event.__struct_fields__)


@pytest.mark.parametrize("state", State)
def test_a_state_of_a_membership_has_its_row(state: State) -> None:
    assert (state.value,) in rows(page("docs/agent.md"))


def commands(command: click.Command, words: tuple[str, ...]) -> dict[str, click.Command]:
    """Return the command and everything below it by what is typed."""
    found = {" ".join(words): command}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found |= commands(below, (*words, name))
    return found


COMMANDS = commands(cli, ("servicegroup",))


@pytest.mark.parametrize("typed", COMMANDS)
def test_a_command_has_its_heading_and_options(typed: str) -> None:
    text = page("docs/cli.md").section(f"`{typed}`")
    for parameter in COMMANDS[typed].params:
        for name in parameter.opts if isinstance(parameter, click.Option) else ():
            if name.startswith("--") and parameter.name not in ("names", "form"):
                assert f"`{name}" in text, f"cli.md, {typed}: {name} is not described"


def test_no_command_is_described_that_there_is_not() -> None:
    described = re.findall(r"`(servicegroup[^`]*)`", "\n".join(page("docs/cli.md").headings))
    assert set(described) == set(COMMANDS)


@pytest.mark.parametrize("kind", EXIT_CODES, ids=lambda kind: str(kind.__name__))
def test_an_exit_code_has_its_row(kind: type[ServiceGroupError]) -> None:
    assert (str(EXIT_CODES[kind]),) in rows(page("docs/cli.md"))


def test_a_metric_has_its_row(control_plane: ControlPlane) -> None:
    _, _, body = control_plane.request("GET", "/metrics")
    found = set(re.findall(r"^# TYPE (\w+)", body.decode(), re.MULTILINE))
    described = {key[0] for key in rows(page("docs/api.md")) if key}
    assert {name for name in described if name.startswith("servicegroup_")} == found


def test_the_changelog_knows_this_version() -> None:
    headings = page("CHANGELOG.md").headings
    assert {"[Unreleased]", f"[{servicegroup.__version__}]"} & {h.split(" - ")[0] for h in headings}


@pytest.mark.parametrize("path", sorted((DOCS / "decisions").glob("*.md")), ids=lambda p: p.stem)
def test_a_decision_is_a_short_record(path: Any) -> None:
    found = page(str(path.relative_to(ROOT)))
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+", path.stem)
    assert found.headings[0].startswith(f"{path.stem[:4]}: ")
    assert found.headings[1:] == ["Context", "Choice", "What would change it"]
    assert len(found.text.splitlines()) <= 30


def test_contributing_names_every_folder_of_tests() -> None:
    folders = {f"tests/{file.parent.name}" for file in (ROOT / "tests").glob("*/*.py")}
    named = re.findall(
        r"^\| `(tests/\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    assert sorted(named) == sorted(folders), "CONTRIBUTING.md: a row for each folder of tests"
