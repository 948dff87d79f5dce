"""`pulumi up` in `pulumi/clusters` and `pulumi/pipelines`: Pulumi's own command line does what Homeport's does.

Its language host for Python is in Pulumi's distribution and in no package registry, so these run where one is on PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitea_server import GiteaServer
from localplane import binaries
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl
from manifests import ROOT

LANGUAGE = "pulumi-language-python"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which(LANGUAGE) is None, reason=f"{LANGUAGE} isn't on PATH: docs/clusters.md"),
]


class Folder:
    """A copy of one of the two folders with a stack in it; state and secrets beside it.

    The packages aren't copied: the program takes those that are installed, which know where the chart is.
    """

    def __init__(self, name: str, place: Path, **environment: str) -> None:
        programs = binaries.ensure(["pulumi", "helm"])
        self.place = place / name
        shutil.copytree(ROOT / "pulumi" / name, self.place, ignore=shutil.ignore_patterns("homeport_*"))
        (place / "state").mkdir()
        path = [str(Path(sys.executable).parent), str(programs["pulumi"].parent), os.environ["PATH"]]
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join(path),
            "HOMEPORT_HELM": str(programs["helm"]),
            "PULUMI_HOME": str(place / "home"),
            "PULUMI_BACKEND_URL": f"file://{place / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "of-a-test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            **environment,
        }
        self.run("stack", "init", "lab")

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """The file that the program reads."""
        path = self.place.parent / f"{name}.yaml"
        path.write_text(yaml.safe_dump(dict(content), sort_keys=False))
        self.run("config", "set", f"homeport-{self.place.name}:file", str(path))

    def run(self, *words: str) -> str:
        """What `pulumi` printed; it has to end well."""
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"], cwd=self.place, env=self.environment, text=True,
            capture_output=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane"), ephemeral=True) as found:
        yield found


def test_a_cluster(plane: ControlPlane, tmp_path: Path) -> None:
    kubectl, folder = Kubectl(plane.kubectl, str(plane.kubeconfig)), Folder("clusters", tmp_path)
    here = {"name": "here", "type": "existing", "existing": {"kubeconfig": str(plane.kubeconfig)}}
    folder.write(
        "cluster",
        {
            "name": "lab",
            "clusters": [here],
            "homeport": {"values": {"image": {"tag": "test"}, "replicas": 1}},
            "gitSource": {"url": "https://git.example.com/team/fleet.git"},
        },
    )
    assert "to create" in folder.run("preview")
    assert "created" in folder.run("up", "--yes")
    assert kubectl.items("deployments", "-n", "homeport-system")[0]["status"]["availableReplicas"] == 1
    assert kubectl.items("gitsources.homeport.dev", "root", "-n", "root")
    assert " created" not in folder.run("up", "--yes")
    assert " updated" not in folder.run("refresh", "--yes")
    folder.run("destroy", "--yes")
    assert not kubectl.run("get", "namespace", "homeport-system", "--ignore-not-found")
    assert kubectl.items("gitsources.homeport.dev", "root", "-n", "root"), "what may hold data is told twice, here too"


def test_a_repository(gitea: GiteaServer, tmp_path: Path) -> None:
    folder = Folder("pipelines", tmp_path, HOMEPORT_FORGE_TOKEN=gitea.token("team"))
    parts = [{"name": "web", "language": "python", "versions": ["3.11"]}]
    where = {"forge": "gitea", "url": gitea.url, "owner": "team", "name": "by-pulumi"}
    about = {"name": "by-pulumi", "homeport": "homeport==0.1.0", "systems": ["github"], "components": parts}
    folder.write("pipeline", {**about, "repository": where})
    assert "to create" in folder.run("preview")
    folder.run("up", "--yes")
    tree = gitea.call("GET", "/repos/team/by-pulumi/git/trees/main?recursive=true", None, "team")["tree"]
    assert ".github/workflows/pipeline.yml" in {one["path"] for one in tree}
    assert " updated" not in folder.run("up", "--yes")
