"""What the API server's refusal of a source's object means, in words that a person can act on.

Messages are those of Kubernetes 1.35: pkg/apis/*/validation, staging/src/k8s.io/apiserver/pkg/authorization.
"""

from __future__ import annotations

import re

from homeport.api import labels
from homeport.api.conditions import Reason
from homeport.drivers.kubernetes import errors
from homeport.outcome import Outcome, Stalled, Transient, Wait
from homeport.plan.gitops.changes import replaceable
from homeport.plan.gitops.types import Wanted

_DENIED = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_IMMUTABLE = re.compile(
    r"field is immutable|is immutable after creation|may not be changed|may not change once set|immutable field|"
    r"updates to \S+ spec for fields other than|cannot change roleRef|[Ff]orbidden: pod updates may not change",
)
_UNREADABLE = re.compile(
    r"failed to create typed (?:patch )?object \([^)]*\): (?P<why>.*)"
    r"|failed to convert new object .*?: error decoding from json: (?P<other>.*)",
    re.DOTALL,
)
_VALUE = re.compile(r'Invalid value: "(?:[^"\\]|\\.)*":? ?')
_NO_DRY_RUN = "does not support dry run"


def immutable(error: errors.ApiError) -> tuple[str, ...] | None:
    """The fields that can't be changed on an object that is there; None when the refusal is about something else."""
    if not isinstance(error, errors.Invalid):
        return None
    found = [cause.field for cause in error.causes if _IMMUTABLE.search(cause.message)]
    if found:
        return tuple(dict.fromkeys(filter(None, found))) or ("spec",)
    return ("spec",) if _IMMUTABLE.search(str(error)) else None


def unreadable(error: errors.ApiError) -> str:
    """What is wrong with an object that doesn't fit its schema: server-side apply calls that a fault of its own (500).
    Empty for other errors."""
    found = _UNREADABLE.search(str(error))
    said = (found["why"] or found["other"]) if found is not None else ""
    lines = (line.strip().lstrip(".") for line in said.removeprefix("errors:").splitlines())
    return "; ".join(filter(None, lines))


def cannot_dry_run(error: errors.ApiError) -> bool:
    """Whether a webhook can't be asked without consequences: then only the write itself tells."""
    return error.status == 400 and _NO_DRY_RUN in str(error)


def replacement(wanted: Wanted, fields: tuple[str, ...]) -> Stalled:
    """Immutable fields changed, and nobody has asked for another object."""
    what = f"{_begin(wanted)}{', '.join(fields[:4])} can't be changed on what is there"
    if not replaceable(wanted.id):
        return Stalled(Reason.REPLACEMENT_REQUIRED, f"{what}, and with it data would go; undo the change")
    ask = f"; undo the change, or write the annotation {labels.REPLACE_AT} with a new value on it in Git"
    return Stalled(Reason.REPLACEMENT_REQUIRED, f"{what}{ask} to have it deleted and made anew")


def explain(error: errors.ApiError, wanted: Wanted, account: str) -> Outcome:
    """What a refusal of ``wanted`` by the server means."""
    begin = _begin(wanted)
    said = unreadable(error)
    if said and wanted.id.kind == "Secret":
        said = said.partition(", got ")[0]
    if said:
        return Stalled(Reason.DRY_RUN_FAILED, f"{begin}{said}")
    match error:
        case errors.TooManyRequests() | errors.ServerUnavailable():
            return Transient(Reason.PROGRESSING_WITH_RETRY, f"{begin}{error}")
        case errors.Conflict() if error.managers:
            whose = ", ".join(error.managers)
            return Stalled(
                Reason.CONFLICT,
                f"{begin}{whose} has set {_fields(error)}; leave that out in Git, or write the annotation "
                f'{labels.ADOPT}: "true" on it to take it over',
            )
        case errors.Conflict() | errors.AlreadyExists():
            return Wait(Reason.PROGRESSING, f"{begin}it has just changed; looking again", 0.3)
        case errors.NotFound() if "namespaces" in str(error):
            text = f"{begin}there is no namespace {wanted.id.namespace}; make it first, or put it into Git"
            return Wait(Reason.DEPENDENCY_NOT_READY, text, 10.0)
        case errors.NotFound():
            text = f"{begin}the cluster doesn't serve {wanted.id.kind} in {wanted.manifest['apiVersion']} ({error})"
            return Wait(Reason.DEPENDENCY_NOT_READY, text, 5.0)
        case errors.Forbidden() | errors.Unauthorized():
            return _forbidden(error, begin, account)
        case errors.Invalid():
            said = _causes(error)
            if wanted.id.kind == "Secret":
                said = _VALUE.sub("", said)
            return Stalled(Reason.DRY_RUN_FAILED, f"{begin}{said}")
        case _:
            return Stalled(Reason.DRY_RUN_FAILED, f"{begin}{error}")


def _forbidden(error: errors.ApiError, begin: str, account: str) -> Outcome:
    """403 is said for more than rights."""
    if "being terminated" in str(error):
        return Wait(Reason.DEPENDENCY_NOT_READY, f"{begin}its namespace is being deleted", 5.0)
    if "status unknown for quota" in str(error):
        return Wait(Reason.PROGRESSING, f"{begin}Kubernetes hasn't counted yet what a quota bounds ({error})", 5.0)
    if "exceeded quota" in str(error):
        return Stalled(Reason.APPLY_FAILED, f"{begin}{error}; ask for less, or raise the quota")
    return denied(error, begin, account)


def denied(error: errors.ApiError, begin: str, account: str) -> Stalled:
    """RBAC or an admission policy says no."""
    found = _DENIED.search(str(error))
    if found is None:
        return Stalled(Reason.ACCESS_DENIED, f"{begin}{error}")
    resource = f"{found['resource']}.{found['group']}" if found["group"] else found["resource"]
    # Of a Namespace itself the server says that it is in itself.
    namespace = found["namespace"] if found["resource"] != "namespaces" else None
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    if found["verb"] == "impersonate" or found["user"] != account:
        who, hint = f"the operator ({found['user']})", "its ClusterRole has to allow that"
    else:
        role = "Role" if namespace else "ClusterRole"
        who = f"the account {shown(account)}"
        hint = f"grant {found['verb']} on {resource} to it by a {role}, or leave it out"
    return Stalled(Reason.ACCESS_DENIED, f"{begin}{who} may not {found['verb']} {resource} {where}; {hint}")


def shown(account: str) -> str:
    """A service account as a person writes it: namespace/name."""
    return "/".join(account.split(":")[2:]) if account.startswith("system:serviceaccount:") else account


def _begin(wanted: Wanted) -> str:
    return f"{wanted.where}: {wanted.id.shown}: " if wanted.where else f"{wanted.id.shown}: "


def _fields(error: errors.ApiError) -> str:
    found = [cause.field.lstrip(".") for cause in error.causes if cause.reason == "FieldManagerConflict"]
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return ", ".join(found[:4]) + more if found else "fields of it"


def _causes(error: errors.ApiError) -> str:
    """The fields with what is wrong with them, without the kind and name that the server puts in front."""
    told = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in error.causes[:4]]
    return "; ".join(told) or str(error)
