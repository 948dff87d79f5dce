"""The role that a token needs: on paper, as commands, and as what ``homeport proxmox role`` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.cli import main
from homeport.plan.proxmox import privileges
from homeport.plan.proxmox.privileges import Grant, Use, missing, needs, roles

HOST = """
apiVersion: homeport.dev/v1alpha1
kind: ProxmoxHost
metadata: {name: lab}
spec:
  endpoints: [https://pve1.lab:8006]
  credentialsSecretRef: {namespace: homeport-system, name: lab-token}
  tls: {insecure: true}
  projects:
    - {name: homelab, pool: homelab, storages: [local-lvm], bridges: [vmbr0]}
  templates: [{name: debian-12, storage: local}]
"""


def test_roles_are_granted_where_they_are_needed_and_nowhere_else() -> None:
    made, granted = roles(needs([Use("homelab", ["local-lvm"], ["vmbr0"])], ["local"]))
    assert made["HomeportStorage"] == ("Datastore.AllocateSpace", "Datastore.Audit")
    assert made["HomeportTemplates"] == ("Datastore.AllocateTemplate", "Datastore.Audit")
    assert granted == (
        Grant("/", ("HomeportAudit",)),
        Grant("/pool/homelab", ("HomeportContainers",)),
        Grant("/sdn/zones/localnetwork/vmbr0", ("HomeportNetwork",)),
        Grant("/storage/local", ("HomeportTemplates",)),
        Grant("/storage/local-lvm", ("HomeportStorage",)),
    )


def test_backups_need_their_privilege_on_all_guests() -> None:
    """A container that is gone is in no pool, and its backups are there."""
    made, granted = roles(needs([Use("homelab", ["local-lvm"])], (), ["pbs"]))
    assert made["HomeportBackups"] == ("VM.Backup",) and "VM.Backup" not in made["HomeportContainers"]
    assert Grant("/vms", ("HomeportBackups",)) in granted
    assert Grant("/storage/pbs", ("HomeportStorage",)) in granted


def test_what_is_granted_below_holds_what_is_granted_above() -> None:
    _, granted = roles(needs([Use()], ["local"]))
    assert dict(granted)["/storage/local"] == ("HomeportStorage", "HomeportTemplates")


def test_without_projects_it_is_enough_to_look() -> None:
    made, _ = roles(needs(()))
    assert {name for held in made.values() for name in held} == {"Sys.Audit", "VM.Audit", "Datastore.Audit"}


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=2)


@given(st.lists(st.builds(Use, st.sampled_from([None, "p", "q"]), NAMES, NAMES), max_size=3), NAMES)
def test_with_these_roles_nothing_is_missing(uses: list[Use], templates: list[str]) -> None:
    wanted = needs(uses, templates)
    made, granted = roles(wanted)
    held = {path: {p: 1 for role in names for p in made[role]} for path, names in granted}
    assert missing(held, wanted) == ()
    # And none of them is idle.
    assert {privilege for names in held.values() for privilege in names} == {need.privilege for need in wanted}


def test_the_commands_of_a_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "host.yaml").write_text(HOST)
    assert main(["proxmox", "role", "-f", str(tmp_path / "host.yaml"), "--user", "hp@pve", "--token", "op"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        'pveum role add HomeportAudit --privs "Sys.Audit"',
        'pveum role add HomeportContainers --privs "VM.Allocate VM.Audit VM.Config.CPU VM.Config.Disk VM.Config.Memory '
        'VM.Config.Network VM.Config.Options VM.PowerMgmt"',
        'pveum role add HomeportNetwork --privs "SDN.Use"',
        'pveum role add HomeportStorage --privs "Datastore.AllocateSpace Datastore.Audit"',
        'pveum role add HomeportTemplates --privs "Datastore.AllocateTemplate Datastore.Audit"',
        "pveum user add hp@pve --comment Homeport",
        "pveum acl modify / --users hp@pve --roles HomeportAudit",
        "pveum acl modify /pool/homelab --users hp@pve --roles HomeportContainers",
        "pveum acl modify /sdn/zones/localnetwork/vmbr0 --users hp@pve --roles HomeportNetwork",
        "pveum acl modify /storage/local --users hp@pve --roles HomeportTemplates",
        "pveum acl modify /storage/local-lvm --users hp@pve --roles HomeportStorage",
        "pveum user token add hp@pve op --privsep 0",
    ]


def test_as_json_and_without_a_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proxmox", "role", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"path": "/vms", "roles": ["HomeportContainers"]} in found["grants"]
    assert found["roles"]["HomeportNetwork"] == ["SDN.Use"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--user", "root; reboot"], "write a user with its realm"),
        (["--token", "$(x)"], "write a name such as operator"),
        (["lab", "-f", "-"], "name a ProxmoxHost or a file with one, not both"),
    ],
)
def test_what_can_not_be_is_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["proxmox", "role", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_a_file_without_a_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n")
    assert main(["proxmox", "role", "-f", str(tmp_path / "other.yaml")]) == 1
    assert "has no ProxmoxHosts" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text(HOST.replace("insecure: true", "insecure: maybe"))
    assert main(["proxmox", "role", "-f", str(tmp_path / "bad.yaml")]) == 1
    assert "spec.tls.insecure" in capsys.readouterr().err


def test_every_privilege_is_in_a_role() -> None:
    every = {name for names in privileges.ROLE.values() for name in names}
    made, _ = roles(needs([Use()], ["local"], ["pbs"]))
    assert {name for names in made.values() for name in names} == every
