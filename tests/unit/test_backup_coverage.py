"""What of a project is in a backup: volumes, claims that two share, containers' disks and mounts."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.api.resource import InvalidSpec, Resource, parse
from homeport.plan.backup import coverage
from homeport.plan.backup.coverage import Coverage, State


def made(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> Resource[Any]:
    return parse(
        {
            "apiVersion": "homeport.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "shop", **metadata},
            "spec": spec,
        }
    )


def component(name: str, *volumes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": "worker", "image": "app:1", "volumes": list(volumes), **fields}


def volume(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "path": f"/{name}", **({"size": "1Gi"} if not fields.get("existingClaim") else {}), **fields}


def backup(name: str = "nightly", **spec: Any) -> Resource[Any]:
    source = {"application": "shop", "component": "db", "environment": "dev"}
    return made("Backup", name, {"source": source, "repositoryRef": {"name": "r"}, "schedule": "0 3 * * *", **spec})


DEV = made("Environment", "dev", {})


def look(
    *components: dict[str, Any],
    backups: tuple[Resource[Any], ...] = (),
    environments: tuple[Resource[Any], ...] = (DEV,),
    containers: tuple[Resource[Any], ...] = (),
    **app: Any,
) -> Coverage:
    spec = {"version": "1.0.0", "components": list(components), **app}
    return coverage.look(
        [made("Application", "shop", spec)] if components else [], environments, containers, backups, {}
    )


def states(seen: Coverage) -> dict[str, str]:
    return {f"{found.data.owner} {found.data.volume}": str(found.state) for found in seen.findings}


def test_nothing_that_holds_data_is_nothing_to_say() -> None:
    seen = look(component("web", volume("tmp", ephemeral=True)))
    assert seen.findings == () and seen.condition is None


def test_a_dump_covers_all_volumes_of_its_component_and_nothing_else() -> None:
    db = component("db", volume("data"), volume("wal"), type="stateful", replicas=3)
    seen = look(db, component("web", volume("files")), backups=(backup(method="Postgres"),))
    assert states(seen) == {
        "dev/shop/db data": "Covered",
        "dev/shop/db wal": "Covered",
        "dev/shop/web files": "NotCovered",
    }
    assert seen.condition == ("NotCovered", "no backup covers dev/shop/web files", "False")


def test_each_environment_is_one_of_its_own() -> None:
    environments = (DEV, made("Environment", "prod", {}), made("Environment", "p", {"tier": "Preview"}))
    seen = look(component("db", volume("data")), backups=(backup(method="MySQL"),), environments=environments)
    assert states(seen) == {"dev/shop/db data": "Covered", "prod/shop/db data": "NotCovered"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"volume": "data"}, {"data": State.COVERED, "other": State.NOT_COVERED}),
        ({}, {"data": State.NOT_COVERED, "other": State.NOT_COVERED}),
    ],
)
def test_files_are_of_one_volume(source: dict[str, Any], says: dict[str, State]) -> None:
    one = backup(method="Files", source={"application": "shop", "component": "db", "environment": "dev", **source})
    seen = look(component("db", volume("data"), volume("other")), backups=(one,))
    assert {found.data.volume: found.state for found in seen.findings} == says
    other = next(found for found in seen.findings if found.data.volume == "other")
    assert other.why.startswith("nightly takes volume data only" if source else "nightly names none of")


def test_the_only_volume_needs_no_name() -> None:
    seen = look(component("db", volume("data")), backups=(backup(method="Files"),))
    assert seen.condition == ("Covered", "1 volume is covered by backups", "True")


def test_a_claim_that_two_mount_is_one() -> None:
    reader = component("web", volume("seen", existingClaim="db-data", readOnly=True))
    seen = look(reader, component("db", volume("data")), backups=(backup(method="Files"),))
    assert states(seen) == {"dev/shop/db data": "Covered"}
    of_reader = backup(
        method="Files", source={"application": "shop", "component": "web", "environment": "dev", "volume": "seen"}
    )
    assert states(look(reader, component("db", volume("data")), backups=(of_reader,))) == {
        "dev/shop/db data": "Covered"
    }


def test_what_is_left_out_on_purpose_counts_as_neither() -> None:
    seen = look(component("cache", volume("data", backup=False)))
    assert states(seen) == {"dev/shop/cache data": "LeftOut"}
    assert seen.condition is None and seen.missing == ()


def test_a_suspended_backup_covers_nothing_and_a_deleted_one_is_gone() -> None:
    seen = look(component("db", volume("data")), backups=(backup(method="MySQL", suspend=True),))
    assert (seen.findings[0].state, seen.findings[0].why) == (State.NOT_COVERED, "nightly: suspended")
    without = look(component("db", volume("data")))
    assert without.findings[0].why == (
        "write a Backup with source: {application: shop, component: db, environment: dev}"
    )


def test_remarks_about_what_is_covered() -> None:
    by_hand = backup(method="Postgres", schedule=None)
    found = look(component("db", volume("data")), backups=(by_hand,)).findings[0]
    assert (found.state, found.why) == (State.COVERED, "nightly: no schedule: only when somebody asks")


def test_an_override_changes_what_there_is() -> None:
    places = [{"name": "dev", "overrides": {"db": {"enabled": False}}}]
    app = made(
        "Application",
        "shop",
        {"version": "1.0.0", "environments": places, "components": [component("db", volume("data")), component("web")]},
    )
    assert coverage.look([app], (DEV,), (), (), {}).findings == ()


def test_containers_and_what_vzdump_leaves_out() -> None:
    pihole = made(
        "LXCContainer",
        "pihole",
        {
            "hostRef": {"name": "lab"},
            "template": "debian-12",
            "mounts": [
                {"name": "etc", "path": "/etc/pihole", "size": "1Gi", "backup": True},
                {"name": "log", "path": "/var/log/pihole", "size": "1Gi"},
                {"name": "cache", "path": "/var/cache/x", "size": "1Gi", "backup": False},
            ],
        },
    )
    one = made("Backup", "night", {"source": {"container": "pihole"}, "repositoryRef": {"name": "r"}})
    seen = look(containers=(pihole,), backups=(one,))
    assert states(seen) == {
        "container/pihole rootfs": "Covered",
        "container/pihole etc": "Covered",
        "container/pihole log": "NotCovered",
        "container/pihole cache": "LeftOut",
    }
    assert seen.missing[0].why == "night: vzdump leaves the mount out; set backup: true in it"


def test_what_cannot_be_told_is_neither_true_nor_false() -> None:
    item = {"name": "db", "catalog": {"name": "postgres"}}

    def nothing(component: Any, prefix: str) -> Any:
        raise InvalidSpec(["not rendered yet"])

    app = made("Application", "shop", {"version": "1.0.0", "components": [item]})
    seen = coverage.look([app], (DEV,), (), (), {"shop": nothing})
    assert seen.condition == ("Progressing", "what shop keeps can't be told now", "Unknown")


def test_a_condition_is_bounded() -> None:
    seen = look(*(component(f"c{number}", volume("data")) for number in range(14)))
    assert seen.condition is not None
    assert seen.condition[1].count("dev/shop/c") == 10 and seen.condition[1].endswith(" data and 4 more")
