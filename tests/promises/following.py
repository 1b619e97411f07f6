"""Who follows the events: notes each of them, and what they amount to for every service."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from promises.history import LOG, EventSeen, Record, Seen, Shown
from servicegroup.events import Event, EventKind


class Told:
    """What events amount to: the state of each service as they told it last."""

    def __init__(self) -> None:
        self._states: dict[str, Shown] = {}

    def services(self) -> list[Shown]:
        """Return the services that were told of and not deleted."""
        return list(self._states.values())

    def follow(self, events: Iterable[Event]) -> None:
        """Go on with the events that came next."""
        for event in events:
            if event.kind is EventKind.GAP:
                self._states.clear()
            elif event.uuid is None:
                continue
            elif event.kind is EventKind.DELETE:
                self._states.pop(event.uuid, None)
            elif event.after is not None:
                self._states[event.uuid] = Shown(
                    host=event.host or "",
                    binary=event.binary or "",
                    state=event.after,
                    uuid=event.uuid,
                    group=event.group,
                    zone=event.zone,
                )


class Follower:
    """Notes what it is told; ``begun`` is a moment at which it knew the newest event."""

    def __init__(self, name: str, note: Callable[[Record], None], begun: float) -> None:
        self.name = name
        self._note = note
        self._asked = begun
        self._told = Told()

    def told(self, events: Iterable[Event], asked: float, answered: float, plane: str = "") -> None:
        """Note all events since the last time, as asked for and answered at these moments."""
        events = list(events)
        for event in events:
            self._note(EventSeen(follower=self.name, after=self._asked, by=answered, event=event))
        self._told.follow(events)
        self._asked = asked
        services = self._told.services()
        self._note(
            Seen(interface=LOG, plane=plane, asked=asked, answered=answered, services=services)
        )
