"""``make bench``: Homeport against a bare writer on the same machine in the same run, as a table and as JSON.

Every figure that another machine would measure differently is given as a ratio to the bare writer: N applications of
four objects written by server-side apply over 16 connections, until all Deployments are available.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from homeport.drivers.kubernetes import config, types
from homeport.drivers.kubernetes.client import Client
from localplane.commands import install
from localplane.controlplane import ControlPlane
from localplane.kubectl import Kubectl

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
import backups
import containers
import fleet
import scenario

from operators import Operator, Writes

ROOT = Path(__file__).resolve().parents[2]
console = Console()
STEADY_SECONDS = 60
SAMPLES = 100
# Wall time of the whole run of the peers, as the design pages give it: seconds for 300 on a 2-core machine.
FLUX_SECONDS, FLUX_BARE_SECONDS = 212.0, 13.3


@dataclass
class Results:
    """Figures by name: value, unit, and what they are measured against."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, name: str, value: float, unit: str, against: str = "") -> None:
        """Note one figure and print it."""
        self.values[name] = {"value": round(value, 3), "unit": unit, "against": against}
        console.print(f"  {name}: [bold]{value:.3g}[/] {unit}" + (f"  ({against})" if against else ""))

    def table(self) -> Table:
        """All figures."""
        table = Table("figure", "value", "unit", "against", title="make bench")
        for name, entry in self.values.items():
            table.add_row(name, f"{entry['value']:g}", entry["unit"], entry["against"])
        return table


def prepared(folder: Path) -> ControlPlane:
    """A control plane with CRDs and policies."""
    plane = ControlPlane(folder, ephemeral=True, audit=True)
    plane.start()
    install(Kubectl(plane.kubectl, str(plane.kubeconfig)))
    return plane


async def bare(folder: Path, count: int) -> float:
    """Seconds that a bare writer needs for ``count`` applications' objects."""
    plane = prepared(folder)
    client = Client(config.load(plane.kubeconfig), connections=scenario.CONNECTIONS, user_agent="bare-writer")
    try:
        await scenario.apply_all(
            client, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scenario.NAMESPACE}}], "bare"
        )
        manifests = [manifest for number in range(count) for manifest in scenario.objects(number)]
        await asyncio.sleep(3)
        started = time.perf_counter()
        await asyncio.gather(scenario.apply_all(client, manifests, "bare"), scenario.wait_available(client, count))
        return time.perf_counter() - started
    finally:
        await client.close()
        plane.stop()


async def fill(client: Client, operator: Operator, count: int) -> float:
    """Seconds from the first apply of ``count`` Applications until all are Ready."""
    await scenario.apply_all(client, scenario.home(), "bench")
    while True:
        env = await client.get(types.ENVIRONMENT, scenario.PROJECT, scenario.ENVIRONMENT)
        if env is not None and scenario.is_ready(env):
            break
        await asyncio.sleep(0.1)
    await operator.wait_leading()
    await asyncio.sleep(3)
    started = time.perf_counter()
    applications = [scenario.application(number) for number in range(count)]
    await asyncio.gather(scenario.apply_all(client, applications, "bench"), scenario.wait_ready(client, count))
    return time.perf_counter() - started


async def latency(client: Client, count: int) -> list[float]:
    """Seconds from a change of an Application to the change of its ConfigMap, one after the other, sorted."""
    out = []
    for sample in range(SAMPLES):
        number = (sample * 7) % count
        name = f"web-{number:04d}-files"
        _, version = await client.list(types.CONFIG_MAP, scenario.NAMESPACE, metadata_only=True)
        stream = client.watch(types.CONFIG_MAP, scenario.NAMESPACE, resource_version=version, timeout_seconds=30)
        started = time.perf_counter()
        body = scenario.application(number, setting=str(sample + 2))
        change = asyncio.create_task(
            client.apply(types.APPLICATION, scenario.PROJECT, body["metadata"]["name"], body, manager="bench")
        )
        async for kind, manifest in stream:
            if kind == "MODIFIED" and manifest["metadata"]["name"] == name:
                out.append(time.perf_counter() - started)
                break
        await stream.aclose()
        await change
    return sorted(out)


async def homeport(folder: Path, count: int, results: Results | None) -> tuple[float, float]:
    """Seconds and operator CPU seconds for ``count`` applications; with ``results``, everything else too."""
    plane = prepared(folder)
    client = Client(config.load(plane.kubeconfig), connections=scenario.CONNECTIONS, user_agent="bench")
    operator = Operator(plane.kubeconfig, folder / "operator.log")
    writes = Writes(plane.audit_log)
    try:
        operator.start()
        await operator.wait_leading()
        cpu = operator.cpu()
        writes.mark()
        seconds = await fill(client, operator, count)
        cpu = operator.cpu() - cpu
        if results is not None:
            await details(client, operator, writes, count, results, cpu)
        return seconds, cpu
    finally:
        operator.kill()
        await client.close()
        plane.stop()


async def events(operator: Operator) -> float:
    """How many Events the operator has written; the audit log leaves them out."""
    calls = await operator.scrape()
    return sum(n for name, n in calls.items() if name.startswith("homeport_api_calls_total") and '"Event"' in name)


async def details(client: Client, operator: Operator, writes: Writes, count: int, results: Results, cpu: float) -> None:
    """What is measured besides time, on a control plane that holds ``count`` applications."""
    results.add("operator-cpu", cpu, "s", f"for {count} applications")
    results.add("operator-peak-memory", operator.peak_memory(), "MiB")
    made = writes.count()
    total = sum(n for name, n in made.items() if name != "events")
    results.add(
        "writes-per-application", total / count, "writes", "target: children + 3 = 7: finalizer, revision, status"
    )
    console.print(f"  [dim]writes: {made}[/]")
    await asyncio.sleep(15)
    told = await events(operator)
    results.add("events-per-application", told / count, "writes", "apart: one for each transition of Ready")
    writes.mark()
    before = operator.cpu()
    await asyncio.sleep(STEADY_SECONDS)
    steady = sum(writes.count().values()) + await events(operator) - told
    results.add("steady-state-writes", steady, f"writes/{STEADY_SECONDS} s", "target: 0; the Lease aside")
    results.add("steady-state-cpu", 100 * (operator.cpu() - before) / STEADY_SECONDS, "% of a core")
    times = await latency(client, count)
    results.add("change-to-child-p50", 1000 * statistics.median(times), "ms", f"at {count} applications")
    results.add("change-to-child-p99", 1000 * times[int(len(times) * 0.99) - 1], "ms")
    await scenario.wait_ready(client, count)
    await asyncio.sleep(15)
    operator.kill(signal.SIGKILL)
    writes.mark()
    started = time.perf_counter()
    operator.start()
    await operator.wait_leading()
    results.add("back-after-kill", time.perf_counter() - started, "s", "the dead leader's Lease of 10 s included")
    await asyncio.sleep(3)
    results.add("writes-after-kill", sum(writes.count().values()), "writes", "target: 0")


def written(results: Results, name: str) -> int:
    """Show all figures and keep them in a file."""
    console.print(results.table())
    target = ROOT / ".homeport" / name
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results.values, indent=2) + "\n")
    console.print(f"written to {target.relative_to(ROOT)}")
    return 0


async def on_proxmox(folder: Path, results: Results, steady: int = 500) -> None:
    """LXC containers, on a control plane of their own."""
    console.print("[bold]LXC containers[/] on the stand-in")
    plane = prepared(folder / "containers")
    try:
        await containers.measure(folder, plane, 100, steady, results.add, console.print)
    finally:
        plane.stop()


async def on_git(folder: Path, results: Results, count: int, reference: float) -> None:
    """A repository of ``count`` directories, as one GitSource and as ``count``."""
    for shape in ("one", "each"):
        console.print(f"[bold]GitSources[/], {shape}")
        await fleet.measure(folder / f"fleet-{shape}", prepared, shape, count, reference, results.add)


async def main() -> int:
    """Measure, print, write ``.homeport/bench.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=300, help="applications in the main comparison")
    parser.add_argument("--containers", action="store_true", help="only LXC containers on the stand-in")
    parser.add_argument("--quick", action="store_true", help="only the main comparison; of containers, none at rest")
    parser.add_argument("--backups", type=int, metavar="MIB", help="only the backup runner, with so much data")
    parser.add_argument("--fleet", action="store_true", help="only GitSources: one repository of so many directories")
    parser.add_argument("--no-fleet", action="store_true", help="all but GitSources")
    options = parser.parse_args()
    results = Results()
    if options.backups:
        console.print(f"[bold]backup runner[/], {options.backups} MiB")
        backups.measure(results.add, options.backups)
        return written(results, "bench-backups.json")
    with tempfile.TemporaryDirectory(prefix="homeport-bench-") as scratch:
        folder = Path(scratch)
        if options.containers:
            await on_proxmox(folder, results, 0 if options.quick else 500)
            return written(results, "bench-containers.json")
        console.print(f"[bold]bare writer[/], {options.n} applications of 4 objects")
        reference = await bare(folder / "bare", options.n)
        results.add("bare-writer", reference, "s")
        if options.fleet or not (options.quick or options.no_fleet):
            await on_git(folder, results, options.n, reference)
        if options.fleet:
            return written(results, "bench-fleet.json")
        console.print("[bold]Homeport[/]")
        seconds, _ = await homeport(folder / "homeport", options.n, None if options.quick else results)
        results.add("homeport", seconds, "s")
        results.add("ratio-to-bare-writer", seconds / reference, "x", "bare writer; target: at most 2.0")
        results.add(
            "flux-to-bare-writer", FLUX_SECONDS / FLUX_BARE_SECONDS, "x", "as given in the design, not of this run"
        )
        if not options.quick:
            await on_proxmox(folder, results)
            console.print("[bold]linear?[/] 50 against 600 applications")
            few, few_cpu = await homeport(folder / "few", 50, None)
            many, many_cpu = await homeport(folder / "many", 600, None)
            results.add("cost-per-application-600-to-50", (many / 600) / (few / 50), "x", "wall; target: at most 1.2")
            results.add("cpu-per-application-600-to-50", (many_cpu / 600) / (few_cpu / 50), "x", "operator CPU")
    return written(results, "bench.json")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
