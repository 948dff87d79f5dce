"""The demo host ``lab``: two nodes, three containers that aren't ours, a template, and a token for the operator."""

from __future__ import annotations

from localpve.networks import bridge
from localpve.server import StandIn

TOKEN = "homeport@pve!operator"
SECRET = "6f1c9e0a-0000-4000-8000-000000000001"
TEMPLATE = "debian-12-standard_12.7-1_amd64.tar.zst"
ALL = ("Sys.Audit", "VM.Audit", "Datastore.Audit", "Datastore.AllocateSpace", "Datastore.AllocateTemplate", "SDN.Use",
       "VM.Allocate", "VM.PowerMgmt", "VM.Config.CPU", "VM.Config.Disk", "VM.Config.Memory", "VM.Config.Network",
       "VM.Config.Options", "VM.Backup")  # fmt: skip
"""What the operator's token may do on ``/``."""


VERSION = "9.1.3"


def furnish(pve: StandIn, secret: str = SECRET, version: str = VERSION) -> StandIn:
    """Make a bare stand-in the host ``lab``."""
    pve.cluster_name = "lab"
    pve.version, pve.release_version = version, version.rpartition(".")[0]
    pve.add_node("pve1")
    pve.add_node("pve2")
    for node, address in (("pve1", "10.20.0.2/16"), ("pve2", "10.20.0.3/16")):
        bridges = (bridge("vmbr0", ports="eno1", address=address), bridge("vmbr1", vlan_aware=False),
                   bridge("vmbr9"))  # fmt: skip
        pve.bridges[node] = {entry["iface"]: entry for entry in bridges}
    pve.apitokens[TOKEN] = secret
    pve.grant(TOKEN, "/", *ALL)
    pve.add_ct(100, "pihole", node="pve1", status="running", config={"tags": "dns;lan"})
    pve.add_ct(101, "gitea", node="pve1", status="stopped")
    pve.add_ct(102, "media", node="pve2", status="running")
    pve.store_file("local", TEMPLATE, 120 * 2**20, "vztmpl")
    return pve
