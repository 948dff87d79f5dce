"""The catalog's folders, and the worker process that renders its templates."""

from homeport.drivers.catalog.folders import FOLDERS_VARIABLE, folders, load, load_entry
from homeport.drivers.catalog.renderer import Renderer, RenderFailed, WorkerLost

__all__ = ["FOLDERS_VARIABLE", "RenderFailed", "Renderer", "WorkerLost", "folders", "load", "load_entry"]
