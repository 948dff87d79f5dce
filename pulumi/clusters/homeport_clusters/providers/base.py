"""What the dynamic providers have in common.

**Conventions.** A provider is a module with a subclass of :class:`Provider` and a subclass of
``pulumi.dynamic.Resource`` that takes its inputs by keyword. Pulumi pickles the provider by its name into the state:
it has no fields of its own, so that a newer Homeport goes on with an older one's state, and all it needs is an input.

- ``create`` finds what is there before it makes anything: a run that was killed between the far side's answer and
  Pulumi's own state is followed by a second ``create``. What is found must carry our mark (``MARK``, with the
  stack's name); anything else of that name is somebody else's, and an error that says so.
- ``read`` answers ``gone()`` for what isn't there. Drift goes into the output ``drift``: the paths that differ, never
  their values, which may be secret. ``diff`` takes drift for a change, so that the next ``up`` mends it.
- ``delete`` of what is gone is well; what isn't ours is left alone; what holds data stays unless told twice
  (``DELETE_DATA``).
- Outputs repeat the inputs: ``diff`` compares old outputs with new inputs, and ``delete`` has nothing else.
- Inputs that are secret in the program are secret in the state, under the same name. What only the far side
  knows and is secret is named in ``additional_secret_outputs`` of the resource.
- Errors are sentences: what happened, to what, what to do. Pulumi shows them as they are.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from pulumi.dynamic import ConfigureRequest, DiffResult, ReadResult, ResourceProvider
from pulumi.runtime import rpc

Props = dict[str, Any]
T = TypeVar("T")

MARK = "clusters.homeport.dev/stack"
"""Label, tag or annotation of everything that is made: its value is the stack's name, ``ClusterFile.name``."""

MANAGER = "homeport-clusters"
"""The field manager of server-side apply."""

DELETE_DATA = "HOMEPORT_CLUSTERS_DELETE_DATA"
"""The environment variable that names the stack whose data may be deleted: the second of the two that must ask."""

REPLACE = "HOMEPORT_CLUSTERS_REPLACE"
"""The environment variable that names the clusters, split by commas, that may be deleted and made anew with all that
is in them."""

INTERNAL = frozenset({"__provider", "drift"})
"""Outputs that aren't inputs."""


class ProviderError(Exception):
    """What happened, to what, and what to do about it."""


class Provider(ResourceProvider):
    """A dynamic provider. ``replace_on`` names the inputs whose change makes a new resource, ``silent`` those whose
    change is none."""

    serialize_as_secret_always = False
    replace_on: ClassVar[tuple[str, ...]] = ()
    silent: ClassVar[tuple[str, ...]] = ()

    def configure(self, req: ConfigureRequest) -> None:
        """Called once in the plugin's process."""
        leave_with_parent()

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """By comparing old outputs with new inputs; drift counts as a change."""
        changed = differing(_olds, _news, self.silent)
        replaces = [name for name in self.replace_on if name in changed]
        drifted = bool(_olds.get("drift"))
        return DiffResult(changes=bool(changed) or drifted, replaces=replaces, delete_before_replace=True)


def differing(olds: Mapping[str, Any], news: Mapping[str, Any], silent: Iterable[str] = ()) -> list[str]:
    """The inputs that aren't as they were. What isn't known yet (a preview) may differ, and counts as such."""
    left_out = {*INTERNAL, *silent}
    names = [name for name in news if name not in left_out]
    return [name for name in names if news[name] == rpc.UNKNOWN or plain(news[name]) != plain(olds.get(name))]


def plain(value: Any) -> Any:
    """``value`` as it comes out of Pulumi's wire format: numbers are all floats there, and None is nothing."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def unknown(value: Any) -> bool:
    """Whether something in ``value`` will be known only when it has been made."""
    if isinstance(value, Mapping):
        return any(unknown(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(unknown(item) for item in value)
    return bool(value == rpc.UNKNOWN)


def is_ours(live: Mapping[str, Any], stack: str) -> bool:
    """Whether an object of Kubernetes has our mark."""
    return bool((live["metadata"].get("labels") or {}).get(MARK) == stack)


def gone() -> ReadResult:
    """What ``read`` answers for something that isn't there."""
    return ReadResult("", {})


def may_delete_data(stack: str) -> bool:
    """Whether the person who destroys the stack has asked for its data to go, too."""
    return os.environ.get(DELETE_DATA) == stack


def may_replace(name: str) -> bool:
    """Whether the person who runs `up` has asked for a cluster to be deleted and made anew."""
    return name in os.environ.get(REPLACE, "").split(",")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end; the engine calls providers from threads of its own."""
    return asyncio.run(work)


_CHILDREN: set[int] = set()
_watching = threading.Event()


def leave_with_parent(
    parent: Callable[[], int] = os.getppid, leave: Callable[[int], Any] = os._exit, every: float = 0.2
) -> None:
    """End this process when the engine that started it is gone, so that an engine that was killed writes no further.

    ``every`` is in seconds.
    """
    if _watching.is_set():
        return
    _watching.set()
    first = parent()

    def watch() -> None:
        while parent() == first:
            time.sleep(every)
        for pid in list(_CHILDREN):
            end(pid)
        leave(1)

    threading.Thread(target=watch, daemon=True, name="engine-watch").start()


def started(pid: int) -> None:
    """Remember a program that this process started in a group of its own: it ends with the engine."""
    _CHILDREN.add(pid)


def finished(pid: int) -> None:
    """Forget it."""
    _CHILDREN.discard(pid)


def end(pid: int) -> None:
    """Kill a program and what it started."""
    try:
        os.killpg(pid, 9)
    except (ProcessLookupError, PermissionError):
        return
