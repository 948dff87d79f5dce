"""What commands change in an Application's spec: pure, each from a spec to another and what that means in lines.

A change for one environment goes into its overrides; one for all into the component, and into overrides that say
otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from homeport.api.component import RUNNING_TYPES
from homeport.cli.errors import Failure

Spec = Mapping[str, Any]
Edited = tuple[dict[str, Any], list[str]]


def restart(spec: Spec, components: Sequence[str], environments: Sequence[str], token: str) -> Edited:
    """``restartAt: token``, a new value of which replaces the Pods once. Jobs run again, if they are named."""
    out = copy.deepcopy(dict(spec))
    chosen = _chosen(out, components)
    for part in chosen:
        if _type(part) == "cron":
            raise Failure(
                f"{part['name']} is a cron component: nothing of it runs all the time",
                f"to run it now: kubectl create job --from=cronjob/{part['name']} NAME, in the environment's namespace",
            )
        for there in _places(out, environments):
            _override(there, part["name"])["restartAt"] = token
        if not environments:
            part["restartAt"] = token
            for own in _overrides_of(out, part["name"]):
                if "restartAt" in own:
                    own["restartAt"] = token
    return _tidy(out), [f"{_names(chosen)} will be restarted{_where(environments)}"]


def pause(spec: Spec, components: Sequence[str], environments: Sequence[str]) -> Edited:
    """``paused``, and a cron component's ``suspend``, if it is named."""
    out = copy.deepcopy(dict(spec))
    chosen = _chosen(out, components)
    for part in chosen:
        field = _hold(part)
        for there in _places(out, environments):
            _override(there, part["name"])[field] = True
        if not environments:
            part[field] = True
            for own in _overrides_of(out, part["name"]):
                own.pop(field, None)
    return _tidy(out), [f"{_names(chosen)} paused{_where(environments)}; `homeport resume` goes on"]


def resume(spec: Spec, components: Sequence[str], environments: Sequence[str]) -> Edited:
    """The reverse of ``pause``; for the whole application of ``suspend``, too."""
    out = copy.deepcopy(dict(spec))
    lines = []
    if out.get("suspend") and not components and not environments:
        out["suspend"] = False
        lines.append("no longer suspended")
    moved = []
    for part in _chosen(out, components):
        field, before = _hold(part), copy.deepcopy(out)
        for there in _places(out, environments):
            own = _override(there, part["name"])
            own.pop(field, None)
            if part.get(field):
                own[field] = False
        if not environments:
            part.pop(field, None)
            for own in _overrides_of(out, part["name"]):
                own.pop(field, None)
        if _tidy(copy.deepcopy(out)) != _tidy(before):
            moved.append(part)
    if moved:
        lines.append(f"{_names(moved)} go{'es' if len(moved) == 1 else ''} on{_where(environments)}")
    return (_tidy(out), lines) if lines else (copy.deepcopy(dict(spec)), ["nothing is paused or suspended"])


def scale(spec: Spec, wanted: Mapping[str, int | None], environments: Sequence[str]) -> Edited:
    """``replicas`` of components; None hands them back to what the spec says without. 0 stops autoscaling, too."""
    out = copy.deepcopy(dict(spec))
    lines = []
    for name, number in wanted.items():
        (part,) = _chosen(out, [name])
        if _type(part) not in RUNNING_TYPES:
            raise Failure(f"{name} is a {_type(part)} component, which has no replicas")
        for there in _places(out, environments):
            _scale_there(part, there, number)
        if not environments:
            _scale_everywhere(part, number)
            for there in out.get("environments") or ():
                own = (there.get("overrides") or {}).get(name) or {}
                if "replicas" in own and number is not None:
                    lines.append(
                        f"{there['name']} keeps {own['replicas']} of {name}, as its override says; "
                        f"-e {there['name']} changes that"
                    )
        shown = "as the spec says" if number is None else f"{number} replica{'s' if number != 1 else ''}"
        lines.insert(0, f"{name}: {shown}{_where(environments)}")
    return _tidy(out), lines


def _scale_everywhere(part: dict[str, Any], number: int | None) -> None:
    if number is None:
        part.pop("replicas", None)
        return
    if number and part.get("autoscaling"):
        raise _autoscaled(part["name"], part["autoscaling"])
    part["replicas"] = number


def _scale_there(part: Spec, there: dict[str, Any], number: int | None) -> None:
    own = _override(there, part["name"])
    without = [entry for entry in own.get("without") or () if entry != "autoscaling"]
    own.pop("replicas", None)
    if number is not None:
        if number and own.get("autoscaling"):
            raise _autoscaled(f"{part['name']} in {there['name']}", own["autoscaling"])
        own["replicas"] = number
        if number and part.get("autoscaling"):
            without.append("autoscaling")
    own["without"] = without


def _autoscaled(name: str, settings: Mapping[str, Any]) -> Failure:
    bounds = f" between {settings['min']} and {settings['max']}" if {"min", "max"} <= settings.keys() else ""
    return Failure(
        f"{name} is autoscaled{bounds}",
        "COMPONENT=0 stops it and COMPONENT=auto goes on; -e ENVIRONMENT fixes a number there; or change "
        "autoscaling.min and max in the spec",
    )


# --- where ------------------------------------------------------------------------------------------------------------


def _type(part: Spec) -> str:
    return str(part.get("type") or "service")


def _hold(part: Spec) -> str:
    if _type(part) == "job":
        raise Failure(f"{part['name']} is a job, which can't be paused")
    return "suspend" if _type(part) == "cron" else "paused"


def _chosen(spec: Spec, names: Sequence[str]) -> list[dict[str, Any]]:
    """The components with these names, or all that run all the time. Raises Failure that lists those there are."""
    parts: list[dict[str, Any]] = spec["components"]
    if not names:
        running = [part for part in parts if _type(part) in RUNNING_TYPES]
        if not running:
            raise Failure("no component runs all the time", "name one with -c")
        return running
    known = {part["name"]: part for part in parts}
    for name in names:
        if name not in known:
            raise Failure(f"there is no component {name!r}", f"there are: {', '.join(known)}")
    return [known[name] for name in names]


def _places(spec: Spec, environments: Sequence[str]) -> list[dict[str, Any]]:
    """The application's own words about these environments. Raises Failure where it has none."""
    if not environments:
        return []
    if spec.get("environments") is None:
        raise Failure(
            "the application lists no environments, and so runs in every one: none can be treated apart",
            "list them in spec.environments first",
        )
    known = {entry["name"]: entry for entry in spec["environments"]}
    for name in environments:
        if name not in known:
            raise Failure(f"the application doesn't run in {name!r}", f"it runs in: {', '.join(known) or 'none'}")
    return [known[name] for name in environments]


def _override(there: dict[str, Any], component: str) -> dict[str, Any]:
    found: dict[str, Any] = there.setdefault("overrides", {}).setdefault(component, {})
    return found


def _overrides_of(spec: Spec, component: str) -> Iterable[dict[str, Any]]:
    for there in spec.get("environments") or ():
        own = (there.get("overrides") or {}).get(component)
        if own is not None:
            yield own


def _tidy(spec: dict[str, Any]) -> dict[str, Any]:
    """Without overrides that say nothing."""
    for there in spec.get("environments") or ():
        if there.get("overrides") is None:
            continue
        for name, own in list(there["overrides"].items()):
            if own.get("without") == []:
                del own["without"]
            if not own:
                del there["overrides"][name]
        if not there["overrides"]:
            del there["overrides"]
    return spec


def _names(parts: Iterable[Spec]) -> str:
    return ", ".join(part["name"] for part in parts)


def _where(environments: Sequence[str]) -> str:
    return f" in {', '.join(environments)}" if environments else ""
