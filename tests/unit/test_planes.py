"""Which control plane an object in another cluster is of."""

from __future__ import annotations

from typing import Any

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import watches
from homeport.plan import planes
from homeport.plan.types import Change, Child, Manifest, Verb, object_id
from homeport.plan.world import Desired

OURS = {labels.MANAGED_BY: labels.MANAGER, labels.PROJECT: "shop"}
OWNED = {**OURS, labels.OWNER_KIND: "Application", labels.OWNER_NAME: "web"}
OWNER = OwnerKey("Application", "shop", "web")


def deployment(marks: dict[str, str] | None = None) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop-far", "labels": {**OWNED, **(marks or {})}},
        "spec": {
            "selector": {"matchLabels": {labels.COMPONENT: "web"}},
            "template": {"metadata": {"labels": dict(OWNED)}, "spec": {"containers": [{"name": "web"}]}},
        },
    }


def test_objects_and_pod_templates_in_another_cluster_are_marked_and_selectors_are_not() -> None:
    wanted = Desired((Child(deployment(), cluster="shop:far"), Child(deployment())))
    far, near = planes.marked(wanted, {"shop:far": "hub", "": ""}.__getitem__).children
    assert far.manifest["metadata"]["labels"][labels.CONTROL_PLANE] == "hub"
    assert far.manifest["spec"]["template"]["metadata"]["labels"][labels.CONTROL_PLANE] == "hub"
    assert far.manifest["spec"]["selector"] == deployment()["spec"]["selector"]
    assert near.manifest == deployment() == wanted.children[0].manifest


def test_whose_an_object_is_depends_on_the_control_plane() -> None:
    marked: Any = deployment({labels.CONTROL_PLANE: "hub"})
    assert labels.owner_of(marked) is None
    assert labels.owner_of(marked, "hub") == OWNER
    assert labels.owner_of(deployment(), "hub") is None
    name = object_id(marked)
    assert Change(Verb.UPDATE, name, child=Child(marked), live=deployment()).holder is None
    assert Change(Verb.UPDATE, name, child=Child(marked), live=marked).holder == OWNER
    assert Change(Verb.DELETE, name, live=marked).holder == OWNER


def test_what_a_control_plane_watches_and_what_it_takes_for_strangers() -> None:
    home = {spec.name: spec.labels for spec in watches.default_watches()}
    hub = {spec.name: spec.labels for spec in watches.default_watches("hub")}
    assert home["Deployment"] == "app.kubernetes.io/managed-by=homeport,!homeport.dev/control-plane"
    assert hub["Deployment"] == "app.kubernetes.io/managed-by=homeport,homeport.dev/control-plane=hub"
    assert hub["Pod/pod"] == "homeport.dev/application,homeport.dev/control-plane=hub"
    assert home["Namespace"] is hub["Namespace"] is None
    assert watches.strangers("hub") == ("homeport.dev/control-plane!=hub",)
    assert len(watches.strangers("")) == 2
