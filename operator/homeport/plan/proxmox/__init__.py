"""Proxmox VE's words and values, pure: what planning says of containers, and what the driver reads from the API.

============== =====================================================================
module         what
============== =====================================================================
sizes          bytes, MiB and GiB, as PVE spells them
properties     property strings: ``netN``, ``mpN``, ``rootfs``, ``features``
config         a container's configuration: tags, pending changes, live or reboot
tasks          worker tasks: UPIDs, how one ended
readings       versions, clusters, nodes, storages, guests, templates, interfaces
privileges     what a token may do, and what each feature needs
changes        what differs between two readings
grants         what a project may use of a host
bridges        where an interface can be plugged in
placement      on which node a container is made
addresses      VMIDs and addresses that nobody has
reach          how a container is reached from Kubernetes
============== =====================================================================

What PVE does is written in its sources, https://git.proxmox.com, and in its API viewer,
https://pve.proxmox.com/pve-docs/api-viewer/; each module names the places.
"""
