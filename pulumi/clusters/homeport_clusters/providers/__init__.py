"""Dynamic providers on Homeport's drivers: what a real ``up`` needs where provider plugins can't be had.

======== ==========================================================
module   what
======== ==========================================================
base     what they have in common; read it before writing another
objects  Kubernetes objects, by server-side apply
chart    releases of Helm charts, by the program ``helm``
kind     clusters of the program ``kind``
lxc      LXC containers of a Proxmox VE cluster
k3s      k3s in such containers
======== ==========================================================
"""
