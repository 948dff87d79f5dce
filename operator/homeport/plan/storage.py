"""Volumes, files and Secrets: what a component keeps, and how its Pods see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from homeport.api import labels
from homeport.api.component import Component
from homeport.api.pod import GeneratedSecret, Volume
from homeport.plan import containers, names, quantities
from homeport.plan.scope import Scope
from homeport.plan.types import Child, Manifest, Phase

TMP = "/tmp"  # noqa: S108  the path in a container  # nosec B108
# The default, declared because a default once filled in would stay behind when a volume becomes something else.
_MODE = 0o644


@dataclass(slots=True)
class Mounted:
    """A Pod's volumes and where its main container sees them."""

    volumes: list[Manifest] = field(default_factory=list)
    mounts: list[Manifest] = field(default_factory=list)
    tmp: bool = False
    """Whether there is a directory of ours for /tmp."""


def mounted(scope: Scope, *, templates: bool = False, stand_in: bool = False) -> Mounted:
    """What the component's Pods mount.

    ``templates``: claims come from a StatefulSet's templates and are no volumes of the Pod. ``stand_in``: the Pod is a
    migration of such a component and runs before its claims are there, so it gets empty directories in their place.
    """
    component = scope.component
    out = Mounted()
    for volume in component.volumes or ():
        if not (templates and claims(volume)):
            out.volumes.append(_pod_volume(scope, volume, stand_in))
        out.mounts.append(_mount(volume))
    if component.files:
        name = f"{names.RESERVED_VOLUME_PREFIX}files"
        out.volumes.append({"name": name, "configMap": {"name": files_name(scope), "defaultMode": _MODE}})
        keys = names.file_keys(sorted(component.files))
        out.mounts += [_file_mount(name, path, keys[path]) for path in keys]
    if component.secret_files:
        _mount_secret_files(component, out)
    security = component.security_context
    read_only = security is None or security.read_only_root_filesystem is not False
    if read_only and not any(mount["mountPath"].rstrip("/") == TMP for mount in out.mounts):
        out.volumes.append({"name": containers.TMP_VOLUME, "emptyDir": {}})
        out.mounts.append({"name": containers.TMP_VOLUME, "mountPath": TMP})
        out.tmp = True
    return out


def claims(volume: Volume) -> bool:
    """Whether ``volume`` makes a PersistentVolumeClaim."""
    return volume.existing_claim is None and not volume.ephemeral


def claim_name(scope: Scope, volume: Volume) -> str:
    """The name of the claim that ``volume`` makes for a component that isn't stateful."""
    return f"{scope.name}-{volume.name}"


def files_name(scope: Scope) -> str:
    """The name of the ConfigMap with the component's files."""
    return f"{scope.name}-files"


def _pod_volume(scope: Scope, volume: Volume, stand_in: bool) -> Manifest:
    if volume.existing_claim is not None:
        return {"name": volume.name, "persistentVolumeClaim": {"claimName": volume.existing_claim}}
    if volume.ephemeral:
        limit = {"sizeLimit": quantities.canonical(volume.size)} if volume.size else {}
        return {"name": volume.name, "emptyDir": limit}
    if stand_in:
        return {"name": volume.name, "emptyDir": {}}
    return {"name": volume.name, "persistentVolumeClaim": {"claimName": claim_name(scope, volume)}}


def _mount(volume: Volume) -> Manifest:
    out: Manifest = {"name": volume.name, "mountPath": volume.path}
    if volume.sub_path:
        out["subPath"] = volume.sub_path
    if volume.read_only:
        out["readOnly"] = True
    return out


def _file_mount(volume: str, path: str, key: str) -> Manifest:
    return {"name": volume, "mountPath": path, "subPath": key, "readOnly": True}


def _mount_secret_files(component: Component, out: Mounted) -> None:
    by_secret: dict[str, list[str]] = {}
    for file in component.secret_files or ():
        name = names.volume("secret", file.secret_ref.name)
        keys = by_secret.setdefault(file.secret_ref.name, [])
        if file.secret_ref.key not in keys:
            keys.append(file.secret_ref.key)
        out.mounts.append(_file_mount(name, file.path, file.secret_ref.key))
    for secret, keys in by_secret.items():
        items = [{"key": key, "path": key} for key in keys]
        source = {"secretName": secret, "defaultMode": _MODE, "items": items}
        out.volumes.append({"name": names.volume("secret", secret), "secret": source})


def exclusive(component: Component) -> bool:
    """Whether a volume can be mounted by one Pod (or one node) only, so that a new Pod must wait for the old one.

    An existing claim that says nothing counts as such: two Pods on one would hang, and waiting only costs a pause.
    """
    return any(
        not volume.ephemeral
        and any(mode.startswith("ReadWriteOnce") for mode in volume.access_modes or ("ReadWriteOnce",))
        for volume in component.volumes or ()
    )


# --- objects ------------------------------------------------------------------------------------------------------


def deletion(scope: Scope, volume: Volume) -> Literal["Delete", "Retain"]:
    """What happens to the volume's claim when it leaves the desired set."""
    return volume.deletion_policy or ("Retain" if scope.place.retains else "Delete")


def claim_spec(volume: Volume) -> Manifest:
    """The spec of the claim that ``volume`` makes."""
    out: Manifest = {
        "accessModes": list(volume.access_modes or ("ReadWriteOnce",)),
        "resources": {"requests": {"storage": quantities.canonical(volume.size or "1Gi")}},
    }
    if volume.storage_class is not None:
        out["storageClassName"] = volume.storage_class
    return out


def claim_children(scope: Scope) -> Iterable[Child]:
    """The PersistentVolumeClaims of a component that isn't stateful; they outlive its Pods."""
    for volume in scope.component.volumes or ():
        if claims(volume):
            name = claim_name(scope, volume)
            manifest = scope.manifest("v1", "PersistentVolumeClaim", name=name, spec=claim_spec(volume))
            yield scope.child(manifest, Phase.PREPARE, deletion=deletion(scope, volume))


def claim_templates(scope: Scope) -> list[Manifest]:
    """A StatefulSet's claims. Templates are immutable, so they carry the selector's labels and nothing that changes."""
    return [
        {"metadata": {"name": volume.name, "labels": dict(scope.selector)}, "spec": claim_spec(volume)}
        for volume in scope.component.volumes or ()
        if claims(volume)
    ]


def claim_retention(scope: Scope) -> Manifest:
    """What becomes of a StatefulSet's claims. There is one policy for all of them: the careful one wins."""
    made = [volume for volume in scope.component.volumes or () if claims(volume)]
    delete = bool(made) and all(deletion(scope, volume) == "Delete" for volume in made)
    return {"whenDeleted": "Delete" if delete else "Retain", "whenScaled": "Retain"}


def file_children(scope: Scope) -> Iterable[Child]:
    """The ConfigMap with the component's files."""
    files = scope.component.files
    if files:
        data = {key: files[path] for path, key in names.file_keys(sorted(files)).items()}
        yield scope.child(scope.manifest("v1", "ConfigMap", name=files_name(scope), data=data), Phase.PREPARE)


def secret_children(scope: Scope) -> Iterable[Child]:
    """Secrets that are made once. They hold no data here: what is generated is never rendered."""
    for secret in scope.component.secrets or ():
        manifest = scope.manifest("v1", "Secret", name=secret.name, type="Opaque")
        digest = scope.made["Secret", secret.name]
        if digest:
            manifest["metadata"] = scope.metadata(secret.name, {labels.INPUTS_HASH: digest})
        generate = {generated_key(secret): secret.generate.length}
        yield scope.child(manifest, Phase.PREPARE, deletion="Retain", generate=generate, template=secret.template or {})


def generated_key(secret: GeneratedSecret) -> str:
    """The key of what is generated."""
    return secret.generate.key or "password"
