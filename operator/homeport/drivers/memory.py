"""A Kubernetes API in memory, for unit tests: the same verbs, and the same answers where the engine depends on them.

What is kept: resourceVersion, uid, generation, finalizers with deletionTimestamp, the garbage collection of
owner references, selectors, watches with their order, 404 for a missing namespace, 409 for stale
preconditions and for taken names, definitions that make kinds served, impersonation with a rule of the test's own,
and server-side apply by the rule that matters most: what a manager leaves out of its next apply, and no other manager
has applied, goes. What isn't: schemas, defaults, admission, RBAC.

Its contract is tested against the real API server (tests/integration/test_kubernetes_driver.py);
unlike it, ``create`` keeps a status, so that a test makes a Deployment that is ready in one line.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import datetime
import itertools
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NamedTuple, cast

import jsonpatch
import orjson

from homeport.drivers.kubernetes import errors, merge, remote, types
from homeport.drivers.kubernetes.protocol import Api, PatchKind, Propagation
from homeport.drivers.kubernetes.types import GVK, Manifest, Manifests

Key = tuple[GVK, str, str]


class Call(NamedTuple):
    """One call of a verb, as the log keeps it."""

    verb: str
    gvk: GVK
    namespace: str
    name: str
    body: Any = None
    user: str = ""
    """Whom it was made as; empty for the client's own identity."""
    dry: bool = False


Fault = Exception | Callable[[Call], None]

WRITES = frozenset({"apply", "create", "patch", "delete"})


class MemoryClient:
    """The API server. ``calls`` is the log of what was asked; ``fail`` makes some of it fail."""

    def __init__(
        self,
        *,
        namespaces: bool = False,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._clock = now
        """``namespaces``: as in reality, an object needs its namespace to be there."""
        self.calls: list[Call] = []
        self._objects: dict[Key, Manifest] = {}
        self._applied: dict[Key, merge.Owners] = {}
        self.logs: dict[tuple[str, str, str], str] = {}
        """By namespace, Pod and container."""
        self.runs: Callable[[Sequence[str]], remote.Done] = lambda command: remote.Done(0, "", "")
        """What comes of a command in a container."""
        self._version = 100
        self._uids = itertools.count(1)
        self._history: list[tuple[int, str, GVK, Manifest, Manifest | None]] = []
        self._compacted = 0
        self._changed = asyncio.Event()
        self._faults: list[tuple[Callable[[Call], bool], Fault, list[int]]] = []
        self._served: dict[str, dict[str, GVK]] = {}
        self.allows: Callable[[Call], bool] = lambda call: True
        """Whether a call that is made as somebody else is let through."""
        self._namespaces = namespaces
        self._drop = 0
        for gvk in types.KINDS:
            self.serve(gvk)

    # -- for tests ------------------------------------------------------------------------------------------------

    def fail(self, predicate: Callable[[Call], bool], fault: Fault, times: int = 1) -> None:
        """Have the next ``times`` calls that ``predicate`` says yes to raise ``fault``, or call it with the call.

        A callable that returns lets the call go on; one that raises after having changed something is a crash.
        """
        self._faults.append((predicate, fault, [times]))

    @property
    def writes(self) -> list[Call]:
        """The calls that change something."""
        return [call for call in self.calls if call.verb in WRITES and not call.dry]

    def serve(self, gvk: GVK, served: bool = True) -> None:
        """Have ``discover`` know a kind, or not."""
        kinds = self._served.setdefault(gvk.api_version, {})
        if served:
            kinds[gvk.plural] = gvk
        else:
            kinds.pop(gvk.plural, None)

    def objects(self, gvk: GVK | None = None) -> Manifests:
        """Copies of everything that is there."""
        return [copy.deepcopy(found) for (kind, _, _), found in self._objects.items() if gvk in {None, kind}]

    def compact(self) -> None:
        """Forget the history: every older resourceVersion is Gone now. Watches that run go on."""
        self._compacted = self._version

    def drop_watches(self) -> None:
        """End every running watch, as a restarting API server does."""
        self._drop += 1
        self._wake()

    # -- reads ----------------------------------------------------------------------------------------------------

    def _now(self) -> str:
        return self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    async def get(self, gvk: GVK, ns: str | None, name: str, *, metadata_only: bool = False) -> Manifest | None:
        """The object, or None when it isn't there."""
        await self._asked(Call("get", gvk, ns or "", name))
        found = self._objects.get(_key(gvk, ns, name))
        return None if found is None else _answer(found, metadata_only)

    async def list(
        self,
        gvk: GVK,
        ns: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        metadata_only: bool = False,
        limit: int = 500,
        resource_version: str | None = None,
    ) -> tuple[Manifests, str]:
        """All objects of a kind that the selectors match, and the resourceVersion to watch from."""
        await self._asked(Call("list", gvk, ns or "", ""))
        found = [
            _answer(manifest, metadata_only)
            for (kind, namespace, _), manifest in sorted(self._objects.items(), key=lambda item: item[0][1:])
            if kind == gvk and ns in {None, "", namespace} and merge.matches(manifest, labels, fields)
        ]
        return found, str(self._version)

    async def watch(
        self,
        gvk: GVK,
        ns: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        resource_version: str | None = None,
        metadata_only: bool = False,
        timeout_seconds: int = 290,
        bookmarks: bool = True,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[tuple[str, Manifest], None]:
        """Changes since ``resource_version``, in order; leaving the selector is DELETED, entering it ADDED."""
        await self._asked(Call("watch", gvk, ns or "", ""))
        since = int(resource_version or 0)
        if resource_version is None:
            for manifest in [m for (k, n, _), m in self._objects.items() if k == gvk and ns in {None, "", n}]:
                if merge.matches(manifest, labels, fields):
                    yield "ADDED", _answer(manifest, metadata_only)
            since = self._version
        elif since < self._compacted:
            raise errors.Gone(410, "Expired", f"too old resource version: {since} ({self._compacted})")
        if on_open is not None:
            on_open()
        position, drop = 0, self._drop
        while drop == self._drop:
            while position < len(self._history):
                version, kind, changed, after, before = self._history[position]
                position += 1
                if version <= since or changed != gvk or ns not in {None, "", _namespace(after)}:
                    continue
                was = before is not None and merge.matches(before, labels, fields)
                now = kind != "DELETED" and merge.matches(after, labels, fields)
                if was or now:
                    told = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
                    yield told, _answer(after, metadata_only)
            await self._changed.wait()

    async def log(self, ns: str, pod: str, container: str, *, lines: int, limit: int = 1 << 20) -> str:
        """The last lines of what a test has put into ``logs``."""
        await self._asked(Call("log", types.POD, ns, pod, container))
        found = self.logs.get((ns, pod, container))
        if found is None:
            raise errors.NotFound(404, "NotFound", f'pods "{pod}" not found')
        return "\n".join(found.splitlines()[-lines:])[-limit:]

    async def exec(self, ns: str, pod: str, container: str, command: Sequence[str], seconds: float) -> remote.Done:
        """What a test says of the command: ``runs``."""
        await self._asked(Call("exec", types.POD, ns, pod, list(command)))
        return self.runs(command)

    async def discover(self, api_version: str) -> set[str]:
        """The plurals that an API version serves; empty when it isn't there."""
        return set(self._served.get(api_version, ()))

    async def kinds(self, api_version: str) -> tuple[GVK, ...]:
        """The kinds that an API version serves."""
        return tuple(self._served.get(api_version, {}).values())

    async def apis(self) -> tuple[str, ...]:
        """All that is served: API versions, and kinds in them."""
        kinds = {f"{version}/{gvk.kind}" for version, found in self._served.items() for gvk in found.values()}
        return tuple(sorted({*self._served, *kinds}))

    def impersonate(self, user: str, groups: Sequence[str] = ()) -> Api:
        """The same, as somebody else: ``allows`` says what ``user`` may do."""
        return cast("Api", _AsUser(self, user))

    async def version(self) -> Manifest:
        """A version that says what this is."""
        return {"major": "1", "minor": "35", "gitVersion": "v1.35.0-memory"}

    async def close(self) -> None:
        """Nothing to let go of."""

    # -- writes ---------------------------------------------------------------------------------------------------

    async def apply(
        self,
        gvk: GVK,
        ns: str | None,
        name: str,
        body: Manifest | bytes,
        *,
        manager: str = "homeport",
        force: bool = True,
        subresource: str | None = None,
        dry_run: bool = False,
        metadata_only: bool = True,
    ) -> Manifest:
        """Server-side apply, approximately: see the module."""
        wanted = _plain(orjson.loads(body) if isinstance(body, bytes) else body)
        await self._asked(Call("apply", gvk, ns or "", name, wanted, dry=dry_run))
        self._needs_kind(gvk)
        key = _key(gvk, ns, name)
        old = self._objects.get(key)
        _precondition(gvk, name, old, wanted["metadata"])
        if old is None and subresource is not None:
            raise _not_found(gvk, name)
        self._needs_namespace(gvk, ns)
        new: Manifest = copy.deepcopy(old) if old is not None else self._born(gvk, ns, name)
        if subresource is not None:
            declared: Manifest = {subresource: wanted.get(subresource, {})}
        else:
            skipped = {"apiVersion", "kind", "status", "metadata"}
            declared = {field: value for field, value in wanted.items() if field not in skipped}
            metadata = wanted["metadata"]
            declared["metadata"] = {field: metadata[field] for field in _APPLIED_METADATA if field in metadata}
        owners = copy.deepcopy(self._applied.get(key, {}))
        merged = merge.apply(new, declared, (manager, subresource or ""), owners, force=force)
        merged["metadata"]["managedFields"] = merge.managed_fields(gvk, owners)
        if dry_run:
            return _answer(merged, metadata_only)
        self._applied[key] = owners
        return _answer(self._store(key, old, merged, status=subresource is not None), metadata_only)

    async def create(
        self, gvk: GVK, ns: str | None, body: Manifest, *, dry_run: bool = False, manager: str = "homeport"
    ) -> Manifest:
        """Create; AlreadyExists when the name is taken. metadata.generateName works as well."""
        wanted = _plain(body)
        metadata = wanted["metadata"]
        name = metadata.get("name") or f"{metadata['generateName']}{self._version:05x}"
        await self._asked(Call("create", gvk, ns or "", name, wanted, dry=dry_run))
        self._needs_kind(gvk)
        key = _key(gvk, ns, name)
        if key in self._objects:
            raise errors.AlreadyExists(409, "AlreadyExists", f'{gvk.plural} "{name}" already exists')
        self._needs_namespace(gvk, ns)
        merged: Manifest = merge.merged(self._born(gvk, ns, name), wanted)
        merged["metadata"].pop("generateName", None)
        return _answer(merged if dry_run else self._store(key, None, merged), False)

    async def patch(
        self,
        gvk: GVK,
        ns: str | None,
        name: str,
        body: Manifest | Manifests,
        *,
        kind: PatchKind = "merge",
        subresource: str | None = None,
        manager: str = "homeport",
    ) -> Manifest:
        """A JSON merge patch or a JSON patch; on a subresource, of that part only."""
        await self._asked(Call("patch", gvk, ns or "", name, _plain(body)))
        key = _key(gvk, ns, name)
        old = self._objects.get(key)
        if old is None:
            raise _not_found(gvk, name)
        new: Manifest
        if kind == "json":
            try:
                new = jsonpatch.apply_patch(copy.deepcopy(old), cast("Manifests", body))
            except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
                raise errors.Invalid(422, "Invalid", f"the patch does not apply: {error}") from None
        else:
            new = merge.merge_patch(copy.deepcopy(old), body)
        _precondition(gvk, name, old, new["metadata"])
        if subresource is not None:
            part = new.get(subresource)
            new = copy.deepcopy(old)
            new[subresource] = part
        return _answer(self._store(key, old, new, status=subresource is not None), False)

    async def delete(
        self,
        gvk: GVK,
        ns: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
    ) -> bool:
        """Delete, or mark for deletion while there are finalizers; False when it was gone already."""
        await self._asked(Call("delete", gvk, ns or "", name, {"uid": uid, "propagation": propagation}))
        key = _key(gvk, ns, name)
        old = self._objects.get(key)
        if old is None:
            return False
        given = {"uid": uid, "resourceVersion": resource_version}
        _precondition(gvk, name, old, {field: value for field, value in given.items() if value})
        if "deletionTimestamp" not in old["metadata"]:
            new = copy.deepcopy(old)
            new["metadata"]["deletionTimestamp"] = self._now()
            self._store(key, old, new)
        return True

    # -- underneath -----------------------------------------------------------------------------------------------

    async def _asked(self, call: Call) -> None:
        call = call._replace(user=_USER.get())
        self.calls.append(call)
        if call.user and not self.allows(call):
            raise _forbidden(call)
        # A real call always lets others run; a fake that doesn't would hide their interleavings.
        await asyncio.sleep(0)
        for entry in list(self._faults):
            predicate, fault, left = entry
            if predicate(call):
                left[0] -= 1
                if left[0] <= 0:
                    self._faults.remove(entry)
                if isinstance(fault, Exception):
                    raise fault
                fault(call)
                return

    def _born(self, gvk: GVK, ns: str | None, name: str) -> Manifest:
        metadata: Manifest = {"name": name, "uid": f"uid-{next(self._uids)}", "creationTimestamp": self._now()}
        if gvk.namespaced:
            metadata["namespace"] = ns or ""
        return {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": metadata}

    def _needs_kind(self, gvk: GVK) -> None:
        if gvk.plural not in self._served.get(gvk.api_version, {}):
            raise errors.NotFound(404, "NotFound", "the server could not find the requested resource")

    def _defined(self, definition: Manifest, served: bool) -> None:
        """What a CustomResourceDefinition makes the server serve, as soon as it is there."""
        spec, names = definition.get("spec") or {}, (definition.get("spec") or {}).get("names") or {}
        if "kind" not in names or "plural" not in names:
            return
        for version in spec.get("versions") or ():
            namespaced = spec.get("scope") != "Cluster"
            self.serve(GVK(spec["group"], version["name"], names["kind"], names["plural"], namespaced), served)
        if served and names:
            established = {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}
            definition["status"] = {"conditions": [established]}

    def _needs_namespace(self, gvk: GVK, ns: str | None) -> None:
        if self._namespaces and gvk.namespaced and (types.NAMESPACE, "", ns or "") not in self._objects:
            raise _not_found(types.NAMESPACE, ns or "")

    def _store(self, key: Key, old: Manifest | None, new: Manifest, *, status: bool = False) -> Manifest:
        """Keep ``new`` with its version and generation, or take it away once nothing holds it; tell the watches."""
        metadata = new["metadata"]
        if old is not None and not status and key[0] in _WITH_STATUS and "status" in old:
            new["status"] = old["status"]
        if old is not None and _without_version(old) == _without_version(new):
            return old
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        changed = old is None or {k: v for k, v in old.items() if k not in _NO_GENERATION} != {
            k: v for k, v in new.items() if k not in _NO_GENERATION
        }
        metadata["generation"] = metadata.get("generation", 0) + changed
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self._objects.pop(key, None)
            self._applied.pop(key, None)
            if key[0] == types.CUSTOM_RESOURCE_DEFINITION:
                self._defined(new, False)
            self._tell("DELETED", key, new, old)
            self._collect(key, metadata["uid"])
        else:
            if key[0] == types.CUSTOM_RESOURCE_DEFINITION:
                self._defined(new, True)
            self._objects[key] = new
            self._tell("ADDED" if old is None else "MODIFIED", key, new, old)
        return new

    def _collect(self, key: Key, uid: str) -> None:
        """What the garbage collector and the namespace controller do after a deletion."""
        for other, found in list(self._objects.items()):
            owned = any(reference.get("uid") == uid for reference in found["metadata"].get("ownerReferences") or ())
            inside = key[0] == types.NAMESPACE and other[1] == key[2]
            if (owned or inside) and "deletionTimestamp" not in found["metadata"]:
                doomed = copy.deepcopy(found)
                doomed["metadata"]["deletionTimestamp"] = self._now()
                self._store(other, found, doomed)

    def _tell(self, kind: str, key: Key, new: Manifest, old: Manifest | None) -> None:
        self._history.append((self._version, kind, key[0], copy.deepcopy(new), old))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


_USER: contextvars.ContextVar[str] = contextvars.ContextVar("memory user", default="")


class _AsUser:
    """A view of the server whose calls are made as somebody else."""

    def __init__(self, client: MemoryClient, user: str) -> None:
        self._client = client
        self._user = user

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        async def called(*args: Any, **kwargs: Any) -> Any:
            token = _USER.set(self._user)
            try:
                return await method(*args, **kwargs)
            finally:
                _USER.reset(token)

        return called


def _forbidden(call: Call) -> errors.Forbidden:
    verb = {"apply": "patch"}.get(call.verb, call.verb)
    what = f"{call.gvk.plural}.{call.gvk.group}" if call.gvk.group else call.gvk.plural
    where = f' in the namespace "{call.namespace}"' if call.namespace else " at the cluster scope"
    text = (
        f'{what} "{call.name}" is forbidden: User "{call.user}" cannot {verb} resource "{call.gvk.plural}" '
        f'in API group "{call.gvk.group}"{where}'
    )
    return errors.Forbidden(403, "Forbidden", text)


_APPLIED_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
_NO_GENERATION = frozenset({"metadata", "status"})
_WITH_STATUS = frozenset(types.KINDS) - {types.CONFIG_MAP, types.SECRET}


def _plain(body: Any) -> Any:
    """What would arrive over the wire."""
    return json.loads(orjson.dumps(body))


def _key(gvk: GVK, ns: str | None, name: str) -> Key:
    return gvk, (ns or "") if gvk.namespaced else "", name


def _namespace(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("namespace", ""))


def _not_found(gvk: GVK, name: str) -> errors.NotFound:
    return errors.NotFound(404, "NotFound", f'{gvk.plural} "{name}" not found')


def _precondition(gvk: GVK, name: str, old: Manifest | None, given: Manifest) -> None:
    for field in ("uid", "resourceVersion"):
        wanted = given.get(field)
        if old is None and field == "resourceVersion":
            continue  # as the real one: an apply to what isn't there creates it, whatever version it asks for
        have = None if old is None else old["metadata"][field]
        if wanted and wanted != have:
            text = f'Operation cannot be fulfilled on {gvk.plural} "{name}": the object has been modified'
            raise errors.Conflict(409, "Conflict", text)


def _without_version(manifest: Manifest) -> Manifest:
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in {"resourceVersion", "generation"}}
    return {**manifest, "metadata": metadata}


def _answer(manifest: Manifest, metadata_only: bool) -> Manifest:
    kept = {k: manifest[k] for k in ("apiVersion", "kind", "metadata")} if metadata_only else manifest
    return copy.deepcopy(kept)
