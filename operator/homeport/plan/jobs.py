"""What ends: CronJobs, Jobs that run once, and migrations.

A Job that runs once carries a digest of its Pod template in its name. A template is immutable, so whatever is in it
is in the digest: what changes the template makes another Job, and what doesn't never runs again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from homeport.plan import containers, inputs, names, pods
from homeport.plan.scope import MIGRATE_SUFFIX, Scope
from homeport.plan.types import Child, Manifest, Phase

Done = Mapping[str, Collection[str]]
"""The digests of Jobs that have succeeded, by ``done_id``."""

BACKOFF_LIMIT = 3
MIGRATE_TIMEOUT = 600


def cron_job(scope: Scope) -> Child:
    """The CronJob of a cron component."""
    component = scope.component
    spec: Manifest = {
        "schedule": component.schedule or "",
        "concurrencyPolicy": component.concurrency_policy or "Forbid",
        # Declared also when false, so that a run suspended by hand is seen as drift.
        "suspend": bool(component.suspend) or scope.place.archived,
        "jobTemplate": {
            "metadata": {"labels": dict(scope.pod_labels)},
            "spec": _job_spec(scope, pods.job_template(scope, rolls=True)),
        },
    }
    if component.time_zone:
        spec["timeZone"] = component.time_zone
    for field, number in (
        ("startingDeadlineSeconds", component.starting_deadline_seconds),
        ("successfulJobsHistoryLimit", component.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", component.failed_jobs_history_limit),
    ):
        if number is not None:
            spec[field] = number
    return scope.child(scope.manifest("batch/v1", "CronJob", spec=spec), Phase.RUN, reads=inputs.reads(scope))


def job(scope: Scope) -> Child:
    """The Job of a job component, still under the component's name: ``named`` gives it its own."""
    spec = _job_spec(scope, pods.job_template(scope, rolls=False))
    return scope.child(scope.manifest("batch/v1", "Job", spec=spec), Phase.RUN, reads=inputs.reads(scope))


def migration(scope: Scope) -> Child:
    """The Job that must succeed before the component's new Pods start, still under ``<component>-migrate``.

    It is the component's Pod with another command. Its Pods' component label is ``<component>.migrate``, so that no
    Service sends them traffic.
    """
    component = scope.component
    migrate = component.migrate
    assert migrate is not None
    template = pods.job_template(
        scope, rolls=False, component_label=f"{component.name}{MIGRATE_SUFFIX}", rerun_at=migrate.restart_at
    )
    main = template["spec"]["containers"][0]
    for field in ("args", "livenessProbe", "ports", "readinessProbe", "startupProbe"):
        main.pop(field, None)
    main["command"] = list(migrate.command)
    if migrate.args:
        main["args"] = list(migrate.args)
    if migrate.resources is not None:
        main["resources"] = containers.resources(migrate.resources)
    spec: Manifest = {
        "backoffLimit": BACKOFF_LIMIT if migrate.backoff_limit is None else migrate.backoff_limit,
        "activeDeadlineSeconds": names.seconds(migrate.timeout) if migrate.timeout else MIGRATE_TIMEOUT,
        "template": template,
    }
    manifest = scope.manifest("batch/v1", "Job", name=f"{scope.name}-migrate", spec=spec)
    return scope.child(manifest, Phase.MIGRATE, reads=inputs.reads(scope))


def _job_spec(scope: Scope, template: Manifest) -> Manifest:
    component = scope.component
    limit = component.backoff_limit
    spec: Manifest = {"backoffLimit": BACKOFF_LIMIT if limit is None else limit}
    if component.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = component.active_deadline_seconds
    return {**spec, "template": template}


def done_id(child: Child) -> str:
    """Under which key a Job's digest is kept once it has succeeded: ``<environment>/<component>/<migrate|job>``."""
    return f"{child.environment}/{child.component}/{'migrate' if child.phase is Phase.MIGRATE else 'job'}"


def named(child: Child, done: Done) -> Child | None:
    """A Job that runs once with its digest and its own name; None when it has succeeded before.

    This comes after patches, for they are part of what runs.
    """
    digest = names.digest_of(child.manifest["spec"]["template"])
    if digest in done.get(done_id(child), ()):
        return None
    metadata = child.manifest["metadata"]
    manifest = {**child.manifest, "metadata": {**metadata, "name": names.job(metadata["name"], digest)}}
    return replace(child, manifest=manifest, job_hash=digest)
