"""What a runner needs to get at a repository: the job's ``repository``, the keys, and the volume it may be on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from homeport.api.backuprepository import BackupRepositorySpec
from homeport.plan.types import Manifest

FOLDER = "/homeport/repository"
"""Where the runner sees the keys, a file each."""
VOLUME = "/repository"
"""Where it sees the volume that a repository is on."""
PASSWORD, ACCESS_KEY, SECRET_KEY, CA = "password", "accessKeyId", "secretAccessKey", "ca.crt"

KeyPlace = tuple[str, str, str]
"""Namespace, Secret and key, in the cluster of the control plane."""


@dataclass(frozen=True)
class Access:
    """A repository as a runner sees it. No key is in here: only where each is."""

    document: Manifest
    """The job's ``repository``."""
    keys: Mapping[str, KeyPlace] = field(default_factory=dict)
    """File name -> where its content is."""
    claim: str = ""
    """The claim of the volume that it is on; empty for S3."""


def kept_as(project: str, backup: str) -> str:
    """The tag of a Backup's runs in a repository: several projects may share one, and call theirs alike."""
    return f"{project}/{backup}"


def tags(project: str, backup: str, installation: str) -> Manifest:
    """How a job names a Backup's runs. Retention and deletion touch none that another installation has made."""
    return {"backup": kept_as(project, backup), "installation": installation}


def tags_of_project(project: str, installation: str) -> Manifest:
    """How a job that names no Backup, only a snapshot's id, is kept to what the project's own Backups have made."""
    return {"project": project, "installation": installation}


def generated_password(repository: str) -> str:
    """The Secret in which a repository's generated password is, under ``password``."""
    return f"{repository}-repository-password"


def access(name: str, namespace: str, spec: BackupRepositorySpec) -> Access:
    """How the repository ``name`` is reached. Only for s3 and filesystem."""
    assert spec.encryption is not None
    ref = spec.encryption.password_secret_ref
    keys: dict[str, KeyPlace] = {
        PASSWORD: (namespace, ref.name, ref.key) if ref else (namespace, generated_password(name), PASSWORD)
    }
    document: Manifest = {"password": {"file": f"{FOLDER}/{PASSWORD}"}}
    if spec.filesystem is not None:
        path = "/".join(filter(None, (VOLUME, spec.filesystem.path)))
        document["filesystem"] = {"path": path}
        return Access(document, keys, spec.filesystem.persistent_volume_claim)
    s3 = spec.s3
    assert s3 is not None
    place = {"endpoint": s3.endpoint, "bucket": s3.bucket, "prefix": s3.prefix, "region": s3.region or ""}
    document["s3"] = {
        **{field: value for field, value in place.items() if value},
        "accessKeyId": {"file": f"{FOLDER}/{ACCESS_KEY}"},
        "secretAccessKey": {"file": f"{FOLDER}/{SECRET_KEY}"},
    }
    secret = s3.credentials_secret_ref.name
    keys |= {name: (namespace, secret, name) for name in (ACCESS_KEY, SECRET_KEY)}
    if s3.ca_secret_ref is not None:
        keys[CA] = (namespace, s3.ca_secret_ref.name, s3.ca_secret_ref.key)
        document["s3"]["caFile"] = f"{FOLDER}/{CA}"
    return Access(document, keys)


def namespace_of(spec: BackupRepositorySpec, project: str) -> str:
    """Where a runner works for the repository alone: in the project's own namespace, or where the volume is."""
    return f"{project}-{spec.environments[0]}" if spec.filesystem is not None else project
