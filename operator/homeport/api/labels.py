"""Every label, annotation and finalizer that Homeport reads or writes, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

GROUP = "homeport.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

MANAGER = "homeport"
"""The field manager of everything that Homeport applies."""
PREVIEW_MANAGER = "homeport-preview"
"""Owns what a pull request's preview declares, apart from the finalizers that are ours."""
SCALE_MANAGER = "homeport-scale"
"""Owns ``spec.replicas`` once, when an autoscaler takes it over, so that nothing drops to one replica."""
CONTAINER_MANAGER = "homeport-lxccontainer"
"""Owns the finalizer of an LXCContainer, whose spec may be an Application's, declared as ``homeport``: applied under
that name, a finalizer alone would take the spec away."""
MARKS_MANAGER = "homeport-project"
"""Owns the marks on a project's own namespace, apart from what an Environment declares on its."""
SOURCE_MANAGER = "homeport-gitsource"
"""Owns the fields of what GitSources apply."""
FINALIZER = f"{GROUP}/finalizer"

# On a preview's Environment and Applications.
PREVIEW_OF = f"{GROUP}/preview-of"
"""The GitSource beside it that made it for a pull request."""
PULL_REQUEST = f"{GROUP}/pull-request"
"""The pull request's number."""
REVISION = f"{GROUP}/revision"
"""The commit that it is made of."""
PREVIEW_SINCE = f"{GROUP}/preview-since"
"""Since when there is a preview of that commit: its time to live counts from then."""

# On children: whose they are and what they are part of.
PROJECT = f"{GROUP}/project"
ENVIRONMENT = f"{GROUP}/environment"
APPLICATION = f"{GROUP}/application"
COMPONENT = f"{GROUP}/component"
OWNER_KIND = f"{GROUP}/owner-kind"
OWNER_NAME = f"{GROUP}/owner-name"
CONTROL_PLANE = f"{GROUP}/control-plane"
"""On what is made in another cluster: whose it is among the control planes that write there, by the UID of the
namespace kube-system where that control plane runs. Absent on what is made in an operator's own cluster."""

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
CATALOG_SOURCE = f"{GROUP}/catalog-source"
"""On an Application: where it lets catalog items come from that came from elsewhere before, as item=source, ..."""
REVISION_TIME = f"{GROUP}/revision-time"
"""On a revision of an Application: when it became the present one."""
BACKUP = f"{GROUP}/backup"
"""On BackupRuns and drills that a Backup made: which."""
PRUNE_AT = f"{GROUP}/prune-at"
"""On a Backup: a token; a new value has its retention carried out now, and not after the next run."""
KEY_ESCROWED = f"{GROUP}/key-escrowed"
"""On a BackupRepository: the fingerprint of its key, from somebody who keeps the key elsewhere, too."""
RESTORE_UID = f"{GROUP}/restore-uid"
"""On a BackupRun that saves what is there before a Restore overwrites it: that Restore's UID."""
RUNNER = f"{GROUP}/runner"
"""On a Job with the backup runner, its Pods, and what is made for it: the Job's name."""
SOURCE_NAMESPACE = f"{GROUP}/source-namespace"
"""On what a GitSource applied: that GitSource's namespace."""
SOURCE_NAME = f"{GROUP}/source-name"
"""On what a GitSource applied: that GitSource's name."""
SOURCE_ACCOUNT = f"{GROUP}/source-account"
"""On the account of sources that name none, and on its binding: ``true``."""
PIN = f"{GROUP}/pin"
"""On a GitSource: the commit that it is held at."""
ALLOW_PRUNE_AT = f"{GROUP}/allow-prune-at"
"""On a GitSource: a token; a new value lets it remove what the prune guard holds back, once."""
ADOPT = f"{GROUP}/adopt"
"""On an object in Git: ``true`` lets its GitSource take over an object that is there and somebody else's."""
NOTIFY_TEST = f"{GROUP}/notify-test"
"""On a Notification: a token; a new value sends one message, to see whether it arrives."""
RECONCILE_AT = f"{GROUP}/reconcile-at"
CALL_OFF = f"{GROUP}/call-off"
"""On a Restore in place: its own name calls it off, as long as nothing has come over from the original."""
CONFIRM_DELETE = f"{GROUP}/confirm-delete"
ALLOW_PROJECT = f"{GROUP}/allow-project"
"""On a namespace: the administrator lets this project's environments live in it."""
PRIVATE = f"{GROUP}/private"
"""On a Secret: never copied into an environment."""
SERVICE_ACCOUNT = "kubernetes.io/service-account.name"
"""On a Secret that holds a service account's token: whose it is."""
POD_SECURITY_CAP = f"{GROUP}/pod-security-cap"
"""On a project's namespace: the loosest Pod Security Standard that its environments may ask for."""
ALLOWED_HEADERS = f"{GROUP}/allowed-response-headers"
"""On an IngressClass of ingress-nginx: what its controller's ``global-allowed-response-headers`` has."""
POD_SECURITY_ENFORCE = "pod-security.kubernetes.io/enforce"
SLICE_MAKER = "endpointslice.kubernetes.io/managed-by"
"""On an EndpointSlice: who makes it."""
SLICES_OURS = "homeport.dev"
"""What it says on ours."""


class OwnerKey(NamedTuple):
    """The identity of a resource of ours: its kind, namespace and name. The engine's queue is keyed by it."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(filter(None, self))

    @classmethod
    def parse(cls, text: str) -> OwnerKey | None:
        """The reverse of ``str``; None for what isn't one."""
        kind, *rest = text.split("/")
        if not kind.isalnum() or len(rest) not in (1, 2):
            return None
        return cls(kind, rest[0] if len(rest) == 2 else "", rest[-1])

    def metadata(self) -> dict[str, str]:
        """Its name, and its namespace unless it is cluster-scoped (then ``namespace`` is empty here)."""
        return {"name": self.name, "namespace": self.namespace} if self.namespace else {"name": self.name}


def plane_of(manifest: Mapping[str, Any]) -> str:
    """The control plane that ``manifest`` is of: empty for that of the cluster it is in."""
    return str((manifest.get("metadata", {}).get("labels") or {}).get(CONTROL_PLANE, ""))


def owner_of(manifest: Mapping[str, Any], plane: str = "") -> OwnerKey | None:
    """Whose child ``manifest`` is, read from its labels; None when it isn't a child of this control plane's.

    ``plane`` is the control plane's name in the cluster that the object is in, as in ``plane_of``.
    """
    labels = manifest.get("metadata", {}).get("labels") or {}
    if labels.get(MANAGED_BY) != MANAGER and APPLICATION not in labels:
        return None
    if labels.get(CONTROL_PLANE, "") != plane:
        return None
    if labels.get(SLICE_MAKER, SLICES_OURS) != SLICES_OURS:
        return None  # Kubernetes gives the slices that it makes the labels of their Service
    project = labels.get(PROJECT)
    kind = labels.get(OWNER_KIND)
    name = labels.get(OWNER_NAME)
    if project is None or kind is None or name is None:
        return None
    return OwnerKey(kind, project, name)
