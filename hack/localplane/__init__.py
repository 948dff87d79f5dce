"""A real Kubernetes control plane on this machine, from binaries that are found, cached or built.

    from localplane import ControlPlane

    with ControlPlane(directory, ephemeral=True) as plane:
        ...  # plane.kubeconfig is an admin's

`python -m localplane --help` is the command line that the Makefile's `demo up down status env` call.
"""

from localplane.controlplane import ControlPlane, ControlPlaneError

__all__ = ["ControlPlane", "ControlPlaneError"]
