"""PVE's sentences, each as the error that it is: held against the catalogue of its errors that fakepve carries."""

from __future__ import annotations

import re

import pytest
from fakepve import errors as catalogue

from homeport.drivers.proxmox import errors

BY_NAME = {  # a piece of the catalogue's template -> what it must be
    "{guest_type} is locked ({lock})": errors.Locked,
    "protection mode enabled": errors.Protected,
    "already running": errors.AlreadyRunning,
    "not running": errors.NotRunning,
    "disk is already at specified size": errors.AlreadyThisSize,
    "snapshot name '{snapname}' already used": errors.Exists,
    "snapshot '{snapname}' does not exist": errors.NotFound,
    "storage '{storeid}' does not exist": errors.NotFound,
    "Configuration file '{cfspath}' does not exist": errors.NotFound,
}
VALUES = {"guest_type": "CT", "lock": "backup", "vmid": "210", "snapname": "s", "storeid": "local",
          "err_msg": "can't remove CT 210", "cfspath": "nodes/pve1/lxc/210.conf"}  # fmt: skip


def _templates() -> list[str]:
    found = {
        entry["message"]
        for method, entries in catalogue.catalogue().items()
        if "/lxc" in method or "/storage/" in method
        for entry in entries
        if entry["status"] == 500
    }
    return sorted(found)


@pytest.mark.parametrize("part", BY_NAME)
def test_the_catalogues_sentences_are_known(part: str) -> None:
    found = [template for template in _templates() if part in template and "import" not in template]
    assert found, f"the catalogue has no {part!r}"
    for template in found:
        sentence = re.sub(r"\{(\w+)\}", lambda match: VALUES.get(match[1], "x"), template)
        assert type(errors.from_sentence(sentence)) is BY_NAME[part], sentence


def test_no_other_sentence_is_taken_for_one() -> None:
    """What isn't in the table above must stay a plain error: to take a refusal for a success would be worst."""
    successes = (errors.AlreadyThere,)
    taken = [t for t in _templates() if isinstance(errors.from_sentence(t), successes)]
    expected = ("already running", "not running", "specified size", "already used", "existing file")
    assert [t for t in taken if not any(part in t for part in expected)] == []


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("can't lock file '/run/lock/lxc/pve-config-210.lock' - got timeout", errors.Locked),
        ("CT is locked (snapshot-delete)", errors.Locked),
        ("detected modified configuration - file changed by other user? Try again.", errors.DigestConflict),
        ("cluster not ready - no quorum?", errors.NoQuorum),
        ("CT 210 already exists", errors.Exists),
        ("unable to create CT 210 - CT 210 already exists on node 'pve2'", errors.Exists),
        ("unable to parse worker upid 'x'", errors.NotFound),
        ("unable to shrink disk size", errors.ProxmoxError),
        ("container did not stop", errors.ProxmoxError),
    ],
)
def test_sentences(sentence: str, kind: type[errors.ProxmoxError]) -> None:
    found = errors.from_sentence(sentence)
    assert type(found) is kind and str(found) == sentence


def test_an_unknown_task_is_not_found() -> None:
    for text in ("no such task", "unable to parse worker upid"):
        found = errors.from_answer(400, "Parameter verification failed.", {"upid": text}, write=False)
        assert type(found) is errors.NotFound
    other = errors.from_answer(
        400, "Parameter verification failed.", {"storage": "storage 'x' does not exist"}, write=True
    )
    assert type(other) is errors.InvalidParameters


def test_a_lock_says_which() -> None:
    locks = ["CT is locked (backup)", "CT is locked (snapshot-delete)", "can't lock file '/x' - got timeout"]
    found = [errors.from_sentence(text) for text in locks]
    assert [e.lock for e in found if isinstance(e, errors.Locked)] == ["backup", "snapshot-delete", errors.CONFIG_LOCK]


def test_a_refusal_says_what_is_missing() -> None:
    found = errors.from_answer(403, "Permission check failed (/vms/210, VM.Allocate)\n", write=True)
    assert isinstance(found, errors.Forbidden)
    assert (found.path, found.privilege, found.root_only) == ("/vms/210", "VM.Allocate", False)
    only = errors.from_answer(
        403, "Permission check failed (changing the hookscript is only allowed for root@pam)", write=True
    )
    assert isinstance(only, errors.Forbidden) and (only.path, only.root_only) == (None, True)


@pytest.mark.parametrize("status", [502, 503, 504, 595, 596, 597, 598, 599])
def test_what_nobody_knows_the_end_of(status: int) -> None:
    assert type(errors.from_answer(status, "x", write=True)) is errors.OutcomeUnknown
    read = errors.from_answer(status, "x", write=False)
    assert type(read) is (errors.NodeUnreachable if status >= 595 else errors.Unreachable)


def test_a_taken_vmid_is_a_400() -> None:
    found = errors.from_answer(400, "Parameter verification failed.", {"vmid": "VM 100 already exists"}, write=False)
    assert type(found) is errors.Exists
    other = errors.from_answer(400, "Parameter verification failed.", {"memory": "type check failed"}, write=True)
    assert type(other) is errors.InvalidParameters
    assert str(other) == "Parameter verification failed. (memory: type check failed)"
