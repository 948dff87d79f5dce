"""A source's objects on a real API server, as an account with rights of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import config, errors, types
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.types import GVK
from homeport.engine.gitops.applying import Applier, account_name
from homeport.engine.gitops.tracking import Tracker
from homeport.outcome import Transient
from homeport.plan.gitops.types import Applied, Entry, Options, SourcePlan
from homeport.plan.types import Verb

pytestmark = pytest.mark.integration

Manifest = dict[str, Any]
WRITES = {"apply", "create", "patch", "delete"}


@dataclass(frozen=True)
class Made:
    manifest: Manifest
    file: str = "all.yaml"
    line: int = 1


def simple(kind: str, name: str, namespace: str = "", /, api: str = "v1", **rest: Any) -> Manifest:
    metadata: Manifest = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def config_map(name: str, namespace: str = "", /, **data: str) -> Manifest:
    return simple("ConfigMap", name, namespace, data=data)


def deployment(name: str = "web", **spec: Any) -> Manifest:
    container = {
        "name": "web",
        "image": "web:1",
        "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"memory": "1073741824"}},
        "env": [{"name": "A", "value": "1"}],
    }
    pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": pod, **spec}
    return simple("Deployment", name, api="apps/v1", spec=spec)


def service(name: str = "web", **spec: Any) -> Manifest:
    return simple("Service", name, spec={"selector": {"app": name}, "ports": [{"port": 80}], **spec})


def annotated(manifest: Manifest, **values: str) -> Manifest:
    found = {f"{labels.GROUP}/{key.replace('_', '-')}": value for key, value in values.items()}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": found}}


@dataclass
class Shop:
    """A source in a namespace of its own, with an account."""

    client: Client
    calls: list[tuple[str, GVK | None, int]]
    namespace: str
    inventory: tuple[Entry, ...] = ()
    woken: list[OwnerKey] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source = OwnerKey("GitSource", self.namespace, "fleet")
        self.account = account_name(self.namespace, "deployer")
        self.start()

    def start(self) -> None:
        self.tracker = Tracker(self.client, self.woken.append)
        self.applier = Applier(self.client, self.tracker, self._exists)

    async def _exists(self, key: OwnerKey) -> bool:
        return True

    async def restart(self) -> None:
        await self.tracker.stop()
        self.start()

    async def plan(self, *manifests: Manifest, **options: Any) -> SourcePlan:
        made = [Made(manifest, line=10 * number) for number, manifest in enumerate(manifests, 1)]
        return await self.applier.plan(
            self.source, made, self.account, self.inventory, Options(self.namespace, **options)
        )

    async def sync(self, *manifests: Manifest, **options: Any) -> tuple[SourcePlan, Applied]:
        plan = await self.plan(*manifests, **options)
        applied = await self.applier.apply(plan, self._note)
        self.inventory = applied.entries
        return plan, applied

    async def _note(self, entries: tuple[Entry, ...]) -> None:
        self.inventory = entries

    async def seen(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.02)

    async def shown(self, gvk: GVK, changed: Manifest) -> None:
        """The watch has shown this change, or a later one, and has woken the source, maybe for others', too."""
        name, version = changed["metadata"]["name"], int(changed["metadata"]["resourceVersion"])
        await self.seen(
            lambda: bool(
                (found := self.tracker.get(gvk, self.namespace, name))
                and int(found["metadata"]["resourceVersion"]) >= version
                and self.woken
            )
        )
        assert set(self.woken) == {self.source}

    async def caught_up(self) -> None:
        """The watches have shown what was written."""
        for entry in self.inventory:
            gvk = await self.applier._mapper.find(entry.api_version, entry.id.kind)
            assert gvk is not None
            await self.seen(
                lambda gvk=gvk, id=entry.id: (  # type: ignore[misc]
                    self.tracker.get(gvk, id.namespace, id.name) is not None
                    and not self.tracker.is_stale(gvk, id.namespace, id.name)
                )
            )

    async def get(self, gvk: GVK, name: str) -> Manifest:
        found = await self.client.get(gvk, self.namespace, name)
        assert found is not None
        return found

    def asked(self) -> list[str]:
        """What was asked of the server since the last time, watches and lists aside."""
        found = [f"{verb} {gvk.kind if gvk else ''}" for verb, gvk, _ in self.calls if verb not in ("watch", "list")]
        self.calls.clear()
        return found


@pytest.fixture
async def shop(control_plane: Any) -> AsyncIterator[Shop]:
    calls: list[tuple[str, GVK | None, int]] = []
    client = Client(
        config.load(control_plane.kubeconfig), on_call=lambda verb, gvk, code, _: calls.append((verb, gvk, code))
    )
    namespace = f"git-{uuid.uuid4().hex[:8]}"
    await client.create(types.NAMESPACE, None, simple("Namespace", namespace))
    made = Shop(client, calls, namespace)
    rules = [{"apiGroups": ["", "apps", "batch", "homeport.dev"], "resources": ["*"], "verbs": ["*"]}]
    await grant(client, namespace, "Role", rules)
    yield made
    await made.tracker.stop()
    await client.delete(types.NAMESPACE, None, namespace)
    for gvk in (types.CLUSTER_ROLE_BINDING, types.CLUSTER_ROLE):
        await client.delete(gvk, None, namespace)
    await client.close()


async def grant(client: Client, namespace: str, kind: str, rules: list[Manifest]) -> None:
    """Give the account rights, in its namespace or everywhere, and wait until they hold."""
    api = "rbac.authorization.k8s.io/v1"
    scope = namespace if kind == "Role" else ""
    role = types.ROLE if kind == "Role" else types.CLUSTER_ROLE
    binding = types.ROLE_BINDING if kind == "Role" else types.CLUSTER_ROLE_BINDING
    await client.create(role, scope, simple(kind, namespace, scope, api=api, rules=rules))
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": namespace}
    subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": namespace}
    body = simple(f"{kind}Binding", namespace, scope, api=api, roleRef=reference, subjects=[subject])
    await client.create(binding, scope, body)
    acting = client.impersonate(account_name(namespace, "deployer"))
    async with asyncio.timeout(20):
        while True:
            try:
                await acting.get(types.CONFIG_MAP if kind == "Role" else types.NAMESPACE, namespace, "none")
                return
            except errors.Forbidden:  # the authorizer learns of roles a moment later
                await asyncio.sleep(0.05)


async def everything(shop: Shop) -> None:
    await grant(shop.client, shop.namespace, "ClusterRole", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])


def said(outcomes: Any) -> str:
    return "\n".join(outcome.message for outcome in outcomes)


async def test_what_the_server_fills_in_is_no_difference_and_nothing_is_written_twice(shop: Shop) -> None:
    secret = simple("Secret", "s", stringData={"password": "p"}, data={"other": "eA=="})
    objects = [config_map("a", x="1"), secret, deployment(replicas=0), service()]
    plan, applied = await shop.sync(*objects)
    assert applied.problems == []
    assert [change.verb for change in plan.changes] == [Verb.CREATE] * 4
    found = await shop.get(types.SECRET, "s")
    assert found["data"] == {"password": "cA==", "other": "eA=="}
    entries = found["metadata"]["managedFields"]
    assert [(entry["manager"], entry["operation"]) for entry in entries] == [("homeport-gitsource", "Apply")]
    await shop.caught_up()
    await shop.sync(*objects)
    shop.asked()
    for _ in range(3):
        plan, applied = await shop.sync(*objects)
        assert plan.empty
    assert shop.asked() == []
    await shop.restart()
    plan, _ = await shop.sync(*objects)
    assert plan.empty
    assert [call for call in shop.asked() if call.split()[0] not in ("get", "discover")] == []


async def test_the_account_may_do_what_it_may_do_and_nothing_else(shop: Shop) -> None:
    objects = [config_map("a"), config_map("b", "default"), simple("Namespace", f"{shop.namespace}-new")]
    plan, applied = await shop.sync(*objects)
    assert sorted(problem.message for problem in plan.refused) == [
        f"all.yaml:20: ConfigMap default/b: the account {shop.namespace}/deployer may not patch configmaps in "
        "namespace default; grant patch on configmaps to it by a Role, or leave it out",
        f"all.yaml:30: Namespace {shop.namespace}-new: the account {shop.namespace}/deployer may not patch namespaces "
        "in the whole cluster; grant patch on namespaces to it by a ClusterRole, or leave it out",
    ]
    assert {problem.reason for problem in plan.refused} == {Reason.ACCESS_DENIED}
    assert not applied.complete
    assert await shop.client.get(types.CONFIG_MAP, shop.namespace, "a") is None


async def test_definitions_namespaces_and_what_needs_them_in_one_go(shop: Shop) -> None:
    await everything(shop)
    group = f"{shop.namespace}.example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Widget", "plural": "widgets"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    crd = simple("CustomResourceDefinition", f"widgets.{group}", api="apiextensions.k8s.io/v1", spec=spec)
    room = f"{shop.namespace}-room"
    objects = [
        simple("Widget", "w", api=f"{group}/v1", spec={"size": 1}),
        config_map("inside", room),
        simple("Namespace", room),
        crd,
    ]
    try:
        plan, applied = await shop.sync(*objects)
        assert applied.problems == []
        assert sum(change.unseen for change in plan.changes) == 2
        plan, applied = await shop.sync(*objects)
        assert plan.empty
        await shop.caught_up()
        standing = shop.applier.health(shop.inventory)
        assert (standing.ready, standing.total) == (4, 4)
        changed = [{**objects[0], "spec": {"size": 2}}, *objects[1:]]
        plan, applied = await shop.sync(*changed)
        assert [(change.id.kind, change.fields) for change in plan.changes] == [("Widget", ("spec.size",))]
        assert applied.complete
    finally:
        await shop.client.delete(types.CUSTOM_RESOURCE_DEFINITION, None, crd["metadata"]["name"])
        await shop.client.delete(types.NAMESPACE, None, room)


async def test_immutable_fields_are_named_and_replaced_only_where_marked(shop: Shop) -> None:
    container = {"name": "c", "image": "job:1"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = simple("Job", "once", api="batch/v1", spec={"suspend": True, "template": template})
    plan, applied = await shop.sync(service(clusterIP="None"), job)
    assert applied.problems == []
    other = {"spec": {"restartPolicy": "Never", "containers": [{**container, "image": "job:2"}]}}
    newer = simple("Job", "once", api="batch/v1", spec={"suspend": True, "template": other})
    plan, applied = await shop.sync(service(clusterIP="10.0.0.77"), newer)
    assert {problem.reason for problem in plan.refused} == {Reason.REPLACEMENT_REQUIRED}
    assert "Service" in said(plan.refused)
    assert "spec.clusterIP" in said(plan.refused)
    assert "spec.template can't be changed on what is there; undo the change, or write" in said(plan.refused)
    uid = (await shop.get(types.JOB, "once"))["metadata"]["uid"]
    marked = annotated(newer, replace_at="2026-01-01")
    plan, applied = await shop.sync(service(clusterIP="None"), marked)
    assert applied.problems == []
    assert [(change.verb, change.id.kind) for change in plan.changes] == [(Verb.REPLACE, "Job")]
    found = await shop.get(types.JOB, "once")
    assert found["metadata"]["uid"] != uid
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "job:2"
    plan, _ = await shop.sync(service(clusterIP="None"), marked)
    assert plan.empty


async def test_what_is_there_already_is_a_conflict_until_it_is_adopted(shop: Shop) -> None:
    theirs = config_map("a", shop.namespace, x="theirs", y="kept")
    await shop.client.create(types.CONFIG_MAP, shop.namespace, theirs, manager="kubectl-create")
    plan, applied = await shop.sync(config_map("a", x="ours"), config_map("b"))
    assert "is there already, made by kubectl-create; to take it over" in said(plan.conflicts)
    assert await shop.client.get(types.CONFIG_MAP, shop.namespace, "b") is None
    plan, _ = await shop.sync(config_map("a", x="theirs"), config_map("b"))
    assert "is there already" in said(plan.conflicts), "equal or not, it is somebody else's"
    plan, applied = await shop.sync(annotated(config_map("a", x="ours"), adopt="true"), config_map("b"))
    assert applied.complete
    found = await shop.get(types.CONFIG_MAP, "a")
    assert found["data"] == {"x": "ours", "y": "kept"}
    assert found["metadata"]["labels"][labels.SOURCE_NAME] == "fleet"


async def test_drift_by_kubectl_wakes_the_source_and_is_mended_with_its_name(shop: Shop) -> None:
    objects = [deployment(replicas=0), config_map("a", x="1")]
    await shop.sync(*objects)
    await shop.caught_up()
    await shop.sync(*objects)
    shop.woken.clear()
    patch = {"metadata": {}, "data": {"x": "2"}}
    changed = await shop.client.patch(types.CONFIG_MAP, shop.namespace, "a", patch, manager="kubectl-edit")
    await shop.shown(types.CONFIG_MAP, changed)
    plan, _ = await shop.sync(*objects)
    assert [(d.field, d.manager, d.mended) for d in plan.drift] == [("data.x", "kubectl-edit", True)]
    assert (await shop.get(types.CONFIG_MAP, "a"))["data"] == {"x": "1"}
    await shop.caught_up()
    shop.woken.clear()
    declared = deployment(replicas=0)
    declared["spec"]["template"]["spec"]["containers"][0]["image"] = "evil:1"
    changed = await shop.client.apply(types.DEPLOYMENT, shop.namespace, "web", declared, manager="kubectl")
    await shop.shown(types.DEPLOYMENT, changed)
    plan, _ = await shop.sync(*objects)
    assert {(d.field, d.manager) for d in plan.drift} == {("spec.template.spec.containers[web].image", "kubectl")}
    found = await shop.get(types.DEPLOYMENT, "web")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"


async def test_labels_that_somebody_took_off_are_put_back(shop: Shop) -> None:
    objects = [config_map("a", x="1"), config_map("b")]
    await shop.sync(*objects)
    await shop.caught_up()
    body = {"metadata": {"labels": {labels.SOURCE_NAME: None, labels.SOURCE_NAMESPACE: None}}}
    await shop.client.patch(types.CONFIG_MAP, shop.namespace, "a", body, manager="kubectl-label")
    await shop.seen(lambda: shop.tracker.get(types.CONFIG_MAP, shop.namespace, "a") is None)
    plan, applied = await shop.sync(*objects)
    assert applied.complete
    # Nobody owns a field that isn't there: who took it away isn't known.
    assert [(d.field, d.manager) for d in plan.drift] == [("metadata.labels", "")]
    assert (await shop.get(types.CONFIG_MAP, "a"))["metadata"]["labels"][labels.SOURCE_NAME] == "fleet"


async def test_replicas_that_nobody_declares_are_the_autoscalers(shop: Shop) -> None:
    objects = [deployment()]
    await shop.sync(*objects)
    await shop.caught_up()
    body = {"metadata": {}, "spec": {"replicas": 3}}
    patched = await shop.client.patch(types.DEPLOYMENT, shop.namespace, "web", body, subresource="scale", manager="hpa")
    version = patched["metadata"]["resourceVersion"]

    def arrived() -> bool:
        kept = shop.tracker.get(types.DEPLOYMENT, shop.namespace, "web")
        return kept is not None and types.version_reached(kept["metadata"]["resourceVersion"], version)

    await shop.seen(arrived)
    plan, _ = await shop.sync(*objects)
    assert plan.empty
    assert plan.drift == ()
    assert (await shop.get(types.DEPLOYMENT, "web"))["spec"]["replicas"] == 3


async def test_a_field_that_is_declared_no_more_goes_and_an_object_that_left_too(shop: Shop) -> None:
    await shop.sync(config_map("a", x="1", y="2"), config_map("b"), config_map("c"))
    _, applied = await shop.sync(config_map("a", x="1"), config_map("b"))
    assert applied.complete
    assert (await shop.get(types.CONFIG_MAP, "a"))["data"] == {"x": "1"}
    assert await shop.client.get(types.CONFIG_MAP, shop.namespace, "c") is None
    assert [entry.id.name for entry in applied.entries] == ["a", "b"]


async def test_the_guard_and_the_way_past_it(shop: Shop) -> None:
    await shop.sync(*(config_map(name) for name in "abcd"))
    await shop.caught_up()
    plan, applied = await shop.sync(config_map("a"))
    assert plan.guard.startswith("3 of 4 objects would be removed; if that is meant, set the annotation")
    assert len(applied.entries) == 4
    _, applied = await shop.sync(config_map("a"), allow_prune=True)
    assert [entry.id.name for entry in applied.entries] == ["a"]
    assert await shop.client.get(types.CONFIG_MAP, shop.namespace, "d") is None


async def test_a_broken_object_is_told_with_its_file_and_all_stays_as_it_was(shop: Shop) -> None:
    await shop.sync(config_map("a", x="1"), service())
    plan, _ = await shop.sync(config_map("a", x="2"), service(ports=[{"port": 123456}]))
    assert plan.refused[0].reason == Reason.DRY_RUN_FAILED
    assert said(plan.refused).startswith(
        f"all.yaml:20: Service {shop.namespace}/web: spec.ports[0].port: Invalid value"
    )
    assert (await shop.get(types.CONFIG_MAP, "a"))["data"] == {"x": "1"}


async def test_a_quota_that_only_the_write_meets_is_a_partial_failure_that_is_told(shop: Shop) -> None:
    quota = simple("ResourceQuota", "few", shop.namespace, spec={"hard": {"count/services": "1"}})
    await shop.client.create(types.RESOURCE_QUOTA, shop.namespace, quota)
    async with asyncio.timeout(30):
        while not ((await shop.get(types.RESOURCE_QUOTA, "few")).get("status") or {}).get("used"):
            await asyncio.sleep(0.05)
    plan, applied = await shop.sync(service("one"), service("two"), config_map("a"))
    assert plan.problems == ()
    assert not applied.complete
    assert "exceeded quota: few" in said(applied.problems)
    assert said(applied.problems).endswith("; ask for less, or raise the quota")
    assert applied.problems[0].reason == Reason.APPLY_FAILED
    assert len(applied.entries) == 3
    await shop.client.delete(types.RESOURCE_QUOTA, shop.namespace, "few")
    async with asyncio.timeout(30):
        while not (await shop.sync(service("one"), service("two"), config_map("a")))[1].complete:
            await asyncio.sleep(0.1)


async def test_an_admission_policy_says_no_in_its_own_words(shop: Shop) -> None:
    api = "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "!has(object.data) || !('no' in object.data)", "message": "write yes, not no"}],
    }
    name = shop.namespace
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    policy = simple("ValidatingAdmissionPolicy", name, api=api, spec=spec)
    binding = simple(
        "ValidatingAdmissionPolicyBinding",
        name,
        api=api,
        spec={"policyName": name, "validationActions": ["Deny"], "matchResources": selector},
    )
    await shop.client.create(types.VALIDATING_ADMISSION_POLICY, None, policy)
    await shop.client.create(types.VALIDATING_ADMISSION_POLICY_BINDING, None, binding)
    try:
        async with asyncio.timeout(30):
            while not (plan := await shop.plan(config_map("a", no="1"))).refused:
                await asyncio.sleep(0.1)
        assert "write yes, not no" in said(plan.refused)
        assert await shop.client.get(types.CONFIG_MAP, shop.namespace, "a") is None
    finally:
        await shop.client.delete(types.VALIDATING_ADMISSION_POLICY_BINDING, None, name)
        await shop.client.delete(types.VALIDATING_ADMISSION_POLICY, None, name)


async def test_what_loses_data_is_removed_when_that_is_confirmed(shop: Shop) -> None:
    """homeport-data-delete holds for a repository, too: what left it is told as not removed, until somebody says so."""
    volume = {"name": "data", "path": "/data", "size": "1Gi", "deletionPolicy": "Delete"}
    part = {"name": "db", "image": "postgres", "ports": [{"name": "db", "port": 5432}], "volumes": [volume]}
    spec = {"suspend": True, "version": "1.0.0", "components": [part]}
    application = simple("Application", "shop", api="homeport.dev/v1alpha1", spec=spec)
    _, applied = await shop.sync(config_map("a"), application)
    assert applied.problems == []
    await shop.caught_up()
    _, applied = await shop.sync(config_map("a"))
    assert "can't be removed: " in said(applied.problems)
    assert "deleting the Application shop deletes data (deletionPolicy: Delete); confirm with" in said(applied.problems)
    assert await shop.client.get(types.APPLICATION, shop.namespace, "shop") is not None
    assert "Application" in {entry.id.kind for entry in applied.entries}
    confirmed = {"metadata": {"annotations": {"homeport.dev/confirm-delete": "shop"}}}
    await shop.client.patch(types.APPLICATION, shop.namespace, "shop", confirmed)
    async with asyncio.timeout(30):
        while await shop.client.get(types.APPLICATION, shop.namespace, "shop") is not None:
            _, applied = await shop.sync(config_map("a"))
            await asyncio.sleep(0.1)
    assert applied.problems == []


async def test_all_goes_with_the_source_but_what_holds_data(shop: Shop) -> None:
    claim = simple(
        "PersistentVolumeClaim",
        "data",
        spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    )
    await shop.sync(config_map("a"), deployment(replicas=0), claim)
    await shop.caught_up()
    removed = await shop.applier.remove(shop.source, shop.account, shop.inventory)
    async with asyncio.timeout(30):
        while removed.entries:
            removed = await shop.applier.remove(shop.source, shop.account, removed.entries)
            await asyncio.sleep(0.1)
    assert removed.problems == []
    assert await shop.client.get(types.CONFIG_MAP, shop.namespace, "a") is None
    assert await shop.client.get(types.DEPLOYMENT, shop.namespace, "web") is None
    assert await shop.client.get(types.PERSISTENT_VOLUME_CLAIM, shop.namespace, "data") is not None


async def test_what_does_not_fit_its_schema_is_told_with_the_field(shop: Shop) -> None:
    broken = deployment()
    broken["spec"]["replcas"] = 2
    twice = service(ports=[{"name": "a", "port": 80}, {"name": "b", "port": 80}])
    secret = simple("Secret", "s", data={"password": "not base64!"})
    plan, _ = await shop.sync(broken, twice, secret, config_map("a"))
    begin = f"{shop.namespace}/"
    assert sorted(problem.message for problem in plan.refused) == [
        f"all.yaml:10: Deployment {begin}web: spec.replcas: field not declared in schema",
        f'all.yaml:20: Service {begin}web: spec.ports: duplicate entries for key [port=80,protocol="TCP"]',
        f"all.yaml:30: Secret {begin}s: illegal base64 data at input byte 3",
    ]
    assert {problem.reason for problem in plan.refused} == {Reason.DRY_RUN_FAILED}
    assert await shop.client.get(types.CONFIG_MAP, shop.namespace, "a") is None


async def test_a_webhook_that_does_not_answer_is_waited_for(shop: Shop) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    hook = {
        "name": "hook.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 2,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": shop.namespace}},
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [rule],
    }
    api = "admissionregistration.k8s.io/v1"
    kind, plural = "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"
    gvk = GVK("admissionregistration.k8s.io", "v1", kind, plural, False)
    await shop.client.create(gvk, None, simple(gvk.kind, shop.namespace, api=api, webhooks=[hook]))
    try:
        async with asyncio.timeout(30):
            while not (plan := await shop.plan(config_map("a"))).refused:
                await asyncio.sleep(0.1)
        assert isinstance(plan.refused[0], Transient)
        assert 'failed calling webhook "hook.example.com"' in said(plan.refused)
    finally:
        await shop.client.delete(gvk, None, shop.namespace)
