"""A source's objects on a cluster in memory: what is written, what is refused, whose objects stay whose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.api.labels import OwnerKey
from homeport.drivers.kubernetes import errors, types
from homeport.drivers.memory import MemoryClient
from homeport.engine.gitops.applying import Applier, account_name
from homeport.engine.gitops.tracking import Tracker
from homeport.outcome import Stalled, Transient, Wait
from homeport.plan.gitops.types import Applied, Entry, IgnoreRule, Options, SourcePlan
from homeport.plan.types import ObjectId, Verb

Manifest = dict[str, Any]
SOURCE = OwnerKey("GitSource", "shop", "fleet")
ACCOUNT = account_name("shop", "deployer")


@dataclass(frozen=True)
class Made:
    manifest: Manifest
    file: str = "all.yaml"
    line: int = 1


def config_map(name: str = "a", namespace: str = "", /, **data: str) -> Manifest:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def secret(name: str = "s", **texts: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": texts}


def deployment(name: str = "web", **spec: Any) -> Manifest:
    pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": pod, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def annotated(manifest: Manifest, **values: str) -> Manifest:
    found = {f"{labels.GROUP}/{key.replace('_', '-')}": value for key, value in values.items()}
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": found}}


@dataclass
class World:
    """A source on a cluster in memory. ``sync`` is what its kind does."""

    client: MemoryClient = field(default_factory=lambda: MemoryClient(namespaces=True))
    woken: list[OwnerKey] = field(default_factory=list)
    noted: list[tuple[Entry, ...]] = field(default_factory=list)
    inventory: tuple[Entry, ...] = ()
    sources: set[OwnerKey] = field(default_factory=lambda: {SOURCE})

    def __post_init__(self) -> None:
        self.tracker = Tracker(self.client, self.woken.append)
        self.applier = Applier(self.client, self.tracker, self._exists)

    async def _exists(self, key: OwnerKey) -> bool:
        return key in self.sources

    async def plan(self, *manifests: Manifest, **options: Any) -> SourcePlan:
        made = [Made(manifest, line=10 * number) for number, manifest in enumerate(manifests, 1)]
        return await self.applier.plan(SOURCE, made, ACCOUNT, self.inventory, Options("shop", **options))

    async def sync(self, *manifests: Manifest, **options: Any) -> tuple[SourcePlan, Applied]:
        plan = await self.plan(*manifests, **options)
        applied = await self.applier.apply(plan, self._note)
        self.inventory = applied.entries
        await self.settled()
        return plan, applied

    async def _note(self, entries: tuple[Entry, ...]) -> None:
        self.noted.append(entries)
        self.inventory = entries

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def writes(self, since: int = 0) -> list[str]:
        return [f"{call.verb} {call.gvk.kind} {call.name}" for call in self.client.writes[since:]]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    for name in ("shop", "other"):
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await made.client.create(types.NAMESPACE, None, manifest)
    made.client.calls.clear()
    yield made
    await made.tracker.stop()


def said(outcomes: Any) -> str:
    return "\n".join(outcome.message for outcome in outcomes)


async def test_objects_are_made_once_and_nothing_is_written_when_they_are_equal(world: World) -> None:
    objects = [config_map(x="1"), secret(password="p"), deployment()]
    plan, applied = await world.sync(*objects)
    assert [change.verb for change in plan.changes] == [Verb.CREATE] * 3
    assert applied.complete
    assert world.writes() == ["apply ConfigMap a", "apply Secret s", "apply Deployment web"]
    assert {call.user for call in world.client.writes} == {ACCOUNT}
    asked = len(world.client.calls)
    for _ in range(3):
        plan, applied = await world.sync(*objects)
        assert plan.empty
        assert applied.complete
    assert world.client.calls[asked:] == []


async def test_the_inventory_is_written_before_anything_is_made(world: World) -> None:
    await world.sync(config_map("a"))
    world.noted.clear()

    def note_first(call: Any) -> None:
        assert world.noted, "made before it was noted"

    world.client.fail(lambda call: call.verb == "apply" and call.name == "b" and not call.dry, note_first)
    await world.sync(config_map("b"))
    assert [str(entry.id) for entry in world.noted[0]] == ["shop_a__ConfigMap", "shop_b__ConfigMap"]
    assert [str(entry.id) for entry in world.inventory] == ["shop_b__ConfigMap"]
    assert world.writes()[-1] == "delete ConfigMap a"


async def test_a_refusal_of_one_leaves_all_as_it_was(world: World) -> None:
    await world.sync(config_map("a", x="1"), config_map("b", x="1"))
    before = len(world.client.writes)
    world.client.allows = lambda call: call.name != "b"
    plan, applied = await world.sync(config_map("a", x="2"), config_map("b", x="2"))
    assert len(world.client.writes) == before
    assert not applied.complete
    assert said(plan.problems) == (
        "all.yaml:20: ConfigMap shop/b: the account shop/deployer may not patch configmaps in namespace shop; grant "
        "patch on configmaps to it by a Role, or leave it out"
    )
    assert plan.refused[0] == Stalled(Reason.ACCESS_DENIED, said(plan.problems))


async def test_drift_is_mended_and_told_with_who_did_it(world: World) -> None:
    await world.sync(deployment(replicas=2))
    world.woken.clear()
    body = {**deployment(replicas=5), "metadata": {"name": "web"}}
    await world.client.apply(types.DEPLOYMENT, "shop", "web", body, manager="kubectl")
    await world.settled()
    assert world.woken == [SOURCE]
    plan, _ = await world.sync(deployment(replicas=2))
    assert [(d.field, d.manager, d.mended) for d in plan.drift] == [("spec.replicas", "kubectl", True)]
    found = await world.client.get(types.DEPLOYMENT, "shop", "web")
    assert found is not None
    assert found["spec"]["replicas"] == 2
    assert plan.changes[0].reason == "changed by kubectl"


async def test_who_undoes_it_again_and_again_is_not_fought_for_ever(world: World) -> None:
    await world.sync(deployment(replicas=2))
    for number in range(8):
        other = deployment(replicas=10 + number)
        await world.client.apply(types.DEPLOYMENT, "shop", "web", other, manager="another-tool")
        await world.settled()
        plan, _ = await world.sync(deployment(replicas=2))
        assert [(d.manager, d.mended) for d in plan.drift] == [("another-tool", number < 5)]
    plan, _ = await world.sync(deployment(replicas=2), mend=True)
    assert plan.drift[0].mended
    plan, _ = await world.sync(deployment(replicas=3))
    assert plan.changes[0].reason == "declared differently"


@pytest.mark.parametrize("mode", ["Warn", "Disabled"])
async def test_drift_is_left_where_it_is_to_be_left(world: World, mode: Any) -> None:
    await world.sync(deployment(replicas=2), config_map("a"))
    await world.client.apply(types.DEPLOYMENT, "shop", "web", deployment(replicas=5), manager="kubectl")
    await world.client.delete(types.CONFIG_MAP, "shop", "a")
    await world.settled()
    before = len(world.client.writes)
    plan, applied = await world.sync(deployment(replicas=2), config_map("a"), drift=mode, settled=True)
    assert applied.complete
    assert len(world.client.writes) == before
    told = [(d.object.kind, d.field, d.mended) for d in plan.drift]
    assert told == ([("ConfigMap", "", False), ("Deployment", "spec.replicas", False)] if mode == "Warn" else [])
    plan, _ = await world.sync(deployment(replicas=2), config_map("a"), drift=mode, settled=True, mend=True)
    assert world.writes(before) == ["apply ConfigMap a", "apply Deployment web"]


async def test_fields_that_others_may_change_are_left_and_all_else_is_mended(world: World) -> None:
    rules = (IgnoreRule(("/spec/replicas",), kind="Deployment"),)
    await world.sync(deployment(replicas=2, paused=False), ignore=rules)
    there = deployment(replicas=7, paused=False)
    await world.client.apply(types.DEPLOYMENT, "shop", "web", there, manager="scaler")
    await world.settled()
    before = len(world.client.writes)
    await world.sync(deployment(replicas=2, paused=False), ignore=rules)
    assert len(world.client.writes) == before
    await world.sync(deployment(replicas=2, paused=True), ignore=rules)
    found = await world.client.get(types.DEPLOYMENT, "shop", "web")
    assert found is not None
    assert (found["spec"]["replicas"], found["spec"]["paused"]) == (7, True)


async def test_what_a_manager_owns_is_left_to_it(world: World) -> None:
    rules = (IgnoreRule(managers=("scaler",)),)
    await world.sync(deployment(replicas=2), ignore=rules)
    await world.client.apply(types.DEPLOYMENT, "shop", "web", deployment(replicas=7), manager="scaler")
    await world.settled()
    before = len(world.client.writes)
    await world.sync(deployment(replicas=2), ignore=rules)
    assert len(world.client.writes) == before


async def test_a_status_wakes_nobody_unless_the_health_changes(world: World) -> None:
    await world.sync(deployment(replicas=1))
    world.woken.clear()
    good = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}

    async def report(**status: Any) -> None:
        body = {"metadata": {}, "status": status}
        await world.client.patch(types.DEPLOYMENT, "shop", "web", body, subresource="status")
        await world.settled()

    await report(**good)
    assert world.woken == [SOURCE]
    await report(**good, collisionCount=1)
    assert world.woken == [SOURCE]
    assert world.applier.health(world.inventory).ready == 1
    asked = len(world.client.calls)
    plan, _ = await world.sync(deployment(replicas=1))
    assert plan.empty
    assert world.client.calls[asked:] == []


async def test_an_object_of_somebody_else_is_a_conflict_that_says_whose(world: World) -> None:
    await world.client.apply(types.CONFIG_MAP, "shop", "a", config_map("a", x="theirs"), manager="kubectl-create")
    before = len(world.client.writes)
    plan, _ = await world.sync(config_map("a", x="ours"), config_map("b"))
    assert said(plan.conflicts) == (
        "all.yaml:10: ConfigMap shop/a is there already, made by kubectl-create; to take it over, write the annotation "
        'homeport.dev/adopt: "true" on it in Git; or remove that object, or give this one another name'
    )
    assert len(world.client.writes) == before
    plan, applied = await world.sync(annotated(config_map("a", x="ours"), adopt="true"), config_map("b"))
    assert applied.complete
    assert plan.changes[0].reason == "adopted from kubectl-create"
    found = await world.client.get(types.CONFIG_MAP, "shop", "a")
    assert found is not None
    assert found["data"] == {"x": "ours"}


async def test_objects_of_another_source_stay_its_own_until_it_is_gone(world: World) -> None:
    other = OwnerKey("GitSource", "shop", "other")
    theirs = World(client=world.client)
    theirs.sources = world.sources
    world.sources.add(other)
    made = [Made(config_map("a", x="theirs"))]
    plan = await theirs.applier.plan(other, made, ACCOUNT, (), Options("shop"))
    await theirs.applier.apply(plan, theirs._note)
    plan, _ = await world.sync(annotated(config_map("a", x="ours"), adopt="true"))
    assert said(plan.conflicts).endswith("belongs to GitSource shop/other; leave it out of one of the two")
    world.sources.discard(other)
    plan, _ = await world.sync(config_map("a", x="ours"))
    assert "was applied by GitSource shop/other, which is gone" in said(plan.conflicts)
    _, applied = await world.sync(annotated(config_map("a", x="ours"), adopt="true"))
    assert applied.complete
    await theirs.tracker.stop()


async def test_a_child_of_ours_is_never_adopted(world: World) -> None:
    child = config_map("a")
    marks = {labels.MANAGED_BY: labels.MANAGER, labels.PROJECT: "shop", labels.OWNER_KIND: "Application"}
    child["metadata"]["labels"] = {**marks, labels.OWNER_NAME: "web"}
    await world.client.apply(types.CONFIG_MAP, "shop", "a", child)
    plan, _ = await world.sync(annotated(config_map("a"), adopt="true"))
    assert "ConfigMap shop/a is made by Application shop/web" in said(plan.conflicts)


async def test_the_guard_stops_a_removal_of_most(world: World) -> None:
    await world.sync(*(config_map(name) for name in "abcdef"))
    before = len(world.client.writes)
    plan, applied = await world.sync(config_map("a"))
    assert plan.guard.startswith("5 of 6 objects would be removed")
    assert len(world.client.writes) == before
    assert len(applied.entries) == 6
    plan, _ = await world.sync()
    assert plan.guard.startswith("the folder has no objects any more")
    plan, applied = await world.sync(config_map("a"), allow_prune=True)
    assert [str(entry.id) for entry in applied.entries] == ["shop_a__ConfigMap"]
    plan, applied = await world.sync(config_map("b"))
    assert applied.complete
    assert [str(entry.id) for entry in applied.entries] == ["shop_b__ConfigMap"]


async def test_nothing_is_pruned_when_not_asked_and_what_says_so_is_kept(world: World) -> None:
    await world.sync(config_map("a"), annotated(config_map("b"), prune="Disabled"), config_map("c"))
    await world.sync(config_map("c"), prune=False)
    assert {call.verb for call in world.client.writes} == {"apply"}


async def test_kinds_that_hold_data_go_only_where_they_say_so(world: World) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"accessModes": ["ReadWriteOnce"]}}
    kept = {**claim, "metadata": {"name": "kept"}}
    going = annotated({**claim, "metadata": {"name": "going"}}, deletion_policy="Delete")
    await world.sync(kept, going, config_map("a"), config_map("b"))
    plan, applied = await world.sync(config_map("a"), config_map("b"))
    assert [(c.verb, c.id.name, c.loses_data) for c in plan.pruned] == [
        (Verb.DELETE, "going", True),
        (Verb.KEEP, "kept", False),
    ]
    assert world.writes()[-1] == "delete PersistentVolumeClaim going"
    assert [entry.id.name for entry in applied.entries] == ["a", "b", "kept"]
    patch = {"metadata": {"annotations": {labels.DELETION_POLICY: "Delete"}}}
    await world.client.patch(types.PERSISTENT_VOLUME_CLAIM, "shop", "kept", patch)
    await world.settled()
    _, applied = await world.sync(config_map("a"), config_map("b"))
    assert [entry.id.name for entry in applied.entries] == ["a", "b"]


async def test_a_definition_and_its_object_and_a_namespace_and_what_is_in_it_in_one_go(world: World) -> None:
    names = {"kind": "Widget", "plural": "widgets"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [{"name": "v1", "served": True}]}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    crd["metadata"] = {"name": "widgets.example.com"}
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}
    objects = [widget, config_map("a", "new"), namespace, crd]
    plan, applied = await world.sync(*objects)
    assert [c.id.kind for c in plan.changes if c.unseen] == ["ConfigMap", "Widget"]
    assert applied.problems == []
    assert world.writes() == [
        "apply CustomResourceDefinition widgets.example.com",
        "apply Namespace new",
        "apply ConfigMap a",
        "apply Widget w",
    ]
    assert world.applier.health(world.inventory).ready == 4
    plan, applied = await world.sync(*objects)
    assert plan.empty
    assert applied.complete


async def test_a_kind_that_nobody_knows_is_waited_for(world: World) -> None:
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    plan, _ = await world.sync(widget, config_map("a"))
    assert plan.problems == (
        Wait(
            Reason.DEPENDENCY_NOT_READY,
            "all.yaml:10: Widget w: the cluster has no kind Widget in example.com/v1; apply its "
            "CustomResourceDefinition first, or name in spec.dependsOn what brings it",
            10.0,
        ),
    )
    assert world.writes() == []


def immutable(call: Any) -> None:
    cause = errors.Cause("spec.template", 'Invalid value: "x": field is immutable')
    raise errors.Invalid(422, "Invalid", "Deployment is invalid", (cause,))


async def test_an_immutable_field_is_told_and_replaced_only_where_asked(world: World) -> None:
    await world.sync(deployment(replicas=1), config_map("a"))
    world.client.fail(lambda c: c.gvk == types.DEPLOYMENT and c.dry, immutable, times=2)
    plan, _ = await world.sync(deployment(replicas=2), config_map("a"))
    assert said(plan.refused) == (
        "all.yaml:10: Deployment shop/web: spec.template can't be changed on what is there; undo the change, or write "
        "the annotation homeport.dev/replace-at with a new value on it in Git to have it deleted and made anew"
    )
    before = len(world.client.writes)
    asked = annotated(deployment(replicas=2), replace_at="1")
    plan, applied = await world.sync(asked, config_map("a"))
    assert applied.problems == []
    assert world.writes(before) == ["delete Deployment web", "apply Deployment web"]
    plan, _ = await world.sync(asked, config_map("a"))
    assert plan.empty


async def test_a_secret_is_compared_and_never_told(world: World) -> None:
    await world.sync(secret(password="one"))
    kept = world.tracker.get(types.SECRET, "shop", "s")
    assert "b25l" not in str(kept)
    plan, _ = await world.sync(secret(password="two"), settled=False)
    assert plan.changes[0].fields == ("data.password",)
    assert "two" not in str(plan.changes) + str(plan.wanted)
    found = await world.client.get(types.SECRET, "shop", "s")
    assert found is not None
    assert found["data"] == {"password": "dHdv"}
    body = {"metadata": {}, "data": {"password": "eA=="}}
    await world.client.patch(types.SECRET, "shop", "s", body)
    await world.settled()
    plan, _ = await world.sync(secret(password="two"), settled=True)
    assert [d.field for d in plan.drift] == ["data.password"]
    assert found["metadata"]["annotations"].keys() == {labels.APPLIED_HASH}


async def test_a_field_that_is_declared_no_more_goes(world: World) -> None:
    await world.sync(config_map("a", x="1", y="2"))
    plan, _ = await world.sync(config_map("a", x="1"))
    assert plan.changes[0].reason == "declared differently"
    found = await world.client.get(types.CONFIG_MAP, "shop", "a")
    assert found is not None
    assert found["data"] == {"x": "1"}


async def test_a_server_that_goes_away_in_the_middle_is_told_and_gone_on_with(world: World) -> None:
    objects = [config_map(f"m{number:02}") for number in range(30)]
    gone = errors.ServerUnavailable(0, "NoAnswer", "the API server does not answer", (), True)
    world.client.fail(lambda c: c.verb == "apply" and not c.dry and c.name >= "m10", gone, times=100)
    _, applied = await world.sync(*objects)
    assert not applied.complete
    assert all(isinstance(problem, Transient) for problem in applied.problems)
    assert len(applied.entries) == 30
    world.client._faults.clear()
    _, applied = await world.sync(*objects)
    assert applied.complete
    assert len(world.client.objects(types.CONFIG_MAP)) == 30


async def test_everything_is_removed_in_reverse_and_what_holds_data_stays(world: World) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": {}}
    await world.sync(config_map("a"), deployment(), claim)
    before = len(world.client.writes)
    removed = await world.applier.remove(SOURCE, ACCOUNT, world.inventory)
    assert removed.entries == ()
    assert [change.id.name for change in removed.kept] == ["c"]
    assert world.writes(before) == ["delete Deployment web", "delete ConfigMap a"]


async def test_what_has_a_finalizer_stays_in_the_inventory_until_it_is_gone(world: World) -> None:
    held = config_map("a")
    held["metadata"]["finalizers"] = ["example.com/f"]
    await world.sync(held, config_map("b"))
    _, applied = await world.sync(config_map("b"))
    assert applied.removing == (ObjectId("shop", "a", "", "ConfigMap"),)
    assert [entry.id.name for entry in applied.entries] == ["a", "b"]
    before = len(world.client.writes)
    await world.sync(config_map("b"))
    assert world.writes(before) == []
    await world.client.patch(types.CONFIG_MAP, "shop", "a", {"metadata": {"finalizers": None}})
    await world.settled()
    _, applied = await world.sync(config_map("b"))
    assert [entry.id.name for entry in applied.entries] == ["b"]


@pytest.mark.parametrize("wrong", [True, False])
async def test_the_source_may_be_in_its_own_repository_unchanged(world: World, wrong: bool) -> None:
    spec = {"url": "https://git.example.com/x.git", "ref": {"branch": "main"}, "prune": True, "path": "."}
    own = {"apiVersion": "homeport.dev/v1alpha1", "kind": "GitSource", "metadata": {"name": "fleet"}}
    own["spec"] = {**spec, "interval": "5m", **({"serviceAccountName": "admin"} if wrong else {})}
    plan = await world.plan(annotated(own, adopt="true"), spec=spec)
    assert bool(plan.refused) == wrong
    if wrong:
        assert "a repository can't change its own spec.serviceAccountName" in said(plan.refused)


async def test_what_no_cache_knows_is_read_and_never_forgotten(world: World) -> None:
    """Where the operator may not list a kind, its objects are read one by one."""
    denied = errors.Forbidden(403, "Forbidden", "no")
    world.client.fail(lambda call: call.verb == "list" and call.gvk == types.CONFIG_MAP, denied, times=1000)
    objects = [config_map("a"), config_map("b"), config_map("c")]
    await world.sync(*objects)
    before = len(world.client.writes)
    plan, _ = await world.sync(*objects)
    assert plan.empty
    assert world.writes(before) == []
    assert world.applier.health(world.inventory).ready == 3
    await world.sync(*objects[:2])
    assert world.writes(before) == ["delete ConfigMap c"]
    removed = await world.applier.remove(SOURCE, ACCOUNT, world.inventory)
    assert removed.entries == ()
    assert world.writes(before) == [f"delete ConfigMap {name}" for name in "cab"]


async def test_an_object_that_only_a_changed_definition_lets_in(world: World) -> None:
    names = {"kind": "Widget", "plural": "widgets"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [{"name": "v1", "served": True}]}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    crd["metadata"] = {"name": "widgets.example.com"}

    def widget(**spec: Any) -> Manifest:
        return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}

    other = {**widget(size=1), "metadata": {"name": "other"}}
    await world.sync(crd, widget(size=1), other)
    why = "failed to create typed patch object (shop/w; example.com/v1, Kind=Widget): .spec.colour: field not declared"
    unknown = errors.ServerUnavailable(500, "", why)
    world.client.fail(lambda call: call.dry and call.name == "w", unknown)
    newer = {**crd, "spec": {**spec, "preserveUnknownFields": False}}
    plan, applied = await world.sync(newer, widget(size=1, colour="red"), other)
    assert [(c.id.name, c.unseen) for c in plan.changes] == [("widgets.example.com", False), ("w", True)]
    assert applied.complete
    world.client.fail(lambda call: call.dry and call.name == "w", unknown)
    plan, _ = await world.sync(newer, widget(size=1, colour="blue"), other)
    assert said(plan.refused) == "all.yaml:20: Widget shop/w: spec.colour: field not declared"


async def test_labels_that_somebody_took_off_are_put_back(world: World) -> None:
    await world.sync(config_map("a", x="1"), config_map("b"))
    bare = {"metadata": {"labels": {labels.SOURCE_NAME: None, labels.SOURCE_NAMESPACE: None}}}
    world.woken.clear()
    await world.client.patch(types.CONFIG_MAP, "shop", "a", bare)
    await world.settled()
    assert world.woken == [SOURCE]
    plan, applied = await world.sync(config_map("a", x="1"), config_map("b"))
    assert applied.complete
    assert {d.field for d in plan.drift} == {
        f"metadata.labels.{n}" for n in (labels.SOURCE_NAME, labels.SOURCE_NAMESPACE)
    }
    plan, _ = await world.sync(config_map("a", x="1"), config_map("b"))
    assert plan.empty


async def test_what_takes_too_long_is_told_and_gone_on_with(world: World) -> None:
    _, applied = await world.sync(config_map("a"), timeout=0.0)
    assert not applied.complete
    assert isinstance(applied.problems[0], Transient)
    assert applied.problems[0].message == "not all was applied within 0 s: 0 of 1 objects are written"
    _, applied = await world.sync(config_map("a"))
    assert applied.complete


async def test_who_comes_between_the_dry_run_and_the_write_is_not_overwritten(world: World) -> None:
    cause = errors.Cause(".data.x", 'conflict with "kubectl"', "FieldManagerConflict")
    late = errors.Conflict(409, "Conflict", "Apply failed with 1 conflict", (cause,))
    world.client.fail(lambda call: call.verb == "apply" and not call.dry and call.name == "a", late)
    plan, applied = await world.sync(config_map("a", x="1"), deployment())
    assert plan.problems == ()
    assert said(applied.problems).startswith("all.yaml:10: ConfigMap shop/a: kubectl has set data.x")
    assert world.writes() == ["apply ConfigMap a"], "what comes after it waits"
