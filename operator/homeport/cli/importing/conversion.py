"""An application on its way from Compose to an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.cli.importing.service import Service
from homeport.cli.importing.source import Note, Source

NAME, HOST = "HPxNAMEx", "HPxHOSTx"
"""What depends on values or on the component's name stands as a token until the templates are written."""
Component = dict[str, Any]


@dataclass
class Conversion:
    """An application on its way: what its services become, and what its users may set."""

    source: Source
    services: Mapping[str, Service]
    main: str
    order: list[str]
    parts: dict[str, str]
    """By service: the further component's part; the main one's is empty."""
    components: dict[str, Component] = field(default_factory=dict)
    sizes: dict[str, str] = field(default_factory=dict)
    """Volumes by name, with the default of their value."""
    shared: dict[str, str] = field(default_factory=dict)
    """Volumes that several services mount -> the service whose claim it is."""

    def note(self, service: str, field_: str, text: str, dropped: bool = False) -> None:
        """Say what is changed or left out."""
        self.source.notes.append(Note(service, field_, text, dropped))

    def host(self, service: str) -> str:
        """What siblings call it."""
        return f"{HOST}-{self.parts[service]}" if self.parts[service] else HOST

    def name(self, service: str) -> str:
        """Its component's name."""
        return f"{NAME}-{self.parts[service]}" if self.parts[service] else NAME
