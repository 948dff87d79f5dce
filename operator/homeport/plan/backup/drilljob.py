"""The Job that proves a run: restores it into a scratch place of its own Pod, and asks what was restored. Pure.

A server runs beside the runner, out of the component's own image, with its own variables and an empty volume; nobody
outside the Pod reaches it. What is files is restored into a volume that goes with the Pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from homeport.api.backup import Verify, VerifyCheck
from homeport.api.conditions import Reason
from homeport.outcome import Outcome, Stalled
from homeport.plan import names
from homeport.plan.backup import restorejob, runnerjob
from homeport.plan.backup.program import main_container
from homeport.plan.backup.restorejob import Order
from homeport.plan.backup.runnerjob import RunnerJob
from homeport.plan.backup.source import Source
from homeport.plan.backup.volumes import Mounted
from homeport.plan.types import Child, Manifest
from homeport.plan.world import Live

SCRATCH = "/restored"
"""Where the runner sees the scratch volume."""
RESULT = f"{runnerjob.SCRATCH}/restore.json"
RESTORE = "restore"
"""The container that restores what a server reads when it starts."""
_OURS = {"runAsUser": runnerjob.USER, "runAsGroup": runnerjob.USER}
_KEPT = ("image", "imagePullPolicy", "command", "args", "env", "envFrom", "ports", "resources", "securityContext",
         "workingDir")  # fmt: skip
_CLUSTERED = ("galera", "repmgr", "patroni", "spilo")
"""In the name of an image: what starts by joining others."""
_PATIENCE = 300
"""Seconds that a server may take to listen."""


@dataclass(frozen=True)
class Drill:
    """What is proven, and how."""

    order: Order
    verify: Verify
    volumes: Sequence[Mounted] = ()
    """The component's volumes that outlive its Pods."""
    claims: Mapping[str, Live] = field(default_factory=dict)
    """Their claims, by name."""


def children(drill: Drill) -> tuple[Child, ...] | Outcome:
    """Everything that the drill needs while it is at work; nothing of it outlives it."""
    order = drill.order
    method = order.target.method
    if not drill.verify.restore:
        source = replace(_unreachable(order.target), server=None)
        return runnerjob.children(restorejob.base(order, {"operation": "check"}, source))
    if method in restorejob.DATABASES or method == "Redis":
        clustered = next((word for word in _CLUSTERED if word in order.target.image.rpartition("/")[2]), None)
        if clustered is not None:
            return Stalled(
                Reason.INVALID_SPEC,
                f"a drill starts the component's own image, and {clustered} would look for its cluster, which is the "
                "original's; write verify: {restore: false}",
            )
        if not order.target.template:
            return Stalled(
                Reason.INVALID_SPEC,
                "a drill starts the component's own image in a Pod, and this one is an LXC container; write verify: "
                "{restore: false}, or back up the container",
            )
        return _with_server(drill)
    return _of_files(drill)


def check(asked: VerifyCheck | None) -> Manifest:
    """The job's ``check``."""
    if asked is None:
        return {}
    out: Manifest = {"exec": list(asked.exec), "timeoutSeconds": names.seconds(asked.timeout)}
    return {"check": {**out, "expect": asked.expect} if asked.expect else out}


def _of_files(drill: Drill) -> tuple[Child, ...]:
    order = drill.order
    path = f"{SCRATCH}/manifests.yaml" if order.target.method == "Manifests" else SCRATCH
    work: Manifest = {"operation": "drill", "target": {"paths": [path]}, **check(drill.verify.check)}
    made = restorejob.base(order, work, replace(_unreachable(order.target), server=None))
    name = order.volume.name if order.volume is not None else "restored"
    made = replace(
        made,
        volumes=[_scratch(drill, "restored", name)],
        mounts=[{"name": "restored", "mountPath": SCRATCH}],
    )
    return _isolated(made, {**_pod_security(drill), "fsGroup": _pod_security(drill).get("fsGroup", runnerjob.USER)})


def _with_server(drill: Drill) -> tuple[Child, ...]:
    """A server beside the runner. Redis reads its files when it starts, so they are restored before."""
    order = drill.order
    server = order.target.server
    assert server is not None
    # Its variables are needed, and nobody is to be let in to the original.
    source = _unreachable(order.target)
    beside = _sidecar(drill)
    volumes = _server_volumes(drill)
    if order.target.method != "Redis":
        place = {**server.document(), "host": "127.0.0.1", "port": server.target_port, "existing": "Replace"}
        work = {"operation": "drill", "target": place, **check(drill.verify.check)}
        made = replace(restorejob.base(order, work, source), init_containers=[beside], volumes=volumes)
        return _isolated(made, _pod_security(drill), runner=_OURS)
    place = {"paths": [SCRATCH], **({"appendOnly": True} if restorejob.append_only(order.target) else {})}
    restore = restorejob.base(order, {"operation": "restore", "target": place}, source)
    data = _data_volume(drill)
    first = runnerjob.container(restore, runnerjob.document(restore), RESTORE)
    first["args"] = [*first["args"], "--result", RESULT]
    mount = {"name": _beside(data.name), "mountPath": SCRATCH, **_sub_path(data)}
    first["volumeMounts"] = [*first["volumeMounts"], mount]
    beside_it = {**server.document(), "host": "127.0.0.1", "port": server.target_port}
    asks = {"operation": "drill-check", "restored": RESULT, "target": beside_it, **check(drill.verify.check)}
    made = replace(
        restorejob.base(order, asks, source), init_containers=[first, beside], volumes=volumes,
        judged=(runnerjob.RUNNER, RESTORE),
    )  # fmt: skip
    return _isolated(made, _pod_security(drill))


def _sidecar(drill: Drill) -> Manifest:
    """The component's own container, with an empty volume, beside the runner until that has ended.

    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
    """
    order = drill.order
    server = order.target.server
    assert server is not None
    main = main_container(order.target.template, order.target.component)
    out: Manifest = {"name": "server", **{field: main[field] for field in _KEPT if field in main}}
    there = {volume["name"] for volume in _server_volumes(drill)}
    mounts = [{**mount, "name": _beside(mount["name"])} for mount in main.get("volumeMounts") or ()]
    out["volumeMounts"] = [mount for mount in mounts if mount["name"] in there]
    out["restartPolicy"] = "Always"
    probe = {"tcpSocket": {"port": server.target_port}, "periodSeconds": 1, "failureThreshold": _PATIENCE}
    return {**out, "startupProbe": probe}


def _server_volumes(drill: Drill) -> list[Manifest]:
    """The component's volumes: what outlives its Pods is empty here, and all else is as it is."""
    template = drill.order.target.template
    main = main_container(template, drill.order.target.component)
    mounted = {mount["name"] for mount in main.get("volumeMounts") or ()}
    lasting = {volume.name for volume in drill.volumes}
    plain = [
        {**volume, "name": _beside(volume["name"])}
        for volume in template["spec"].get("volumes") or ()
        if volume["name"] in mounted - lasting and not volume.get("persistentVolumeClaim")
    ]
    return [*plain, *(_scratch(drill, _beside(volume.name), volume.name) for volume in drill.volumes)]


def _beside(volume: str) -> str:
    """What a volume of the component is called beside the runner's own."""
    return names.bounded(f"server-{volume}", names.LABEL_LIMIT)


def _unreachable(target: Source) -> Source:
    """The target as a drill knows it: by its variables alone. Its policy lets nobody in."""
    return replace(target, volume=None, node="", selector={}, isolated=True)


def _data_volume(drill: Drill) -> Mounted:
    return drill.order.volume or next(iter(drill.volumes))


def _sub_path(volume: Mounted) -> Manifest:
    return {"subPath": volume.sub_path} if volume.sub_path else {}


def _scratch(drill: Drill, name: str, of: str) -> Manifest:
    """A volume that goes with the Pod: of the original's class where that is known, else on the node's own disk."""
    claim = next((volume.claim for volume in drill.volumes if volume.name == of), "")
    spec: Mapping[str, Any] = (drill.claims.get(claim) or {}).get("spec") or {}
    size = drill.verify.max_size or ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if not spec.get("storageClassName") or not size:
        return {"name": name, "emptyDir": {"sizeLimit": str(size)} if size else {}}
    made = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": spec["storageClassName"],
        "resources": {"requests": {"storage": str(size)}},
    }
    return {"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": made}}}


def _pod_security(drill: Drill) -> dict[str, Any]:
    """Whoever the component is."""
    given = {**drill.order.target.security}
    if drill.order.user is not None:
        given.setdefault("runAsUser", drill.order.user)
    return {"runAsNonRoot": given.get("runAsUser") != 0, "seccompProfile": {"type": "RuntimeDefault"}, **given}


def _isolated(made: RunnerJob, security: Mapping[str, Any], runner: Manifest | None = None) -> tuple[Child, ...]:
    """The job's objects, with a Pod that is the component's, and that nobody reaches."""
    out = []
    for child in runnerjob.children(replace(made, sealed=True)):
        if child.manifest["kind"] == "Job":
            pod = child.manifest["spec"]["template"]["spec"]
            pod["securityContext"] = dict(security)
            if runner:
                main = pod["containers"][0]
                main["securityContext"] = {**main["securityContext"], **runner}
        out.append(child)
    return tuple(out)
