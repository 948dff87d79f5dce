"""Golden cases of builds: ``spec.yaml`` and ``repo/`` become ``built.yaml``.

Those with kustomizations or charts need the real programs, and run with the integration tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from checkouts import MemoryCheckout
from homeport.engine.gitops.assembling import Assembler
from homeport.plan.gitops.build import BuildSpec, Built, Helm, Serves
from homeport.plan.gitops.checkout import normal

GOLDEN = Path(__file__).parent / "unit" / "golden" / "build"
PROGRAMS = ("kustomize", "helm", "mixed")
PLAIN = sorted(folder.name for folder in GOLDEN.iterdir() if folder.name not in PROGRAMS)


def checkout(folder: Path) -> MemoryCheckout:
    """The files of a case."""
    repo = folder / "repo"
    return MemoryCheckout(
        {path.relative_to(repo).as_posix(): path.read_bytes() for path in repo.rglob("*") if path.is_file()}
    )


def spec(folder: Path) -> BuildSpec:
    """What a case asks for."""
    given: dict[str, Any] = yaml.safe_load((folder / "spec.yaml").read_text())
    helm, serves = given.pop("helm", {}), given.pop("serves", {})
    return BuildSpec(
        path=normal(given.pop("path")),
        helm=Helm(**{**helm, "values": tuple(helm.get("values", ()))}),
        serves=Serves(serves.get("version", ""), tuple(serves.get("apis", ()))),
        **given,
    )


def told(built: Built) -> str:
    """A build as its golden file has it."""
    return yaml.safe_dump(
        {
            "objects": [{each.where: dict(each.manifest)} for each in built.objects],
            "left out": list(built.left_out),
            "warnings": list(built.warnings),
        },
        sort_keys=False,
    )


def compare(assembler: Assembler, name: str, update: bool) -> None:
    """Build a case and hold it against its golden file."""
    folder = GOLDEN / name
    made = told(assembler.build(checkout(folder), spec(folder)).built)
    golden = folder / "built.yaml"
    if update:
        golden.write_text(made)
    assert made == golden.read_text()
