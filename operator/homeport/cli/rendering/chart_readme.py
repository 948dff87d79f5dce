"""The page that comes with a chart: how to install it, and what must be there before. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from homeport.api.application import ApplicationSpec
from homeport.api.resource import Resource
from homeport.cli.rendering import notes
from homeport.plan.plain import Bundle

App = Resource[ApplicationSpec]


def readme(app: App, bundles: Sequence[Bundle]) -> str:
    """How to install it, and what must be there before."""
    lines = [
        f"# {app.spec.title or app.name}: a Helm chart",
        "",
        f"Written by `homeport render {app.name} -o helm`. It needs no operator.",
        "",
        "Objects are called after their components, for siblings find each other by these names: one release for each",
        "namespace. The namespace is made before, for Helm can't own the one that it installs into.",
        "",
    ]
    for bundle in bundles:
        namespace = bundle.place.namespace
        needs = [needed for needed in bundle.needs if not needed.lengths]
        lines += [f"## {bundle.name}: namespace `{namespace}`, version {bundle.version}", ""]
        address = notes.url(bundle)
        if address is not None:
            lines += [f"It answers at {address}.", ""]
        lines += ["What must be there before:", "", *notes.table(needs), "", "```sh"]
        lines.append(f"kubectl apply -f namespaces/{bundle.name}.yaml")
        lines += [notes.command(needed, namespace) for needed in needs]
        lines += [
            f"helm upgrade --install {app.name} . -n {namespace} -f values-{bundle.name}.yaml --timeout 15m",
            "```",
        ]
        lines.append("")
    if notes.jobs(bundles):
        lines += [*_HOOKS, ""]
    lines += _generated(bundles)
    return "\n".join([*lines, *_REST, ""])


_HOOKS = (
    "## Migrations and other Jobs",
    "",
    "A migration is a hook: before an upgrade, so that the old Pods go on when it fails; and after the first",
    "installation, for its database comes with the same release. Other Jobs that run once are hooks after both. They",
    "run in every release, also when nothing of theirs changed. Helm waits for them: give it time with `--timeout`.",
)
_MADE = (
    "## Generated secrets",
    "",
    "The first installation makes them, later ones read them back (`lookup`), and they stay when the release goes.",
    "",
    "Argo CD and `helm template` don't ask the cluster, so `lookup` finds nothing: with them each sync would write new",
    "passwords, which a database that was set up with the old ones doesn't know. There, set `generateSecrets: false`,",
    "and make them once, under these names, as here or with any other tool:",
    "",
)
_ARGO = (
    "The same goes where these Secrets exist already. Those that Helm has made stay when the value becomes false.",
    "",
)


def _generated(bundles: Sequence[Bundle]) -> list[str]:
    """How Secrets come to be that have generated values, if there are any."""
    commands = [
        notes.command(needed, bundle.place.namespace) for bundle in bundles for needed in bundle.needs if needed.lengths
    ]
    return [*_MADE, "```sh", *commands, "```", "", *_ARGO] if commands else []


_REST = (
    "## Taking it away",
    "",
    "`helm uninstall` leaves volumes with `keep: true`, those of stateful components, generated secrets and the",
    "namespace.",
    "",
    "## Values",
    "",
    "`values.schema.json` describes them, and Helm refuses what doesn't fit. `null` in a values file takes a key away.",
)
