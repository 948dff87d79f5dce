"""``pulumi up`` in this folder: the same program that ``homeport cluster up`` runs."""

from __future__ import annotations

from pathlib import Path

import pulumi

from homeport_clusters import config, program

path = Path(pulumi.Config("homeport-clusters").get("file") or "cluster.yaml").expanduser().absolute()
program.declare(config.load(path), path.parent, program.whereabouts(path, shared=True))
