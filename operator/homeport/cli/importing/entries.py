"""What a JSON catalog's entry says beside its Compose file, and what becomes of it."""

from __future__ import annotations

from homeport.cli.importing.service import Service
from homeport.cli.importing.source import Source

_READ = frozenset(
    {
        *("id", "name", "version", "description", "category", "icon", "tags", "website", "ports"),
        *("min_memory", "min_cpu", "min_disk"),
    }
)


def say_what_is_left(source: Source, main: Service) -> None:
    """A note for each field of the entry that isn't carried over, and for what differs from the Compose file."""
    for field, value in source.entry.items():
        if field in _READ or value in (None, "", [], {}):
            continue
        if field == "environment" and isinstance(value, dict):
            _environment(source, value, main)
        elif field == "volumes" and isinstance(value, list):
            _volumes(source, value)
        elif field == "author":
            source.say("", field, str(value))
        else:
            source.say("", field, "items have no such field", dropped=True)


def _environment(source: Source, given: dict[str, object], main: Service) -> None:
    """Settings that the entry shows its users: what the Compose file sets holds."""
    services = source.compose["services"].values()
    everywhere = "\n".join(str(service.get("environment")) for service in services)
    for name, value in given.items():
        shown = str(value)
        if name in main.env:
            if main.env[name] != shown:
                source.say("", f"environment.{name}", f"{main.name} sets another value, which holds")
        elif name not in everywhere:
            source.say("", f"environment.{name}", "no service has it; write it in env beside catalog", dropped=True)


def _volumes(source: Source, given: list[object]) -> None:
    known = {str(name) for name in source.compose.get("volumes") or ()}
    for name in given:
        if str(name) not in known:
            source.say("", f"volumes[{name}]", "no service mounts it", dropped=True)
