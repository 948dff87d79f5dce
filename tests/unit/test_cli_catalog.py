"""``homeport catalog``, as one types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from homeport.api.resource import parse
from homeport.cli import main

SAMPLES = Path(__file__).parent.parent / "samples" / "catalog"


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["catalog", *args])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_list_shows_all_and_filters(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list", "-o", "json")
    names = {item["name"] for item in json.loads(out)}
    assert code == 0
    assert {"postgres", "wordpress"} <= names
    _, out, _ = run(capsys, "list", "-c", "databases", "-t", "SQL", "-o", "json")
    assert {item["name"] for item in json.loads(out)} == {"postgres", "mariadb"}
    _, out, _ = run(capsys, "list", "--runtime", "Proxmox")
    assert out.startswith("NAME")
    assert "postgres" in out
    code, _, err = run(capsys, "list", "-c", "nonsense")
    assert code == 1
    assert "the categories are Automation, Databases" in err


def test_search_needs_every_word_and_ranks_names_first(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "search", "redis", "-o", "json")
    assert [item["name"] for item in json.loads(out)] == ["redis", "nextcloud"]
    _, out, _ = run(capsys, "search", "monitoring dashboards", "-o", "json")
    assert [item["name"] for item in json.loads(out)] == ["grafana"]
    code, _, err = run(capsys, "search", "nonsense")
    assert code == 1
    assert "nothing in the catalog has 'nonsense'" in err


def test_show_says_what_values_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "show", "postgres")
    assert 'storage: How large the data may grow. (a quantity from 256Mi to 16Ti, such as "8Gi"; default "8Gi")' in out
    _, out, _ = run(capsys, "show", "postgres", "-o", "json")
    assert json.loads(out)["values"]["properties"]["storage"]["default"] == "8Gi"
    code, _, err = run(capsys, "show", "postgress")
    assert code == 1
    assert "did you mean postgres?" in err


def test_add_prints_a_manifest_that_holds(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        capsys, "add", "redis", "--name", "cache", "-n", "shop", "--set", "storage=2Gi", "--set", "auth=true"
    )
    body = yaml.safe_load(out)
    assert parse(body).spec.components[0].values == {"storage": "2Gi", "auth": True}
    _, out, err = run(capsys, "add", "nextcloud", "--expand")
    assert [part["name"] for part in yaml.safe_load(out)["spec"]["components"]] == [
        *("nextcloud", "nextcloud-db", "nextcloud-redis")
    ]
    assert "podSecurity: baseline" in err
    code, _, err = run(capsys, "add", "redis", "--set", "storage=1")
    assert code == 1
    assert "spec.components[redis].values.storage: is 1; write a quantity" in err


def test_import_writes_items_that_can_be_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "import", str(SAMPLES), "--output", str(tmp_path / "items"))
    assert code == 0
    assert "10 imported (22 components), 0 refused" in out
    assert "appwrite.volumes[/var/run/docker.sock]: not carried over: " in out
    code, out, _ = run(capsys, "add", "immich", "--catalog", str(tmp_path / "items"), "--expand")
    assert code == 0
    assert len(yaml.safe_load(out)["spec"]["components"]) == 5
    code, _, err = run(capsys, "import", str(SAMPLES / "gitea.json"), "--output", str(tmp_path / "items"))
    assert code == 1
    assert "nothing is overwritten" in err


def test_import_goes_on_after_what_it_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"id": "bad", "docker_compose": {"services": {"a": {"build": "."}}}}')
    (tmp_path / "good.json").write_text('{"id": "good", "docker_compose": {"services": {"a": {"image": "a:1"}}}}')
    code, out, _ = run(capsys, "import", str(tmp_path), "--format", "json")
    report = json.loads(out)
    assert code == 1
    assert [item["name"] for item in report["imported"]] == ["good"]
    assert "has only build" in report["refused"][0]["message"]


def test_validate_knows_the_catalog(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, out, _ = run(capsys, "add", "postgres", "-n", "shop")
    file = tmp_path / "app.yaml"
    file.write_text(out)
    assert main(["validate", "-f", str(file)]) == 0
    file.write_text(out.replace("name: postgres\n", "name: postgre\n").replace("- name: postgre\n", "- name: db\n"))
    assert main(["validate", "-f", str(file)]) == 1
    assert "the catalog has no item 'postgre'; did you mean postgres?" in capsys.readouterr().out
