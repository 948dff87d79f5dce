"""A Proxmox VE that stands in for a real one: for ``make demo``, and for the tests.

fakepve (AGPL, a development dependency) models the API; what is here stands before it wherever it is more lenient than
pve-manager, pve-container and pve-storage are, or leaves something out. Nothing of the operator imports it.

``python -m localpve --directory DIR`` serves the demo host ``lab``; its state survives in the directory.
"""

from localpve.server import API, StandIn

__all__ = ["API", "StandIn"]
