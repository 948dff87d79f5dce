"""What must be there before an application is applied without the operator: as commands, and as a page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from homeport.plan.plain import Bundle, Needed

PLACEHOLDER = "'…'"
"""For a value that only its owner knows; no value of a Secret is ever written here."""


def command(needed: Needed, namespace: str) -> str:
    """How it is made by hand; for what can't be made in a line, a comment that says what it is."""
    name = shlex.quote(needed.name)
    where = f"-n {shlex.quote(namespace)}"
    if needed.kind == "Secret" and "tls.crt" in needed.keys:
        return f"kubectl create secret tls {name} {where} --cert=FILE --key=FILE"
    if needed.kind == "Secret" and needed.why.startswith("credentials"):
        return (
            f"kubectl create secret docker-registry {name} {where} "
            "--docker-server=… --docker-username=… --docker-password=…"
        )
    if needed.kind in ("Secret", "ConfigMap"):
        kind = "secret generic" if needed.kind == "Secret" else "configmap"
        given = [f"--from-literal={key}={_value(needed, key)}" for key in needed.keys] or ["--from-env-file=FILE"]
        return f"{_variables(needed)}kubectl create {kind} {name} {where} {' '.join(given)}"
    if needed.kind == "ServiceAccount":
        return f"kubectl create serviceaccount {name} {where}  # with the rights that it needs"
    return f"# {needed.kind} {needed.name}: {needed.why}"


def _variables(needed: Needed) -> str:
    """Shell variables for generated keys that other keys hold too."""
    if not needed.template:
        return ""
    return "".join(f"{_variable(key)}={_random(length)}; " for key, length in (needed.lengths or {}).items())


def _variable(key: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", key.upper())


def _random(length: int) -> str:
    return f'"$(openssl rand -hex {-(-length // 2)})"'


def _value(needed: Needed, key: str) -> str:
    lengths = needed.lengths or {}
    if key in needed.template:
        text = re.sub(r'[\\"`$]', lambda found: f"\\{found[0]}", needed.template[key])
        for made in lengths:
            text = text.replace(f"\\$({made})", f"${{{_variable(made)}}}")
        return f'"{text}"'
    if key not in lengths:
        return PLACEHOLDER
    return f'"${{{_variable(key)}}}"' if needed.template else _random(lengths[key])


def why(needed: Needed) -> str:
    """Why it isn't among what is rendered."""
    if needed.lengths:
        return "made once and never changed; nothing secret is ever rendered"
    if needed.source:
        return f"Homeport would copy it from {needed.source}"
    return needed.why or "read by Pods, and not part of the application"


def remarks(bundle: Bundle) -> list[str]:
    """What standard error says beside plain manifests."""
    if not bundle.needs:
        return []
    out = [f"# before these in namespace {bundle.place.namespace}, which has to be there first:"]
    return out + [command(needed, bundle.place.namespace) for needed in bundle.needs]


def table(needs: Iterable[Needed]) -> list[str]:
    """What is needed, as a table in Markdown."""
    rows = [
        f"| {needed.kind} `{needed.name}` | {', '.join(f'`{key}`' for key in needed.keys) or 'all'} | {why(needed)} |"
        for needed in needs
    ]
    return ["| What | Keys | Why |", "| --- | --- | --- |", *rows] if rows else ["Nothing."]


def jobs(bundles: Sequence[Bundle]) -> list[str]:
    """The components whose migrations or one-time Jobs run without anybody holding anything back for them."""
    return list(
        dict.fromkeys(child.component for bundle in bundles for child in bundle.children if child.job_hash is not None)
    )


def url(bundle: Bundle) -> str | None:
    """Where the application answers in an environment, if anywhere."""
    settings = bundle.place.spec.ingress
    for part in bundle.components:
        for route in part.routes or ():
            host = route.host or (settings.domain if settings is not None else None)
            if host and not host.startswith("*"):
                secure = settings is not None and settings.tls is not None
                return f"{'https' if secure else 'http'}://{host}"
    return None
