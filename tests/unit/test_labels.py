"""Whose child an object is."""

from __future__ import annotations

from typing import Any

from homeport.api import labels
from homeport.api.labels import OwnerKey

OURS = {
    labels.MANAGED_BY: labels.MANAGER,
    labels.PROJECT: "shop",
    labels.OWNER_KIND: "Application",
    labels.OWNER_NAME: "shop",
}


def test_slices_that_kubernetes_makes_are_nobodys_children() -> None:
    def of(**more: Any) -> OwnerKey | None:
        return labels.owner_of({"metadata": {"labels": {**OURS, **more}}})

    ours = OwnerKey("Application", "shop", "shop")
    assert of() == ours and of(**{labels.SLICE_MAKER: labels.SLICES_OURS}) == ours
    assert of(**{labels.SLICE_MAKER: "endpointslice-controller.k8s.io"}) is None
