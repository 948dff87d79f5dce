"""A project's home of its own for each test, and what a user sees of it through the API server.

``Home.settled`` is what stands in for a sleep: it asks for one more reconciliation and waits until that has ended, so
that "nothing happened" can be said of something.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from api_server import ApiServer, RefusedError
from homeport.drivers.kubernetes import types

Manifest = dict[str, Any]
V1ALPHA1 = "homeport.dev/v1alpha1"
IMAGE = "registry.example.com/team/shop"
PORTS = [{"name": "http", "port": 8080}]
USER = "homeport-test"
PATIENCE = float(os.environ.get("HOMEPORT_TEST_PATIENCE", "30"))

_KINDS = {gvk.kind: gvk for gvk in types.KINDS}
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def eventually(check: Callable[[], Any], what: str, seconds: float = PATIENCE, between: float = 0.05) -> Any:
    """What ``check`` answers once that is true; an AssertionError in it counts as not yet, and is told at the end."""
    until = time.monotonic() + seconds
    while True:
        told: object = ""
        try:
            found = check()
            if found:
                return found
        except AssertionError as error:
            told = error
        assert time.monotonic() < until, f"after {seconds:g} s still not: {what}. {told}"
        time.sleep(between)


def condition(body: Mapping[str, Any], kind: str = "Ready") -> dict[str, Any]:
    """A condition of an object; empty when it isn't there."""
    found = (body.get("status") or {}).get("conditions") or ()
    return next((dict(entry) for entry in found if entry["type"] == kind), {})


def told(body: Mapping[str, Any]) -> tuple[str, str, str]:
    """(status, reason, message) of Ready."""
    ready = condition(body)
    return ready.get("status", ""), ready.get("reason", ""), ready.get("message", "")


def component(name: str = "web", **fields: Any) -> Manifest:
    """A component with an image whose tag is the version; a service has a port."""
    if fields.get("type", "service") == "service":
        fields.setdefault("ports", PORTS)
    return {"name": name, "image": IMAGE, **fields}


def on_pods(kind: str, name: str, **annotations: str) -> Manifest:
    """A patch for an Application's environment that tells kwok how to play these Pods."""
    marks = {f"kwok.homeport.dev/{key}": value for key, value in annotations.items()}
    body = {"spec": {"template": {"metadata": {"annotations": marks}}}}
    return {"target": {"kind": kind, "name": name}, "patch": json.dumps(body)}


class Live:
    """Objects by kind, namespace and name."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api

    def path(self, kind: str, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        return _KINDS[kind].path(namespace, name, subresource)

    def find(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None."""
        try:
            return dict(self.api.call("GET", self.path(kind, namespace, name)))
        except RefusedError as error:
            if error.code == 404:
                return None
            raise

    def get(self, kind: str, namespace: str | None, name: str) -> Manifest:
        found = self.find(kind, namespace, name)
        assert found is not None, f"{kind} {namespace}/{name} isn't there"
        return found

    def list(self, kind: str, namespace: str | None, selector: str = "") -> list[Manifest]:
        query = {"labelSelector": selector} if selector else {}
        return list(self.api.call("GET", self.path(kind, namespace), **query)["items"])

    def names(self, kind: str, namespace: str | None) -> set[str]:
        return {item["metadata"]["name"] for item in self.list(kind, namespace)}

    def apply(self, manifest: Manifest, manager: str = USER, force: bool = True) -> Manifest:
        """Server-side apply."""
        metadata = manifest["metadata"]
        path = self.path(manifest["kind"], metadata.get("namespace"), metadata["name"])
        options = {"fieldManager": manager, "force": "true" if force else "false", "fieldValidation": "Strict"}
        return dict(self.api.call("PATCH", path, manifest, "application/apply-patch+yaml", **options))

    def patch(self, kind: str, namespace: str | None, name: str, body: Any, manager: str = USER) -> Manifest:
        """A JSON merge patch."""
        path = self.path(kind, namespace, name)
        return dict(self.api.call("PATCH", path, body, "application/merge-patch+json", fieldManager=manager))

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        try:
            self.api.call("DELETE", self.path(kind, namespace, name), propagationPolicy="Background")
        except RefusedError as error:
            if error.code != 404:
                raise

    def version(self, kind: str, namespace: str | None) -> str:
        """The resourceVersion from which ``history`` can begin."""
        return str(self.api.call("GET", self.path(kind, namespace), limit="1")["metadata"]["resourceVersion"])

    def history(self, kind: str, namespace: str | None, since: str, name: str | None = None) -> list[Manifest]:
        """Every state that the objects of a kind have had since then, as a watch tells it; deleted ones are marked."""
        query = {"watch": "1", "resourceVersion": since, "timeoutSeconds": "1"}
        if name is not None:
            query["fieldSelector"] = f"metadata.name={name}"
        out = []
        for line in self.api.lines(self.path(kind, namespace), **query):
            event = json.loads(line)
            out.append({**event["object"], "_deleted": event["type"] == "DELETED"})
        return out

    def may(self, user: str, verb: str, resource: str, namespace: str, group: str = "", sub: str = "") -> bool:
        """What the API server's authorizer says of a user."""
        attributes = {"verb": verb, "resource": resource, "namespace": namespace, "group": group, "subresource": sub}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": attributes},
        }
        return bool(self.api.call("POST", _REVIEWS, review)["status"]["allowed"])


class Home(Live):
    """A project's namespace ``name``; its environments' namespaces are ``<name>-<environment>``."""

    def __init__(self, api: ApiServer) -> None:
        super().__init__(api)
        self.name = f"t{uuid.uuid4().hex[:7]}"
        self.namespace()

    # -- what the user writes ---------------------------------------------------------------------------------------

    def namespace(self, name: str | None = None, labels: dict[str, str] | None = None) -> str:
        name = name or self.name
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}})
        return name

    def project(self, **spec: Any) -> Manifest:
        return self.own("Project", self.name, spec)

    def environment(self, name: str = "dev", **spec: Any) -> Manifest:
        return self.own("Environment", name, {"isolation": "Open", **spec})

    def application(self, *components: Manifest, name: str = "shop", version: str = "1.0.0", **spec: Any) -> Manifest:
        parts = list(components) or [component()]
        return self.own("Application", name, {"version": version, "components": parts, **spec})

    def own(self, kind: str, name: str, spec: Manifest, **metadata: Any) -> Manifest:
        metadata = {"name": name, "namespace": self.name, **metadata}
        return self.apply({"apiVersion": V1ALPHA1, "kind": kind, "metadata": metadata, "spec": spec})

    def secret(self, name: str, namespace: str | None = None, labels: Any = None, **data: str) -> Manifest:
        metadata = {"name": name, "namespace": namespace or self.name, "labels": labels or {}}
        return self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def annotate(self, kind: str, name: str, **annotations: str | None) -> Manifest:
        marks = {f"homeport.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        return self.patch(kind, self.name, name, {"metadata": {"annotations": marks}}, manager="kubectl-annotate")

    def set(self, kind: str, name: str, **spec: Any) -> Manifest:
        """Merge fields into the spec of a resource of ours."""
        return self.patch(kind, self.name, name, {"spec": spec})

    # -- what the user sees -----------------------------------------------------------------------------------------

    def place(self, environment: str = "dev") -> str:
        """The namespace of an environment."""
        return f"{self.name}-{environment}"

    def mine(self, kind: str, name: str = "shop") -> Manifest:
        """A resource of ours."""
        return self.get(kind, self.name, name)

    def child(self, kind: str, name: str = "web", environment: str = "dev") -> Manifest:
        return self.get(kind, self.place(environment), name)

    def missing(self, kind: str, name: str, environment: str = "dev") -> bool:
        return self.find(kind, self.place(environment), name) is None

    def until(
        self,
        kind: str,
        name: str,
        status: str,
        reason: str = "",
        says: str | Iterable[str] = (),
        seconds: float = PATIENCE,
    ) -> Manifest:
        """The resource once its Ready is so, at its current generation; ``says`` is in the message."""
        wanted = [says] if isinstance(says, str) else list(says)

        def look() -> Manifest:
            body = self.mine(kind, name)
            seen = told(body)
            assert body["status"].get("observedGeneration") == body["metadata"]["generation"], (
                f"{seen}, older generation"
            )
            assert seen[0] == status and (not reason or seen[1] == reason), seen
            assert all(text in seen[2] for text in wanted), seen
            return body

        shown = f"{kind} {name} with Ready={status} {reason} {' '.join(wanted)}".strip()
        return dict(eventually(look, shown, seconds))

    def ready(self, kind: str = "Application", name: str = "shop", seconds: float = PATIENCE) -> Manifest:
        return self.until(kind, name, "True", seconds=seconds)

    def settled(self, kind: str = "Application", name: str = "shop") -> Manifest:
        """The resource after one more whole reconciliation that began after now."""
        token = uuid.uuid4().hex
        self.annotate(kind, name, reconcile_at=token)
        eventually(
            lambda: self.mine(kind, name)["status"].get("lastHandledReconcileAt") == token,
            f"{kind} {name} reconciled once more",
        )
        return self.mine(kind, name)

    def gone(self, kind: str, namespace: str | None, name: str, seconds: float = PATIENCE) -> None:
        def check() -> bool:
            found = self.find(kind, namespace, name)
            assert found is None, {**found.get("status", {}), "finalizers": found["metadata"].get("finalizers")}
            return True

        eventually(check, f"{kind} {namespace}/{name} is gone", seconds)

    def events(self, kind: str, name: str) -> list[Manifest]:
        """The operator's Events about a resource of ours, oldest first."""
        found = [e for e in self.list("Event", self.name) if e["involvedObject"]["kind"] == kind]
        found = [e for e in found if e["involvedObject"]["name"] == name]
        return sorted(found, key=lambda e: int(e["metadata"]["resourceVersion"]))

    # -- the end ----------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Ask for the end of everything in it; ``sweep`` sees it through."""
        for kind in ("GitSource", "Application", "Environment"):
            for item in self.list(kind, self.name):
                name = item["metadata"]["name"]
                if kind != "GitSource":
                    self._let_go(kind, name)
                self.delete(kind, self.name, name)
        if self.find("Project", self.name, self.name) is not None:
            self.set("Project", self.name, archived=True, suspend=False)

    def _let_go(self, kind: str, name: str) -> None:
        """Agree to the end of what may hold data; one that the test has deleted may be gone since it was listed."""
        try:
            self.patch(kind, self.name, name, {"spec": {"suspend": False}})
            self.annotate(kind, name, confirm_delete=name)
        except RefusedError as error:
            if error.code != 404:
                raise

    def sweep(self) -> None:
        """Wait for the end of what ``leave`` asked for, then remove what was retained. What hangs is an error."""
        if self.find("Project", self.name, self.name) is not None:
            self.until("Project", self.name, "True", "Archived")
            self.delete("Project", self.name, self.name)
            self.gone("Project", self.name, self.name)
        left = [
            (kind, name) for kind in ("GitSource", "Application", "Environment") for name in self.names(kind, self.name)
        ]
        for kind, name in left:
            self.gone(kind, self.name, name)
        for name in self.names("Namespace", None):
            if name == self.name or name.startswith(f"{self.name}-"):
                self.delete("Namespace", None, name)


def written(log: Path, offset: int, namespaces: Iterable[str]) -> dict[str, int]:
    """What the operator wrote in these namespaces since ``offset`` in the audit log, by verb and resource."""
    wanted = set(namespaces)
    out: dict[str, int] = {}
    with log.open("rb") as lines:
        lines.seek(offset)
        for line in lines:
            entry = json.loads(line)
            ref = entry.get("objectRef") or {}
            ours = str(entry.get("userAgent", "")).startswith("homeport-operator")
            if not ours or entry.get("stage") == "RequestReceived" or ref.get("resource") in ("leases", "events"):
                continue
            where = ref.get("namespace") or ref.get("name")
            if entry["verb"] in ("create", "update", "patch", "delete") and where in wanted:
                name = "/".join(filter(None, (ref.get("resource"), ref.get("subresource"))))
                out[f"{entry['verb']} {name}"] = out.get(f"{entry['verb']} {name}", 0) + 1
    return out
