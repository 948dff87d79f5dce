"""What sources are built of, from a push to the cluster: kustomize, helm, templates and what SOPS encrypted."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyrage
import pytest
import test_gitsource
from homes import Home, eventually
from test_gitsource import Fleet

from git_server import GitServer
from localplane import binaries, tools

pytestmark = pytest.mark.integration

server_of_git = test_gitsource.server_of_git
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {%s}\n"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: %s}\n"
MAY = {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get", "list", "create", "patch", "delete"]}


@pytest.fixture(scope="module")
def sops() -> Path:
    return binaries.ensure(tools.BUILDS)["sops"]


@pytest.fixture
def fleet(bare: Home, server_of_git: GitServer) -> Fleet:
    made = Fleet(bare, server_of_git)
    made.account(MAY)
    return made


def encrypted(sops: Path, text: str, identity: pyrage.x25519.Identity) -> bytes:
    words = [sops, "encrypt", "--age", str(identity.to_public()), "--encrypted-regex", "^stringData$", "--input-type",
             "yaml", "--output-type", "yaml", "/dev/stdin"]  # fmt: skip
    return subprocess.run(words, input=text.encode(), capture_output=True, check=True).stdout


@pytest.mark.usefixtures("sops")
def test_any_mix_in_a_folder(fleet: Fleet) -> None:
    fleet.repository.commit(
        {
            "all/plain.yaml": CONFIG % ("plain", "a: '${GREETING}'"),
            "all/.homeport-ignore": "ignored.yaml\n",
            "all/ignored.yaml": "[",
            "all/rendered.yaml.j2": CONFIG % ("rendered", "a: {{ GREETING | tojson }}"),
            "all/k/kustomization.yaml": "resources: [../../base]\nnamePrefix: k-\n",
            "base/kustomization.yaml": "resources: [a.yaml]\n",
            "base/a.yaml": CONFIG % ("base", "a: b"),
            "all/c/Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\n",
            "all/c/templates/a.yaml": CONFIG % ("{{ .Release.Name }}", "a: {{ .Values.deep.text | quote }}")
            + "---\n"
            + (CONFIG % ("hook", "a: b")).replace(
                "name: hook", 'name: hook, annotations: {"helm.sh/hook": pre-install}'
            ),
        }
    )
    fleet.home.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "values", "namespace": fleet.home.name},
            "data": {"values.yaml": "deep: {text: from a ConfigMap}\n"},
        }
    )
    fleet.home.secret("greeting", GREETING="hello")
    build = {
        "substitute": True,
        "variablesFrom": [{"kind": "Secret", "name": "greeting"}],
        "helm": {"valuesFrom": [{"kind": "ConfigMap", "name": "values"}]},
    }
    fleet.source(path="./all", build=build)
    fleet.home.ready("GitSource", "fleet")
    there = fleet.there()
    del there["values"]
    assert there == {
        "plain": {"a": "hello"}, "rendered": {"a": "hello"}, "k-base": {"a": "b"}, "c": {"a": "from a ConfigMap"}
    }  # fmt: skip
    body = fleet.home.mine("GitSource", "fleet")
    assert "hook" in json.dumps(body["status"]["conditions"])

    # An input that changes is a build of the same commit; and then nothing is written any more.
    fleet.home.secret("greeting", GREETING="good morning")
    eventually(lambda: fleet.there()["plain"] == {"a": "good morning"}, "the new value")
    # A base outside of the path is part of it.
    fleet.repository.commit({"base/a.yaml": CONFIG % ("base", "a: c")})
    fleet.sync()
    eventually(lambda: fleet.there()["k-base"] == {"a": "c"}, "the base's change")
    assert "good morning" not in json.dumps(fleet.home.mine("GitSource", "fleet")["status"])


def test_an_environment_says_where_what_is_built_belongs(fleet: Fleet) -> None:
    known = ("environment", "project", "namespace", "domain", "GREETING", "OWN")
    shown = ", ".join(f"{name}: '${{{name}}}'" for name in known)
    rendered = ", ".join(f"{name}: {{{{ {name} | tojson }}}}" for name in known)
    fleet.repository.commit({"a.yaml": CONFIG % ("a", shown), "b.yaml.j2": CONFIG % ("b", rendered)})
    build = {"substitute": True, "environmentRef": {"name": "dev"}, "variables": {"OWN": "the source's"}}
    fleet.source(build=build)
    fleet.home.until("GitSource", "fleet", "False", "DependencyNotReady", "Environment dev isn't there")
    given = {"GREETING": "hello", "OWN": "the environment's"}
    fleet.home.environment(variables=given, ingress={"domain": "dev.example.com"})
    fleet.home.ready("GitSource", "fleet")
    place = {"environment": "dev", "project": fleet.home.name, "namespace": fleet.home.place()}
    seen = {**place, "domain": "dev.example.com", "GREETING": "hello", "OWN": "the source's"}
    assert fleet.there() == {"a": seen, "b": seen}

    # What changes there is a build of the same commit.
    fleet.home.environment(variables={**given, "GREETING": "good morning"})
    seen |= {"domain": "", "GREETING": "good morning"}
    eventually(lambda: fleet.there() == {"a": seen, "b": seen}, "the environment's change")


def test_a_chart_knows_what_the_cluster_serves(fleet: Fleet) -> None:
    group = f"{fleet.home.name}.example.com"
    has = ".Capabilities.APIVersions.Has"
    told = (
        f'built-in: {{{{ {has} "apps/v1/Deployment" | quote }}}}, widgets: {{{{ {has} "{group}/v1/Widget" | quote }}}}'
    )
    fleet.repository.commit(
        {
            "c/Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\n",
            "c/templates/a.yaml": CONFIG % ("told", told),
        }
    )
    fleet.source(path="./c", interval="24h")
    fleet.home.ready("GitSource", "fleet")
    assert fleet.there() == {"told": {"built-in": "true", "widgets": "false"}}

    # A definition that comes later is known without a push.
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": group, "names": names, "scope": "Namespaced", "versions": [version]}
    fleet.home.apply({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                      "metadata": {"name": f"widgets.{group}"}, "spec": spec})  # fmt: skip
    try:
        eventually(lambda: fleet.there()["told"]["widgets"] == "true", "the chart is built with the new kind")
    finally:
        fleet.home.delete("CustomResourceDefinition", None, f"widgets.{group}")
    eventually(lambda: fleet.there()["told"]["widgets"] == "false", "and without it again")


def test_what_is_encrypted_is_decrypted_and_told_nowhere(fleet: Fleet, sops: Path) -> None:
    mine, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    fleet.repository.commit({"a.yaml": CONFIG % ("a", "a: b"), "secret.yaml": encrypted(sops, SECRET % "horse", mine)})
    fleet.source()
    body = fleet.home.until("GitSource", "fleet", "False", "BuildFailed", ["secret.yaml", "decryption.keySecretRef"])
    assert str(mine.to_public()) in json.dumps(body["status"]["conditions"])
    assert fleet.there() == {}

    fleet.home.secret("age", **{"age.agekey": str(other)})
    fleet.source(decryption={"keySecretRef": {"name": "age"}})
    fleet.home.until("GitSource", "fleet", "False", "BuildFailed", ["none of the keys", str(mine.to_public())])

    # The right key, and it goes on by itself.
    fleet.home.secret("age", **{"age.agekey": f"# rotated\n{other}\n{mine}\n"})
    fleet.home.ready("GitSource", "fleet")
    assert fleet.home.get("Secret", fleet.home.name, "db")["data"] == {"password": "aG9yc2U="}
    told = json.dumps([fleet.home.mine("GitSource", "fleet"), fleet.home.events("GitSource", "fleet")])
    assert "horse" not in told
    assert "aG9yc2U" not in told
    assert "AGE-SECRET" not in told


def test_a_broken_file_of_many_leaves_all_as_it_is(fleet: Fleet) -> None:
    fleet.repository.commit({f"{name}.yaml": CONFIG % (name, "a: '1'") for name in "abc"})
    fleet.source()
    fleet.home.ready("GitSource", "fleet")
    applied = fleet.status()["lastAppliedRevision"]
    fleet.repository.commit({"a.yaml": CONFIG % ("a", "a: '2'"), "b.yaml": "apiVersion: v1\nkind: [\n"})
    fleet.sync()
    fleet.home.until("GitSource", "fleet", "False", "BuildFailed", ["b.yaml:3: this isn't YAML"])
    assert fleet.there() == {name: {"a": "1"} for name in "abc"}
    assert fleet.status()["lastAppliedRevision"] == applied
    fleet.repository.commit({"b.yaml": CONFIG % ("b", "a: '2'")})
    fleet.sync()
    eventually(lambda: fleet.there() == {"a": {"a": "2"}, "b": {"a": "2"}, "c": {"a": "1"}}, "it goes on")


def test_links_and_ways_out_are_refused_by_name(fleet: Fleet) -> None:
    fleet.repository.commit({"a.yaml": CONFIG % ("a", "a: b")}, links={"b.yaml": "/etc/passwd"})
    fleet.source()
    fleet.home.until("GitSource", "fleet", "False", "BuildFailed", ["b.yaml: this is a symbolic link"])
    (fleet.repository.work / "b.yaml").unlink()
    fleet.repository.commit({"x/kustomization.yaml": "resources: [../../../etc/passwd]\n"})
    fleet.sync()
    fleet.home.until("GitSource", "fleet", "False", "BuildFailed", ["x/kustomization.yaml:1", "leads out of the"])
    assert fleet.there() == {}
