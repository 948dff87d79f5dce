"""An application on its way from Compose to an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from homeport.cli.importing.service import Service
from homeport.cli.importing.source import Note, Source

NAME, HOST, ACCESS = "HPxNAMEx", "HPxHOSTx", "HPxACCESSx"
IMAGE, SIZE, END = "HPxIMAGEx_", "HPxSIZEx_", "_x"
"""What depends on values or on the component's name stands as a token until the templates are written; an image's
and a size's goes on with a key, which has no '_', and ENDs."""
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

    named: set[tuple[str, str]] = field(default_factory=set)
    """(service, another that its variables name)."""

    def note(self, service: str, field_: str, text: str, dropped: bool = False) -> None:
        """Say what is changed or left out."""
        self.source.notes.append(Note(service, field_, text, dropped))

    def host(self, service: str) -> str:
        """What siblings call it."""
        return f"{HOST}-{self.parts[service]}" if self.parts[service] else HOST

    def name(self, service: str) -> str:
        """Its component's name."""
        return f"{NAME}-{self.parts[service]}" if self.parts[service] else NAME
