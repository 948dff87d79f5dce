"""Builds with the real kustomize, helm and sops: golden cases, what is encrypted, and what a repository may not do."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

import build_cases
from checkouts import MemoryCheckout
from homeport import cli
from homeport.drivers.build import Limits, Programs
from homeport.drivers.build.programs import cut_off
from homeport.engine.gitops.assembling import Assembler
from homeport.plan.gitops.build import BuildFailed, BuildSpec, Built
from localplane import binaries, tools

pytestmark = pytest.mark.integration

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
SECRET = """\
# The database's.
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
stringData:
  password: correct horse
  user: shop
"""


@pytest.fixture(scope="module")
def paths() -> dict[str, str]:
    return {name: str(path) for name, path in binaries.ensure(tools.BUILDS).items()}


@pytest.fixture(scope="module")
def assembler(paths: dict[str, str]) -> Iterator[Assembler]:
    made = Assembler(Programs(paths=paths))
    yield made
    made.stop()


def built(assembler: Assembler, files: dict[str, Any], **spec: Any) -> Built:
    return assembler.build(MemoryCheckout(files), BuildSpec(**{"path": "", **spec})).built


def bodies(found: Built) -> dict[str, Any]:
    return {each.manifest["metadata"]["name"]: each.manifest for each in found.objects}


@pytest.mark.parametrize("name", build_cases.PROGRAMS)
def test_golden(assembler: Assembler, name: str) -> None:
    build_cases.compare(assembler, name, update=bool(os.environ.get("HOMEPORT_UPDATE_GOLDEN")))


# --- kustomize --------------------------------------------------------------------------------------------------------


def test_programs_run_once_for_what_they_read(paths: dict[str, str]) -> None:
    runs: list[str] = []

    class Counted(Programs):
        def run(self, name: str, *arguments: Any, **options: Any) -> bytes:
            runs.append(name)
            return super().run(name, *arguments, **options)

    assembler = Assembler(Counted(paths=paths))
    files = {f"k{n}/kustomization.yaml": f"resources: [a.yaml]\nnamePrefix: k{n}-\n" for n in range(3)}
    files |= {f"k{n}/a.yaml": CONFIG % "a" for n in range(3)}
    files |= {"c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n", "c/templates/a.yaml": CONFIG % "chart"}
    try:
        assert len(built(assembler, files).objects) == 4
        assert sorted(runs) == ["helm", "kustomize", "kustomize", "kustomize"]
        built(assembler, {**files, "README.md": "x"})
        assert len(runs) == 4
        built(assembler, {**files, "k1/a.yaml": CONFIG % "b"})
        assert len(runs) == 5
    finally:
        assembler.stop()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"kustomization.yaml": "resources: [a.yaml]\npatches: [{path: p.yaml}]", "a.yaml": CONFIG % "a",
          "p.yaml": CONFIG % "other"}, '.: kustomize: no resource matches strategic merge patch "ConfigMap.v1'),
        ({"x/kustomization.yaml": "resources: [a.yaml]\nnoField: 1", "x/a.yaml": CONFIG % "a"},
         'x: kustomize: invalid Kustomization: json: unknown field "noField"'),
        ({"x/kustomization.yaml": "resources: [../a.yaml]", "a.yaml": CONFIG % "a"},
         "is not in or below"),
        ({"kustomization.yaml": "resources: [a.yaml]", "a.yaml": CONFIG % "a" + "data: {x: '${HOST}'}"},
         "a.yaml:4: ${HOST} isn't a variable"),
        ({"kustomization.yaml": "resources: [a.yaml]", "a.yaml": "# one\n" + "apiVersion: homeport.dev/v1alpha1\n"
          "kind: Environment\nmetadata: {name: a}\nspec: {tierr: x}\n"},
         "a.yaml:2: Environment a: spec.tierr: is not a field"),
        ({"a/kustomization.yaml": "resources: [x.yaml]", "a/x.yaml": CONFIG % "x", "b.yaml": CONFIG % "x"},
         "b.yaml:1: ConfigMap default/x is in a/x.yaml:1 too; leave one out"),
    ],
)  # fmt: skip
def test_what_kustomize_says_names_the_repository(assembler: Assembler, files: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        built(assembler, files, substitute=True)
    assert message in str(caught.value)
    assert "homeport-build-" not in str(caught.value)
    assert "/tmp" not in str(caught.value)


def test_a_remote_base_is_asked_for_only_where_that_is_allowed(assembler: Assembler) -> None:
    # Nobody listens there: what shows is that kustomize tried, and said so.
    files = {"kustomization.yaml": "resources:\n- http://127.0.0.1:9/base.yaml\n"}
    with pytest.raises(BuildFailed, match="is elsewhere, and only this repository is read"):
        built(assembler, files)
    with pytest.raises(BuildFailed, match=r"127\.0\.0\.1:9") as caught:
        built(assembler, files, allow_remote_bases=True)
    assert "kustomize" in str(caught.value)


# --- helm -------------------------------------------------------------------------------------------------------------

CHART = "apiVersion: v2\nname: web\nversion: 1.0.0\n"


@pytest.mark.parametrize(
    ("files", "spec", "message"),
    [
        ({"templates/a.yaml": "a: {{ .Values.x"}, {}, "Chart.yaml: helm: parse error at (web/templates/a.yaml:1)"),
        ({"templates/a.yaml": CONFIG % '{{ required "write host" .Values.host }}'}, {}, "write host"),
        ({"templates/a.yaml": CONFIG % "a" + "x: 1\nx: 2"}, {}, "templates/a.yaml: line 5 of what it makes: 'x' is "
         "written twice"),
        ({"templates/a.yaml": "kind: A\nmetadata: {name: x}"}, {}, "templates/a.yaml: line 1 of what it makes: "
         "apiVersion must be written"),
        ({"templates/a.yaml": "text"}, {}, "Chart.yaml: helm: YAML parse error on web/templates/a.yaml"),
        ({"templates/a.yaml": '{{ range $i := until 100000 }}{{ range $j := until 100000 }}{{ end }}{{ end }}'},
         {"timeout": 5.0}, "Chart.yaml: helm: it takes"),
        ({"templates/a.yaml": '{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}'}, {},
         "Chart.yaml: helm: "),
        ({"templates/a.yaml": '{{ .Files.Get "/etc/passwd" | required "nothing" }}'}, {}, "nothing"),
        ({"templates/a.yaml": '{{ .Files.Get "../../../../../etc/passwd" | required "nothing" }}'}, {}, "nothing"),
        ({"templates/a.yaml": '{{ env "PATH" }}'}, {}, 'function "env" not defined'),
        ({"templates/a.yaml": '{{ getHostByName "example.com" | required "no names" }}'}, {}, "no names"),
    ],
)  # fmt: skip
def test_what_a_chart_may_not(assembler: Assembler, files: dict[str, str], spec: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        built(assembler, {"Chart.yaml": CHART, **files}, name="web", **spec)
    assert message in str(caught.value)
    assert "homeport-build-" not in str(caught.value)


def test_a_chart_that_writes_without_an_end(paths: dict[str, str]) -> None:
    assembler = Assembler(Programs(Limits(output=1024 * 1024), paths))
    text = "# {{ range $i := until 20000 }}" + "x" * 1000 + "{{ end }}"
    try:
        with pytest.raises(BuildFailed, match="helm: it makes more than 1 MiB"):
            built(assembler, {"Chart.yaml": CHART, "templates/a.yaml": CONFIG % "a" + text})
    finally:
        assembler.stop()


def test_releases_of_several_charts_are_named_as_their_folders(assembler: Assembler) -> None:
    files: dict[str, str] = {}
    for name in ("one", "two"):
        files |= {f"{name}/Chart.yaml": CHART, f"{name}/templates/a.yaml": CONFIG % "{{ .Release.Name }}"}
    assert sorted(bodies(built(assembler, files))) == ["one", "two"]
    with pytest.raises(BuildFailed, match="releaseName names one release, and the folder holds several charts"):
        built(assembler, files, helm=build_cases.Helm(release="x"))


# --- sops -------------------------------------------------------------------------------------------------------------


class Keys:
    """A key of age, and what encrypts for it."""

    def __init__(self, sops: str) -> None:
        identity = pyrage.x25519.Identity.generate()
        self._sops = sops
        self.recipient = str(identity.to_public())
        self.secret = {"age.agekey": f"# created: today\n# public key: {self.recipient}\n{identity}\n".encode()}

    def encrypted(self, text: str, kind: str, *options: str) -> bytes:
        command = [self._sops, "encrypt", "--age", self.recipient, "--input-type", kind, "--output-type",
                   "json" if kind == "binary" else kind, *options, "/dev/stdin"]  # fmt: skip
        return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def keys(paths: dict[str, str]) -> Keys:
    return Keys(paths["sops"])


def test_encrypted_manifests_are_read(assembler: Assembler, keys: Keys) -> None:
    content = keys.encrypted(SECRET, "yaml", "--encrypted-regex", "^(data|stringData)$")
    assert b"correct horse" not in content
    found = built(assembler, {"a.yaml": CONFIG % "a", "secret.yaml": content}, keys=keys.secret)
    assert bodies(found)["db"]["stringData"] == {"password": "correct horse", "user": "shop"}
    assert [each.secret for each in found.objects] == [False, True]
    assert "sops" not in bodies(found)["db"]
    assert "horse" not in repr(found)
    # Without a key, and with another one, what was read with the right one isn't given out.
    with pytest.raises(BuildFailed, match=f"^secret.yaml: this is encrypted by SOPS.* {keys.recipient}$"):
        built(assembler, {"secret.yaml": content})
    other = Keys(keys._sops)
    with pytest.raises(BuildFailed) as caught:
        built(assembler, {"secret.yaml": content}, keys=other.secret)
    assert str(caught.value) == (
        "secret.yaml: none of the keys in the Secret of decryption.keySecretRef opens it; it is encrypted for "
        f"{keys.recipient}"
    )


def test_an_encrypted_file_that_was_changed(assembler: Assembler, keys: Keys) -> None:
    content = keys.encrypted(SECRET, "yaml", "--encrypted-regex", "^(data|stringData)$").decode()
    changed = content.replace("name: db", "name: other")
    assert changed != content
    with pytest.raises(BuildFailed, match="it was changed after SOPS encrypted it"):
        built(assembler, {"secret.yaml": changed}, keys=keys.secret)


def test_what_is_wrong_in_an_encrypted_file_is_said_without_it(assembler: Assembler, keys: Keys) -> None:
    text = "apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata: {name: a}\nspec: {tier: correct horse}\n"
    with pytest.raises(BuildFailed) as caught:
        built(assembler, {"a.yaml": keys.encrypted(text, "yaml", "--encrypted-regex", "^spec$")}, keys=keys.secret)
    assert str(caught.value) == "a.yaml:5: Environment a: spec.tier is wrong"


def test_what_a_program_says_of_what_was_decrypted_is_not_told(assembler: Assembler, keys: Keys) -> None:
    # kustomize quotes the kind of an object that has no name.
    content = keys.encrypted('{"apiVersion": "v1", "kind": "correct horse"}', "json")
    files = {"kustomization.yaml": "resources: [a.json]", "a.json": content}
    with pytest.raises(BuildFailed) as caught:
        built(assembler, files, keys=keys.secret)
    assert str(caught.value) == (
        ".: kustomize fails, and what it says may quote what was decrypted for it; see it with `homeport build "
        "--age-key FILE --show-secrets`"
    )
    with pytest.raises(BuildFailed, match="correct horse"):
        built(assembler, files, keys=keys.secret, reveal=True)


def test_what_kustomize_generates_secrets_of_is_decrypted(assembler: Assembler, keys: Keys) -> None:
    files = {
        "kustomization.yaml": "generatorOptions: {disableNameSuffixHash: true}\nsecretGenerator:\n- name: s\n"
        "  envs: [a.env]\n  files: [b.json, tls.key, c.ini]\n",
        "a.env": keys.encrypted("PASSWORD=correct horse\n", "dotenv"),
        "b.json": keys.encrypted('{"a": "battery"}', "json"),
        "tls.key": keys.encrypted("-----BEGIN KEY-----\n", "binary"),
        "c.ini": keys.encrypted("[a]\nb = staple\n", "ini"),
    }
    found = built(assembler, files, keys=keys.secret)
    data = {key: base64.b64decode(value) for key, value in bodies(found)["s"]["data"].items()}
    assert data["PASSWORD"] == b"correct horse"
    assert json.loads(data["b.json"]) == {"a": "battery"}
    assert data["tls.key"] == b"-----BEGIN KEY-----\n"
    assert b"staple" in data["c.ini"]
    assert found.objects[0].secret


def test_what_was_decrypted_is_never_on_the_disk(paths: dict[str, str], keys: Keys, tmp_path: Path) -> None:
    """A kustomize of ours looks where it was started, and who may look in there."""
    seen = tmp_path / "seen.json"
    spy = tmp_path / "kustomize"
    spy.write_text(
        f"#!/bin/sh\n/usr/bin/stat -f -c %T . > {seen}\n/usr/bin/stat -c %a . >> {seen}\n"
        f'exec {paths["kustomize"]} "$@"\n'
    )
    spy.chmod(spy.stat().st_mode | stat.S_IXUSR)
    assembler = Assembler(Programs(Limits(), {**paths, "kustomize": str(spy)}))
    content = keys.encrypted(SECRET, "yaml", "--encrypted-regex", "^(data|stringData)$")
    before = set(Path("/dev/shm").glob("homeport-build-*"))
    try:
        found = built(assembler, {"kustomization.yaml": "resources: [s.yaml]", "s.yaml": content}, keys=keys.secret)
    finally:
        assembler.stop()
    assert bodies(found)["db"]["stringData"]["password"] == "correct horse"
    assert found.warnings == ()
    assert seen.read_text().split() == ["tmpfs", "700"]
    assert set(Path("/dev/shm").glob("homeport-build-*")) <= before


# --- how programs run -------------------------------------------------------------------------------------------------


@pytest.fixture
def spying(paths: dict[str, str], tmp_path: Path) -> tuple[Assembler, Path]:
    """A program in kustomize's place that writes down what it finds."""
    seen = tmp_path / "seen"
    spy = tmp_path / "kustomize"
    spy.write_text(f"#!/bin/sh\n/usr/bin/env > {seen}\n/bin/cat /proc/self/net/dev >> {seen}\nulimit -a >> {seen}\n"
                   f"exec {paths['kustomize']} \"$@\"\n")  # fmt: skip
    spy.chmod(0o755)
    return Assembler(Programs(Limits(), {**paths, "kustomize": str(spy)})), seen


def test_programs_have_no_network_and_nothing_of_the_environment(
    spying: tuple[Assembler, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cut_off():
        pytest.skip("this machine doesn't let a process give up its network")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "correct horse")
    assembler, seen = spying
    try:
        built(assembler, {"kustomization.yaml": "resources: [a.yaml]", "a.yaml": CONFIG % "a"})
    finally:
        assembler.stop()
    text = seen.read_text()
    assert "AWS" not in text
    assert "KUBECONFIG" not in text
    interfaces = [line.split(":")[0].strip() for line in text.splitlines() if line.count(":") == 1 and "0" in line]
    assert "lo" in interfaces
    assert not [name for name in interfaces if name.startswith(("eth", "en", "wl"))]


def test_stopping_ends_what_runs(paths: dict[str, str], tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    slow = tmp_path / "kustomize"
    slow.write_text(f"#!/bin/sh\necho $$ > {started}\nexec /bin/sleep 300\n")
    slow.chmod(0o755)
    assembler = Assembler(Programs(Limits(), {**paths, "kustomize": str(slow)}))
    caught: list[BaseException] = []

    def work() -> None:
        try:
            built(assembler, {"kustomization.yaml": "resources: [a.yaml]", "a.yaml": CONFIG % "a"})
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    with started.open() as line:
        pid = int(line.readline())
    assembler.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(caught[0], BuildFailed)
    assert not Path(f"/proc/{pid}").exists()


# --- the command line -------------------------------------------------------------------------------------------------


def test_a_folder_on_the_disk(
    paths: dict[str, str],
    keys: Keys,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, path in paths.items():
        monkeypatch.setenv(f"HOMEPORT_{name.upper()}", path)
    (tmp_path / ".git").mkdir()
    for name, content in {
        "base/kustomization.yaml": "resources: [a.yaml]",
        "base/a.yaml": CONFIG % "a",
        "apps/k/kustomization.yaml": "resources: [../../base]\nnamePrefix: k-",
        "apps/t.yaml.j2": CONFIG % "{{ who }}",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    secret = keys.encrypted(SECRET, "yaml", "--encrypted-regex", "^(data|stringData)$")
    (tmp_path / "apps" / "s.yaml").write_bytes(secret)
    key = tmp_path / "key.txt"
    key.write_bytes(keys.secret["age.agekey"])

    words = ["build", str(tmp_path / "apps"), "--set", "who=me", "--age-key", str(key)]
    assert cli.main([*words, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(each["file"], each["line"], each["manifest"]["metadata"]["name"]) for each in found["objects"]] == [
        ("base/a.yaml", 1, "k-a"), ("apps/s.yaml", 2, "db"), ("apps/t.yaml.j2", 0, "me")
    ]  # fmt: skip
    assert "horse" not in json.dumps(found)
    assert cli.main([*words, "--show-secrets"]) == 0
    assert "password: correct horse" in capsys.readouterr().out
    assert cli.main(words[:2]) == 1
    assert "here, --age-key names a file with keys" in capsys.readouterr().err
    assert cli.main([*words[:2], "--age-key", str(key)]) == 1
    assert "apps/t.yaml.j2:3: 'who' is undefined" in capsys.readouterr().err
    (tmp_path / "apps" / "t.yaml.j2").unlink()
    (tmp_path / "apps" / "s.yaml").unlink()
    wrong = "apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata: {name: a}\nspec: {tier: Productio}\n"
    (tmp_path / "base" / "a.yaml").write_text(wrong)
    assert cli.main(["validate", "-f", str(tmp_path / "apps")]) == 1
    assert "base/a.yaml:1: Environment k-a: spec.tier" in capsys.readouterr().err
