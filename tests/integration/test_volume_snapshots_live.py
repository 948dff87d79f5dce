"""Files out of CSI snapshots: the real API server, the real definitions, a real restic, and a driver that is played.

On a control plane of its own: what a cluster serves is seen by everybody in it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backup_shop import WAIT, WEB, BackupShop
from homes import Home, eventually, told

from api_server import ApiServer
from backup_servers import S3Server
from backup_world import IMAGE, BackupWorld
from csi_driver import CLASS, CsiDriver
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.definitions import EXTERNAL_SNAPSHOTTER
from localplane.kubectl import Kubectl
from operators import Operator

pytestmark = pytest.mark.integration
ON_CSI = {**WEB, "volumes": [{"name": "data", "path": "/data", "size": "1Gi", "storageClass": CLASS}]}


class Place:
    """A control plane with an operator, a kubelet for runners, and a driver."""

    def __init__(self, plane: ControlPlane, world: BackupWorld, driver: CsiDriver) -> None:
        self.plane = plane
        self.world = world
        self.driver = driver


@pytest.fixture(scope="module")
def place(client_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ControlPlane(tmp_path_factory.mktemp("csi"), ephemeral=True, audit=True) as plane:
        kubectl = Kubectl(plane.kubectl, str(plane.kubeconfig))
        install(kubectl)
        log = tmp_path_factory.mktemp("operator") / "operator.log"
        operator = Operator(plane.kubeconfig, log, "--runner-image", IMAGE)
        operator.start()
        api = ApiServer(str(plane.kubeconfig))
        world = BackupWorld(api, tmp_path_factory.mktemp("world"), client_programs)
        try:
            asyncio.run(operator.wait_leading())
            # It comes into use while the operator runs.
            for path in EXTERNAL_SNAPSHOTTER.paths():
                kubectl.run("apply", "--server-side", "-f", str(path))
                kubectl.wait_established(path)
            driver = CsiDriver(api, world, tmp_path_factory.mktemp("snapshots"))
            driver.classes()
            with world.running(), driver.running():
                yield Place(plane, world, driver)
        finally:
            operator.kill(signal.SIGTERM)


@pytest.fixture
def shop(place: Place, s3_server: S3Server, tmp_path: Path) -> Iterator[BackupShop]:
    home = Home(ApiServer(str(place.plane.kubeconfig)))
    home.project()
    home.environment()
    shop = BackupShop(home, place.world, s3_server, tmp_path / "runner")
    shop.rolled_out(ON_CSI)
    claims = eventually(lambda: home.list("PersistentVolumeClaim", home.place()), "its claim is there")
    assert [claim["metadata"]["name"] for claim in claims] == ["web-data"]
    eventually(
        lambda: home.get("PersistentVolumeClaim", home.place(), "web-data")["status"]["phase"] == "Bound",
        "its claim is bound",
    )
    yield shop
    place.driver.error = ""


def left(shop: BackupShop) -> set[str]:
    """Snapshots and claims of runs that are still there."""
    found = {item["metadata"]["name"] for item in shop.home.list("VolumeSnapshot", shop.home.place())}
    return found | {name for name in shop.home.names("PersistentVolumeClaim", shop.home.place()) if name != "web-data"}


def test_what_is_written_after_the_snapshot_is_not_in_it(place: Place, shop: BackupShop) -> None:
    home = shop.home
    volume = shop.world.volume(home.place(), "web-data")
    (volume / "a.txt").write_text("before")
    shop.backup(method="Files", files={"snapshot": "Always"})
    seen: list[Any] = []

    def look(pod: Any, job: Any) -> None:
        if job["operation"] == "backup":
            # The runner is about to read: it has another claim than the one that is written to now.
            (volume / "a.txt").write_text("while it runs")
            seen.append([v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"]
                         if "persistentVolumeClaim" in v])  # fmt: skip

    shop.world.before = look
    try:
        run = shop.saved("now")
    finally:
        shop.world.before = lambda pod, job: None
    name = run["volumeSnapshot"]["name"]
    assert seen == [[name]]
    assert {key: run["volumeSnapshot"][key] for key in ("claim", "className", "size")} == {
        "claim": "web-data", "className": "snaps", "size": "1Gi",
    }  # fmt: skip
    assert run["volumeSnapshot"]["time"]
    assert "notes" not in run
    assert place.driver.made.count(f"{home.place()}/{name}") == 1
    eventually(lambda: not left(shop) and not shop.made("BackupRun"), "snapshot, claim and Job are gone", WAIT)
    # It comes back as any other run does.
    status = shop.restore()
    assert status["phase"] == "Succeeded", status
    assert (shop.world.volume(home.place(), "web-data-undo") / "a.txt").read_text() == "before"


def test_a_run_that_is_deleted_while_the_driver_works_leaves_nothing(place: Place, shop: BackupShop) -> None:
    home = shop.home
    shop.backup(method="Files")
    place.driver.error = "the pool is full"
    home.own("BackupRun", "now", {"backupRef": {"name": "nightly"}})
    said = "a snapshot of the claim web-data is made: the pool is full"
    eventually(lambda: told(home.mine("BackupRun", "now"))[2] == said, said, WAIT)
    assert home.mine("BackupRun", "now")["status"]["phase"] == "Snapshotting"
    home.delete("BackupRun", home.name, "now")
    home.gone("BackupRun", home.name, "now", WAIT)
    eventually(lambda: not left(shop), "its snapshot is gone", WAIT)
    # Another of the same name begins anew, with a snapshot of its own.
    place.driver.error = ""
    (shop.world.volume(home.place(), "web-data") / "b.txt").write_text("later")
    assert shop.saved("now")["phase"] == "Succeeded"


def test_without_a_snapshot_it_is_told_or_refused(shop: BackupShop) -> None:
    shop.backup(method="Files", files={"snapshot": "Auto", "snapshotClass": "none"})
    (shop.world.volume(shop.home.place(), "web-data") / "c.txt").write_text("c")
    missing = (
        "VolumeSnapshotClass none isn't there for driver csi.example.com of the claim web-data; of that driver there "
        "are: snaps"
    )
    run = shop.saved("now")
    assert run["notes"] == [f"the volume was read while it is in use, for there was no snapshot: {missing}"]
    assert "volumeSnapshot" not in run
    shop.home.set("Backup", "nightly", files={"snapshot": "Always", "snapshotClass": "none"})
    text = f"spec.files.snapshot: Always, and no snapshot can be made: {missing}"
    shop.home.until("Backup", "nightly", "False", "InvalidSpec", text, seconds=WAIT)
