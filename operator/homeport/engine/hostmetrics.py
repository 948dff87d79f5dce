"""What Prometheus is told of Proxmox VE hosts: usage, which is in no status because it changes by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily

from homeport.plan import host as host_plan
from homeport.plan.world import HostReading

_NODE = ["host", "node"]
_STORAGE = ["host", "node", "storage"]


def host_metrics(readings: Mapping[str, HostReading | None]) -> Iterator[GaugeMetricFamily]:
    """The gauges of all hosts; one that can't be read now has ``up`` 0 and nothing else."""
    up = GaugeMetricFamily("homeport_proxmox_up", "1 when the host was read the last time", None, ["host"])
    online = GaugeMetricFamily("homeport_proxmox_node_online", "1 when the cluster reaches the node", None, _NODE)
    cpus = GaugeMetricFamily("homeport_proxmox_node_cpus", "CPUs of the node", None, _NODE)
    cpu = GaugeMetricFamily("homeport_proxmox_node_cpu_used", "CPUs of the node in use", None, _NODE)
    memory = GaugeMetricFamily("homeport_proxmox_node_memory_bytes", "Memory of the node", None, _NODE)
    used = GaugeMetricFamily("homeport_proxmox_node_memory_used_bytes", "Memory in use", None, _NODE)
    size = GaugeMetricFamily("homeport_proxmox_storage_bytes", "Size of the storage", None, _STORAGE)
    full = GaugeMetricFamily("homeport_proxmox_storage_used_bytes", "Space in use", None, _STORAGE)
    containers = GaugeMetricFamily(
        "homeport_proxmox_containers", "Containers that the token sees", None, ["host", "managed"]
    )
    for host, reading in sorted(readings.items()):
        up.add_metric([host], float(reading is not None))
        if reading is None:
            continue
        for node in reading.resources.nodes:
            labels = [host, node.name]
            online.add_metric(labels, float(node.online))
            _add(cpus, labels, node.cpus)
            _add(cpu, labels, node.cpu_used * node.cpus if node.cpu_used is not None and node.cpus else None)
            _add(memory, labels, node.memory)
            _add(used, labels, node.memory_used)
        for storage in reading.resources.storages:
            _add(size, [host, storage.node, storage.name], storage.size)
            _add(full, [host, storage.node, storage.name], storage.used)
        counted = host_plan.counts(reading.resources.containers)
        containers.add_metric([host, "true"], counted["managed"])
        containers.add_metric([host, "false"], counted["unmanaged"])
    yield from (up, online, cpus, cpu, memory, used, size, full, containers)


def _add(family: GaugeMetricFamily, labels: list[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)
