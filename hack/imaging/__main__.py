"""``python -m imaging build | code | licences | advisories``: images, their SBOM, and what is said of them."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from homeport import __version__
from imaging import advisories, buildah, images, licences, sbom
from localplane.tools import CHECKOUT

LOCKS = (CHECKOUT / "operator/requirements.lock", CHECKOUT / "requirements.lock")


def build(output: Path) -> int:
    """Build the operator's image and the runner's; write them, their digests and their SBOMs into a folder."""
    if lacking := buildah.obstacles():
        print(f"images can't be built here: {'; '.join(lacking)}", file=sys.stderr)
        return 1
    output.mkdir(parents=True, exist_ok=True)
    for recipe in (images.OPERATOR, images.RUNNER):
        layout = images.ensure(recipe)
        with (output / f"{recipe.name}.oci.tar").open("wb") as file:
            layout.write_archive(f"{recipe.name}:{__version__}", file)
        sbom.write(layout, output / f"{recipe.name}.cdx.json", recipe.name)
        (output / f"{recipe.name}.digest").write_text(f"{layout.digest}\n")
        print(f"{output}/{recipe.name}.oci.tar  {layout.digest}  {layout.compressed / 1e6:.0f} MB, and its .cdx.json")
    return 0


def check_licences() -> int:
    """Whether the runtime's Python packages may be taken."""
    wrong = licences.refused(licences.locked())
    print("\n".join(wrong) or f"licences of {len(licences.locked())} Python packages: allowed")
    return 1 if wrong else 0


def check_code() -> int:
    """Bandit, from medium severity on."""
    bandit = ["-m", "bandit", "--quiet", "--configfile", "pyproject.toml", "-ll", "-r", "operator", "hack", "pulumi"]
    done = subprocess.run([sys.executable, *bandit], check=False, cwd=CHECKOUT, capture_output=True, text=True)
    # Its warnings are of exceptions that it counts once too often.
    print(done.stdout if done.returncode else "bandit: clean", flush=True)
    return done.returncode


def check_advisories() -> int:
    """Known holes of what is locked. 0 also where no advisory service answers."""
    result = 0
    for lock in LOCKS:
        name = lock.relative_to(CHECKOUT)
        try:
            found = advisories.holes(lock)
        except advisories.UnreachableError as error:
            print(f"{name}: NOT AUDITED: {error}")
            continue
        print("\n".join(found) or f"{name}: no known holes")
        result |= bool(found)
    return result


CHECKS = {"code": check_code, "licences": check_licences, "advisories": check_advisories}


def main() -> int:
    """Run it."""
    root = argparse.ArgumentParser(prog="python -m imaging", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    made = commands.add_parser("build")
    made.add_argument("--output", type=Path, default=CHECKOUT / ".homeport/image")
    for name, check in CHECKS.items():
        commands.add_parser(name, help=check.__doc__)
    arguments = root.parse_args()
    if arguments.command == "build":
        return build(arguments.output)
    return CHECKS[arguments.command]()


if __name__ == "__main__":
    sys.exit(main())
