"""Which templates are ours, and which nothing needs."""

from __future__ import annotations

from typing import Any

from homeport.plan import uploaded
from homeport.plan.proxmox.privileges import Permissions
from homeport.plan.proxmox.readings import ClusterStatus, Resources, Version, Volume, resources
from homeport.plan.uploaded import Upload
from homeport.plan.world import HostReading

OURS = uploaded.prefix("here")


def reading(**templates: tuple[str, ...]) -> HostReading:
    storages = [
        {"type": "storage", "id": f"storage/{node}/{name}", "node": node, "storage": name, "shared": shared,
         "status": "available", "content": "vztmpl"}
        for node in ("pve1", "pve2") for name, shared in (("local", 0), ("nas", 1))
    ]  # fmt: skip
    found: Resources = resources(storages)
    volumes = {node: [Volume(one, "vztmpl", 1) for one in ids] for node, ids in templates.items()}
    permissions: Permissions = {}
    return HostReading(Version.parse("9.1"), ClusterStatus("lab", True, (), ""), permissions, volumes, found)


def test_ours_are_those_of_this_installation() -> None:
    theirs = uploaded.prefix("elsewhere")
    both = (f"nas:vztmpl/{OURS}web-1.tar", f"local:vztmpl/{OURS}web-1.tar")
    found = uploaded.on_host(
        reading(
            pve1=(*both, f"local:vztmpl/{theirs}web-1.tar", "local:vztmpl/homeport-web-1.tar"),
            pve2=(*both, "local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst"),
        ),
        "here",
    )
    assert found == (
        Upload("nas", f"{OURS}web-1.tar", "pve1"),  # once: both nodes have the same
        Upload("local", f"{OURS}web-1.tar", "pve1"),
        Upload("local", f"{OURS}web-1.tar", "pve2"),
    )
    assert found[0].volume == f"nas:vztmpl/{OURS}web-1.tar"


def test_what_a_container_names_is_needed() -> None:
    one = Upload("local", f"{OURS}web-1.tar", "pve1")

    def needed(**body: Any) -> bool:
        return not uploaded.unneeded([one], [body], "lab")

    assert not needed(spec={}, status={"host": "lab", "template": "local:vztmpl/another.tar"})
    assert not needed(spec={"template": one.volume}, status={"host": "another"})
    assert needed(spec={}, status={"host": "lab", "template": one.volume})
    assert needed(spec={"template": one.file})
    assert needed(spec={}, status={"host": "lab", "replacing": {"template": one.volume}})
    assert uploaded.unneeded([one], [], "lab") == {one}
