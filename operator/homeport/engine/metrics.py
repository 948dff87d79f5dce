"""What Prometheus is told, in a registry of our own. Label children are looked up once and kept, so that counting is
one dictionary access and one addition; what only matters when somebody asks is computed at the scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from homeport.drivers.kubernetes.types import GVK
from homeport.engine.backupmetrics import BackupState, RepositoryState, backup_metrics, repository_metrics
from homeport.engine.hostmetrics import host_metrics
from homeport.plan.world import HostReading

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG = (*_SHORT, 30.0, 60.0, 300.0)


class Metrics:
    """All metrics of the operator. The gauges' sources are callables that ``main`` sets; unset ones aren't shown.

    ``queue_depth()``, ``leader()``; ``watch_ages()`` is watch -> seconds; ``resources()`` is (kind, ready) -> number;
    ``repositories()`` is all and failing.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.queue_depth: Callable[[], int] | None = None
        self.queue_oldest: Callable[[], float] | None = None
        self.leader: Callable[[], bool] | None = None
        self.watch_ages: Callable[[], Mapping[str, float]] | None = None
        self.resources: Callable[[], Mapping[tuple[str, bool], int]] | None = None
        self.hosts: Callable[[], Mapping[str, HostReading | None]] | None = None
        self.backups: Callable[[], Iterable[BackupState]] | None = None
        self.repositories: Callable[[], tuple[int, int]] | None = None
        self.deliveries: Callable[[], Mapping[str, int]] | None = None
        self.backup_repositories: Callable[[], Iterable[RepositoryState]] | None = None
        self.events_dropped: Callable[[], Mapping[str, int]] | None = None
        histogram, counter = self._histogram, self._counter
        self._wait = histogram("homeport_queue_wait_seconds", "Time a key was due before a worker took it", (), _LONG)
        self._duration = histogram(
            "homeport_reconcile_duration_seconds", "Time of one reconciliation", ("kind",), _SHORT
        )
        self._outcomes = counter("homeport_reconcile_outcomes", "Reconciliations by how they ended", "kind", "outcome")
        self._calls = counter("homeport_api_calls", "API requests; code 0: no answer", "verb", "kind", "code")
        self._seconds = histogram("homeport_api_call_seconds", "Time of a request", ("verb",), _SHORT)
        self._host_calls = counter(
            "homeport_proxmox_calls", "Requests to Proxmox VE; code 0: no answer", "method", "code"
        )
        self._host_seconds = histogram("homeport_proxmox_call_seconds", "Time of a request", ("method",), _LONG)
        self._drift = counter("homeport_drift_mended", "Children that were not as declared, and were mended", "kind")
        self._git = histogram(
            "homeport_git_request_seconds", "Time of a request to a Git server", ("what", "ok"), _LONG
        )
        self._duration_of: dict[str, Histogram] = {}
        self._outcome_of: dict[tuple[str, str], Counter] = {}
        self._call_of: dict[tuple[str, GVK | None, int], Counter] = {}
        self._seconds_of: dict[str, Histogram] = {}
        self._drift_of: dict[str, Counter] = {}
        self.observe_wait: Callable[[float], None] = self._wait.observe
        self.registry.register(_AtScrape(self))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def observe_reconcile(self, kind: str, outcome: str, seconds: float) -> None:
        """One reconciliation of ``kind`` ended as ``outcome`` (the outcome's class name) after ``seconds``."""
        duration = self._duration_of.get(kind)
        if duration is None:
            duration = self._duration_of[kind] = self._duration.labels(kind)
        duration.observe(seconds)
        ended = self._outcome_of.get((kind, outcome))
        if ended is None:
            ended = self._outcome_of[kind, outcome] = self._outcomes.labels(kind, outcome)
        ended.inc()

    def observe_call(self, verb: str, gvk: GVK | None, code: int, seconds: float) -> None:
        """One request: the client's ``on_call``. The time of a watch is its life, and says nothing."""
        calls = self._call_of.get((verb, gvk, code))
        if calls is None:
            kind = gvk.kind if gvk is not None else ""
            calls = self._call_of[verb, gvk, code] = self._calls.labels(verb, kind, str(code))
        calls.inc()
        if verb == "watch":
            return
        duration = self._seconds_of.get(verb)
        if duration is None:
            duration = self._seconds_of[verb] = self._seconds.labels(verb)
        duration.observe(seconds)

    def observe_host_call(self, method: str, code: int, seconds: float) -> None:
        """One request to a Proxmox VE host: the driver's ``on_call``."""
        self._host_calls.labels(method, str(code)).inc()
        self._host_seconds.labels(method).observe(seconds)

    def observe_git(self, what: str, good: bool, seconds: float) -> None:
        """One request to a Git server (poll, fetch, push): the mirrors' ``observe``."""
        self._git.labels(what, "true" if good else "false").observe(seconds)

    def mended(self, kind: str, number: int = 1) -> None:
        """``number`` children of ``kind`` were mended after somebody else had changed them."""
        drift = self._drift_of.get(kind)
        if drift is None:
            drift = self._drift_of[kind] = self._drift.labels(kind)
        drift.inc(number)

    def writes(self) -> float:
        """How many requests have changed something, or tried to: for benches and tests."""
        writes = {"apply", "create", "patch", "delete"}
        return sum(
            sample.value
            for metric in self._calls.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["verb"] in writes
        )

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


class _AtScrape(Collector):
    """The gauges: asked for when somebody looks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        of = self._metrics
        if of.queue_depth is not None:
            yield _gauge("homeport_queue_depth", "Keys that are due and not being worked on", of.queue_depth())
        if of.queue_oldest is not None:
            yield _gauge("homeport_queue_oldest_seconds", "How long the oldest due key has waited", of.queue_oldest())
        if of.leader is not None:
            yield _gauge("homeport_leader", "1 on the replica that works, 0 on those that wait", of.leader())
        if of.watch_ages is not None:
            ages = GaugeMetricFamily("homeport_watch_age_seconds", "Time since its last sign of life", None, ["kind"])
            for kind, seconds in of.watch_ages().items():
                ages.add_metric([kind], seconds)
            yield ages
        if of.resources is not None:
            resources = GaugeMetricFamily("homeport_resources", "Resources by readiness", None, ["kind", "ready"])
            for (kind, ready), number in of.resources().items():
                resources.add_metric([kind, "true" if ready else "false"], number)
            yield resources
        yield from _git(of)
        if of.events_dropped is not None:
            dropped = GaugeMetricFamily("homeport_events_dropped", "Events that were not written", None, ["why"])
            for why, number in of.events_dropped().items():
                dropped.add_metric([why], number)
            yield dropped
        if of.hosts is not None:
            yield from host_metrics(of.hosts())
        if of.backups is not None:
            yield from backup_metrics(of.backups())
        if of.backup_repositories is not None:
            yield from repository_metrics(of.backup_repositories())


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _git(of: Metrics) -> Iterator[Metric]:
    """Repositories, and what forges tell."""
    if of.repositories is not None:
        all_of_them, failing = of.repositories()
        yield _gauge("homeport_git_repositories", "Repositories that GitSources read", all_of_them)
        yield _gauge("homeport_git_repositories_failing", "Those whose newest look failed", failing)
    if of.deliveries is not None:
        found = CounterMetricFamily("homeport_webhook_deliveries", "By what came of them", None, ["result"])
        for result, number in of.deliveries().items():
            found.add_metric([result], number)
        yield found
