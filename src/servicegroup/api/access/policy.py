"""The policy: what each rule is called, which roles of tokens it lets in, and Keystone's default.

Nova's rules have Nova's names and defaults. An operator overrides Keystone's defaults in a policy
file; the roles of tokens are fixed.
"""

from __future__ import annotations

from servicegroup.api.call import Role, Rule

ADMINS = frozenset({Role.ADMIN})
READERS = frozenset({Role.ADMIN, Role.READER})
REPORTERS = frozenset({Role.ADMIN, Role.REPORTER})

_ADMIN = "role:admin"
_PROJECT = ("project",)
_ANY = ("project", "system")
_NOVA = "os_compute_api:"

# A reader of some project is any customer of the cloud, and is not told which hosts there are.
READ = Rule("servicegroup:read", READERS, "role:admin or (role:reader and system_scope:all)", _ANY,
            "Read /v1: services, their history, events, drivers.")  # fmt: skip
REPORT = Rule("servicegroup:report", REPORTERS, "role:service or role:admin", _ANY,
              "Register, report and leave, for services of any host: what agents do.")  # fmt: skip
UPDATE = Rule("servicegroup:update", ADMINS, _ADMIN, _ANY,
              "Enable, disable and force down through /v1.")  # fmt: skip
DELETE = Rule("servicegroup:delete", ADMINS, _ADMIN, _ANY, "Delete through /v1.")

NOVA_LIST = Rule(f"{_NOVA}os-services:list", ADMINS, _ADMIN, _PROJECT, "List services.")
NOVA_UPDATE = Rule(f"{_NOVA}os-services:update", ADMINS, _ADMIN, _PROJECT,
                   "Enable, disable and force down a compute.")  # fmt: skip
NOVA_DELETE = Rule(f"{_NOVA}os-services:delete", ADMINS, _ADMIN, _PROJECT, "Delete a service.")
NOVA_ZONES = Rule(f"{_NOVA}os-availability-zone:list", frozenset(Role), "@", _PROJECT,
                  "List availability zones.")  # fmt: skip
NOVA_ZONES_DETAIL = Rule(f"{_NOVA}os-availability-zone:detail", ADMINS, _ADMIN, _PROJECT,
                         "List availability zones with hosts and services.")  # fmt: skip
NOVA_HOSTS = Rule(f"{_NOVA}os-hosts:list", ADMINS, _ADMIN, _PROJECT, "List hosts.")
NOVA_HOST = Rule(f"{_NOVA}os-hosts:show", ADMINS, _ADMIN, _PROJECT, "Show a host.")

RULES = (
    *(READ, REPORT, UPDATE, DELETE),
    *(NOVA_LIST, NOVA_UPDATE, NOVA_DELETE, NOVA_ZONES, NOVA_ZONES_DETAIL, NOVA_HOSTS, NOVA_HOST),
)
"""Every rule there is."""
