"""``python -m servicegroup`` is the command ``servicegroup``."""

from __future__ import annotations

from servicegroup.cli.main import main

if __name__ == "__main__":
    main()
