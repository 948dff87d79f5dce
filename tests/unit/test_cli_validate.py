"""``homeport validate``: bad input is named with its line, its field and what to write instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from homeport import cli
from homeport.cli.checks import check
from homeport.cli.documents import Problem, parse

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = """\
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {name: shop, namespace: shop}
spec:
  version: 1.0.0
  components:
"""
WEB = "    - {name: web, image: nginx, ports: [{name: http, port: 80}]}\n"


def problems(text: str, *, strict: bool = False) -> list[Problem]:
    found, wrong = parse(text, "f.yaml")
    return [*wrong, *check(found, strict=strict).problems]


def homeport(kind: str, name: str, namespace: str, spec: str = "{}") -> str:
    return (
        f"---\napiVersion: homeport.dev/v1alpha1\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )


@pytest.mark.parametrize(
    ("components", "line", "field", "message"),
    [
        ("    - {name: web, image: nginx, type: worker}\n    - {name: web, image: nginx, type: worker}\n", 6,
         "spec.components", "two entries have the name 'web'"),
        ("    - name: web\n      type: worker\n      image: nginx\n      colour: red\n", 10,
         "spec.components[web].colour", "is not a field"),
        ("    - name: web\n      image: nginx\n      type: worker\n      replicas: '2'\n", 10,
         "spec.components[web].replicas", "must be a whole number, without quotes"),
        ("    - name: web\n      type: worker\n      image: nginx\n      autoscaling: {min: 3, max: 1, cpu: 70}\n", 10,
         "spec.components[web].autoscaling", "max must be at least min; raise max or lower min"),
        ("    - {name: a, type: worker, image: a, dependsOn: [b]}\n"
         "    - {name: b, type: worker, image: a, dependsOn: [a]}\n", 6,
         "spec.components", "dependsOn goes in a circle (a -> b -> a), so none of them could start; "
         "take one of these dependencies out"),
        ("    - name: web\n      type: worker\n      image: Bad Image\n", 9, "spec.components[web].image",
         "write an image such as nginx:1.27, registry.example.com/team/app:1.4.0 or app@sha256:…"),
        ("    - name: web\n      type: cron\n      image: nginx\n      schedule: '0 0 3 * * *'\n", 10,
         "spec.components[web].schedule", "write five fields (minute hour day-of-month month day-of-week), such as "
         "'0 3 * * *', or @daily; there is no field for seconds"),
        ("    - name: web\n      type: worker\n      image: nginx\n      files: {/a: " + "x" * 140000 + "}\n", 10,
         "spec.components[web].files", "files may hold 128 KiB together; put large content into the image, a volume or "
         "a ConfigMap of its own"),
        (WEB + "  environments:\n    - name: dev\n      overrides:\n        wev: {replicas: 1}\n", 4, "spec", None),
    ],
)  # fmt: skip
def test_bad_input(components: str, line: int, field: str, message: str | None) -> None:
    found = [p for p in problems(APPLICATION + components) if p.severity == "error"]
    assert found, "nothing was said"
    told = [(p.line, p.field) for p in found]
    if message is None:
        assert any("overrides names a component that isn't there" in p.message for p in found), found
    else:
        assert (line, field) in told, found
        assert message in [p.message for p in found]


def test_what_cant_be_had_on_proxmox_is_said_at_its_line() -> None:
    lab = homeport("Environment", "lab", "shop", "{runtime: Proxmox, proxmox: {hostRef: {name: lab}}}")
    web = "    - name: web\n      image: nginx\n      replicas: 2\n      ports: [{name: http, port: 80}]\n"
    web += "      volumes: [{name: data, path: /data, size: 1Gi}]\n"
    (problem,) = [p for p in problems(APPLICATION + web + lab) if p.severity == "error"]
    assert (problem.line, problem.field) == (11, "spec.components[web].volumes")
    assert problem.message.startswith(
        "2 replicas can't share a volume, which is one container's own; write replicas: 1"
    )
    # On Kubernetes, and where an override says otherwise, nothing is wrong.
    assert not [p for p in problems(APPLICATION + web) if p.severity == "error"]
    entry = "  environments:\n    - name: lab\n      overrides: {web: {replicas: 1}}\n"
    assert not [p for p in problems(APPLICATION + web + entry + lab) if p.severity == "error"]


@pytest.mark.parametrize(
    ("text", "line", "field", "message"),
    [
        ("kind: Application\nmetadata: {}\n", 1, "", "apiVersion must be written: this isn't a Kubernetes object"),
        ("apiVersion: homeport.dev/v1\nkind: Nonsense\nmetadata: {name: a, namespace: a}\n", 1, "",
         "homeport.dev/v1 Nonsense isn't a kind of homeport.dev/v1alpha1; "
         "the kinds are Application, Backup, BackupRepository, BackupRun, CatalogItem, Environment, GitSource, "
         "ImageUpdate, LXCContainer, Notification, Project, ProxmoxHost, Restore"),
        ("apiVersion: homeport.dev/v1alpha1\nkind: Environment\nspec: {}\n", 1, "metadata",
         "is required: a mapping with name and namespace"),
        ("apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata:\n  namespace: a\n", 3, "metadata.name",
         "is required"),
        ("apiVersion: homeport.dev/v1alpha1\nkind: ProxmoxHost\nmetadata:\n  name: a\n  namespace: a\nspec: {}\n", 5,
         "metadata.namespace", "is not for a ProxmoxHost, which belongs to the whole cluster; leave it out"),
        ("apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata: {name: a, namespace: a}\nsepc: {}\n", 4,
         "sepc", "is not a field; an object has apiVersion, kind, metadata, spec"),
        ("apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata:\n  name: a\n  namespace: a\n"
         "  labels:\n    b: 1\n", 7,
         "metadata.labels.b", "must be text; put it in quotes"),
        ("apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata: {name: {x: 1}, namespace: [a]}\n", 3,
         "metadata.name", "must be text; put it in quotes"),
        ("apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata: {name: a, namespace: a, lables: {}}\n", 3,
         "metadata.lables", "is not a field"),
    ],
)  # fmt: skip
def test_what_is_around_the_spec(text: str, line: int, field: str, message: str) -> None:
    assert (line, field, message) in [(p.line, p.field, p.message) for p in problems(text) if p.severity == "error"]


def messages(text: str, severity: str = "error") -> list[str]:
    return [p.message for p in problems(text) if p.severity == severity]


def test_a_project_is_named_as_its_namespace() -> None:
    assert messages(homeport("Project", "a", "b")) == ["a Project is named as its namespace; write b, or namespace: a"]


def test_a_namespace_is_the_home_of_one_project() -> None:
    found = messages(homeport("Project", "b", "b") + homeport("Project", "a", "b"))
    assert "is the home of Project b already; give each its own namespace" in found


def test_a_namespace_that_gets_too_long() -> None:
    long = homeport("Environment", "production", "a" * 55)
    assert "makes the namespace" in messages(long)[0]
    assert not messages(homeport("Environment", "production", "a" * 55, "{kubernetes: {namespace: short}}"))


def test_an_environment_that_is_not_in_the_files_is_a_warning() -> None:
    application = APPLICATION + WEB + "  environments: [{name: dev}]\n"
    assert messages(application, "warning") == ["Environment dev isn't in these files; it must be in the cluster"]
    assert not messages(application + homeport("Environment", "dev", "shop"), "warning")
    elsewhere = application + homeport("Environment", "dev", "other")
    assert messages(elsewhere, "warning")
    assert (
        "template" in messages(application + homeport("Environment", "dev", "shop", "{template: true}"), "warning")[0]
    )


def test_a_milestone_of_an_application_that_is_not_in_the_files_is_a_warning() -> None:
    spec = "{milestones: [{name: m, requires: [{application: shpo, environment: dev}]}]}"
    found = problems(homeport("Project", "shop", "shop", spec) + "---\n" + APPLICATION + WEB)
    assert [(p.field, p.severity) for p in found] == [("spec.milestones[m].requires[0]", "warning")]


BACKUP = "{source: {project: true}, repositoryRef: {name: offsite}, schedule: '0 3 %s *', timeZone: %s}"


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        (BACKUP % ("31 2", "UTC"), "spec.schedule", "'0 3 31 2 *': the day-of-month isn't one"),
        (BACKUP % ("* *", "Europe/Roma"), "spec.timeZone", "'Europe/Roma' isn't a time zone"),
    ],
)
def test_a_day_or_a_time_zone_that_there_is_not(spec: str, field: str, message: str) -> None:
    found = [p for p in problems(homeport("Backup", "nightly", "shop", spec)) if p.severity == "error"]
    assert [p.field for p in found] == [field]
    assert found[0].message.startswith(message)


def test_what_a_backup_names_and_is_not_in_the_files_is_a_warning() -> None:
    run = homeport("BackupRun", "now", "shop", "{backupRef: {name: nightly}}")
    backup = homeport("Backup", "nightly", "shop", BACKUP % ("* *", "UTC"))
    assert messages(run + backup, "warning") == [
        "BackupRepository offsite isn't in these files; it must be in the cluster"
    ]
    assert "Backup nightly isn't in these files; it must be in the cluster" in messages(run, "warning")


def test_one_object_twice() -> None:
    text = homeport("Environment", "dev", "shop") * 2
    assert messages(text) == ["is in these files twice, at f.yaml:2 too: the later one would win; leave one out"]


def test_a_status_and_a_missing_namespace_are_warnings() -> None:
    text = "apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata: {name: a}\nstatus: {}\n"
    assert [p.field for p in problems(text) if p.severity == "warning"] == ["metadata.namespace", "status"]


def test_others_are_left_alone_unless_strict() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
    assert problems(text) == []
    assert "isn't Homeport's" in problems(text, strict=True)[0].message


def test_examples_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "-f", str(ROOT / "examples")]) == 0
    assert "0 errors" in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        APPLICATION + "    - {name: web, image: nginx}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
    )
    assert cli.main(["validate", "-f", str(file), "-o", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert not answer["valid"]
    assert answer["skipped"] == [{"file": str(file), "line": 9, "object": "Secret/s"}]
    assert answer["objects"][0]["object"] == "Application/shop"
    assert answer["problems"][0]["line"] == 7
    assert answer["problems"][0]["message"].startswith("a service needs at least one port")


def test_text_says_file_line_object_field(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(APPLICATION + "    - name: web\n      type: worker\n")
    assert cli.main(["validate", "-f", str(file)]) == 1
    assert f"{file}:7: error: Application/shop: spec.components[web]: write exactly one" in capsys.readouterr().out


def test_nothing_of_ours_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n")
    assert cli.main(["validate", "-f", str(tmp_path)]) == 0
    assert "nothing of Homeport's" in capsys.readouterr().out
