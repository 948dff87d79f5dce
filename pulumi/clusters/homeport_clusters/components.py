"""A ComponentResource for each type of cluster, and for what goes into each: add-ons, Homeport, the root GitSource.

A type's component is found by its name in ``TYPES``, and imported when a cluster of it is asked for. All have the same
signature and the same outputs (:class:`ClusterComponent`).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pulumi

from homeport_clusters import addons, kubeconfigs
from homeport_clusters.config import Cluster, ClusterFile
from homeport_clusters.model import Json
from homeport_clusters.providers.access import Access
from homeport_clusters.providers.base import MARK
from homeport_clusters.providers.chart import Release
from homeport_clusters.providers.objects import Existing, Object

TYPES: dict[str, str] = {
    "existing": "homeport_clusters.components:ExistingCluster",
    "kind": "homeport_clusters.components:KindCluster",
    "k3s": "homeport_clusters.k3s_component:K3sCluster",
    "eks": "homeport_clusters.clouds:EksCluster",
    "gke": "homeport_clusters.clouds:GkeCluster",
    "aks": "homeport_clusters.clouds:AksCluster",
}
"""Where the component of each type is."""

API = "homeport.dev/v1alpha1"
HOMEPORT_GROUP = "homeport.dev"


@dataclass(frozen=True)
class Context:
    """What every component is told: the stack's name, and the folder that paths in the file are relative to."""

    stack: str
    folder: Path

    def path(self, chart: str) -> str:
        """A chart's folder or file, absolute; an address and a name in a repository as they are."""
        if "://" in chart:
            return chart
        found = (self.folder / Path(chart).expanduser()).absolute()
        return str(found) if found.exists() or chart.startswith((".", "/", "~")) else chart


class ClusterComponent(pulumi.ComponentResource):
    """A cluster. ``kubeconfig`` is secret, whole and of one context; ``endpoint`` is the API server's address."""

    kind: ClassVar[str]
    kubeconfig: pulumi.Output[str]
    endpoint: pulumi.Output[str]

    def __init__(self, cluster: Cluster, context: Context, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(f"homeport:clusters:{type(self).__name__}", cluster.name, None, opts)
        self.cluster = cluster
        self.context = context
        self.kubeconfig = pulumi.Output.secret(self.make())
        self.endpoint = pulumi.Output.unsecret(self.kubeconfig.apply(kubeconfigs.server))
        self.register_outputs({"kubeconfig": self.kubeconfig, "endpoint": self.endpoint})

    def make(self) -> pulumi.Input[str]:
        """Declares the resources; answers the kubeconfig."""
        raise NotImplementedError

    @property
    def child(self) -> pulumi.ResourceOptions:
        """The options of a resource that belongs to this one."""
        return pulumi.ResourceOptions(parent=self)


class ExistingCluster(ClusterComponent):
    """A cluster that is there: nothing is made."""

    def make(self) -> pulumi.Input[str]:
        """Reads the kubeconfig."""
        spec = self.cluster.existing
        assert spec is not None
        return kubeconfigs.flattened(spec.kubeconfig, spec.context, self.context.folder)


class KindCluster(ClusterComponent):
    """A cluster of the program kind."""

    def make(self) -> pulumi.Input[str]:
        """Declares the cluster."""
        from homeport_clusters.providers.kind import KindResource  # noqa: PLC0415 - where it is used

        assert self.cluster.kind is not None
        made = KindResource(
            self.cluster.name, cluster=self.cluster.name, stack=self.context.stack, spec=self.cluster.kind,
            opts=self.child,
        )  # fmt: skip
        return made.kubeconfig


def cluster(spec: Cluster, context: Context, after: pulumi.Resource | None = None) -> ClusterComponent:
    """The component of a cluster's type; neither it nor what is below it is made before ``after``."""
    module, _, name = TYPES[spec.type].partition(":")
    opts = pulumi.ResourceOptions(depends_on=after)
    made: ClusterComponent = getattr(importlib.import_module(module), name)(spec, context, opts)
    return made


class Content(pulumi.ComponentResource):
    """What goes into a cluster; its resources are named after the cluster and what they are."""

    def __init__(
        self,
        what: str,
        name: str,
        home: ClusterComponent,
        after: list[pulumi.Resource] | None = None,
        *,
        delete_data: bool = False,
    ) -> None:
        """``delete_data``: the file says that what is kept may go, too, when the command says so as well."""
        super().__init__(f"homeport:clusters:{what}", name, None, pulumi.ResourceOptions(parent=home))
        self.home = home
        self.delete_data = delete_data
        self.after = after or []
        self.made: list[pulumi.Resource] = []

    def object(
        self, name: str, manifest: Json, *, existing: Existing = "refuse", keep: bool = False, **inputs: Any
    ) -> Object:
        """Declares an object, after all that was declared before."""
        made = Object(
            f"{self.home.cluster.name}/{name}", kubeconfig=self.home.kubeconfig, stack=self.home.context.stack,
            manifest=manifest, existing=existing, keep=keep, delete_data=keep and self.delete_data,
            opts=self._options(gone_with_cluster=manifest["kind"] == "Namespace"), **inputs,
        )  # fmt: skip
        self.made.append(made)
        return made

    def namespace(self, name: str, *, keep: bool = False, leftovers: Sequence[str] = ()) -> Object:
        """Declares a namespace; one that is there is used, and never deleted.

        Where the cluster is deleted nothing is asked of what is in it: it all goes.
        """
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        return self.object(f"namespace/{name}", manifest, existing="share", keep=keep, leftovers=leftovers)

    def release(self, name: str, **inputs: Any) -> Release:
        """Declares a release, after all that was declared before."""
        made = Release(
            f"{self.home.cluster.name}/{name}", kubeconfig=self.home.kubeconfig, stack=self.home.context.stack,
            opts=self._options(), **inputs,
        )  # fmt: skip
        self.made.append(made)
        return made

    def _options(self, *, gone_with_cluster: bool = False) -> pulumi.ResourceOptions:
        made = gone_with_cluster and self.home.cluster.type != "existing"
        return pulumi.ResourceOptions(
            parent=self, depends_on=[*self.after, *self.made], deleted_with=self.home if made else None
        )


class AddonsContent(Content):
    """The add-ons of a cluster."""

    def __init__(self, home: ClusterComponent) -> None:
        super().__init__("Addons", f"{home.cluster.name}-addons", home)
        spec, kind = home.cluster.addons, home.cluster.type
        for name, addon in (
            (
                "cert-manager",
                spec.cert_manager if addons.wanted(kind, "certManager", spec.cert_manager.enabled) else None,
            ),
            ("ingress", spec.ingress if addons.wanted(kind, "ingress", spec.ingress.enabled) else None),
            (
                "metrics-server",
                spec.metrics_server if addons.wanted(kind, "metricsServer", spec.metrics_server.enabled) else None,
            ),
        ):
            if addon is not None:
                self._addon(name, addon)
        if addons.wanted(kind, "storageClass", spec.storage_class.enabled):
            self.object("storageclass", addons.storage_class(kind, spec.storage_class))
        self.register_outputs({})

    def _addon(self, name: str, addon: addons.Addon) -> None:
        if addon.namespace != "kube-system":
            self.namespace(addon.namespace, leftovers=addons.LEFTOVERS.get(name, ()))
        chart = self.home.context.path(addon.chart)
        self.release(
            name, release=name if name != "ingress" else "traefik", namespace=addon.namespace, chart=chart,
            repository=addon.repository if chart == addon.chart and "://" not in chart else None,
            version=addon.version, values=addons.values(self.home.cluster.type, name, addon.values),
            timeout=addon.timeout_seconds,
        )  # fmt: skip


class HomeportContent(Content):
    """Homeport, in its home cluster."""

    def __init__(self, file: ClusterFile, home: ClusterComponent, after: list[pulumi.Resource]) -> None:
        super().__init__("Homeport", f"{home.cluster.name}-homeport", home, after)
        spec = file.homeport
        self.namespace(spec.namespace)
        chart = home.context.path(spec.chart) if spec.chart else str(chart_folder())
        self.release(
            "homeport", release=spec.release_name, namespace=spec.namespace, chart=chart, version=spec.version,
            values=spec.values, timeout=spec.timeout_seconds,
            data_kinds=[HOMEPORT_GROUP] if spec.delete_data else [],
        )  # fmt: skip
        self.register_outputs({})


class GitSourceContent(Content):
    """The root GitSource with its Project and namespace. They hold what users made of them, and stay."""

    def __init__(self, file: ClusterFile, home: ClusterComponent, after: list[pulumi.Resource]) -> None:
        spec = file.git_source
        assert spec is not None
        super().__init__(
            "GitSource", f"{home.cluster.name}-gitsource", home, after, delete_data=file.homeport.delete_data
        )
        self.namespace(spec.namespace, keep=True)
        place = {"name": spec.namespace, "namespace": spec.namespace}
        project = {"apiVersion": API, "kind": "Project", "metadata": place, "spec": {}}
        self.object(f"project/{spec.namespace}", project, existing="share", keep=True)
        body: Json = {"url": spec.url, "ref": dict(spec.ref), "path": spec.path, "interval": spec.interval, **spec.spec}
        if spec.credentials_secret_ref:
            body["credentialsSecretRef"] = {"name": spec.credentials_secret_ref.name}
        source = {
            "apiVersion": API,
            "kind": "GitSource",
            "metadata": {"name": spec.name, "namespace": spec.namespace},
            "spec": body,
        }
        self.object(f"gitsource/{spec.name}", source, keep=True, ready=spec.wait_seconds)
        self.register_outputs({})


class Registered(Content):
    """Another cluster, made known to Homeport: a Secret with a kubeconfig of an account of its own there."""

    def __init__(
        self, file: ClusterFile, home: ClusterComponent, other: ClusterComponent, after: list[pulumi.Resource]
    ) -> None:
        name = other.cluster.name
        super().__init__("Registered", f"{name}-registered", home, after, delete_data=file.homeport.delete_data)
        access = Access(
            f"{name}/access", kubeconfig=other.kubeconfig, stack=home.context.stack, cluster=name,
            opts=pulumi.ResourceOptions(parent=self),
        )  # fmt: skip
        labels = {"homeport.dev/region": other.cluster.label, "homeport.dev/private": "true", MARK: home.context.stack}
        namespaces = file.registration.namespaces or ((file.git_source.namespace,) if file.git_source else ())
        for namespace in namespaces:
            if not (file.git_source and namespace == file.git_source.namespace):
                pulumi.log.warn(
                    f"the Secret cluster-{name} in namespace {namespace} holds cluster-admin of {name}: whoever may "
                    "read Secrets or make Pods in that namespace has all of that cluster",
                    self,
                )
                self.namespace(namespace, keep=True)
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"cluster-{name}", "namespace": namespace, "labels": labels},
                "stringData": {"kubeconfig": access.access},
            }
            self.object(f"registered/{namespace}/{name}", secret)
        self.register_outputs({})


def chart_folder() -> Path:
    """Homeport's chart: in the wheel beside this package, else in the checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "charts" / "homeport", here.parents[2] / "charts" / "homeport"):
        if (folder / "Chart.yaml").exists():
            return folder
    raise ValueError("Homeport's chart isn't part of this installation: name one as homeport.chart")
