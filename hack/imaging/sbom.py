"""The list of what an image carries, in CycloneDX: Python's packages, Debian's, and the modules in Go programs.

The same image has the same list, byte for byte. https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from homeport import __version__
from imaging import licences
from imaging.buildah import EPOCH
from imaging.contents import Layout
from localplane.toolchain import find_go

SCHEMA = SchemaVersion.V1_6
PROGRAMS = ("usr/local/bin", "usr/local/libexec/homeport")
NAMESPACE = uuid.UUID("6f0c7a52-2f0e-5d0c-9a64-0f4a3b2e5d11")


def write(layout: Layout, output: Path, name: str = "homeport") -> None:
    """Write the list of an image of that name into a file. Raises ValueError when it isn't as the schema has it."""
    with tempfile.TemporaryDirectory() as folder:
        root = layout.unpack(Path(folder, "root"))
        text = _listed(layout, root, name)
    if found := JsonStrictValidator(SCHEMA).validate_str(text):
        raise ValueError(f"the SBOM isn't CycloneDX {SCHEMA.to_version()}: {found}")
    output.write_text(text)


def _listed(layout: Layout, root: Path, name: str) -> str:
    bom = _python(root)
    for component in (*_debian(root), *_go(root)):
        bom.components.add(component)
        bom.register_dependency(component)
    image = Component(
        type=ComponentType.CONTAINER, name=name, version=__version__, bom_ref=f"{name}-image",
        purl=PackageURL("oci", None, name, layout.digest),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=layout.digest.removeprefix("sha256:"))],
    )  # fmt: skip
    bom.metadata.component = image
    bom.metadata.timestamp = datetime.fromtimestamp(EPOCH, UTC)
    bom.serial_number = uuid.uuid5(NAMESPACE, layout.digest)
    bom.register_dependency(image, bom.components)
    return make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=1)


def _python(root: Path) -> Bom:
    """Those that pip knows of, by cyclonedx-py, which asks an interpreter where they are."""
    places = [str(path) for path in sorted(root.glob("usr/local/lib/python3*/dist-packages"))]
    if not places:
        return Bom()
    answer = root.parent / "python"
    answer.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps(places))})\n")
    answer.chmod(0o755)
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--output-reproducible",
        "--sv",
        SCHEMA.to_version(),
    ]
    done = subprocess.run([*command, str(answer)], check=True, capture_output=True, text=True, cwd=root.parent)
    found: Bom = Bom.from_json(json.loads(done.stdout))  # type: ignore[attr-defined]
    return found


def _debian(root: Path) -> Iterator[Component]:
    distribution = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', (root / "etc/os-release").read_text(), re.MULTILINE))
    for path in sorted(root.glob("var/lib/dpkg/status.d/*")):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", path.read_text(), re.MULTILINE))
        copyright_file = root / "usr/share/doc" / fields["Package"] / "copyright"
        text = copyright_file.read_text(errors="replace") if copyright_file.is_file() else ""
        qualifiers = {"arch": fields["Architecture"], "distro": f"debian-{distribution['VERSION_ID']}"}
        purl = PackageURL("deb", "debian", fields["Package"], fields["Version"], qualifiers)
        yield Component(
            type=ComponentType.LIBRARY, name=fields["Package"], version=fields["Version"], purl=purl,
            bom_ref=str(purl), licenses=[DisjunctiveLicense(name=name) for name in licences.of_debian(text)],
        )  # fmt: skip


def _go(root: Path) -> Iterator[Component]:
    """The modules that Go programs say they are made of, each once."""
    there = [path for part in PROGRAMS for path in sorted((root / part).glob("*"))]
    programs = [path for path in there if path.read_bytes()[:4] == b"\x7fELF"]
    done = subprocess.run(
        [find_go((1, 26), lambda text: None), "version", "-m", *map(str, programs)], check=True, capture_output=True,
        text=True, cwd="/",
    )  # fmt: skip
    found = set(re.findall(r"^\t(?:dep|mod|=>)\t(\S+)\t(v\S+)", done.stdout, re.MULTILINE))
    found |= {("stdlib", version) for version in re.findall(r": go(\S+)$", done.stdout, re.MULTILINE)}
    for module, version in sorted(found):
        namespace, _, name = module.rpartition("/")
        purl = PackageURL("golang", namespace or None, name, version)
        yield Component(type=ComponentType.LIBRARY, name=module, version=version, purl=purl, bom_ref=str(purl))
