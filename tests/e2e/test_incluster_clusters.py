"""`homeport cluster` with the image of `operator/Dockerfile` on a real node: from nothing to a platform, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from homes import V1ALPHA1, eventually, told
from incluster import IMAGE, operators, said, serve, show_the_api_server
from systems import System

from charts import SYSTEM
from homeport import __version__
from imaging.contents import Layout
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from stack_cli import Cli

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
FLEET = "fleet"
FORGE = "forge"
# What tells of something that has been, and goes by itself.
PASSING = ("events", "events.events.k8s.io")
EVERY = '{range .items[*]}{.apiVersion} {.kind} {.metadata.namespace}/{.metadata.name}{"\\n"}{end}'


@pytest.fixture(scope="module")
def plane(built: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with a real node that has the image, and nothing of Homeport's."""
    with ControlPlane(tmp_path_factory.mktemp("clusters"), nodes=0, real_node=True, ephemeral=True) as plane:
        plane.node.load_archive(lambda output: built.write_archive(IMAGE, output))
        yield plane


def repository() -> dict[str, str]:
    """An environment, and an application whose one component serves files with the image's own Python."""
    environment = {"kind": "Environment", "metadata": {"name": "lab"}, "spec": {"tier": "Development"}}
    web = {
        "name": "web",
        "image": IMAGE,
        "command": ["python3", "-m", "http.server", "8000", "--directory", "/usr/share/doc/git"],
        "ports": [{"name": "http", "port": 8000}],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
    }
    spec = {"version": "1.0.0", "components": [web], "environments": [{"name": "lab"}]}
    application = {"kind": "Application", "metadata": {"name": FLEET}, "spec": spec}
    found = [{"apiVersion": V1ALPHA1, **manifest} for manifest in (environment, application)]
    return {f"fleet/{manifest['kind'].lower()}.yaml": yaml.safe_dump(manifest) for manifest in found}


def lab(plane: ControlPlane, url: str) -> dict[str, Any]:
    """One existing cluster, Homeport with the image that it has, and a root GitSource that is waited for."""
    values = {"image": {"tag": __version__}, "resources": {"requests": {"cpu": "20m"}}}
    return {
        "name": "lab",
        "clusters": [{"name": "here", "type": "existing", "existing": {"kubeconfig": str(plane.kubeconfig)}}],
        "homeport": {"values": values, "timeoutSeconds": 240, "deleteData": True},
        "gitSource": {"name": FLEET, "url": url, "ref": {"branch": "main"}, "path": "./fleet", "waitSeconds": 120},
    }


def everything(kubectl: Kubectl) -> set[str]:
    """Every object in the cluster, of every kind that can be listed."""
    kinds = kubectl.run("api-resources", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in kinds if kind not in PASSING]
    return set(kubectl.run("get", ",".join(kinds), "-A", "-o", f"jsonpath={EVERY}").splitlines())


def changed(result: dict[str, Any]) -> dict[str, int]:
    return {operation: number for operation, number in result["changes"].items() if operation != "same"}


def test_a_platform_from_nothing_to_nothing(plane: ControlPlane, tmp_path: Path) -> None:
    """One story, since each step needs the one before."""
    system = System(plane, FLEET, "lab")
    show_the_api_server(plane, system)
    system.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FORGE}})
    url = serve(system, FORGE, repository())
    eventually(lambda: system.list("Pod", FORGE)[0]["status"].get("phase") == "Running", "the forge runs", 120, 0.3)
    before = everything(system.kubectl)
    cli = Cli(tmp_path)
    cli.write(lab(plane, url))

    # up: when it is back, operators run, and what is in the repository is in the cluster.
    try:
        made = cli.run("up", "lab")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{said(system)}") from None
    assert set(changed(made)) == {"create"}
    pods = operators(system)
    assert len(pods) == 2 and all(pod["status"]["containerStatuses"][0]["ready"] for pod in pods)
    (lease,) = [found["spec"] for found in system.list("Lease", SYSTEM) if "holderIdentity" in found["spec"]]
    assert lease["holderIdentity"] in {pod["metadata"]["name"] for pod in pods}
    assert told(system.get("GitSource", FLEET, FLEET))[0] == "True"
    system.ready()
    code, page = system.call("web", "GET", "/")
    assert code == 200 and "copyright" in page

    # A second one has nothing to do.
    assert changed(cli.run("up", "lab")) == {}
    assert {pod["metadata"]["uid"] for pod in operators(system)} == {pod["metadata"]["uid"] for pod in pods}

    # destroy: not while the project is in use. Then nothing is left of what up made, and of what came of it.
    refused = cli.run("destroy", "lab", "--yes", "--delete-data", code=1)
    assert f"the Project {FLEET} isn't archived" in refused
    assert told(system.application)[0] == "True"
    system.patch("Project", FLEET, FLEET, {"spec": {"archived": True}})
    system.kubectl.run(
        "wait", "--for=condition=Archived", f"projects.homeport.dev/{FLEET}", "-n", FLEET, "--timeout=60s"
    )
    cli.run("destroy", "lab", "--yes", "--delete-data")
    eventually(lambda: not everything(system.kubectl) - before, "nothing more than before is there", 60, 1)
    assert everything(system.kubectl) == before
