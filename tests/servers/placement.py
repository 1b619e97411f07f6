"""Placement: Nova's computes tell it what they have, and the scheduler asks it who has room."""

from __future__ import annotations

from servers.openstack import WebAPI, ini


class Placement(WebAPI):
    """Placement on an empty database, in which it makes its schema."""

    name = "placement"
    package = "openstack-placement"
    application = "placement.wsgi.api:application"
    configured_by = "OS_PLACEMENT_CONFIG_DIR"

    def __init__(self, database: str) -> None:
        super().__init__()
        self.database = database

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://{self.address}"

    def prepare(self) -> None:
        settings = {
            "api": {"auth_strategy": "noauth2"},
            "placement_database": {"connection": self.database, "sync_on_startup": "true"},
        }
        (self.directory / "placement.conf").write_text(ini(settings))
