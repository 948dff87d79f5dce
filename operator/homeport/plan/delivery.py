"""Which delivery works where, and what it can't do; each as a sentence. docs/delivery.md has it as a table. Pure."""

from __future__ import annotations

from homeport.api.software import Software
from homeport.plan.proxmox.readings import Version

IMAGES_FROM = (9, 1)
"""The version of Proxmox VE since which an OCI archive is a template, and a container has an entrypoint and an env."""


def refusal(kind: str, software: Software, version: Version, host: str) -> str | None:
    """Why software can't be delivered in this way to this host, and what to do; None when it can."""
    if kind == "SSH":
        return _ssh_lacks(software)
    if kind != "Plain":
        return None
    if not version.at_least(*IMAGES_FROM):
        wanted = ".".join(map(str, IMAGES_FROM))
        return (
            f"{host} is Proxmox VE {version.text}, and an image as it is needs {wanted}; write delivery: Agent, or "
            "upgrade it"
        )
    return _plain_lacks(software)


def _plain_lacks(software: Software) -> str | None:
    """What an image that runs as it is can't be given; the schema refuses only what is written as Plain itself."""
    fields = {
        "processes": software.processes,
        "command": software.command,
        "args": software.args,
        "workingDir": software.working_dir,
        "env": software.env,
        "envFrom": software.env_from,
        "files": software.files,
        "secretFiles": software.secret_files,
        "user": software.user,
        "hosts": software.hosts,
        "schedule": software.schedule,
        "restartPolicy: Never": software.restart_policy == "Never" or None,
        "exec probes": _exec_probes(software) or None,
        "a liveness probe": software.probes.liveness if software.probes is not None else None,
        "a startup probe": software.probes.startup if software.probes is not None else None,
    }
    found = [name for name, value in fields.items() if value is not None and value != ()]
    if not found:
        return None
    return (
        f"with delivery: Plain the image runs as it is, and {', '.join(found)} can't be; write delivery: Agent, or "
        "leave them out"
    )


def _ssh_lacks(software: Software) -> str | None:
    """What a system that is reached by SSH can't be given."""
    if software.image is not None:
        return (
            "with delivery: SSH software runs in a template, and there is an image; write template and no image, or "
            "software.delivery: Agent"
        )
    if software.backoff_limit:
        return "delivery: SSH runs a job once; leave backoffLimit out, or write an image with delivery: Agent"
    if not software.command:
        return "with delivery: SSH a template says of itself not what to run; write software.command"
    return None


def _exec_probes(software: Software) -> bool:
    probes = software.probes
    checks = (probes.liveness, probes.readiness, probes.startup) if probes is not None else ()
    return any(check is not None and check.exec is not None for check in checks)
