"""The program of a cluster.yaml by Pulumi's mocks: the file that it is made from, and what it declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi
import pytest

from homeport.cli.errors import Failure
from homeport_clusters import automation, components, config, kubeconfigs, program
from pulumi_mocks import mocked


def state(path: str) -> dict[str, Any]:
    """As the engine exports it: the stack itself, and the component of the file."""
    return {
        "resources": [
            {"type": "pulumi:pulumi:Stack", "outputs": {}},
            {"type": program.FILE_TYPE, "outputs": {"path": path}},
        ]
    }


def test_another_file_of_the_same_name_is_refused() -> None:
    with pytest.raises(
        Failure, match=r"'team' was made from /a/cluster\.yaml, and this is /b/cluster\.yaml"
    ) as refused:
        automation.refuse_another("team", "/b/cluster.yaml", state("/a/cluster.yaml"))
    assert "--adopt-stack" in refused.value.hint and "another `name`" in refused.value.hint
    automation.refuse_another("team", "/a/cluster.yaml", state("/a/cluster.yaml"))


def test_a_cluster_that_may_be_replaced_is_in_the_file() -> None:
    file = config.parse({"name": "lab", "clusters": [{"name": "home", "type": "kind"}]})
    with pytest.raises(Failure, match="--replace hoem: the file has no cluster of that name"):
        automation.run("up", file, Path("/a/cluster.yaml"), replace=["hoem"])


@pytest.mark.parametrize("found", [{}, {"resources": None}, {"resources": [{"type": "pulumi:pulumi:Stack"}]}])
def test_a_stack_that_knows_no_file_takes_any(found: dict[str, Any]) -> None:
    automation.refuse_another("team", "/b/cluster.yaml", found)


def test_a_file_is_told_by_its_path_and_on_a_shared_backend_by_that_in_its_checkout(tmp_path: Path) -> None:
    folder = tmp_path / "infra" / "clusters"
    folder.mkdir(parents=True)
    path = folder / "cluster.yaml"
    path.touch()
    assert program.whereabouts(path, shared=False) == str(path)
    assert program.whereabouts(path, shared=True) == str(path)
    (tmp_path / "infra" / ".git").mkdir()
    assert program.whereabouts(path, shared=True) == "infra/clusters/cluster.yaml"
    (tmp_path / "link.yaml").symlink_to(path)
    assert program.whereabouts(tmp_path / "link.yaml", shared=False) == str(path)


class Engine(pulumi.runtime.Mocks):
    """Takes everything."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, dict[str, Any]]] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.made.append((args.typ, args.name, dict(args.inputs)))
        outs = dict(args.inputs)
        if args.typ.endswith(":KindCluster"):
            outs["kubeconfig"] = kubeconfigs.dumped("home", {"server": "https://kind.example"}, {})
        if args.typ.endswith(":Access"):
            outs["access"] = "secret"
        return f"{args.name}-id", outs

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[Any, Any]:
        raise AssertionError(args.token)

    def object(self, name: str) -> dict[str, Any]:
        """The inputs of an object."""
        return next(inputs for _, found, inputs in self.made if found == name)


@pytest.fixture
def engine() -> Engine:
    return mocked(Engine(), project="homeport-clusters", stack="lab")


def declared(engine: Engine, **more: Any) -> Engine:
    content = {
        "name": "lab",
        "clusters": [{"name": "home", "type": "kind"}],
        "gitSource": {"url": "https://git.example.com/team/fleet.git"},
        **more,
    }
    pulumi.runtime.test(lambda: program.declare(config.parse(content), Path("/tmp"), "/a/cluster.yaml"))()
    return engine


@pytest.mark.parametrize("told", [False, True])
def test_what_is_kept_knows_whether_the_file_lets_it_go(engine: Engine, told: bool) -> None:
    found = declared(engine, homeport={"deleteData": told})
    for name in ("home/namespace/root", "home/project/root", "home/gitsource/root"):
        inputs = found.object(name)
        assert inputs["keep"] is True and inputs["deleteData"] is told, name
    assert found.object("home/namespace/homeport-system")["deleteData"] is False


def test_the_first_resource_is_the_file(engine: Engine) -> None:
    assert declared(engine).made[0][:2] == (program.FILE_TYPE, "file")


@pytest.mark.parametrize("kind", ["kind", "existing"])
def test_namespaces_go_with_a_cluster_that_was_made(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    options: dict[str, pulumi.ResourceOptions] = {}
    real = components.Object

    def noted(name: str, **inputs: Any) -> components.Object:
        options[name] = inputs["opts"]
        return real(name, **inputs)

    monkeypatch.setattr(components, "Object", noted)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubeconfigs.dumped("home", {"server": "https://home.example"}, {}))
    cluster = {"name": "home", "type": kind, "addons": {"certManager": {"enabled": True}}}
    if kind == "existing":
        cluster["existing"] = {"kubeconfig": str(kubeconfig)}
    declared(engine, clusters=[cluster])
    for name, option in options.items():
        goes = kind == "kind" and "/namespace/" in name
        assert (option.deleted_with is not None) is goes, name
    assert engine.object("home/namespace/cert-manager")["leftovers"] == ["Secret/cert-manager-webhook-ca"]


def test_a_projects_namespace_that_gets_a_whole_cluster_is_warned_of(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lambda text, *_: said.append(text))
    clusters = [{"name": "home", "type": "kind"}, {"name": "far", "type": "kind"}]
    declared(engine, clusters=clusters)
    assert said == []
    declared(engine, clusters=clusters, registration={"namespaces": ["root", "team"]})
    assert len(said) == 1 and said[0].startswith("the Secret cluster-far in namespace team holds cluster-admin of far:")


def test_what_is_wrong_around_the_file_is_told_without_a_trace(engine: Engine) -> None:
    """The engine prints the stack of every exception but this one."""
    cluster = {"name": "home", "type": "existing", "existing": {"kubeconfig": "/nowhere/kubeconfig"}}
    file = config.parse({"name": "lab", "clusters": [cluster]})

    def run() -> None:
        with pytest.raises(pulumi.RunError, match="/nowhere/kubeconfig"):
            program.declare(file, Path("/tmp"), "/a/cluster.yaml")

    pulumi.runtime.test(run)()
