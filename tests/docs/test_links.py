"""Every link of the documentation leads somewhere, and every page is led to."""

from __future__ import annotations

import pytest

from docs import pages


@pytest.mark.parametrize("name", pages.names())
def test_links_resolve(name: str) -> None:
    page = pages.page(name)
    for target in page.links:
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.path.parent / path).resolve() if path else page.path
        assert file.exists(), f"{name} links to {target}, which is not there"
        if anchor:
            linked = pages.page(str(file.relative_to(pages.ROOT)))
            assert anchor in linked.anchors, f"{name} links to {target}; no such heading"


def test_every_page_is_found_from_the_readme() -> None:
    found, new = set[str](), {"README.md"}
    while new:
        name = new.pop()
        found.add(name)
        page = pages.page(name)
        files = {(page.path.parent / t.partition("#")[0]).resolve() for t in page.links}
        linked = {str(file.relative_to(pages.ROOT)) for file in files if file.suffix == ".md"}
        new |= linked - found
    assert set(pages.names()) - found == set()
