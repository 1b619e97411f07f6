"""Ways: by which somebody reaches servers, through proxies that can break."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from servers.proxy import Proxy

EVERYBODY = "everybody"
"""Who goes a way that is nobody's own."""

Way = tuple[str, str]
"""From a site, a control plane or everybody to a control plane, the database or the backend."""

MakeWay = Callable[[Sequence[int]], Sequence[Proxy]]
"""Makes ways of somebody's own to servers on these ports."""
