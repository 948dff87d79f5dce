"""``homeport catalog``, as one types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from homeport.api.resource import parse
from homeport.cli import main
from homeport.drivers.catalog import folders, load
from homeport.plan import items

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
    assert main(["validate", "-f", str(file)]) == 0, "a CatalogItem of the cluster may have it"
    out = capsys.readouterr().out
    assert "warning: Application/" in out
    assert "spec.components[db].catalog.name: the catalog has no item 'postgre'; did you mean postgres?" in out
    assert main(["validate", "--strict", "-f", str(file)]) == 1


ITEM = """
apiVersion: homeport.dev/v1alpha1
kind: CatalogItem
metadata: {name: thing, namespace: shop}
spec:
  item: {title: Thing, description: A thing, category: Test, versions: [{name: "1", image: "team/thing:1"}]}
  schema: {type: object, properties: {size: {type: integer, maximum: 3, default: 1}}}
  templates: {main: "name: {{ name }}\\ntype: worker\\nimage: {{ image }}\\nreplicas: {{ values.size }}\\n"}
---
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {name: app, namespace: shop}
spec: {version: 1.0.0, components: [{name: it, catalog: {name: thing}, values: {size: 3}}]}
"""


def test_validate_proves_items_and_what_uses_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"

    def said(text: str) -> tuple[int, str]:
        file.write_text(text)
        return main(["validate", "-f", str(file)]), capsys.readouterr().out

    assert said(ITEM) == (0, "2 objects, 0 errors\n")
    assert (
        said(ITEM.replace("size: 3}", "size: 4}"))[1].count("values.size: is 4; write a whole number of at most 3") == 1
    )
    code, out = said(ITEM.replace("{{ values.size }}", "{{ values.sise }}"))
    assert code == 1
    assert "error: CatalogItem/thing: templates/main.yaml.j2:4: " in out
    assert "error: Application/app: spec.components[it].catalog: CatalogItem shop/thing can't be used" in out
    git = "spec: {git: {url: 'https://git.example.com/a', ref: {branch: main}}}"
    code, out = said(ITEM[: ITEM.index("spec:")] + git + ITEM[ITEM.index("\n---") :])
    assert code == 0
    assert "warning: Application/app: CatalogItem shop/thing hasn't been read from Git yet" in out


def test_an_item_as_a_manifest_is_the_same_item(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = load(folders())
    for name, entry in own.entries.items():
        _, out, _ = run(capsys, "manifest", name, "-n", "shop", "-o", "json")
        body = json.loads(out)
        assert body["metadata"] == {"name": name, "namespace": "shop"}
        again = items.from_spec(name, parse(body).spec, "")
        assert (again.item, again.templates) == (entry.item, entry.templates)
        assert again.schema["properties"] == entry.schema["properties"]
    _, out, _ = run(capsys, "manifest", str(Path(own.entries["redis"].source)))
    assert yaml.safe_load(out)["metadata"] == {"name": "redis"}


def test_import_writes_manifests(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "import", str(SAMPLES / "gitea.json"), str(SAMPLES / "n8n.json"), "--crd")
    bodies = list(yaml.safe_load_all(out))
    assert (code, [body["metadata"]["name"] for body in bodies]) == (0, ["gitea", "n8n"])
    assert "2 imported" in err
    assert all(parse(body).spec.templates for body in bodies)
    folder = tmp_path / "out"
    run(capsys, "import", str(SAMPLES / "gitea.json"), "--crd", "-n", "shop", "--output", str(folder))
    assert yaml.safe_load((folder / "gitea.yaml").read_text())["metadata"]["namespace"] == "shop"
    code, _, err = run(capsys, "import", str(SAMPLES / "gitea.json"), "--crd", "--output", str(folder))
    assert (code, "nothing is overwritten" in err) == (1, True)
