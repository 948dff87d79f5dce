"""`homeport render`: what is written, what is refused, and that nothing secret or the operator's own is in it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from homeport.cli.app import root
from homeport.cli.rendering.common import common, merge_patch, operations, strategic_patch
from homeport.cli.rendering.folder import MARK
from homeport.plan.plain import checksum
from manifests import ROOT
from rendered import HARD, applications, homeport, rendered

TASKFLOW = ROOT / "examples" / "taskflow"
EVERY = [(example, app, name) for example, app, names in applications() for name in names]


def refused(*words: str | Path) -> str:
    """What `homeport …` says when it refuses: the message and what to do."""
    done = CliRunner().invoke(root, [str(word) for word in words])
    assert done.exit_code != 0
    return str(done.exception) + " | " + str(getattr(done.exception, "hint", ""))


def said(*words: str | Path) -> Result:
    done = CliRunner().invoke(root, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0
    return done


@pytest.fixture
def hard(tmp_path: Path) -> Path:
    file = tmp_path / "hard.yaml"
    file.write_text(HARD)
    return file


def keys(value: Any) -> set[str]:
    """Every key in a manifest, save of what people put into files and variables."""
    if isinstance(value, list):
        return set().union(*(keys(entry) for entry in value), set())
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys(entry) for name, entry in value.items() if name != "data"), set())


# --- plain manifests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("example", "app", "environment"), EVERY)
def test_nothing_is_an_operators(example: str, app: str, environment: str) -> None:
    """No label, annotation or selector by which an operator would take an object for its own; and no Secret."""
    objects = rendered(ROOT / "examples" / example, app, environment)
    assert objects
    for (kind, name), manifest in objects.items():
        assert not {key for key in keys(manifest) if "homeport.dev" in key}, name
        assert "homeport.dev" not in json.dumps({k: v for k, v in manifest.items() if k != "data"})
        assert "app.kubernetes.io/managed-by" not in keys(manifest)
        assert kind != "Secret"


@pytest.mark.parametrize(("example", "app", "environment"), EVERY)
def test_selectors_select_their_own_pods_and_no_others(example: str, app: str, environment: str) -> None:
    objects = rendered(ROOT / "examples" / example, app, environment)
    pods = {
        (kind, name): _template(manifest)["metadata"]["labels"]
        for (kind, name), manifest in objects.items()
        if kind in ("Deployment", "StatefulSet", "CronJob", "Job")
    }
    for (kind, name), manifest in objects.items():
        spec = manifest.get("spec", {})
        if kind in ("Deployment", "StatefulSet"):
            selector = spec["selector"]["matchLabels"]
            assert [key for key, found in pods.items() if selector.items() <= found.items()] == [(kind, name)]
        elif kind == "Service":
            selected = [key for key, found in pods.items() if spec["selector"].items() <= found.items()]
            assert len(selected) == 1
            # `metrics.headless` makes a second Service for the same Pods.
            assert name == selected[0][1] or (spec["clusterIP"], name) == ("None", f"{selected[0][1]}-metrics")


def _template(manifest: dict[str, Any]) -> Any:
    spec = manifest["spec"].get("jobTemplate", manifest)["spec"]
    return spec["template"]


def test_the_order_in_which_it_is_applied() -> None:
    text = homeport("render", "-f", ROOT / "examples" / "project-dashboard", "-e", "production")
    kinds = [document["kind"] for document in yaml.safe_load_all(text)]
    assert kinds[0] == "Namespace"
    firsts = [kinds.index(kind) for kind in ("Namespace", "ConfigMap", "Job", "Deployment", "Ingress")]
    assert firsts == sorted(firsts)


def test_what_must_be_there_is_said_and_not_shown(hard: Path) -> None:
    """Commands for Secrets go to standard error, with values that only a shell or their owner knows."""
    done = said("render", "-f", hard, "-e", "three")
    lines = done.stderr.splitlines()
    assert lines == [
        "# before these in namespace hard-three, which has to be there first:",
        'kubectl create secret generic made -n hard-three --from-literal=password="$(openssl rand -hex 17)"',
        "kubectl create secret docker-registry pull -n hard-three "
        "--docker-server=… --docker-username=… --docker-password=…",
        "kubectl create secret tls cert -n hard-three --cert=FILE --key=FILE",
    ]
    assert "kubectl" not in done.stdout


def test_a_secret_with_a_template_is_one_command(tmp_path: Path) -> None:
    """What the command makes is what the operator makes: the same keys, the generated one in the others' places."""
    done = said("render", "-f", ROOT / "examples" / "budget-manager", "-e", "production")
    line = next(line for line in done.stderr.splitlines() if "db-credentials" in line)
    fake = tmp_path / "kubectl"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    shell = f"PATH={tmp_path}:$PATH; {line}"
    ran = subprocess.run(["bash", "-euc", shell], check=True, capture_output=True, text=True).stdout
    data = dict(word.removeprefix("--from-literal=").split("=", 1) for word in ran.splitlines() if "literal" in word)
    assert len(data["password"]) == 32
    assert data["url"] == f"postgresql://budget:{data['password']}@db:5432/budget"


def test_one_file_for_each_object(tmp_path: Path) -> None:
    said("render", "-f", TASKFLOW, "-e", "staging", "-d", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").glob("*.yaml"))
    assert names[0] == "01-namespace-taskflow-staging.yaml" or names[0] == "1-namespace-taskflow-staging.yaml"
    assert len(names) == len(rendered(TASKFLOW, "taskflow", "staging"))


def test_jobs_bridge_the_time_until_what_they_need_is_there(hard: Path) -> None:
    """Nobody holds them back, so they try as often as Kubernetes has it, unless somebody said how often."""
    objects = rendered(hard, "hard", "one")
    limits = {name.rpartition("-")[0]: m["spec"]["backoffLimit"] for (k, name), m in objects.items() if k == "Job"}
    assert limits == {"h-my-web-migrate": 6, "h-once": 0}


def test_a_job_is_another_when_what_it_runs_is(hard: Path) -> None:
    one, two = ({name for kind, name in rendered(hard, "hard", env) if kind == "Job"} for env in ("one", "two"))
    assert {name for name in one if "migrate" in name} != {name for name in two if "migrate" in name}


def test_checksums_are_what_a_template_of_helm_computes() -> None:
    """`toJson | sha256sum | trunc 16`: Go's JSON sorts keys, and escapes what HTML minds."""
    text = r'{"a":"x","b":"\u003c\u0026\u003e\u2028ä\n"}'
    assert checksum({"b": "<&>\u2028ä\n", "a": "x"}) == hashlib.sha256(text.encode()).hexdigest()[:16]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "there is no Application nothing in these files | there are taskflow"),
        (("taskflwo",), "did you mean taskflow?"),
        (("-e", "prod"), "doesn't run in environment prod | it runs in development, staging, production"),
        ((), "taskflow runs in 3 environments | name one with -e: development, staging, production"),
        (("-o", "helm"), "-o helm writes a folder | name it with --output-dir"),
        (("-n", "elsewhere"), "there is no Application in these files"),
        (("-e", "staging", "-d", "/dev/null/x"), "/dev/null: File exists | name another folder with --output-dir"),
        (("-e", "staging", "-d", "/dev/null"), "/dev/null is a file"),
    ],
)
def test_it_says_what_there_is(words: tuple[str, ...], message: str) -> None:
    assert message in refused("render", *words, "-f", TASKFLOW)


def _written(tmp_path: Path, *documents: dict[str, Any]) -> Path:
    file = tmp_path / "files.yaml"
    file.write_text(yaml.safe_dump_all({"apiVersion": "homeport.dev/v1alpha1", **d} for d in documents))
    return file


def _app(name: str, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    component = {"name": "web", "image": "nginx:1", "ports": [{"name": "http", "port": 80}]}
    return {
        "kind": "Application",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"version": "1.0.0", "components": [component], **spec},
    }


def _env(name: str, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    return {"kind": "Environment", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


LAB = _env("lab", runtime="Proxmox", proxmox={"hostRef": {"name": "pve"}})


def test_environments_that_have_no_manifests(tmp_path: Path) -> None:
    both = _written(tmp_path, _app("web"), _env("dev"), LAB, _env("preview", template=True))
    assert "Environment lab is on Proxmox: what runs there are containers" in refused("render", "-f", both, "-e", "lab")
    done = said("render", "-f", both)
    assert "note: Environment lab is on Proxmox" in done.stderr and "it is left out" in done.stderr
    assert "namespace: shop-dev" in done.stdout
    only = _written(tmp_path, _app("web"), LAB)
    assert "has no environment that can be rendered" in refused("render", "-f", only)
    named = _written(tmp_path, _app("web", environments=[{"name": "pr"}]), _env("pr", template=True))
    assert "is a template for previews" in refused("render", "-f", named, "-e", "pr")
    absent = _written(tmp_path, _app("web", environments=[{"name": "dev"}]))
    assert "Environment dev isn't in these files" in refused("render", "-f", absent, "-e", "dev")


def test_several_applications(tmp_path: Path) -> None:
    file = _written(tmp_path, _app("a"), _app("b"), _env("dev"))
    assert "there are 2 applications in these files | name one of a, b" in refused("render", "-f", file)
    file = _written(tmp_path, _app("a"), _app("a", "other"), _env("dev"), _env("dev", "other"))
    assert "name one of other, shop with -n" in refused("render", "a", "-f", file)
    assert "namespace: other-dev" in said("render", "a", "-f", file, "-n", "other").stdout


def test_what_validate_refuses(tmp_path: Path) -> None:
    file = _written(tmp_path, _app("web", versoin="1"), _env("dev"))
    done = CliRunner().invoke(root, ["render", "-f", str(file)])
    assert done.exit_code != 0
    assert "versoin" in done.stderr and "is not a field" in done.stderr


def test_an_archived_project_runs_nothing(tmp_path: Path) -> None:
    project = {"kind": "Project", "metadata": {"name": "shop", "namespace": "shop"}, "spec": {"archived": True}}
    done = said("render", "-f", _written(tmp_path, project, _app("web"), _env("dev")))
    assert "project shop is archived" in done.stderr
    found = {d["kind"]: d for d in yaml.safe_load_all(done.stdout)}
    assert found["Deployment"]["spec"]["replicas"] == 0


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_written_again(tmp_path: Path) -> None:
    """What isn't rendered any more goes, what somebody added stays, what somebody changed is asked about."""
    out = tmp_path / "out"
    first = _written(tmp_path, _app("web"), _env("dev"), _env("prod"))
    said("render", "-f", first, "-o", "kustomize", "-d", out)
    (out / "overlays" / "mine").mkdir()
    (out / "overlays" / "mine" / "kustomization.yaml").write_text("resources: [../dev]\n")
    second = _written(tmp_path, _app("web"), _env("dev"))
    said("render", "-f", second, "-o", "kustomize", "-d", out)
    assert not (out / "overlays" / "prod" / "kustomization.yaml").exists()
    assert (out / "overlays" / "mine" / "kustomization.yaml").exists()
    changed = out / "base" / "web.yaml"
    changed.write_text("mine\n")
    assert "changed by hand: base/web.yaml" in refused("render", "-f", second, "-o", "kustomize", "-d", out)
    assert changed.read_text() == "mine\n"
    said("render", "-f", second, "-o", "kustomize", "-d", out, "--force")
    assert "kind: Deployment" in changed.read_text()


def test_a_strangers_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    text = refused("render", "-f", TASKFLOW, "-o", "helm", "-d", tmp_path / "out")
    assert "isn't empty and wasn't written by `homeport render`" in text
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_a_mark_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    said("render", "-f", TASKFLOW, "-o", "helm", "-d", out)
    outside = tmp_path / "outside"
    outside.write_text("x")
    mark = json.loads((out / MARK).read_text())
    mark["files"] |= {"../outside": "0", str(outside): "0"}
    (out / MARK).write_text(json.dumps(mark))
    said("render", "-f", TASKFLOW, "-o", "helm", "-d", out, "--force")
    assert outside.read_text() == "x"


@pytest.mark.parametrize("how", ["kustomize", "helm"])
def test_the_same_is_written_each_time(tmp_path: Path, how: str) -> None:
    for name in ("a", "b"):
        said("render", "-f", ROOT / "examples" / "project-dashboard", "-o", how, "-d", tmp_path / name)
    first, second = (
        {str(p.relative_to(tmp_path / name)): p.read_text() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("a", "b")
    )
    assert first == second


@pytest.mark.parametrize("how", ["kustomize", "helm"])
def test_nothing_of_a_secret_is_in_a_folder(tmp_path: Path, how: str) -> None:
    """The values of the examples' Secrets, which are in the very files that are read."""
    said("render", "-f", ROOT / "examples" / "project-dashboard", "-o", how, "-d", tmp_path / "out")
    values = {
        value
        for document in yaml.safe_load_all((ROOT / "examples" / "project-dashboard" / "secrets.yaml").read_text())
        if document and document["kind"] == "Secret"
        for value in document["stringData"].values()
    }
    assert values
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            assert not [value for value in values if value in file.read_text()], file


# --- what environments have in common ---------------------------------------------------------------------------------


def test_common_is_what_most_have() -> None:
    assert common([{"a": 1, "b": 1}, {"a": 2, "b": 1, "c": 3}, {"a": 2, "c": 3}]) == {"a": 2, "b": 1, "c": 3}
    assert common([{"a": 1}, {"b": 2}]) == {"a": 1}
    assert common([[1], [2]]) == [1]


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": [1]}),
        ({"a": 1}, {}),
        ({}, {"a": {"b": {}}}),
        ({"a": {"b": 1}}, {"a": "text"}),
    ],
)
def test_a_merge_patch_leads_there(base: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert _merged(base, merge_patch(base, wanted)) == wanted
    assert _merged(base, strategic_patch(base, wanted)) == wanted


def _merged(base: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    out = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merged(out.get(key), value)
    return out


def test_operations_escape_their_paths() -> None:
    assert operations({"a/b": {"~c": 1}}, {"a/b": {}}) == [{"op": "remove", "path": "/a~1b/~0c"}]
