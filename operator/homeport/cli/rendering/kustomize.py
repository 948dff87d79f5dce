"""A kustomization: a base, and one overlay for each environment.

``kubectl kustomize overlays/ENV`` gives what ``-o yaml -e ENV`` gives, object by object; the tests hold it to that.
Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from homeport.api.application import ApplicationSpec
from homeport.api.resource import Resource
from homeport.cli.output import yaml_text
from homeport.cli.rendering import notes
from homeport.cli.rendering.common import NotMergeable, common, operations, strategic_patch
from homeport.plan import names
from homeport.plan.plain import Bundle
from homeport.plan.types import Child, Manifest

Key = tuple[str, str]
"""Kind and name."""
_HEAD = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def files(app: Resource[ApplicationSpec], bundles: Sequence[Bundle]) -> dict[str, str]:
    """The files of the kustomization, by path."""
    images = _versioned(bundles)
    found = [{_key(child): _without_place(child.manifest, images) for child in bundle.children} for bundle in bundles]
    shared = [key for key in found[0] if all(key in other for other in found)]
    base = {key: common([objects[key] for objects in found]) for key in shared}
    owner = {_key(child): child.component for child in bundles[0].children}
    out = {f"base/{path}": text for path, text in _base(base, owner).items()}
    for bundle, objects in zip(bundles, found, strict=True):
        out |= {
            f"overlays/{bundle.name}/{path}": text for path, text in _overlay(bundle, base, objects, images).items()
        }
    out["README.md"] = readme(app, bundles)
    return out


def _key(child: Child) -> Key:
    return child.manifest["kind"], child.manifest["metadata"]["name"]


def _file(key: Key) -> str:
    return f"{key[0].lower()}-{key[1]}.yaml"


def _documents(manifests: Iterable[Manifest]) -> str:
    return "---\n".join(yaml_text(manifest) for manifest in manifests)


def _base(base: Mapping[Key, Manifest], owner: Mapping[Key, str]) -> dict[str, str]:
    """One file for each component."""
    parts: dict[str, list[Manifest]] = {}
    for key, manifest in base.items():
        parts.setdefault(owner[key], []).append(manifest)
    out = {f"{name}.yaml": _documents(manifests) for name, manifests in parts.items()}
    head = {**_HEAD, "sortOptions": {"order": "fifo"}}
    out["kustomization.yaml"] = yaml_text({**head, "resources": [f"{name}.yaml" for name in parts]})
    return out


def _overlay(
    bundle: Bundle, base: Mapping[Key, Manifest], objects: Mapping[Key, Manifest], images: frozenset[str]
) -> dict[str, str]:
    out = {"namespace.yaml": _documents(bundle.surroundings)}
    resources = ["namespace.yaml", *(["../../base"] if base else [])]
    only = [child for child in bundle.children if _key(child) not in base]
    for name in dict.fromkeys(child.component for child in only):
        # With their tags: what isn't in the base has nobody to take one from.
        out[f"{name}.yaml"] = _documents(_without_place(c.manifest, frozenset()) for c in only if c.component == name)
        resources.append(f"{name}.yaml")
    patches = []
    for key, manifest in base.items():
        if manifest != objects[key]:
            path = f"patches/{_file(key)}"
            out[path] = yaml_text(_patch(manifest, objects[key]))
            patches.append({"path": path, "target": {"kind": key[0], "name": key[1]}})
    tag = names.tag(bundle.version)
    kustomization: dict[str, Any] = {
        **_HEAD,
        "sortOptions": {"order": "fifo"},
        "namespace": bundle.place.namespace,
        "resources": resources,
    }
    if patches:
        kustomization["patches"] = patches
    if images:
        kustomization["images"] = [{"name": image, "newTag": tag} for image in sorted(images)]
    out["kustomization.yaml"] = yaml_text(kustomization)
    return out


def _patch(base: Manifest, wanted: Manifest) -> Any:
    """A partial object that is merged, which reads best; operations where merging can't say it."""
    try:
        patch = strategic_patch(base, wanted)
    except NotMergeable:
        return operations(base, wanted)
    head = {"apiVersion": base["apiVersion"], "kind": base["kind"]}
    metadata = {"name": base["metadata"]["name"], **patch.pop("metadata", {})}
    return {**head, "metadata": metadata, **patch}


# --- images ---------------------------------------------------------------------------------------------------------


def _versioned(bundles: Sequence[Bundle]) -> frozenset[str]:
    """The images whose tag is the application's version everywhere: the overlays say it, in one place each."""
    follow = {part.image for bundle in bundles for part in bundle.components if part.image and _untagged(part.image)}
    for bundle in bundles:
        tag = names.tag(bundle.version)
        for child in bundle.children:
            for container in _containers(child.manifest):
                name, _, found = container["image"].rpartition(":")
                if name in follow and found != tag:
                    follow.discard(name)
                if "@" in container["image"]:
                    follow.discard(container["image"].partition("@")[0])
    return frozenset(follow)


def _untagged(image: str) -> bool:
    return names.image(image, "0") != image


def _containers(value: Any) -> Iterator[Manifest]:
    """Every container in an object, wherever its Pod template is."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if key in ("containers", "initContainers") and isinstance(entry, list):
                yield from entry
            else:
                yield from _containers(entry)


def _without_place(value: Any, images: frozenset[str], key: str = "") -> Any:
    """A copy without the namespace, which the overlay sets, and without the tags that it sets."""
    if isinstance(value, list):
        return [_without_place(entry, images, key) for entry in value]
    if not isinstance(value, Mapping):
        return value
    out = {
        name: _without_place(entry, images, name)
        for name, entry in value.items()
        if not (key == "metadata" and name == "namespace")
    }
    if key in ("containers", "initContainers") and "image" in out:
        name, _, _ = str(out["image"]).rpartition(":")
        if name in images:
            out["image"] = name
    return out


# --- for people ------------------------------------------------------------------------------------------------------


def readme(app: Resource[ApplicationSpec], bundles: Sequence[Bundle]) -> str:
    """How to apply it, and what must be there before."""
    lines = [
        f"# {app.spec.title or app.name}: a kustomization",
        "",
        f"Written by `homeport render {app.name} -o kustomize`. It needs no operator.",
        "",
        "`base/` is what most environments have in common, `overlays/ENV/` what differs. To change something, change",
        "what it was rendered from and render again; or keep an overlay of your own whose resource is one of these.",
        "",
    ]
    for bundle in bundles:
        folder = f"overlays/{bundle.name}"
        lines += [f"## {bundle.name}: namespace `{bundle.place.namespace}`, version {bundle.version}", ""]
        address = notes.url(bundle)
        if address is not None:
            lines += [f"It answers at {address}.", ""]
        lines += ["What must be there before:", "", *notes.table(bundle.needs), "", "```sh"]
        lines.append(f"kubectl apply -f {folder}/namespace.yaml")
        lines += [notes.command(needed, bundle.place.namespace) for needed in bundle.needs]
        lines += [f"kubectl apply -k {folder}", "```", ""]
    if notes.jobs(bundles):
        lines += [*JOBS, ""]
    return "\n".join([*lines, *LEAVING, ""])


JOBS = (
    "## Migrations and other Jobs that run once",
    "",
    "A Job's name ends with a digest of what it runs, so that it runs once and never again. Nothing holds the new Pods",
    "back until a migration is done: where that matters, apply it first and wait for it:",
    "",
    "```sh",
    "kubectl kustomize overlays/ENV > all.yaml   # then apply the Job alone, with what it reads, and",
    "kubectl wait --for=condition=complete --timeout=15m job/NAME -n NAMESPACE",
    "kubectl apply -f all.yaml",
    "```",
    "",
    "A Job that gave up (its database wasn't there yet) is made again: `kubectl delete job NAME`, and apply. Another",
    "version is another Job: render again instead of changing `newTag` by hand, or the API server refuses the Job,",
    "which is immutable. Old Jobs stay until somebody deletes them.",
)
LEAVING = (
    "## Taking it away",
    "",
    "`kubectl delete -k overlays/ENV` deletes the namespace too, and with it its volumes and Secrets. To keep the",
    "data, delete by kind instead, and leave PersistentVolumeClaims, Secrets and the namespace out.",
)
