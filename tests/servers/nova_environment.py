"""Nova lives in a virtual environment of its own, `.venv-nova` in the checkout.

It stays apart because Nova pins what servicegroup does not (SQLAlchemy before 2.1). Beside Nova it
holds this checkout, editable and with the extras an operator takes, so Nova runs the layer as it is
now. Run as a script, this file makes the environment.
"""

from __future__ import annotations

from servers.environments import Environment

NOVA = "34.0.0"
"""The version of Nova that everything is compared with and tested in."""

PACKAGES = (
    f"nova=={NOVA}",
    "SQLAlchemy<2.1",
    "openstack-placement==16.0.0",
    "psycopg2-binary",
    "python-memcached",
    "pyuwsgi==2.0.30.post1",  # uWSGI as a wheel, so no compiler is needed
    "gunicorn==27.0.1",
    # What Nova's own tests import.
    *("ddt", "fixtures", "oslotest", "requests-mock", "testresources", "testscenarios"),
    *("testtools", "wsgi-intercept"),
)

ENVIRONMENT = Environment(
    f"Nova {NOVA}", ".venv-nova", PACKAGES, "nova,zookeeper,memcached,etcd,redis"
)

if __name__ == "__main__":
    ENVIRONMENT.made()
