"""What kustomizations name is found, whatever they look like."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from checkouts import MemoryCheckout
from homeport.drivers.build import Programs
from homeport.engine.gitops.memory import Memory
from homeport.engine.gitops.tree import Tree
from homeport.plan.gitops import helm, kustomize
from homeport.plan.gitops.build import BuildFailed, BuildSpec
from homeport.plan.gitops.kustomize import Closure


def closures(files: dict[str, Any], *folders: str, remote: bool = False) -> list[Closure]:
    tree = Tree(MemoryCheckout(files), BuildSpec(""), Programs(), Memory(1024 * 1024))
    return kustomize.Walk(tree, remote).closures(folders)


def test_everything_that_is_named_is_found() -> None:
    fields = {
        "resources": ["a.yaml", "../base"],
        "bases": ["../more"],
        "components": ["../component"],
        "crds": ["crd.json"],
        "configurations": ["names.yaml"],
        "openapi": {"path": "schema.json"},
        "patches": [{"path": "p.yaml"}, {"patch": "- {op: remove, path: /x}", "target": {"kind": "A"}}],
        "patchesJson6902": [{"path": "j.yaml", "target": {"kind": "A"}}],
        "patchesStrategicMerge": ["s.yaml", "kind: A\nmetadata: {name: a}\n"],
        "replacements": [{"path": "r.yaml"}, {"source": {"kind": "A"}}],
        "configMapGenerator": [{"name": "a", "files": ["f.txt", "key=g.txt"], "envs": ["e.env"], "literals": ["a=b"]}],
        "secretGenerator": [{"name": "a", "env": "old.env"}],
        "transformers": ["t.yaml", "apiVersion: builtin\nkind: PatchTransformer\npath: tp.yaml\n"],
        "generators": ["../generators"],
    }
    named = ["a.yaml", "crd.json", "names.yaml", "schema.json", "p.yaml", "j.yaml", "s.yaml", "r.yaml", "f.txt",
             "g.txt", "e.env", "old.env", "tp.yaml"]  # fmt: skip
    files: dict[str, Any] = {f"app/{name}": "" for name in [*named, "unused.yaml"]}
    files["app/kustomization.yaml"] = json.dumps(fields)
    files["app/t.yaml"] = "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: x}\nfiles: [../deep/z.txt]\n"
    files["deep/z.txt"] = ""
    bases = ("base", "more", "component", "generators")
    files |= {f"{folder}/kustomization.yaml": "resources: [b.yaml]" for folder in bases}
    files |= {f"{folder}/b.yaml": "" for folder in bases}
    found = closures(files, "app")[0]
    assert found.files == set(files) - {"app/unused.yaml"}
    assert found.bases == set(bases)


def test_a_base_of_two_is_read_once() -> None:
    files = {f"{n}/kustomization.yaml": "resources: [../base]" for n in "abc"}
    checkout = MemoryCheckout({**files, "base/kustomization.yml": "resources: []"})
    tree = Tree(checkout, BuildSpec(""), Programs(), Memory(1024 * 1024))
    assert len(kustomize.Walk(tree, False).closures(["a", "b", "c"])) == 3
    assert checkout.reads == [[f"{n}/kustomization.yaml" for n in "abc"], ["base/kustomization.yml"]]


def test_remote_bases_are_told_where_they_are_allowed() -> None:
    files = {"kustomization.yaml": "resources: ['https://example.com/x?ref=v1', 'github.com/a/b//c?ref=v1']"}
    assert closures(files, "", remote=True)[0].remote == ["https://example.com/x?ref=v1", "github.com/a/b//c?ref=v1"]


def test_many_kustomizations() -> None:
    files = {f"{n}/kustomization.yaml": f"resources: [../{n + 1}]" for n in range(kustomize.FOLDERS + 1)}
    with pytest.raises(BuildFailed, match="more than 500 kustomizations are read"):
        closures(files, "0")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(
        ["", ".", "..", "../..", "a.yaml", "/a", "b", "https://x/y", "a@b:c", "k=v", "=", "a: b", "a:\n  - b", "{",
         "apiVersion: builtin\nkind: X\npath: ../..\n", "- a\n- b", "\n", "a//b", "./a.yaml"]
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["path", "files", "envs", "env", "name", "metadata", "annotations"]), inner),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.sampled_from(
    ["resources", "bases", "components", "crds", "configurations", "openapi", "patches", "patchesJson6902",
     "patchesStrategicMerge", "replacements", "configMapGenerator", "secretGenerator", "generators", "transformers",
     "validators", "buildMetadata", "kind", "helmCharts"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, ANY, max_size=4), ANY)
def test_no_kustomization_is_a_fault_of_ours(body: dict[str, Any], other: Any) -> None:
    files = {"k/kustomization.yaml": json.dumps(body), "k/a.yaml": json.dumps(other)}
    files["k/b/kustomization.yaml"] = "resources: []"
    for remote in (True, False):
        try:
            closures(files, "k", remote=remote)
        except BuildFailed as error:
            assert str(error)


@example({"dependencies": 3})
@example({"dependencies": [None, 3]})
@given(st.dictionaries(st.sampled_from(["dependencies", "name", "type"]), ANY | st.lists(ANY), max_size=3) | ANY)
def test_no_chart_is_a_fault_of_ours(body: Any) -> None:
    try:
        helm.check("c", json.dumps(body).encode(), ["c/Chart.yaml"])
    except BuildFailed as error:
        assert str(error)
