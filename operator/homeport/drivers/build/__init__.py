"""The programs that builds run: kustomize, helm, sops; and the folders that they run in."""

from homeport.drivers.build.folder import FolderCheckout
from homeport.drivers.build.programs import Limits, ProgramFailed, Programs, Scratch

__all__ = ["FolderCheckout", "Limits", "ProgramFailed", "Programs", "Scratch"]
