"""ProxmoxHosts on the real API server, against fakepve over HTTPS: read, kept, rotated, refused, and let go."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from homes import V1ALPHA1, Home, Live, condition, eventually, told

from api_server import ApiServer
from operators import Operator
from proxmox_world import ALL, SECRET, TEMPLATE, TOKEN, ProxmoxWorld

pytestmark = pytest.mark.integration


class Lab(Live):
    """A host that only this test has, and the Secrets that it names."""

    def __init__(self, api: ApiServer, pve: ProxmoxWorld, log: Path | None = None) -> None:
        super().__init__(api)
        self.pve = pve
        self.name = f"lab-{uuid.uuid4().hex[:8]}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}})

    def secret(self, name: str, **data: str) -> None:
        metadata = {"name": name, "namespace": self.name}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def host(self, **spec: Any) -> None:
        """Apply the host."""
        reference = {"namespace": self.name, "name": "token"}
        base = {
            "endpoints": self.pve.urls,
            "credentialsSecretRef": reference,
            "tls": {"caSecretRef": {"namespace": self.name, "name": "ca"}},
            "interval": "5s",
        }
        self.apply(
            {"apiVersion": V1ALPHA1, "kind": "ProxmoxHost", "metadata": {"name": self.name}, "spec": {**base, **spec}}
        )

    def start(self, **spec: Any) -> dict[str, Any]:
        """The host with its Secrets, once it is Ready."""
        self.secret("ca", **{"ca.crt": Path(self.pve.certificate).read_text()})
        self.secret("token", tokenId=TOKEN, tokenSecret=SECRET)
        self.host(**spec)
        return self.until("True")

    def body(self) -> dict[str, Any]:
        return self.get("ProxmoxHost", None, self.name)

    def until(self, ready: str, reason: str = "", message: str = "") -> dict[str, Any]:
        """The host once Ready is so."""

        def check() -> dict[str, Any] | None:
            body = self.body()
            seen = told(body)
            current = body["status"].get("observedGeneration") == body["metadata"]["generation"]
            assert current and seen[0] == ready and reason in seen[1] and message in seen[2], seen
            return body

        found: dict[str, Any] = eventually(check, f"{self.name} is {ready} {reason} {message}")
        return found

    def settled(self) -> dict[str, Any]:
        """The host after one more reading of everything."""
        token = uuid.uuid4().hex
        self.patch("ProxmoxHost", None, self.name, {"metadata": {"annotations": {"homeport.dev/reconcile-at": token}}})

        def check() -> dict[str, Any] | None:
            body = self.body()
            return body if body["status"].get("lastHandledReconcileAt") == token else None

        found: dict[str, Any] = eventually(check, "the token is handled")
        return found

    def leave(self) -> None:
        self.delete("ProxmoxHost", None, self.name)
        eventually(lambda: self.find("ProxmoxHost", None, self.name) is None, "the host is gone")
        self.delete("Namespace", None, self.name)


@pytest.fixture
def lab(server: ApiServer, operator: Operator, tmp_path: Path) -> Iterator[Lab]:
    pve = ProxmoxWorld(tmp_path)
    found = Lab(server, pve)
    yield found
    found.leave()
    pve.stop()


def resources(calls: list[tuple[str, str]]) -> int:
    return calls.count(("GET", "/cluster/resources"))


def test_a_host_is_read(lab: Lab) -> None:
    status = lab.start()["status"]
    assert told({"status": status})[2] == "Proxmox VE 9.1.3, 2 of 2 nodes online"
    assert (status["version"], status["clusterName"]) == ("9.1.3", "lab")
    assert status["nodes"] == [
        {"name": "pve1", "status": "online", "cpus": 4, "memory": "8Gi"},
        {"name": "pve2", "status": "online", "cpus": 4, "memory": "8Gi"},
    ]
    storages = {storage["name"]: storage for storage in status["storages"]}
    assert storages["local-lvm"]["nodes"] == ["pve1", "pve2"] and "rootdir" in storages["local-lvm"]["content"]
    assert [t["name"] for t in status["templates"]] == [f"local:vztmpl/{TEMPLATE}"]
    assert status["containers"] == {"managed": 0, "unmanaged": 3}
    assert status["permissions"] == {"missing": []} or not status["permissions"].get("missing")
    system = lab.get("Namespace", None, "kube-system")
    assert status["installationID"] == system["metadata"]["uid"]
    assert "homeport.dev/finalizer" in lab.body()["metadata"]["finalizers"]
    # Neither the secret, nor anything that changes by itself, is in it.
    assert SECRET not in json.dumps(lab.body()) and "uptime" not in json.dumps(status)


def test_it_waits_for_its_secrets_in_any_order(lab: Lab) -> None:
    lab.host()
    lab.until("False", "DependencyNotReady", f"Secret token doesn't exist in namespace {lab.name}")
    lab.secret("token", tokenId=TOKEN, tokenSecret=SECRET)
    lab.until("False", "DependencyNotReady", "Secret ca doesn't exist")
    lab.secret("ca", **{"ca.crt": Path(lab.pve.certificate).read_text()})
    lab.until("True")


def test_a_steady_state_makes_no_writes_and_one_call_an_interval(lab: Lab, audit_log: Path) -> None:
    lab.start()
    lab.settled()
    version, offset = lab.body()["metadata"]["resourceVersion"], audit_log.stat().st_size
    lab.pve.asked()
    calls: list[tuple[str, str]] = []

    def three() -> bool:
        calls.extend(lab.pve.asked())
        return resources(calls) >= 3

    eventually(three, "it was read three times")
    assert set(calls) == {("GET", "/cluster/resources")}
    assert lab.body()["metadata"]["resourceVersion"] == version
    writes = [
        entry["verb"]
        for entry in map(json.loads, audit_log.read_bytes()[offset:].splitlines())
        if (entry.get("objectRef") or {}).get("name") == lab.name
        and str(entry.get("userAgent", "")).startswith("homeport-operator")
        and entry["verb"] not in ("get", "list", "watch")
    ]
    assert writes == []


def test_what_comes_and_goes_is_seen(lab: Lab) -> None:
    lab.start()
    lab.pve.call(lambda: lab.pve.pve.add_ct(210, "db", node="pve2", config={"tags": "homeport"}))
    eventually(lambda: lab.body()["status"]["containers"] == {"managed": 1, "unmanaged": 3}, "the container is counted")
    lab.pve.call(lambda: lab.pve.pve.store_file("local", "alpine-3.22_amd64.tar.xz", 4 * 2**20, "vztmpl"))
    found = lab.settled()["status"]["templates"]
    assert {"local:vztmpl/alpine-3.22_amd64.tar.xz"} < {template["name"] for template in found}


def test_a_node_that_is_offline_is_named(lab: Lab) -> None:
    lab.start()
    lab.pve.call(lambda: lab.pve.pve.nodes["pve2"].update(online=False))
    eventually(lambda: condition(lab.body(), "Degraded"), "it is Degraded")
    body = lab.until("True", message="1 of 2 nodes online")
    found = condition(body, "Degraded")
    assert (found["status"], found["reason"], found["message"]) == ("True", "NodeOffline", "node pve2 is offline")
    assert [node["status"] for node in body["status"]["nodes"]] == ["online", "offline"]
    lab.pve.call(lambda: lab.pve.pve.nodes["pve2"].update(online=True))
    eventually(lambda: not condition(lab.body(), "Degraded"), "it isn't Degraded any more")


def test_a_cluster_without_quorum_is_not_ready(lab: Lab) -> None:
    lab.start()
    lab.pve.call(lab.pve.pve.lose_quorum)
    lab.settled()
    lab.until("False", "NoQuorum", "cluster lab has no quorum")
    lab.pve.call(lab.pve.pve.regain_quorum)
    lab.settled()
    lab.until("True")


def test_another_endpoint_takes_over(lab: Lab) -> None:
    lab.start()
    lab.pve.go(0)
    lab.pve.asked()
    eventually(lambda: resources(lab.pve.asked()), "it is read by the other endpoint")
    lab.until("True")


def test_a_host_that_is_gone_and_comes_back(lab: Lab) -> None:
    before = lab.start()["status"]
    lab.pve.go(0)
    lab.pve.go(1)
    body = lab.until("False", "ProgressingWithRetry", lab.pve.urls[1])
    assert condition(body, "Reconciling")["status"] == "True"
    # What was last seen stays.
    assert body["status"]["nodes"] == before["nodes"] and body["status"]["containers"] == before["containers"]
    lab.pve.come_back(0)
    lab.pve.come_back(1)
    lab.until("True")


def test_a_token_is_rotated(lab: Lab) -> None:
    lab.start()
    lab.pve.call(lambda: lab.pve.pve.apitokens.update({TOKEN: "another-secret"}))
    body = lab.until("False", "AccessDenied", "doesn't accept the token")
    assert condition(body, "Stalled")["status"] == "True"
    lab.secret("token", tokenId=TOKEN, tokenSecret="another-secret")
    lab.until("True")


def test_secrets_that_can_not_be_used_are_said(lab: Lab) -> None:
    lab.secret("ca", **{"ca.crt": "nonsense"})
    lab.secret("token", tokenId=TOKEN)
    lab.host()
    lab.until("False", "InvalidSpec", "has no key tokenSecret; it needs tokenId and tokenSecret")
    lab.secret("token", tokenId="root@pam", tokenSecret=SECRET)
    body = lab.until("False", "InvalidSpec", "write one such as homeport@pve!operator")
    assert SECRET not in json.dumps(body)
    lab.secret("token", tokenId=TOKEN, tokenSecret=SECRET)
    lab.until("False", "InvalidSpec", "the CA isn't a certificate in PEM")
    lab.secret("ca", **{"ca.crt": Path(lab.pve.certificate).read_text()})
    lab.until("True")


def test_fingerprints(lab: Lab) -> None:
    lab.secret("token", tokenId=TOKEN, tokenSecret=SECRET)
    lab.host(tls={"fingerprints": {"127.0.0.1": "AA:" * 31 + "AA"}})
    body = lab.until("False", "AccessDenied", "its certificate isn't trusted")
    got = lab.pve.fingerprint.replace(":", "").lower()
    assert got in told(body)[2].replace(":", "").lower()
    assert lab.pve.asked() == []
    lab.host(tls={"fingerprints": {"127.0.0.1": lab.pve.fingerprint}})
    lab.until("True")


@pytest.mark.parametrize("version", ["7.4-17", "10.0.1"])
def test_versions_that_are_not_known_are_refused(lab: Lab, version: str) -> None:
    lab.pve.pve.version = version
    lab.secret("ca", **{"ca.crt": Path(lab.pve.certificate).read_text()})
    lab.secret("token", tokenId=TOKEN, tokenSecret=SECRET)
    lab.host()
    body = lab.until("False", "UnsupportedVersion", f"Proxmox VE {version}, which isn't supported; 8.x and 9.x work")
    assert condition(body, "Stalled")["status"] == "True"
    # Whoever upgrades it need not tell us.
    lab.pve.pve.version = "9.1.3"
    lab.until("True")


def test_missing_privileges_are_listed(lab: Lab) -> None:
    lab.pve.call(lambda: lab.pve.pve.acl.update({TOKEN: [("/", {"Sys.Audit", "VM.Audit", "Datastore.Audit"})]}))
    assert not lab.start()["status"]["permissions"].get("missing")
    lab.host(projects=[{"name": "homelab", "storages": ["local-lvm"], "bridges": ["vmbr0"], "pool": "homelab"}])
    body = lab.until("True", message="the token lacks 9 privileges for Containers")
    found = {(need["path"], need["privilege"]) for need in body["status"]["permissions"]["missing"]}
    assert {("/vms", "VM.Allocate"), ("/storage/local-lvm", "Datastore.AllocateSpace")} < found
    assert ("/sdn/zones/localnetwork/vmbr0", "SDN.Use") in found
    lab.pve.call(lambda: lab.pve.pve.acl.update({TOKEN: [("/", {"Sys.Audit", "Datastore.Audit"})]}))
    lab.settled()
    lab.until("False", "AccessDenied", "the token lacks VM.Audit on /vms")


def test_without_the_right_to_see_the_cluster_it_is_refused(lab: Lab) -> None:
    lab.pve.call(lambda: lab.pve.pve.acl.update({TOKEN: [("/vms", {"VM.Audit"})]}))
    lab.secret("ca", **{"ca.crt": Path(lab.pve.certificate).read_text()})
    lab.secret("token", tokenId=TOKEN, tokenSecret=SECRET)
    lab.host()
    lab.until("False", "AccessDenied", "the token lacks Sys.Audit on /")


def test_a_host_stays_with_its_cluster(lab: Lab, tmp_path: Path) -> None:
    lab.start()
    (tmp_path / "other").mkdir()
    other = ProxmoxWorld(tmp_path / "other", endpoints=1)
    try:
        other.pve.cluster_name = "attic"
        lab.host(endpoints=other.urls, tls={"insecure": True})
        lab.until("False", "InvalidSpec", "belongs to cluster attic (pve1, pve2), and this host is cluster lab")
        assert resources(other.asked()) == 0
        lab.host()
        lab.until("True")
    finally:
        other.stop()


def test_suspended_it_is_not_read(lab: Lab) -> None:
    lab.start()
    lab.host(suspend=True)
    eventually(lambda: condition(lab.body(), "Suspended"), "it is suspended")
    assert told(lab.body())[0] == "True"
    lab.host(suspend=False)
    eventually(lambda: not condition(lab.body(), "Suspended"), "it goes on")
    lab.until("True")


def test_deletion_touches_nothing_on_it(lab: Lab) -> None:
    lab.start()
    lab.pve.asked()
    lab.delete("ProxmoxHost", None, lab.name)
    eventually(lambda: lab.find("ProxmoxHost", None, lab.name) is None, "the host is gone")
    assert all(method == "GET" for method, _ in lab.pve.asked())
    assert len(lab.pve.pve.cts) == 3


def test_deletion_waits_for_who_uses_it(lab: Lab, home: Home) -> None:
    lab.start(projects=[{"name": home.name}])
    home.environment("lab", runtime="Proxmox", proxmox={"hostRef": {"name": lab.name}})
    lab.delete("ProxmoxHost", None, lab.name)

    def waits() -> bool:
        status, reason, message = told(lab.body())
        said = f"waits for Environment {home.name}/lab, which use it, to be deleted"
        return (status, reason, message) == ("False", "Terminating", said)

    eventually(waits, "it says for whom it waits")
    # It is read all the while: who uses it needs it to go.
    lab.pve.asked()
    eventually(lambda: resources(lab.pve.asked()), "it is read")
    home.delete("Environment", home.name, "lab")
    eventually(lambda: lab.find("ProxmoxHost", None, lab.name) is None, "the host is gone")
    assert len(lab.pve.pve.cts) == 3


class Gate:
    """PVE's time, let through a pause at a time."""

    def __init__(self, world: ProxmoxWorld) -> None:
        self._world = world
        self._turns = world.call(lambda: asyncio.Semaphore(0))
        world.call(lambda: (setattr(world.pve, "time_scale", 1.0), setattr(world.pve, "sleeper", self._sleep)))

    async def _sleep(self, seconds: float) -> None:
        await self._turns.acquire()

    def turn(self, times: int) -> None:
        """Let this many pauses pass."""
        self._world.call(lambda: [self._turns.release() for _ in range(times)])


def test_a_template_is_fetched_once_whoever_restarts(lab: Lab, restart: Any) -> None:
    gate, pve = Gate(lab.pve), lab.pve.pve
    lab.start(templates=[{"name": "debian-13", "storage": "local", "nodes": ["pve1"]}])
    file = "debian-13-standard_13.1-2_amd64.tar.zst"

    def download() -> dict[str, Any]:
        found = lab.body()["status"].get("downloads") or [{}]
        assert len(found) == 1
        out: dict[str, Any] = found[0]
        return out

    gate.turn(2)
    eventually(lambda: download().get("progress") == 50, "half of it is there")
    assert (download()["template"], download()["node"], download()["storage"]) == (file, "pve1", "local")
    task = download()["task"]
    restart()
    gate.turn(1)
    eventually(lambda: download().get("progress") == 80 and download()["task"] == task, "the same task goes on")
    gate.turn(10)
    volume = f"local:vztmpl/{file}"
    eventually(lambda: volume in {one["name"] for one in lab.body()["status"]["templates"]}, "it is there")
    eventually(lambda: not lab.body()["status"].get("downloads"), "nothing is fetched any more")
    assert lab.pve.call(pve.begun)["download", file] == 1
    lab.settled()
    assert lab.pve.call(pve.begun)["download", file] == 1


def test_a_template_that_can_not_be_fetched_is_said(lab: Lab) -> None:
    lab.pve.call(lambda: lab.pve.pve.acl.update({TOKEN: [("/", set(ALL) - {"Datastore.AllocateTemplate"})]}))
    lab.start(templates=[{"name": "alpine", "storage": "local", "nodes": ["pve1"]}])
    body = lab.until("True", message="Permission check failed (/storage/local, Datastore.AllocateTemplate)")
    need = {"feature": "Templates", "path": "/storage/local", "privilege": "Datastore.AllocateTemplate"}
    assert need in body["status"]["permissions"]["missing"]
    lab.pve.call(lambda: lab.pve.pve.acl.update({TOKEN: [("/", set(ALL))]}))
    lab.settled()
    found = eventually(lambda: "alpine" in json.dumps(lab.body()["status"]["templates"]), "it is there")
    assert found


async def test_usage_is_in_the_metrics(lab: Lab, operator: Operator) -> None:
    lab.start()
    seen = await operator.scrape()
    labels = f'host="{lab.name}"'
    assert seen[f"homeport_proxmox_up{{{labels}}}"] == 1
    assert seen[f'homeport_proxmox_node_memory_bytes{{{labels},node="pve1"}}'] == 8 * 2**30
    assert seen[f'homeport_proxmox_node_memory_used_bytes{{{labels},node="pve1"}}'] == 2 * 2**30
    assert seen[f'homeport_proxmox_containers{{{labels},managed="false"}}'] == 3
    assert seen['homeport_proxmox_calls_total{code="200",method="GET"}'] >= 1


def test_after_a_restart_nothing_is_written(lab: Lab, restart: Any) -> None:
    lab.start()
    version = lab.settled()["metadata"]["resourceVersion"]
    lab.pve.asked()
    restart()
    eventually(lambda: resources(lab.pve.asked()), "the new one has read it")
    lab.until("True")
    assert lab.body()["metadata"]["resourceVersion"] == version


def test_its_token_is_never_copied(lab: Lab, home: Home) -> None:
    """Whichever was there first."""
    metadata = {"name": "pve-token", "namespace": home.name}
    data = {"tokenId": TOKEN, "tokenSecret": SECRET}
    home.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
    home.set("Environment", "dev", secrets=[{"name": "pve-token"}])
    eventually(lambda: home.find("Secret", f"{home.name}-dev", "pve-token"), "it is copied, as any other")
    lab.start(credentialsSecretRef={"namespace": home.name, "name": "pve-token"})

    def said() -> bool:
        return f"it is the token of ProxmoxHost {lab.name}" in told(home.get("Environment", home.name, "dev"))[2]

    eventually(said, "the environment says why it isn't copied")
    eventually(lambda: home.find("Secret", f"{home.name}-dev", "pve-token") is None, "the copy is gone")
