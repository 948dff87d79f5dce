"""A Job with the backup runner, and what it needs beside it: the repository's keys, and leave to reach it. Pure.

The keys are copied into a Secret of the Job's name, and go with it. The job itself, which has no secret in it, is the
variable ``HOMEPORT_JOB`` of the runner's container.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from homeport.api import labels
from homeport.api.labels import OwnerKey
from homeport.plan import environment_objects, names
from homeport.plan.backup import access as repositories
from homeport.plan.backup import connection, volumes
from homeport.plan.backup.access import Access
from homeport.plan.backup.source import Source
from homeport.plan.types import Child, Manifest, Phase

RUNNER = "runner"
"""The container that does the job."""
JOB_VARIABLE = "HOMEPORT_JOB"
USER = 65532
"""The runner's own, as its image has it."""
SCRATCH = "/tmp"  # noqa: S108 - a path in a container  # nosec B108
INPUT = "/homeport/input"
"""Where the runner sees what the operator gives it to back up."""
_REPOSITORY, _SOURCE, _SECRETS, _INPUT, _TMP = "repository", "source", "source-secret", "input", "tmp"
RETRIES = 2
GRACE = 60
"""Seconds that a runner has to give its lock back."""
RESOURCES: Manifest = {
    "requests": {"cpu": "100m", "memory": "192Mi"},
    "limits": {"cpu": "2", "memory": "1Gi"},
}
"""restic was seen to take 154 MiB, and takes more with a repository's index (docs/backup-runner.md)."""


@dataclass(frozen=True)
class RunnerJob:
    """One job for the runner, and where it is done."""

    name: str
    """Of the Job and of all beside it; see ``named``."""
    owner: OwnerKey
    image: str
    namespace: str
    job: Manifest
    """What the runner reads, without ``version`` and ``repository``."""
    access: Access
    timeout: int
    """Seconds for all its tries together."""
    environment: str = ""
    cluster: str = ""
    source: Source | None = None
    """What is read, or written to: its variables, volume, node and user."""
    input: Mapping[str, bytes] = field(default_factory=dict)
    """Files of the operator's own at ``INPUT``; they are in the Secret."""
    volumes: Sequence[Manifest] = ()
    mounts: Sequence[Manifest] = ()
    """More volumes of the Pod, and where the runner sees them."""
    env: Sequence[Manifest] = ()
    init_containers: Sequence[Manifest] = ()
    """As in a Pod; those with ``restartPolicy: Always`` run beside the runner."""
    judged: Sequence[str] = (RUNNER,)
    """Containers that end as the runner does: their exit codes 2 and 3 aren't tried again."""
    retries: int = RETRIES
    sealed: bool = False
    """Whether its Pod may reach nobody but the repository: beside the runner is what would act as the original."""


def named(kind: str, name: str) -> str:
    """The name of a Job: ``homeport-<kind>-<name>``, at most 63 characters, for its Pods have it as a label."""
    return names.bounded(f"homeport-{kind}-{name}", names.LABEL_LIMIT)


def children(of: RunnerJob) -> tuple[Child, ...]:
    """The Secret, the policies where there are any, and the Job."""
    out = [_secret(of), *(_child(of, policy) for policy in _policies(of))]
    out.append(_child(of, job(of), Phase.RUN))
    return tuple(out)


def marks(of: RunnerJob) -> dict[str, str]:
    """The labels of everything here: whose it is."""
    owner = of.owner
    found = environment_objects.owned(owner, owner.namespace, of.environment or None, "backup")
    return {**found, labels.RUNNER: of.name}


def _metadata(of: RunnerJob, suffix: str = "") -> Manifest:
    return {"name": f"{of.name}{suffix}", "namespace": of.namespace, "labels": marks(of)}


def _child(of: RunnerJob, manifest: Manifest, phase: Phase = Phase.PREPARE, **more: Any) -> Child:
    return Child(manifest, of.environment, RUNNER, phase, cluster=of.cluster, **more)


# --- the Secret -------------------------------------------------------------------------------------------------------


def _secret(of: RunnerJob) -> Child:
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(of), "type": "Opaque"}
    return _child(of, manifest, gathered=dict(of.access.keys), given=dict(of.input))


# --- who may reach whom -----------------------------------------------------------------------------------------------


def _policies(of: RunnerJob) -> list[Manifest]:
    """Only where everything else is denied: beside nothing, a policy would take away what it doesn't allow."""
    source = of.source
    if source is None or not source.isolated:
        return []
    runner = {"matchLabels": {labels.RUNNER: of.name}}
    # The repository may be anywhere, and so may DNS.
    egress = _to_repository(of.access) if of.sealed else [{}]
    out = [_policy(of, "", {"podSelector": runner, "policyTypes": ["Ingress", "Egress"], "egress": egress})]
    if source.server is not None and source.selector:
        ports = [{"port": source.server.target_port, "protocol": "TCP"}]
        entry = {"from": [{"podSelector": runner}], "ports": ports}
        spec = {"podSelector": {"matchLabels": dict(source.selector)}, "policyTypes": ["Ingress"], "ingress": [entry]}
        out.append(_policy(of, "-source", spec))
    return out


def _to_repository(access: Access) -> list[Manifest]:
    """DNS and the store's port; nothing for a repository on a volume.

    A Service's port is another than its Pods', and policies are held against the latter: a store in the cluster may
    have any.
    """
    if "s3" not in access.document:
        return []
    endpoint = urlsplit(access.document["s3"]["endpoint"])
    host = endpoint.hostname or ""
    if "." not in host or ".svc" in host:
        return [{}]
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    dns = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    return [{"ports": [*dns, {"port": port, "protocol": "TCP"}]}]


def _policy(of: RunnerJob, suffix: str, spec: Manifest) -> Manifest:
    metadata = _metadata(of)
    metadata["name"] = names.bounded(f"{of.name}{suffix}", names.LABEL_LIMIT)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


# --- the Job ----------------------------------------------------------------------------------------------------------


def document(of: RunnerJob) -> Manifest:
    """What the runner reads."""
    return {"version": 1, **of.job, "repository": of.access.document}


def job(of: RunnerJob) -> Manifest:
    """The Job."""
    rules = [
        {"action": "FailJob", "onExitCodes": {"containerName": name, "operator": "In", "values": [2, 3]}}
        for name in of.judged
    ]
    spec: Manifest = {
        "backoffLimit": of.retries,
        "activeDeadlineSeconds": of.timeout,
        # A drained node isn't a failure of the backup.
        "podFailurePolicy": {"rules": [*rules, {"action": "Ignore", "onPodConditions": [
            {"type": "DisruptionTarget", "status": "True"}]}]},
        "template": {"metadata": {"labels": marks(of)}, "spec": pod(of)},
    }  # fmt: skip
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _metadata(of), "spec": spec}


def pod(of: RunnerJob) -> Manifest:
    """The Pod: nothing of it is writable but its scratch space and what is restored to."""
    template = (of.source.template.get("spec") or {}) if of.source is not None and _on_its_node(of.source) else {}
    out: Manifest = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": _security(of),
        "volumes": _volumes(of),
        "containers": [container(of, document(of))],
    }
    if of.init_containers:
        out["initContainers"] = list(of.init_containers)
    if template.get("tolerations"):
        out["tolerations"] = template["tolerations"]
    if of.source is not None and of.source.node:
        fields = [{"key": "metadata.name", "operator": "In", "values": [of.source.node]}]
        required = {"nodeSelectorTerms": [{"matchFields": fields}]}
        out["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    elif of.source is not None and of.source.near:
        fields = [{"key": "metadata.name", "operator": "In", "values": [of.source.near]}]
        preferred = [{"weight": 100, "preference": {"matchFields": fields}}]
        out["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return out


def container(of: RunnerJob, work: Manifest, name: str = RUNNER) -> Manifest:
    """A container in which the runner does ``work``, a whole job."""
    login = of.source.server.login if of.source is not None and of.source.server is not None else None
    # Kubernetes would put other variables in for what looks like a reference to one.
    text = json.dumps(work, ensure_ascii=False, separators=(",", ":")).replace("$(", "$$(")
    out: Manifest = {
        "name": name,
        "image": of.image,
        "args": ["--job-env", JOB_VARIABLE, "--scratch", SCRATCH, "--termination-log", "/dev/termination-log"],
        "env": [*(login.env if login else ()), *of.env, {"name": JOB_VARIABLE, "value": text}],
        "resources": RESOURCES,
        "securityContext": _container_security(of),
        "volumeMounts": _mounts(of),
    }
    if login is not None and login.env_from:
        out["envFrom"] = list(login.env_from)
    return out


def _on_its_node(source: Source) -> bool:
    return source.volume is not None


def _security(of: RunnerJob) -> Manifest:
    """With a volume, whoever the component is: the files are its own. Its fsGroup, too, and never another: that would
    change the volume."""
    out: Manifest = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    source = of.source
    if source is not None and source.volume is not None:
        fields = ("runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "supplementalGroups")
        out |= {field: source.security[field] for field in fields if source.security.get(field) is not None}
        out["runAsNonRoot"] = out.get("runAsUser") != 0
    elif of.access.claim:
        out |= {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch"}
    return out


def _container_security(of: RunnerJob) -> Manifest:
    out: Manifest = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    if not _security(of)["runAsNonRoot"]:
        # root without them can't read, nor give back, what belongs to others.
        out["capabilities"]["add"] = ["CHOWN", "DAC_OVERRIDE", "FOWNER"]
    return out


def _volumes(of: RunnerJob) -> list[Manifest]:
    items = [{"key": name, "path": name} for name in sorted(of.access.keys)]
    out: list[Manifest] = [
        {"name": _TMP, "emptyDir": {}},
        {"name": f"{_REPOSITORY}-keys", "secret": {"secretName": of.name, "defaultMode": 0o444, "items": items}},
    ]
    if of.access.claim:
        out.append({"name": _REPOSITORY, "persistentVolumeClaim": {"claimName": of.access.claim}})
    if of.input:
        given = [{"key": name, "path": name} for name in sorted(of.input)]
        out.append({"name": _INPUT, "secret": {"secretName": of.name, "defaultMode": 0o444, "items": given}})
    source = of.source
    if source is not None and source.volume is not None and source.volume.claim != of.access.claim:
        out.append({"name": _SOURCE, "persistentVolumeClaim": {"claimName": source.volume.claim}})
    for secret in sorted({secret for secret, _ in _files(of)}):
        keys = [{"key": key, "path": key} for name, key in _files(of) if name == secret]
        name = names.volume(_SECRETS, secret)
        out.append({"name": name, "secret": {"secretName": secret, "defaultMode": 0o444, "items": keys}})
    return [*out, *of.volumes]


def _mounts(of: RunnerJob) -> list[Manifest]:
    out: list[Manifest] = [
        {"name": _TMP, "mountPath": SCRATCH},
        {"name": f"{_REPOSITORY}-keys", "mountPath": repositories.FOLDER, "readOnly": True},
    ]
    if of.access.claim:
        out.append({"name": _REPOSITORY, "mountPath": repositories.VOLUME})
    if of.input:
        out.append({"name": _INPUT, "mountPath": INPUT, "readOnly": True})
    source = of.source
    if source is not None and source.volume is not None:
        name = _REPOSITORY if source.volume.claim == of.access.claim else _SOURCE
        out.append(volumes.mount(source.volume, name))
    for secret in sorted({secret for secret, _ in _files(of)}):
        path = f"{connection.SECRETS}/{secret}"
        out.append({"name": names.volume(_SECRETS, secret), "mountPath": path, "readOnly": True})
    return [*out, *of.mounts]


def _files(of: RunnerJob) -> tuple[tuple[str, str], ...]:
    if of.source is None or of.source.server is None:
        return ()
    return of.source.server.login.files
