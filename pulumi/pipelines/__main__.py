"""``pulumi up`` in this folder: the same program that ``homeport pipeline up`` runs."""

from pathlib import Path

import pulumi

from homeport.pipelines import exposure, read, render
from homeport_pipelines import program

path = Path(pulumi.Config("homeport-pipelines").get("file") or "pipeline.yaml").expanduser().resolve()
pipeline = read.read(path.read_text(encoding="utf-8"))
block = exposure.repository(pipeline)
if block is None:
    raise SystemExit(f"{path} has no repository block; docs/pipelines.md says what is written there")
program.declare(program.prepare(block, path.parent, render.files(pipeline)))
