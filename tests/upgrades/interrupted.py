"""``interrupted.py URL``: upgrades a database, killed again and again, each time a bit later.

Every attempt is a process of its own that ends by kill -9 right after so many changes of the schema
have been made. Prints how many were killed until one came through.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from sqlalchemy import event

from servicegroup.store import migrate, upgrading
from servicegroup.store.database import connect, write

CHANGES = ("ALTER", "CREATE", "INSERT", "UPDATE")


def upgrade(url: str, allowed: int) -> None:
    """Upgrade; die after so many changes."""
    engine = connect(url)
    changes = itertools.count(1)

    def executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().startswith(CHANGES) and next(changes) == allowed:
            os.kill(os.getpid(), signal.SIGKILL)

    upgrading._make_table(engine)
    # The claim of the attempt before is not waited for.
    write(engine, lambda connection: connection.execute(upgrading.claims.delete()))
    event.listen(engine, "after_cursor_execute", executed)
    migrate.upgrade(engine)


def main(url: str) -> None:
    """Fork an attempt after the other."""
    step = 1 if url.startswith("mysql") else 5  # others have all or nothing, so a few tell as much
    for allowed in itertools.count(1, step):
        child = os.fork()
        if child == 0:
            upgrade(url, allowed)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            print(allowed // step)
            return
        assert os.WIFSIGNALED(status), "the attempt failed by itself"


if __name__ == "__main__":
    main(sys.argv[1])
