"""init and explain: what a newcomer begins with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homeport import cli
from homeport.api.conditions import Reason
from homeport.api.kinds import KINDS
from homeport.cli import fields
from homeport.cli.errors import Failure


def test_init_writes_what_validates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "shop"
    assert cli.main(["init", "my-shop", "--dir", str(folder)]) == 0
    assert f"kubectl apply -f {folder}" in capsys.readouterr().out
    assert cli.main(["validate", "-f", str(folder), "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["problems"] == []
    assert [o["object"] for o in answer["objects"]] == [
        "Project/my-shop", "Application/my-shop", "Environment/development",
    ] or len(answer["objects"]) == 3  # fmt: skip


def test_init_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "application.yaml"
    mine.write_text("mine")
    assert cli.main(["init", "shop", "--dir", str(tmp_path)]) == 1
    assert f"{mine} exists already, and nothing is overwritten" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [mine]


def test_init_in_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["init", "shop", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0] == "shop/00-project.yaml"


@pytest.mark.parametrize("name", ["Shop", "a_b", "1st", "a" * 52, "{x}", "a: b", "../x", ""])
def test_init_refuses_names(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", name, "--dir", str(tmp_path / "x")]) == 1
    assert "can't be a project's name" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_every_field_is_described(kind: str) -> None:
    skipped = {"apiVersion", "kind", "metadata"}
    for _, entry in fields.find(kind).walk():
        if entry.path.split(".")[1] not in skipped:
            assert entry.description, f"{entry.path} has no description"
            assert entry.type


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("app.spec.components.autoscaling.max", "integer"),
        ("app.components.autoscaling.max", "integer"),
        ("hpapp.spec.components[web].env", "[]object"),
        ("application.spec.components.files", "map[string]string"),
        ("application.spec.components.affinity", "Affinity"),
        ("application.spec.components.sidecars", "[]Container"),
        ("application.spec.environments.overrides.web.replicas", "integer"),
        ("application.status.url", "string"),
        ("env.quota.cpu", "string or number"),
        ("project", "object"),
    ],
)
def test_fields_are_found(path: str, kind: str) -> None:
    assert fields.find(path).type == kind


def test_a_field_has_its_bounds_default_and_rules() -> None:
    assert fields.find("app.components.type").default == "service"
    assert "one of service, worker, stateful, cron, job" in fields.find("app.components.type").bounds
    assert fields.find("app.components.autoscaling.min").required
    assert "max must be at least min; raise max or lower min" in fields.find("app.components.autoscaling").rules


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("app.spec.compnents", "has no field 'compnents'", "did you mean components?"),
        ("app.compnents", "has no field 'compnents'", "did you mean components?"),
        ("app.spec.version.x", "has no fields", ""),
        (
            "app.spec.components.sidecars.image",
            "Kubernetes's own Container",
            "kubectl explain pod.spec.containers.image",
        ),
        ("pod.spec", "there is no kind 'pod'", "the kinds are"),
    ],
)
def test_unknown_fields_name_the_nearest(path: str, message: str, hint: str) -> None:
    with pytest.raises(Failure) as caught:
        fields.find(path)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_every_reason_has_a_meaning() -> None:
    found = fields.reasons()
    assert set(found) == {reason.value for reason in Reason}
    assert all(found.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "hpproj"),
        (["reasons"], "DependencyNotReady"),
        (["reasons.InvalidSpec"], "says what to write instead"),
        (["app.components.autoscaling"], "rule: max must be at least min"),
        (["env", "--recursive"], "domain  <string>"),
    ],
)
def test_explain(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert cli.main(["explain", *arguments]) == 0
    assert words in capsys.readouterr().out
    assert cli.main(["explain", *arguments, "-o", "json"]) == 0
    json.loads(capsys.readouterr().out)
