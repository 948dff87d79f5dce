"""Every label, annotation and finalizer that Homeport reads or writes, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

GROUP = "homeport.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

MANAGER = "homeport"
"""The field manager of everything that Homeport applies."""
SCALE_MANAGER = "homeport-scale"
"""Owns ``spec.replicas`` once, when an autoscaler takes it over, so that nothing drops to one replica."""
MARKS_MANAGER = "homeport-project"
"""Owns the marks on a project's own namespace, apart from what an Environment declares on its."""
FINALIZER = f"{GROUP}/finalizer"

# On children: whose they are and what they are part of.
PROJECT = f"{GROUP}/project"
ENVIRONMENT = f"{GROUP}/environment"
APPLICATION = f"{GROUP}/application"
COMPONENT = f"{GROUP}/component"
OWNER_KIND = f"{GROUP}/owner-kind"
OWNER_NAME = f"{GROUP}/owner-name"

# The recommended labels of https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
APP_NAME = "app.kubernetes.io/name"
APP_INSTANCE = "app.kubernetes.io/instance"
APP_COMPONENT = "app.kubernetes.io/component"
APP_PART_OF = "app.kubernetes.io/part-of"
APP_VERSION = "app.kubernetes.io/version"
MANAGED_BY = "app.kubernetes.io/managed-by"

# On children: what we last applied (a digest of the declared fields), so that a field that is no longer
# declared is noticed after a restart too.
APPLIED_HASH = f"{GROUP}/applied-hash"
PRUNE = f"{GROUP}/prune"
"""On a child: ``Disabled`` keeps it when it leaves the desired set."""
DELETION_POLICY = f"{GROUP}/deletion-policy"
"""On a child: ``Retain`` when it outlives its owner, so that this is known when nobody declares it any more."""
AUTOSCALED = f"{GROUP}/autoscaled"
"""On a workload: its replicas are an autoscaler's."""
COPIED_FROM = f"{GROUP}/copied-from"
"""On a copied Secret: where it came from, as namespace/name."""
ARCHIVED = f"{GROUP}/archived"
"""On a project's namespace: ``true`` while the project is archived; only then may the namespace be deleted."""
RETAINED = f"{GROUP}/retained"
"""On an object that outlived its owner because of ``deletionPolicy: Retain``."""
INPUTS_HASH = f"{GROUP}/inputs-hash"
"""On Pod templates: a digest of the Secrets and ConfigMaps they read, so that Pods roll when one changes."""
REPLACE_AT = f"{GROUP}/replace-at"
"""On an Application: a token that allows one replacement of objects whose changed fields are immutable."""
RECONCILE_AT = f"{GROUP}/reconcile-at"
CONFIRM_DELETE = f"{GROUP}/confirm-delete"
ALLOW_PROJECT = f"{GROUP}/allow-project"
"""On a namespace: the administrator lets this project's environments live in it."""
PRIVATE = f"{GROUP}/private"
"""On a Secret: never copied into an environment."""
POD_SECURITY_CAP = f"{GROUP}/pod-security-cap"
"""On a project's namespace: the loosest Pod Security Standard that its environments may ask for."""
POD_SECURITY_ENFORCE = "pod-security.kubernetes.io/enforce"


class OwnerKey(NamedTuple):
    """The identity of a resource of ours: its kind, namespace and name. The engine's queue is keyed by it."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def owner_of(manifest: Mapping[str, Any]) -> OwnerKey | None:
    """Whose child ``manifest`` is, read from its labels; None when it isn't a child of ours."""
    labels = manifest.get("metadata", {}).get("labels") or {}
    if labels.get(MANAGED_BY) != MANAGER and APPLICATION not in labels:
        return None
    project = labels.get(PROJECT)
    kind = labels.get(OWNER_KIND)
    name = labels.get(OWNER_NAME)
    if project is None or kind is None or name is None:
        return None
    return OwnerKey(kind, project, name)
