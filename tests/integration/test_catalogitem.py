"""CatalogItems on a real API server with the real operator: written out, everybody's, and from a real Git server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakepve.certs import make_cert
from homes import Home, eventually, told

from git_server import GitServer, Repository

pytestmark = pytest.mark.integration

MAIN = """
name: {{ name }}
type: stateful
image: {{ image | tojson }}
replicas: {{ values.replicas }}
ports: [{name: http, port: 8080}]
"""
ITEM = {"title": "Thing", "description": "A thing.", "category": "Test"}
SCHEMA = {"type": "object", "properties": {"replicas": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1}}}


def spec(tag: str = "1.0", main: str = MAIN, **item: Any) -> dict[str, Any]:
    versions = [{"name": tag, "image": f"team/thing:{tag}"}]
    return {"item": {**ITEM, "versions": versions, **item}, "schema": SCHEMA, "templates": {"main": main}}


def files(name: str, tag: str = "1.0", main: str = MAIN) -> dict[str, str]:
    item = {"name": name, **ITEM, "versions": [{"name": tag, "image": f"team/thing:{tag}"}]}
    return {f"items/{name}/item.yaml": yaml.safe_dump(item), f"items/{name}/templates/main.yaml.j2": main}


def uses(home: Home, item: str, **values: Any) -> None:
    home.application({"name": "it", "catalog": {"name": item}, **({"values": values} if values else {})})


def image(home: Home) -> str:
    return str(home.child("StatefulSet", "it")["spec"]["template"]["spec"]["containers"][0]["image"])


# --- written out ------------------------------------------------------------------------------------------------------


def test_what_arrives_before_its_item_goes_on_by_itself(home: Home) -> None:
    uses(home, "thing", replicas=2)
    home.until("Application", "shop", "False", "InvalidSpec", "the catalog has no item 'thing'; ")
    home.own("CatalogItem", "thing", spec())
    home.ready("Application", "shop")
    status = home.ready("CatalogItem", "thing")["status"]
    assert (status["versions"], status["category"], status["title"]) == (["1.0"], "Test", "Thing")
    assert status["podSecurity"] == "restricted"
    assert told(home.mine("CatalogItem", "thing"))[2] == "Thing: 1.0"
    assert home.child("StatefulSet", "it")["spec"]["replicas"] == 2
    assert not home.mine("CatalogItem", "thing")["metadata"].get("finalizers"), "it makes nothing to be removed"


def test_a_change_of_the_item_reaches_what_uses_it(home: Home) -> None:
    home.own("CatalogItem", "thing", spec("1.0"))
    uses(home, "thing")
    home.ready("Application", "shop")
    home.own("CatalogItem", "thing", spec("1.1"))
    eventually(lambda: image(home) == "team/thing:1.1", "the new version runs")
    home.ready("Application", "shop")
    since = home.version("CatalogItem", home.name)
    home.settled("CatalogItem", "thing")
    home.settled("Application", "shop")
    writes = [b for b in home.history("CatalogItem", home.name, since) if b["metadata"]["name"] == "thing"]
    assert len(writes) <= 2, "the annotation, and its echo"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (spec(main=MAIN + "\n{{ nothing }}"), "templates/main.yaml.j2:8: 'nothing' is undefined"),
        (spec(main="{% if %}"), "templates/main.yaml.j2:1: Expected an expression"),
        (spec(main=MAIN + "nonsense: 1\n"), "spec.components[thing].nonsense: is not a field"),
        (spec(main=MAIN + "{% for a in 'x' * 1000 %}" * 4 + "{% endfor %}" * 4), "takes longer than 1 s to render"),
        (spec(main=MAIN + "securityContext: {privileged: true}\n"), "podSecurity: restricted, which it says of itself"),
        ({**spec(), "schema": {"type": "array"}}, "spec.schema: must be a JSON schema of type object"),
        ({**spec(), "schema": {"type": "object", "properties": {"a": {"type": "strin"}}}}, "spec.schema: properties/a"),
        ({**spec(), "schema": {**SCHEMA, "$ref": "http://127.0.0.1/x"}}, "$ref may only point into the schema itself"),
        ({**spec(), "schema": {**SCHEMA, "properties": {"a": {"pattern": "(x+x+)+y", "default": "x" * 40}}}},
         "takes longer than 1 s"),
    ],
)  # fmt: skip
def test_a_broken_item_is_told_before_anybody_uses_it(bare: Home, change: dict[str, Any], says: str) -> None:
    bare.own("CatalogItem", "thing", change)
    body = bare.until("CatalogItem", "thing", "False", "InvalidSpec", says)
    assert {c["type"] for c in body["status"]["conditions"]} == {"Ready", "Stalled"}


def test_what_runs_goes_on_when_its_item_breaks_or_goes(home: Home) -> None:
    home.own("CatalogItem", "thing", spec())
    uses(home, "thing")
    home.ready("Application", "shop")
    uid = home.child("StatefulSet", "it")["metadata"]["uid"]
    home.own("CatalogItem", "thing", spec(main="{{ nothing }}"))
    home.until("Application", "shop", "False", "InvalidSpec", f"CatalogItem {home.name}/thing can't be used: ")
    home.delete("CatalogItem", home.name, "thing")
    home.until("Application", "shop", "False", "InvalidSpec", "the catalog has no item 'thing'")
    home.settled("Application", "shop")
    assert home.child("StatefulSet", "it")["metadata"]["uid"] == uid
    assert home.mine("Application")["status"]["inventory"]["entries"], "it is known all the same"
    home.own("CatalogItem", "thing", spec())
    home.ready("Application", "shop")
    assert home.child("StatefulSet", "it")["metadata"]["uid"] == uid


# --- everybody's ------------------------------------------------------------------------------------------------------


@pytest.fixture
def everybodys(home: Home) -> Iterator[str]:
    """An item of the operator's namespace, under a name that no other test has."""
    name = f"thing-{uuid.uuid4().hex[:6]}"
    system = home.namespace("homeport-system")
    body = {"apiVersion": "homeport.dev/v1alpha1", "kind": "CatalogItem"}
    home.apply({**body, "metadata": {"name": name, "namespace": system}, "spec": spec("9.0")})
    yield name
    home.delete("CatalogItem", system, name)


def test_the_operators_items_are_everybodys_and_none_takes_anothers_place_unasked(home: Home, everybodys: str) -> None:
    uses(home, everybodys)
    home.ready("Application", "shop")
    assert image(home) == "team/thing:9.0"
    assert home.mine("Application")["status"]["catalog"] == [{"name": everybodys, "source": "Shared"}]
    own = f"CatalogItem {home.name}/{everybodys}"
    shared = f"CatalogItem {everybodys} of the operator's namespace"
    accept = "or accept it with the annotation homeport.dev/catalog-source"

    home.own("CatalogItem", everybodys, spec("1.0"))
    says = (f"came from {shared} and would now come from {own}", f"{accept}: {everybodys}=Project")
    home.until("Application", "shop", "False", "InvalidSpec", says)
    home.settled("Application", "shop")
    assert image(home) == "team/thing:9.0", "what is new hides what is used, and changes nothing"
    home.annotate("Application", "shop", catalog_source=f"{everybodys}=Project")
    eventually(lambda: image(home) == "team/thing:1.0", "the project's own is used when that is accepted")
    home.ready("Application", "shop")

    home.delete("CatalogItem", home.name, everybodys)
    says = (f"came from {own} and would now come from {shared}", "bring the first back", f"{everybodys}=Shared")
    home.until("Application", "shop", "False", "InvalidSpec", says)
    home.settled("Application", "shop")
    assert image(home) == "team/thing:1.0", "what is gone takes nothing along"
    assert home.mine("Application")["status"]["catalog"] == [{"name": everybodys, "source": "Project"}]
    home.own("CatalogItem", everybodys, spec("1.1"))
    eventually(lambda: image(home) == "team/thing:1.1", "it is back")
    home.ready("Application", "shop")


def test_another_projects_items_are_not_seen(home: Home, new_home: Any) -> None:
    other = new_home()
    other.own("CatalogItem", "theirs", spec())
    other.ready("CatalogItem", "theirs")
    uses(home, "theirs")
    home.until("Application", "shop", "False", "InvalidSpec", "the catalog has no item 'theirs'")


def test_a_projects_own_item_hides_one_of_the_folder(home: Home) -> None:
    home.own("CatalogItem", "redis", spec("5.0"))
    home.ready("CatalogItem", "redis")
    uses(home, "redis")
    home.ready("Application", "shop")
    assert image(home) == "team/thing:5.0"
    home.delete("CatalogItem", home.name, "redis")
    says = f"came from CatalogItem {home.name}/redis and would now come from the operator's own folders"
    home.until("Application", "shop", "False", "InvalidSpec", says)
    home.settled("Application", "shop")
    assert image(home) == "team/thing:5.0"


# --- from Git ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[GitServer]:
    running = GitServer(tmp_path)
    yield running
    running.close()


@pytest.fixture
def repository(forge: GitServer) -> Repository:
    return Repository(forge.root, "fleet")


def from_git(home: Home, forge: GitServer, name: str = "thing", **git: Any) -> None:
    ref = {"url": forge.url("fleet"), "ref": {"branch": "main"}, "path": f"./items/{name}", "interval": "1h", **git}
    home.own("CatalogItem", name, {"git": ref})


def test_a_branch_is_followed(home: Home, forge: GitServer, repository: Repository) -> None:
    first = repository.commit(files("thing", "1.0", MAIN.replace("{{ values.replicas }}", "1")))
    uses(home, "thing")
    from_git(home, forge)
    home.ready("Application", "shop")
    status = home.ready("CatalogItem", "thing")["status"]
    assert status["lastFetchedRevision"] == f"main@sha1:{first}"
    before = forge.requests
    home.settled("Application", "shop")
    assert forge.requests == before, "who uses it doesn't ask Git"
    second = repository.commit(files("thing", "1.1", MAIN.replace("{{ values.replicas }}", "1")))
    home.settled("CatalogItem", "thing")
    assert home.mine("CatalogItem", "thing")["status"]["lastFetchedRevision"] == f"main@sha1:{second}"
    eventually(lambda: image(home) == "team/thing:1.1", "what is new in Git runs")


def test_what_was_good_last_stays_in_use(home: Home, forge: GitServer, repository: Repository) -> None:
    plain = MAIN.replace("{{ values.replicas }}", "1")
    good = repository.commit(files("thing", "1.0", plain))
    from_git(home, forge)
    uses(home, "thing")
    home.ready("Application", "shop")

    repository.commit(files("thing", "1.1", "{{ nothing }}"))
    home.settled("CatalogItem", "thing")
    message = f"templates/main.yaml.j2:1: 'nothing' is undefined; main@sha1:{good} stays in use"
    body = home.until("CatalogItem", "thing", "False", "InvalidSpec", message)
    assert body["status"]["lastFetchedRevision"] == f"main@sha1:{good}"

    forge.failing = True
    home.annotate("CatalogItem", "thing", reconcile_at="now")
    body = home.until(
        "CatalogItem", "thing", "False", "ProgressingWithRetry", ("503", f"main@sha1:{good} stays in use")
    )
    assert {c["type"] for c in body["status"]["conditions"]} == {"Ready", "Reconciling"}
    home.settled("Application", "shop")
    home.ready("Application", "shop")

    forge.failing = False
    repository.commit(files("thing", "1.2", plain))
    home.ready("CatalogItem", "thing", seconds=60)
    eventually(lambda: image(home) == "team/thing:1.2", "what is good again is used")


def test_what_git_does_not_have_is_said(bare: Home, forge: GitServer, repository: Repository) -> None:
    repository.commit({"items/thing/README.md": "nothing yet"})
    from_git(bare, forge, path="./nowhere")
    bare.until("CatalogItem", "thing", "False", "InvalidSpec", "has no folder ./nowhere")
    from_git(bare, forge, ref={"branch": "gone"})
    bare.until("CatalogItem", "thing", "False", "InvalidSpec", "has no branch gone")
    from_git(bare, forge)
    bare.until("CatalogItem", "thing", "False", "InvalidSpec", "item.yaml: isn't there")
    repository.commit(files("other"))
    repository.commit({"items/thing/item.yaml": files("other")["items/other/item.yaml"]})
    bare.annotate("CatalogItem", "thing", reconcile_at="now")
    bare.until("CatalogItem", "thing", "False", "InvalidSpec", "item.yaml.name: is 'other'; an item is named as")


def test_credentials_are_a_secret_beside_it(
    home: Home, tmp_path: Path, restart: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key, _ = make_cert(str(tmp_path))
    monkeypatch.setenv("GIT_SSL_CAINFO", certificate)
    restart()
    forge = GitServer(tmp_path, (certificate, key))
    repository = Repository(tmp_path, "fleet")
    repository.commit(files("thing", main=MAIN.replace("{{ values.replicas }}", "1")))
    forge.password = "open-sesame"
    from_git(home, forge, credentialsSecretRef={"name": "git"})
    home.until("CatalogItem", "thing", "False", "DependencyNotReady", "Secret git doesn't exist beside it")
    home.secret("git", username="reader", password="wrong-word")
    body = home.until("CatalogItem", "thing", "False", "InvalidSpec", "it refuses the credentials")
    assert "wrong-word" not in str(body["status"])
    assert {c["type"] for c in body["status"]["conditions"]} == {"Ready", "Stalled"}
    home.secret("git", username="reader", password="open-sesame")
    home.ready("CatalogItem", "thing", seconds=60)
    home.environment(secrets=[{"name": "git"}])
    home.until("Environment", "dev", "False", says="CatalogItem thing logs in with it")
    forge.close()


def test_a_restart_reads_git_before_it_works(
    home: Home, forge: GitServer, repository: Repository, restart: Any
) -> None:
    repository.commit(files("thing", main=MAIN.replace("{{ values.replicas }}", "1")))
    from_git(home, forge)
    uses(home, "thing")
    home.ready("Application", "shop")
    since = home.version("Application", home.name)
    restart()
    home.settled("Application", "shop")
    seen = [told(body)[0] for body in home.history("Application", home.name, since)]
    assert "False" not in seen, "what waits for nothing isn't told to wait"
