"""What is imported runs: each entry becomes Ready, and its services find each other under the names they look for.

The ten samples are what everybody has. ``HOMEPORT_CATALOG_ENTRIES=FOLDER`` takes another folder of entries instead,
such as the whole catalog: ``HOMEPORT_CATALOG_ENTRIES=/path pytest -rP tests/integration/test_catalog_imported.py``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from homes import Home

from homeport.cli.importing.files import NotAnEntry, find
from homeport.cli.importing.item import Imported, as_manifest, imported
from homeport.drivers.catalog import Renderer

pytestmark = pytest.mark.integration

SAMPLES = Path(__file__).parent.parent / "samples" / "catalog"
ENTRIES = Path(os.environ.get("HOMEPORT_CATALOG_ENTRIES") or SAMPLES)


@dataclass
class Entry:
    """An entry, and what it became."""

    compose: Mapping[str, Any]
    made: Imported


def entries() -> Iterator[Entry]:
    """Every entry, imported."""
    renderer = Renderer()
    for found in find([ENTRIES]).found:
        try:
            made = imported(found, {}, renderer)
        except NotAnEntry:
            continue
        yield Entry(json.loads(found.path.read_text())["docker_compose"], made)
    renderer.close()


def names_of(name: str, service: Mapping[str, Any]) -> set[str]:
    return {name, *(service[field] for field in ("container_name", "hostname") if service.get(field))}


def named(compose: Mapping[str, Any]) -> Iterator[tuple[str, str, str, int | None]]:
    """(service, variable, sibling that it names, port) of every variable whose value holds a sibling's host name."""
    services = compose["services"]
    for name, service in services.items():
        env = service.get("environment") or {}
        pairs = env.items() if isinstance(env, dict) else [each.partition("=")[::2] for each in env]
        for variable, value in ((variable, str(value)) for variable, value in pairs):
            for other, body in services.items():
                for alias in names_of(other, body) if other != name else ():
                    alone = value == alias and re.search(r"HOST|SERVER|ENDPOINT|ADDR", variable.upper())
                    found = re.search(rf"(?:^|://|@|,){re.escape(alias)}:(\d+)", value)
                    if alone:
                        port = str(dict(pairs).get(re.sub(r"HOST(NAME)?$|SERVER$|ENDPOINT$", "PORT", variable), ""))
                        yield name, variable, other, int(port) if port.isdecimal() else None
                    elif found:
                        yield name, variable, other, int(found.group(1))


def variables(workload: Mapping[str, Any]) -> dict[str, str]:
    container = workload["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each.get("value", "") for each in container.get("env", ())}


@pytest.mark.timeout(1800)
def test_every_entry_becomes_ready_and_its_services_find_each_other(bare: Home) -> None:
    """Each as a CatalogItem, and an Application that says nothing but the item's name."""
    bare.project()
    there = list(entries())
    assert there
    for level in sorted({entry.made.pod_security for entry in there}):
        bare.environment(level, podSecurity=level)
        bare.ready("Environment", level)
    for entry in there:
        made = entry.made
        bare.own("CatalogItem", made.name, as_manifest(made, bare.name)["spec"])
        part = {"name": made.name, "catalog": {"name": made.name}}
        bare.application(part, name=made.name, environments=[{"name": made.pod_security}])
    for entry in there:
        bare.ready("CatalogItem", entry.made.name, seconds=300)
        bare.ready("Application", entry.made.name, seconds=600)
    looked = [len(list(look(bare, entry))) for entry in there]
    total = sum(len(entry.compose["services"]) for entry in there)
    components = sum(len(entry.made.components) for entry in there)
    figures = f"{len(there)} entries, {total} services, {components} components Ready; {sum(looked)} references found"
    sys.stdout.write(f"{figures}\n")  # for -rP
    assert components == total


def look(home: Home, entry: Entry) -> Iterator[str]:
    """Looks up every name by which a service of the entry calls another, as the cluster's DNS would."""
    place = home.place(entry.made.pod_security)
    services = {body["metadata"]["name"]: body["spec"] for body in home.list("Service", place)}
    workloads = {
        body["metadata"]["name"]: body for kind in ("Deployment", "StatefulSet") for body in home.list(kind, place)
    }
    component = entry.made.services
    for name, service in entry.compose["services"].items():
        for need in service.get("depends_on") or ():
            assert component[need] in services, f"{entry.made.name}: {name} needs {need}, which has no Service"
            yield need
    for name, variable, other, port in named(entry.compose):
        host = component[other]
        value = variables(workloads[component[name]])[variable]
        where = f"{entry.made.name}: {name}.{variable} = {value!r}"
        assert re.search(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", value), f"{where} doesn't name {host}"
        assert host in services, f"{where}: there is no Service {host}"
        ports = {each["port"] for each in services[host].get("ports", ())}
        assert port is None or port in ports, f"{where}: {host} has {sorted(ports)}, not {port}"
        assert ports, f"{where}: {host} has no port"
        yield host
