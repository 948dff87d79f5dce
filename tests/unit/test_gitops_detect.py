"""What a folder holds, and what isn't read."""

from __future__ import annotations

import pytest

from checkouts import MemoryCheckout
from homeport.plan.gitops import detect, sops
from homeport.plan.gitops.build import FILES, BuildFailed
from homeport.plan.gitops.checkout import FILE, SUBMODULE, Entry
from homeport.plan.gitops.detect import Parts


def parts(files: list[str], path: str = "", links: dict[str, str] | None = None, **ignore: str) -> Parts:
    listing = MemoryCheckout(dict.fromkeys(files, ""), links).listing(path)
    ignored = detect.ignoring({where.replace("__", "/") + ".homeport-ignore": text for where, text in ignore.items()})
    return detect.parts(listing, path, ignored)


def test_each_folder_is_what_its_files_say() -> None:
    found = parts(
        ["a.yaml", "x/b.yml", "x/c.json", "x/d.txt", "x/e.yaml.j2", "x/_f.yaml.j2", "x/g.sh.j2", "k/kustomization.yml",
         "k/in/b.yaml", "k/chart/Chart.yaml", "h/Chart.yaml", "h/templates/t.yaml", "h/k/kustomization.yaml",
         "both/Kustomization", "both/Chart.yaml"]
    )  # fmt: skip
    assert found.plain == ("a.yaml", "x/b.yml", "x/c.json")
    assert found.templates == ("x/e.yaml.j2",)
    assert set(found.included) == {"x/_f.yaml.j2", "x/e.yaml.j2", "x/g.sh.j2"}
    assert found.kustomizations == ("both", "k")
    assert found.charts == ("h",)


def test_a_source_can_be_within_what_would_be_a_chart() -> None:
    assert parts(["Chart.yaml", "crds/a.yaml"], "crds").plain == ("crds/a.yaml",)


def test_what_is_above_a_kustomization_takes_all() -> None:
    assert parts(["kustomization.yaml", "a/b.yaml", "a/Chart.yaml"]) == Parts(kustomizations=("",))


def test_folders_thousands_deep() -> None:
    deep = "/".join(["a"] * 5000)
    assert parts([f"{deep}/b.yaml"]).plain == (f"{deep}/b.yaml",)


def test_hidden_and_ignored_files_are_not_read() -> None:
    files = [".git/x.yaml", "a/.b/c.yaml", ".x.yaml", "docs/a.yaml", "a/docs/a.yaml", "a/docs/keep.yaml", "a/b.yaml",
             "a/only/x.yaml", "only/x.yaml", "k/kustomization.yaml"]  # fmt: skip
    ignored = {"": "docs/*\n/k/kustomization.yaml\n# text\n", "a__": "docs/*\n!docs/keep.yaml\n/only\n"}
    assert parts(files, **ignored) == Parts(plain=("a/b.yaml", "a/docs/keep.yaml", "only/x.yaml"))


@pytest.mark.parametrize("name", ["a.yaml", "base", "x/_m.j2"])
def test_a_symbolic_link_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(BuildFailed, match=rf"^{name}: this is a symbolic link, which isn't followed"):
        parts(["b.yaml"], links={name: "/etc/passwd"})


def test_a_link_that_nobody_would_read_is_left_alone() -> None:
    assert parts(["b.yaml"], links={"README.md": "docs/README.md"}).plain == ("b.yaml",)
    assert parts(["b.yaml"], links={"a.yaml": "b.yaml"}, **{"": "a.yaml"}).plain == ("b.yaml",)


def test_a_submodule_is_named() -> None:
    listing = {"a.yaml": Entry(FILE, 1, "x"), "lib": Entry(SUBMODULE, None, "y")}
    assert detect.parts(listing, "", lambda path: False).submodules == ("lib",)


def test_two_kustomization_files_in_a_folder() -> None:
    with pytest.raises(BuildFailed, match=r"a/kustomization.yaml and kustomization.yml are both there; leave one out"):
        parts(["a/kustomization.yaml", "a/kustomization.yml"])


def test_a_million_files() -> None:
    entry = Entry(FILE, 1, "x")
    listing = {f"a/{number}.yaml": entry for number in range(FILES + 1)}
    with pytest.raises(BuildFailed, match="a holds 50001 files; 50000 are allowed; name a folder"):
        detect.parts(listing, "a", lambda path: False)


# --- encrypted files --------------------------------------------------------------------------------------------------

YAML = b"""apiVersion: v1
stringData:
  password: ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]
sops:
  age:
    - recipient: age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq
      enc: |
        -----BEGIN AGE ENCRYPTED FILE-----
  mac: ENC[AES256_GCM,data:x]
"""


@pytest.mark.parametrize(
    ("content", "encrypted"),
    [
        (YAML, True),
        (b'{"data": "ENC[x]", "sops": {"mac": "ENC[x]"}}', True),
        (b"A=ENC[x]\nsops_mac=ENC[x]\n", True),
        (b"[a]\nb = ENC[x]\n[sops]\nmac = ENC[x]\n", True),
        (b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sops}\n", False),
        (b"data:\n  sops:\n    mac: x\n", False),
        (b"", False),
    ],
)
def test_how_an_encrypted_file_is_told(content: bytes, encrypted: bool) -> None:
    assert sops.encrypted(content) is encrypted


def test_whose_keys_open_a_file_is_said() -> None:
    assert sops.recipients(YAML) == ["age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"]
    assert sops.recipients(b'{"sops": {"pgp": [{"fp": "85D77543B3D624B63CEA9E6DBC17301B491B3F21"}]}}') == [
        "85D77543B3D624B63CEA9E6DBC17301B491B3F21"
    ]
    assert sops.locked("a.yaml", YAML) == (
        "a.yaml: this is encrypted by SOPS, and the source has no keys; name a Secret in decryption.keySecretRef that "
        "holds one of these: age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a/b.yaml", "yaml"), ("b.yml", "yaml"), ("b.json", "json"), (".env", "dotenv"), ("x.env", "dotenv"),
     ("b.ini", "ini"), ("tls.key", "binary"), ("noending", "binary")],
)  # fmt: skip
def test_formats_are_told_by_names(name: str, kind: str) -> None:
    assert sops.kind_of(name) == kind
