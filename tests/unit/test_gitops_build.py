"""Builds of what needs no program: golden cases, hostile repositories, and what is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import build_cases
from checkouts import MemoryCheckout
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.build import Programs
from homeport.engine.gitops.assembling import Assembler
from homeport.engine.gitops.building import Builder
from homeport.engine.gitops.memory import Memory
from homeport.outcome import Outcome, Stalled, Transient
from homeport.plan.gitops import build
from homeport.plan.gitops.build import BuildFailed, BuildSpec, Built
from homeport.plan.gitops.checkout import CheckoutFailed

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
NAMED = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n"
APPLICATION = """\
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {name: shop, namespace: shop}
spec: {version: 1.0.0, components: [{name: web, image: nginx, ports: [{name: http, port: 80}]}]}
"""
PLUGIN = """\
transformers:
  - |-
    apiVersion: example.com/v1
    kind: Runner
    metadata: {name: x}
"""
FUNCTION = """\
generators: [run.yaml]
"""
RUN = """\
apiVersion: example.com/v1
kind: Run
metadata:
  name: x
  annotations:
    config.kubernetes.io/function: |
      exec: {path: ./run.sh}
"""


@pytest.fixture(scope="module")
def assembler() -> Iterator[Assembler]:
    """One without programs: what these tests build needs none."""
    made = Assembler(Programs(paths=dict.fromkeys(("kustomize", "helm", "sops"), "/nonexistent")))
    yield made
    made.stop()


def built(assembler: Assembler, files: dict[str, Any], links: dict[str, str] | None = None, **spec: Any) -> Built:
    return assembler.build(MemoryCheckout(files, links), BuildSpec(**{"path": "", **spec})).built


@pytest.mark.parametrize("name", build_cases.PLAIN)
def test_golden(assembler: Assembler, name: str, update_golden: bool) -> None:
    build_cases.compare(assembler, name, update_golden)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.yaml": CONFIG % "a", "b.yaml": "a: [", "c.yaml": "\t"}, "b.yaml:2: this isn't YAML: while parsing a flow "
         "node did not find expected node content (and 1 more are wrong: c.yaml)"),
        ({"a.yaml": CONFIG % "a", "b/c.yaml": "# x\n" + CONFIG % "a"},
         "b/c.yaml:2: ConfigMap default/a is in a.yaml:1 too; leave one out"),
        ({"a.yaml": CONFIG % "a" + "---\n" + NAMED}, "a.yaml:5: ConfigMap default/a is in a.yaml:1 too; leave one out"),
        ({"a.yaml": APPLICATION.replace("image: nginx", "image: nginx, colour: red")},
         "a.yaml:4: Application shop: spec.components[web].colour: is not a field"),
        ({"a.yaml": "kind: List\nitems:\n" + "".join(
            f"- {line}\n" if line.startswith("api") else f"  {line}\n"
            for line in APPLICATION.replace("1.0.0", "no").splitlines()
        )}, "a.yaml:6: Application shop: spec.version"),
        ({"a.yaml": APPLICATION.replace("Application", "Applicaton")},
         "a.yaml:1: Applicaton shop: homeport.dev/v1alpha1 Applicaton isn't a kind of homeport.dev/v1alpha1; the kinds "
         "are"),
        ({"a.yaml": "x" * (build.FILE + 1)}, "a.yaml: this is 4.0 MiB; 4 MiB are allowed; split it, or name it in "
         ".homeport-ignore"),
        ({f"{n}.yaml": "#" * build.FILE for n in range(17)}, "more than 64 MiB would be read; use several sources"),
        ({"a.yaml": b"a: \xff"}, "a.yaml:1: this isn't text in UTF-8; save it as UTF-8"),
        ({"many.yaml": "".join("---\n" + CONFIG % f"a{n}" for n in range(build.OBJECTS + 1))},
         "many.yaml:20002: more than 5000 objects are made; use several sources"),
        ({"a.yaml.j2": "{% for a in range(9999) %}{% for b in 'x' * 999999 %}{% endfor %}{% endfor %}"},
         "a.yaml.j2:1: "),
        ({"x/a.yaml.j2": "{{ host }}"}, "x/a.yaml.j2:1: 'host' is undefined"),
        ({"a.yaml.j2": "{{ ''.__class__ }}"}, "a.yaml.j2:1: not allowed in a template"),
        ({"a.yaml.j2": "{% include '../../etc/passwd' %}"}, "includes '../../etc/passwd', which is not among the "
         "templates"),
        ({"a.yaml.j2": "{% include 'a.yaml.j2' %}"}, "a.yaml.j2: includes or calls itself without an end"),
        ({"a.yaml.j2": "kind: {{ 1 }}\nkind: x"}, "a.yaml.j2: line 2 of what it makes: 'kind' is written twice"),
        ({"kustomization.yaml": "resources: [../../x]"}, "kustomization.yaml:1: resources: ../../x leads out of the "
         "repository"),
        ({"kustomization.yaml": "resources:\n- /etc/passwd"}, "kustomization.yaml:2: resources: /etc/passwd is a path "
         "from the machine's root; write one from this folder"),
        ({"kustomization.yaml": "configMapGenerator:\n- name: a\n  files:\n  - k=../../../secret"},
         "kustomization.yaml:4: configMapGenerator.files: ../../../secret leads out of the repository"),
        ({"kustomization.yaml": "openapi: {path: /proc/self/environ}"}, "openapi.path: /proc/self/environ is a path "),
        ({"kustomization.yaml": "resources:\n- https://example.com/base?ref=v1"}, "kustomization.yaml:2: resources: "
         "https://example.com/base?ref=v1 is elsewhere, and only this repository is read; copy it here, or write "
         "build.allowRemoteBases: true"),
        ({"kustomization.yaml": "bases: ['git@example.com:a/b']"}, "bases: git@example.com:a/b is elsewhere"),
        ({"kustomization.yaml": "patches:\n- path: gone.yaml"}, "kustomization.yaml:2: patches.path: there is no "
         "gone.yaml"),
        ({"a/kustomization.yaml": "resources: [../b]", "b/kustomization.yaml": "resources: [../c]",
          "c/kustomization.yaml": "resources: [../a]"},
         "c/kustomization.yaml: kustomizations are made of each other: a → b → c → a"),
        ({"kustomization.yaml": "resources: [.]"}, "kustomizations are made of each other: . → ."),
        ({"kustomization.yaml": PLUGIN}, "example.com/v1 Runner is a plugin, which would run a program; only "
         "kustomize's own (apiVersion: builtin) are allowed"),
        ({"kustomization.yaml": FUNCTION, "run.yaml": RUN}, "kustomization.yaml:1: Run is a KRM function, which would "
         "run a program or a container; nothing of a repository is executed"),
        ({"kustomization.yaml": "helmCharts:\n- name: x"}, "kustomization.yaml:1: helmCharts isn't built: charts are "
         "rendered by helm alone"),
        ({"kustomization.yaml": "generators:\n- |-\n  apiVersion: builtin\n  kind: HelmChartInflationGenerator\n"},
         "HelmChartInflationGenerator isn't built"),
        ({"kustomization.yaml": "transformers:\n- |-\n  apiVersion: builtin\n  kind: PatchTransformer\n  path: ../x"},
         "PatchTransformer.path: ../x leads out of the repository"),
        ({"kustomization.yaml": "resources: [a\n"}, "kustomization.yaml:2: this isn't YAML"),
        ({"kustomization.yaml": "- a"}, "kustomization.yaml: a kustomization is one mapping of fields"),
        ({"Chart.yaml": "name: [", "templates/a.yaml": ""}, "Chart.yaml:2: this isn't YAML"),
        ({"Chart.yaml": "name: a\ndependencies: [{name: redis, version: 1.0.0, repository: https://x}]"},
         "Chart.yaml: it depends on redis, which isn't in charts; nothing is fetched for a build, so run `helm "
         "dependency build` and commit what is in charts"),
        ({"A_B/Chart.yaml": "name: a"}, "A_B/Chart.yaml: 'a_b' can't be a release's name"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_said(assembler: Assembler, files: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        built(assembler, files)
    assert message in str(caught.value)
    assert not caught.value.passes


@pytest.mark.parametrize(
    ("files", "links", "message"),
    [
        ({"a.yaml": ""}, {"b.yaml": "/etc/passwd"}, "b.yaml: this is a symbolic link, which isn't followed"),
        ({"kustomization.yaml": "resources: [x.yaml]"}, {"x.yaml": "a"}, "x.yaml: this is a symbolic link"),
        ({"a/kustomization.yaml": "resources: [../b]"}, {"b": "/etc"}, "b: this is a symbolic link"),
        ({"a.yaml": ""}, {"a/kustomization.yaml": "x"}, "a/kustomization.yaml: this is a symbolic link"),
        ({"Chart.yaml": "name: a"}, {"templates/x.yaml": "/etc/passwd"}, "templates/x.yaml: this is a symbolic link"),
    ],
)
def test_symbolic_links_are_not_followed(
    assembler: Assembler, files: dict[str, Any], links: dict[str, str], message: str
) -> None:
    with pytest.raises(BuildFailed, match=message):
        built(assembler, files, links)


def test_a_program_that_is_not_there_is_named(assembler: Assembler) -> None:
    with pytest.raises(
        BuildFailed, match=r"^\.: kustomize: kustomize isn't there: /nonexistent; the operator needs it"
    ):
        built(assembler, {"kustomization.yaml": "resources: [a.yaml]", "a.yaml": CONFIG % "a"})


def test_a_folder_that_is_not_there(assembler: Assembler) -> None:
    with pytest.raises(BuildFailed, match="there is no folder apps/shop in the repository"):
        built(assembler, {"apps/a.yaml": ""}, path="apps/shop")
    assert built(assembler, {}).objects == ()


def test_a_million_files_are_not_read(assembler: Assembler) -> None:
    files = dict.fromkeys((f"a/{n}.txt" for n in range(build.FILES + 1)), "")
    with pytest.raises(BuildFailed, match="holds 50001 files; 50000 are allowed"):
        built(assembler, files)


def test_an_encrypted_file_without_keys(assembler: Assembler) -> None:
    text = CONFIG % "a" + "sops:\n  age:\n  - recipient: age1qyqszqgpqyqszqgpqyqszqgp\n  mac: x\n"
    with pytest.raises(BuildFailed, match=r"the source has no keys; name a Secret in decryption\.keySecretRef that"):
        built(assembler, {"a.yaml": text})
    with pytest.raises(BuildFailed, match=r"the Secret of decryption\.keySecretRef holds no age key"):
        built(assembler, {"a.yaml": text}, keys={"x.agekey": b"nothing"})


def test_no_message_has_what_a_secret_holds(assembler: Assembler) -> None:
    text = "apiVersion: homeport.dev/v1alpha1\nkind: Environment\nmetadata: {name: a}\nspec: {tier: ${PASSWORD}}\n"
    with pytest.raises(BuildFailed) as caught:
        secret = {"PASSWORD": "correct horse"}
        built(assembler, {"a.yaml": text}, substitute=True, variables=secret, hidden=("correct horse", "a"))
    assert "horse" not in str(caught.value)
    assert "a.yaml:4: Environment a: spec.tier: is '…'; write one of 'Development'" in str(caught.value)


def test_what_others_hold_has_no_network(assembler: Assembler) -> None:
    files = {"kustomization.yaml": "resources: ['http://169.254.169.254/latest']"}
    with pytest.raises(BuildFailed, match="is elsewhere, and only this repository is read"):
        built(assembler, files, allow_remote_bases=True, sealed=True)


def test_templates_of_a_folder_are_named_from_the_root(assembler: Assembler) -> None:
    with pytest.raises(BuildFailed, match=r"^apps/a\.yaml\.j2:2: 'x' is undefined"):
        built(assembler, {"apps/a.yaml.j2": "\n{{ x }}"}, path="apps")


# --- what is remembered -----------------------------------------------------------------------------------------------


def files(number: int) -> dict[str, str]:
    return {f"apps/a{n}/a.yaml": "".join("---\n" + CONFIG % f"a{n}-{m}" for m in range(4)) for n in range(number)}


def test_only_what_changed_is_read_again(assembler: Assembler) -> None:
    before = files(30)
    first = MemoryCheckout(before)
    assert len(assembler.build(first, BuildSpec("apps")).built.objects) == 120
    second = MemoryCheckout({**before, "apps/a7/a.yaml": CONFIG % "changed", "README.md": "x"})
    found = assembler.build(second, BuildSpec("apps")).built
    assert second.reads[-1] == ["apps/a7/a.yaml"]
    assert len(found.objects) == 117


def test_the_digest_is_of_what_was_read(assembler: Assembler) -> None:
    def digest(more: dict[str, str] | None = None, **spec: Any) -> str:
        return built(assembler, {"a/x.yaml": CONFIG % "x", **(more or {})}, path="a", **spec).digest

    assert digest() == digest({"a/README.md": "text", "b/y.yaml": "["})
    different = [digest(), digest({"a/y.yaml": CONFIG % "y"}), digest(variables={"A": "b"}), digest(namespace="other"),
                 digest(substitute=True), digest(inputs="1"), digest(inputs="2")]  # fmt: skip
    assert len(set(different)) == len(different)
    # The caller tells inputs from others by something that may be seen.
    assert digest(inputs="1", variables={"PASSWORD": "a"}) == digest(inputs="1", variables={"PASSWORD": "b"})


def test_variables_are_looked_at_anew(assembler: Assembler) -> None:
    source = {"a.yaml": CONFIG % "${A}", "b.yaml.j2": CONFIG % "t-{{ A }}"}
    for value in ("x", "y", "x"):
        found = built(assembler, source, substitute=True, variables={"A": value})
        assert [each.manifest["metadata"]["name"] for each in found.objects] == [value, f"t-{value}"]


def test_a_pointer_is_not_what_it_points_at(assembler: Assembler) -> None:
    """Two sources of one repository, of which one has Git LFS: the blob is the same."""

    class Large(MemoryCheckout):
        def read(self, paths: Any) -> dict[str, bytes]:
            return {path: (CONFIG % "large").encode() for path in paths}

    pointer = {"a.yaml": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n"}
    for _ in range(2):
        with pytest.raises(BuildFailed, match=r"a\.yaml:1: this is kept by Git LFS, and wasn't fetched"):
            built(assembler, pointer)
        found = assembler.build(Large(pointer), BuildSpec("", lfs=True)).built
        assert [each.manifest["metadata"]["name"] for each in found.objects] == ["large"]


def test_memory_holds_what_its_limit_lets_it() -> None:
    memory: Memory[str] = Memory(10)
    for name in "abc":
        memory.put(name, name, 4)
    assert [memory.get(name) for name in "abc"] == [None, "b", "c"]
    memory.put("d", "d", 4)
    assert [memory.get(name) for name in "bcd"] == [None, "c", "d"]
    memory.put("c", "large", 11)
    assert [memory.get(name) for name in "cd"] == [None, "d"]


# --- in the background ------------------------------------------------------------------------------------------------

KEY = OwnerKey("GitSource", "shop", "fleet")


class Woken:
    """Who was woken."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.times = 0

    def __call__(self, key: OwnerKey) -> None:
        assert key == KEY
        self.times += 1
        self.event.set()

    async def ends(self, builder: Builder, checkout: MemoryCheckout, spec: BuildSpec) -> Built | Outcome:
        while (found := builder.built(KEY, checkout, spec)) is None:
            await self.event.wait()
            self.event.clear()
        return found


async def test_a_build_goes_on_in_the_background_and_wakes(assembler: Assembler) -> None:
    woken = Woken()
    builder = Builder(woken, assembler)
    checkout = MemoryCheckout(files(2))
    found = await woken.ends(builder, checkout, BuildSpec("apps"))
    assert isinstance(found, Built)
    assert len(found.objects) == 8
    assert woken.times == 1
    assert builder.built(KEY, checkout, BuildSpec("apps")) is found
    # Another commit that touches nothing of it is the same build, and nothing is read.
    elsewhere = MemoryCheckout({**files(2), "other/a.yaml": "["})
    assert await woken.ends(builder, elsewhere, BuildSpec("apps")) is found
    assert elsewhere.reads == []
    broken = await woken.ends(builder, MemoryCheckout({"apps/a.yaml": "["}), BuildSpec("apps"))
    assert broken == Stalled(Reason.BUILD_FAILED, "apps/a.yaml:2: this isn't YAML: while parsing a flow node did not "
                             "find expected node content")  # fmt: skip
    assert await woken.ends(builder, checkout, BuildSpec("apps")) is found
    builder.forget(KEY)


async def test_a_fault_that_may_pass_is_tried_again(assembler: Assembler) -> None:
    class Gone(MemoryCheckout):
        broken = True

        def read(self, paths: Any) -> dict[str, bytes]:
            if self.broken:
                raise CheckoutFailed("the server doesn't answer", passes=True)
            return super().read(paths)

    woken, checkout = Woken(), Gone({"x.yaml": CONFIG % "gone"})
    builder = Builder(woken, assembler)
    assert await woken.ends(builder, checkout, BuildSpec("")) == Transient(
        Reason.FETCH_FAILED, "the server doesn't answer"
    )
    checkout.broken = False
    assert isinstance(await woken.ends(builder, checkout, BuildSpec("")), Built)
