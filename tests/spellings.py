"""How else one uuid, or one name, may be written by whoever wants to be taken for another."""

from __future__ import annotations

from collections.abc import Callable


def _one_capital(uuid: str) -> str:
    place = next(n for n, c in enumerate(uuid) if c.isalpha())
    return uuid[:place] + uuid[place].upper() + uuid[place + 1 :]


OF_UUIDS: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "one-capital": _one_capital,
    "braces": lambda u: f"{{{u}}}",
    "braces-and-capitals": lambda u: f"{{{u.upper()}}}",
    "no-dashes": lambda u: u.replace("-", ""),
    "no-dashes-capitals": lambda u: u.replace("-", "").upper(),
    "urn": lambda u: f"urn:uuid:{u}",
    "urn-capitals": lambda u: f"URN:UUID:{u.upper()}",
}
"""The spellings of a uuid: each is the same uuid."""

OF_NO_UUID: dict[str, Callable[[str], str]] = {
    "trailing-blank": lambda u: u + " ",
    "leading-blank": lambda u: " " + u,
    "trailing-dot": lambda u: u + ".",
    "tab": lambda u: u + "\t",
    "newline": lambda u: u + "\n",
    "one-brace": lambda u: "{" + u,
    "wide-digits": lambda u: "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in u),
    "accent": lambda u: u + "\u0301",
}
"""What some databases and libraries take for the same uuid, and is none."""

OF_NAMES: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "trailing-blank": lambda name: name + " ",
    "leading-blank": lambda name: " " + name,
    "trailing-dot": lambda name: name + ".",
    "wide": lambda name: "".join(chr(ord(c) + 0xFEE0) for c in name),
    "accent": lambda name: name + "\u0301",
    "sharp-s": lambda name: name.replace("ss", "ß"),
}
"""Names that some databases compare as equal, and that are names of others."""
