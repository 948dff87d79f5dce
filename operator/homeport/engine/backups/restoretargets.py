"""What a Restore by a Job names: its Backup, the repository, and what is restored to. Or why that can't be used."""

from __future__ import annotations

from dataclasses import dataclass

from homeport.api.application import ApplicationSpec
from homeport.api.backup import BackupSource, BackupSpec
from homeport.api.backupparts import BackupMethod
from homeport.api.backuprepository import BackupRepositorySpec
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.api.resource import Resource
from homeport.api.restore import RestoreSpec
from homeport.engine.backups import sources, turns
from homeport.engine.context import Context
from homeport.outcome import Outcome, Stalled, Wait
from homeport.plan.backup import restore as plan
from homeport.plan.backup import restorejob
from homeport.plan.backup.resolving import resolve
from homeport.plan.backup.restore import Restore
from homeport.plan.backup.source import Source, SourceWorld

_ANY = "any.db"


@dataclass(frozen=True)
class Found:
    """What a Restore names."""

    backup: Resource[BackupSpec] | None
    """None when it is gone."""
    name: str
    """Under which the repository has its runs."""
    repository: Resource[BackupRepositorySpec]
    target: Source
    seen: SourceWorld
    source: BackupSource
    application: Resource[ApplicationSpec] | None


async def look(resource: Restore, context: Context) -> Found | Outcome:
    """What the Restore names, or why it can't be used. Raises ApiError."""
    spec, namespace = resource.spec, resource.namespace
    backup: Resource[BackupSpec] | None = None
    if spec.backup_ref is not None:
        there = sources.backup(namespace, spec.backup_ref.name, context)
        if not isinstance(there, Resource):
            return there
        backup = there
    method: BackupMethod | None = backup.spec.method if backup is not None else None
    if backup is None and spec.source is not None:
        method = spec.source.method
    source = target_of(spec, backup.spec.source if backup is not None else None, method)
    seen = await sources.look(namespace, source, resource.key, context)
    target = resolve(namespace, source, method, seen)
    if isinstance(target, Outcome):
        return target
    problem = restorejob.problem(target.method, spec) or confirmed(resource, source, context)
    problem = problem or turns.earlier(resource, source, context)
    if problem is not None:
        return problem
    name = _repository_name(spec, backup)
    repository = sources.repository(namespace, name, target.environment, context)
    if not isinstance(repository, Resource):
        return repository
    pruned = (repository.status.get("task") or {}).get("operation") == "prune"
    if pruned and resource.status.get("phase") in (None, plan.PENDING):
        text = f"BackupRepository {repository.name} is being pruned; this begins when that is over"
        return Wait(Reason.DEPENDENCY_NOT_READY, text, plan.LOOK_AGAIN)
    if target.method == "Manifests":
        home = sources.home(namespace, repository, resource.key, context)
        if isinstance(home, Outcome):
            return home
        target = home
    if not context.runner_image:
        text = "the operator knows no image of the backup runner; start it with --runner-image"
        return Stalled(Reason.INVALID_SPEC, text)
    runs = backup.name if backup is not None else (spec.source.backup or "") if spec.source is not None else ""
    return Found(backup, runs, repository, target, seen, source, _application(namespace, source, context))


def _repository_name(spec: RestoreSpec, backup: Resource[BackupSpec] | None) -> str:
    if backup is not None:
        return backup.spec.repository_ref.name
    assert spec.source is not None
    return spec.source.repository_ref.name


def target_of(spec: RestoreSpec, original: BackupSource | None, method: str | None = None) -> BackupSource:
    """Where a run is restored to, in the words of a Backup's source: the original, but for what ``new`` names."""
    new = spec.target.new if spec.target is not None else None
    if original is None:
        assert new is not None
        # Nobody knows any more in which folder of the volume the databases were: they go to its root.
        paths = (_ANY,) if method == "SQLite" else ()
        return BackupSource(
            application=new.application, component=new.component, environment=new.environment, paths=paths
        )
    if new is None or original.application is None:
        return original
    chosen = {"application": new.application, "component": new.component, "environment": new.environment}
    changed = {name: value for name, value in chosen.items() if value is not None}
    return original.model_copy(update=changed)


def _application(namespace: str, source: BackupSource, context: Context) -> Resource[ApplicationSpec] | None:
    if source.application is None:
        return None
    found, error = context.store.look(OwnerKey("Application", namespace, source.application))
    return found if error is None else None


def confirmed(resource: Restore, source: BackupSource, context: Context) -> Outcome | None:
    """In place: whether the one that is to be overwritten is the one that was meant, and not its namesake."""
    if not plan.in_place(resource) or resource.status.get("phase") == plan.RESUMING:
        return None
    assert resource.spec.target is not None and resource.spec.target.in_place is not None
    said = resource.spec.target.in_place.confirm
    app = _application(resource.namespace, source, context)
    if app is None:
        # Nobody can tell then whose UID it has, nor what has to be at rest.
        text = f"Application {source.application} isn't there, or can't be used as it is written; see its status"
        return Wait(Reason.DEPENDENCY_NOT_READY, f"{text}. Nothing is overwritten until it can be")
    if app.uid == said:
        return None
    return Stalled(
        Reason.CONFIRMATION_REQUIRED,
        f"spec.target.inPlace.confirm is {said}, and Application {app.name} here has the UID {app.uid}: this Restore "
        "was written for another one, and overwrites nothing; make another Restore if this one is meant",
    )
