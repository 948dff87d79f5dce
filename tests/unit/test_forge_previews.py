"""What a pull request becomes: who gets a preview, what is followed of it, and what is written beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from homeport.api import labels
from homeport.api.resource import Resource, parse
from homeport.plan.gitops import comment, planview
from homeport.plan.gitops.build import Built, BuiltObject
from homeport.plan.gitops.comment import Line, PlanView, PreviewView
from homeport.plan.gitops.previews import Known, Preview, Stage, Ticket, preview, tickets
from homeport.plan.gitops.pulls import Firm, Pull, State
from homeport.plan.types import Verb

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SINCE = "2026-11-21T12:00:00Z"
DAY = timedelta(days=1)


def pull(number: int = 7, head: str = "a" * 40, **fields: Any) -> Pull:
    known = {"title": "A page", "author": "eve", "ref": f"refs/pull/{number}/head", "base": "main", "fork": False}
    return Pull(number=number, head=head, **{**known, **fields})


# --- who gets one ---------------------------------------------------------------------------------------------------


def test_each_open_pull_request_has_its_turn() -> None:
    found = tickets([pull(3), pull(1), pull(2)], {2: "no label"}, {}, 5, DAY, NOW)
    assert [(t.pull.number, t.admitted, t.stage, t.since) for t in found] == [
        (1, True, Stage.BUILDING, SINCE),
        (2, False, Stage.WAITING, ""),
        (3, True, Stage.BUILDING, SINCE),
    ]


def test_the_limit_leaves_those_that_are_there_their_place() -> None:
    known = {9: Known("a" * 40, "2026-11-21T11:00:00Z", True)}
    found = {t.pull.number: t for t in tickets([pull(1), pull(2), pull(9)], {}, known, 2, DAY, NOW)}
    assert [number for number, t in found.items() if t.admitted] == [1, 9]
    assert found[9].since == "2026-11-21T11:00:00Z"
    assert found[2].message == "there are 2 previews, and max is 2; it is made when another one goes"


def test_its_time_runs_from_its_newest_commit() -> None:
    old = "2026-11-20T11:59:00Z"
    known = {1: Known("a" * 40, old, True), 2: Known("b" * 40, old, True), 3: Known("a" * 40, old, False)}
    found = tickets([pull(1), pull(2), pull(3)], {}, known, 5, DAY, NOW)
    assert [(t.admitted, t.stage, t.since) for t in found] == [
        (False, Stage.EXPIRED, old),
        (True, Stage.BUILDING, SINCE),
        (False, Stage.EXPIRED, old),
    ]


def test_a_commit_that_isnt_let_in_leaves_the_one_before() -> None:
    known = {1: Known("b" * 40, SINCE, True), 2: Known("b" * 40, SINCE, False)}
    found = tickets([pull(1), pull(2), pull(3)], {1: "pushed after", 2: "pushed after"}, known, 1, DAY, NOW)
    assert [(t.admitted, t.keeps) for t in found] == [(False, True), (False, False), (False, False)]
    assert "max is 1" in found[2].message, "what stays has a place"
    (gone,) = tickets([pull(1)], {1: Firm("the label is off")}, known, 1, DAY, NOW)
    assert (gone.admitted, gone.keeps, gone.message) == (False, False, "the label is off")


# --- what is followed -----------------------------------------------------------------------------------------------

TEMPLATE = """
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {name: preview, namespace: shop}
spec:
  tier: Preview
  template: true
  kubernetes: {namespace: shop-elsewhere}
  variables: {LOG_LEVEL: DEBUG}
  secrets: [{name: db, from: db-preview}, {name: other}]
  ingress: {className: traefik, domain: preview.example.com}
  quota: {cpu: "2"}
  promotion: {from: staging}
"""
APPLICATION = """
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata:
  name: web
  namespace: shop
  annotations: {homeport.dev/confirm-delete: web}
  labels: {homeport.dev/source-name: fleet}
spec:
  version: 1.2.3
  deletionPolicy: Retain
  components:
    - name: site
      image: registry.example.com:5000/shop/site
      ports: [{name: http, port: 8080}]
      routes: [{path: /}, {path: /, host: admin.example.com}, {path: /x, host: "*.example.com"}]
    - name: cache
      type: worker
      image: redis:7
  environments: [{name: production}, {name: staging}]
"""


def load(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def template(text: str = TEMPLATE) -> Resource[Any]:
    return parse(load(text))


def made(
    *objects: Mapping[str, Any], secrets: tuple[str, ...] = (), of: Resource[Any] | None = None, **fields: Any
) -> Preview:
    ticket = Ticket(pull(**fields), True, SINCE)
    return preview("fleet", ticket, of or template(), objects, secrets, "72h")


def test_the_environment_is_the_template_with_a_place_of_its_own() -> None:
    found = made(load(APPLICATION), secrets=("db",)).environment
    assert found["metadata"] == {
        "name": "pr-7",
        "namespace": "shop",
        "labels": {labels.MANAGED_BY: labels.MANAGER, labels.PREVIEW_OF: "fleet", labels.PULL_REQUEST: "7"},
        "annotations": {labels.REVISION: "a" * 40, labels.PREVIEW_SINCE: SINCE},
    }
    assert found["spec"] == {
        "tier": "Preview",
        "variables": {"PREVIEW_NUMBER": "7", "LOG_LEVEL": "DEBUG"},
        "ingress": {"className": "traefik", "domain": "pr-7.preview.example.com"},
        "quota": {"cpu": "2"},
        "deletionPolicy": "Delete",
        "ttl": "72h",
        "secrets": [{"name": "db", "from": "db-preview"}],
    }
    parse(found)


def test_what_runs_in_a_preview_knows_which_pull_request_it_is() -> None:
    found = made(load(APPLICATION), branch="a-$(HOME)")
    assert found.environment["spec"]["variables"] == {
        "PREVIEW_NUMBER": "7", "PREVIEW_BRANCH": "a-$$(HOME)", "LOG_LEVEL": "DEBUG"
    }  # fmt: skip
    site, cache = found.applications[0]["spec"]["components"]
    assert {"name": "PREVIEW_COMMIT", "value": "a" * 40} in site["env"]
    assert "PREVIEW_COMMIT" not in str(cache.get("env")), "with an image of its own it doesn't roll with each push"
    own = load(APPLICATION)
    own["spec"]["components"][0]["env"] = [{"name": "PREVIEW_COMMIT", "value": "mine"}]
    assert made(own).applications[0]["spec"]["components"][0]["env"] == [{"name": "PREVIEW_COMMIT", "value": "mine"}]
    parse(found.environment)


def test_a_templates_own_variables_win() -> None:
    of = template(TEMPLATE.replace("LOG_LEVEL: DEBUG", "PREVIEW_NUMBER: '0'"))
    assert made(of=of).environment["spec"]["variables"] == {"PREVIEW_NUMBER": "0"}
    many = ", ".join(f"V{at}: a" for at in range(64))
    of = template(TEMPLATE.replace("LOG_LEVEL: DEBUG", many))
    assert len(made(of=of).environment["spec"]["variables"]) == 64


def test_another_cluster_of_the_template_is_the_previews_too() -> None:
    of = template(TEMPLATE.replace("namespace: shop-elsewhere", "kubeconfigSecretRef: {name: eu, key: kubeconfig}"))
    assert made(of=of).environment["spec"]["kubernetes"] == {"kubeconfigSecretRef": {"name": "eu", "key": "kubeconfig"}}


def test_an_application_is_bound_to_its_environment_and_its_commit() -> None:
    found = made(load(APPLICATION))
    (app,) = found.applications
    assert found.said == ()
    assert app["metadata"] == {
        "name": "web-pr-7",
        "namespace": "shop",
        "labels": {labels.MANAGED_BY: labels.MANAGER, labels.PREVIEW_OF: "fleet", labels.PULL_REQUEST: "7"},
        "annotations": {labels.REVISION: "a" * 40},
    }
    assert app["spec"]["environments"] == [{"name": "pr-7"}]
    assert "deletionPolicy" not in app["spec"]
    site, cache = app["spec"]["components"]
    assert site["image"] == f"registry.example.com:5000/shop/site:{'a' * 40}", "an image without a tag is the commit's"
    assert cache["image"] == "redis:7"
    assert [route.get("host", "") for route in site["routes"]] == ["", "admin-pr-7.preview.example.com", ""]


def test_what_it_says_of_the_template_is_how_it_is_in_previews() -> None:
    app = load(APPLICATION)
    app["spec"]["environments"].append(
        {
            "name": "preview",
            "version": "2.0.0",
            "overrides": {"site": {"replicas": 1, "serviceAccountName": "root", "image": "shop/site"}},
            "patches": [{"target": {"kind": "Deployment"}, "patch": "- {op: remove, path: /spec/replicas}"}],
        }
    )
    found = made(app)
    assert found.applications[0]["spec"]["environments"] == [
        {
            "name": "pr-7",
            "version": "2.0.0",
            "overrides": {"site": {"replicas": 1, "image": f"shop/site:{'a' * 40}"}},
        }
    ]
    assert found.said == (
        "Application web: the service account root isn't given to previews.",
        "Application web: patches aren't applied in previews.",
    )


def changed(**fields: Any) -> dict[str, Any]:
    app = load(APPLICATION)
    app["spec"]["components"][0] |= fields
    return app


HOSTILE: list[tuple[str, list[dict[str, Any]], dict[str, Any], list[str]]] = [
    (
        "a service account",
        [changed(serviceAccountName="deployer")],
        {},
        ["the service account deployer isn't given to previews (component site)"],
    ),
    (
        "secrets to pull images with",
        [changed(imagePullSecrets=[{"name": "registry"}, {"name": "db"}])],
        {"secrets": ("db",)},
        ["Secret registry to pull images with isn't on the list of environment.secrets (component site)"],
    ),
    (
        "a secret that isn't on the list",
        [changed(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "other", "key": "x"}}}])],
        {"secrets": ("db",)},
        ["Secret other isn't on the list of environment.secrets, so it waits for one of that name (component site)"],
    ),
    (
        "a fork that asks for a secret on the list",
        [changed(envFrom=[{"secretRef": {"name": "db"}}], egress=[{"cidr": "10.0.0.0/8"}])],
        {"secrets": ("db",), "fork": True},
        ["gets no Secrets", "Secret db isn't on the list", "egress to private networks isn't opened for forks"],
    ),
    (
        "another namespace",
        [{**load(APPLICATION), "metadata": {"name": "web", "namespace": "kube-system"}}],
        {},
        ["Application web is left out: it is for namespace kube-system, and a preview is of this project"],
    ),
    (
        "kinds that reach further",
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}},
            {"apiVersion": "other.dev/v1", "kind": "Application", "metadata": {"name": "x"}},
        ],
        {},
        ["Only Applications are in a preview; left out: 1 Application, 1 ClusterRole, 1 Namespace, 1 Secret"],
    ),
    (
        "another template",
        [{**load(TEMPLATE), "spec": {"template": True, "podSecurity": "privileged"}}],
        {},
        ["Environment preview, the template of previews, is otherwise here than in the cluster", "1 Environment"],
    ),
    ("nonsense", [changed(replicas="many")], {}, ["left out: spec.components[site].replicas: must be a whole number"]),
    (
        "no components",
        [{**load(APPLICATION), "spec": {"version": "1.0.0", "components": ["x"]}}],
        {},
        ["Application web is left out: its components can't be read"],
    ),
]


@pytest.mark.parametrize(("objects", "fields", "said"), [case[1:] for case in HOSTILE], ids=[c[0] for c in HOSTILE])
def test_what_isnt_followed_is_said(objects: list[dict[str, Any]], fields: dict[str, Any], said: list[str]) -> None:
    found = made(*objects, **fields)
    for text in said:
        assert any(text in line for line in found.said), found.said
    assert len(found.said) == len(said)
    spec = found.environment["spec"]
    assert spec.get("podSecurity", "restricted") == "restricted"
    assert all(entry["name"] == "db" for entry in spec.get("secrets") or ())
    for app in found.applications:
        text = yaml.safe_dump(app)
        assert "deployer" not in text
        assert "name: registry\n" not in text
        assert app["metadata"]["namespace"] == "shop"
        if fields.get("fork"):
            assert "egress" not in text
    if fields.get("fork"):
        assert "secrets" not in spec


def test_a_secret_that_it_makes_itself_is_its_own() -> None:
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "own", "key": "password"}}}]
    assert made(changed(env=env, secrets=[{"name": "own", "generate": {"length": 32}}])).said == ()


def test_without_a_domain_nothing_leads_to_a_preview() -> None:
    of = template(TEMPLATE.replace(", domain: preview.example.com", ""))
    found = made(load(APPLICATION), of=of)
    assert found.applications[0]["spec"]["components"][0]["routes"] == []
    assert found.said == (
        "Application web: its routes are left out, as the template has no ingress.domain (component site).",
    )


def test_a_preview_of_the_same_is_the_same() -> None:
    assert made(load(APPLICATION)) == made(load(APPLICATION))


# --- what is written beside it --------------------------------------------------------------------------------------


def test_the_comment() -> None:
    plan = PlanView(
        (
            Line(Verb.CREATE, "Application shop/web", where="apps/web.yaml:1"),
            Line(
                Verb.UPDATE, "Application shop/api", fields=("spec.version", "spec.components"), where="apps/api.yaml:3"
            ),
            Line(Verb.DELETE, "Application shop/old", "it left the repository", loses_data=True),
        )
    )
    view = PreviewView(Stage.RUNNING, "https://pr-7.preview.example.com", ready=True, said=("Patches aren't applied.",))
    assert (
        comment.text("fleet", "a" * 40, plan, view)
        == """\
### Homeport: `fleet` at `aaaaaaaaaaaa`

Merging it: 1 made, 1 changed, 1 deleted; data of 1 would be lost.

**Data would be lost** of `Application shop/old`.

| | object | what | where |
|---|---|---|---|
| + | `Application shop/web` | made | `apps/web.yaml:1` |
| ~ | `Application shop/api` | changed; `spec.version`, `spec.components` | `apps/api.yaml:3` |
| − | `Application shop/old` | deleted; `it left the repository`, **data lost** |  |

#### Preview

<https://pr-7.preview.example.com>

Ready.

<details><summary>What of it isn't followed in the preview</summary>

```text
Patches aren't applied.
```

</details>
"""
    )
    assert [(s.context, s.state, s.description, s.url) for s in comment.statuses("shop", "fleet", plan, view)] == [
        ("homeport/shop/fleet/plan", State.SUCCESS, "1 made, 1 changed, 1 deleted; data of 1 would be lost", ""),
        ("homeport/shop/fleet/preview", State.SUCCESS, "the preview is ready", "https://pr-7.preview.example.com"),
    ]


def test_a_strangers_words_stay_words() -> None:
    nasty = "x`|@admin\n```\n# <img src=x> [a](javascript:0)"
    plan = PlanView((Line(Verb.CREATE, nasty, where=nasty),), (nasty, "ok"))
    text = comment.text("fleet", "a" * 40, plan, PreviewView(Stage.FAILED, "javascript:'x'", nasty))
    lines = text.splitlines()
    assert sum(line.startswith("```") for line in lines) == 4, "every block is ended, and only by us"
    inside = False
    for line in lines:
        if line.startswith("```"):
            inside = not inside
        elif not inside and "@admin" in line:
            assert line.startswith("|")
            assert line.count("|") == 5
            assert "@admin" in line.split("`")[1]
    assert "<javascript" not in text


def test_no_secret_value_is_in_it() -> None:
    plan = PlanView(problems=('Secret shop/db: Invalid value: "hunter22hunter": too short',))
    text = comment.text("fleet", "a" * 40, plan, None, ["hunter22hunter", "hunter22", "", "x"])
    assert "hunter22" not in text
    assert 'Invalid value: "•••"' in text


def test_it_is_bounded() -> None:
    lines = tuple(Line(Verb.CREATE, f"ConfigMap shop/{n:04}{'x' * 240}", where="y" * 290) for n in range(500))
    text = comment.text("fleet", "a" * 40, PlanView(lines, ("z" * 5000,) * 50), None)
    assert len(text) <= comment.LENGTH
    assert "and 400 more" in text or "too long for a comment" in text
    assert text.count("\n```") % 2 == 0


def built(*manifests: Mapping[str, Any], secret: bool = False) -> Built:
    objects = tuple(BuiltObject(found, "a.yaml", n, secret) for n, found in enumerate(manifests, 1))
    return Built(objects, "digest")


def config(name: str, kind: str = "ConfigMap", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "data": data}


def test_an_offline_plan_compares_two_builds() -> None:
    base = built(config("same", a="1"), config("other", a="1", b="2"), config("gone"), config("s", "Secret", a="YQ=="))
    head = built(config("same", a="1"), config("other", a="2"), config("new"), config("s", "Secret", a="Yg=="))
    found = planview.offline(base, head, "it comes from a fork")
    assert [(line.verb, line.object, line.fields) for line in found.lines] == [
        (Verb.DELETE, "ConfigMap shop/gone", ()),
        (Verb.CREATE, "ConfigMap shop/new", ()),
        (Verb.UPDATE, "ConfigMap shop/other", ("data.a", "data.b")),
        (Verb.UPDATE, "Secret shop/s", ()),
    ]
    assert "it comes from a fork" in comment.text("fleet", "a" * 40, found, None)
    assert comment.statuses("shop", "fleet", found, None)[0].description == "1 made, 2 changed, 1 deleted (offline)"


def test_what_secrets_hold_is_known() -> None:
    found = set(planview.secret_values(built(config("s", "Secret", a="aHVudGVyMjI=")).objects))
    assert found == {"aHVudGVyMjI=", "hunter22"}
    encrypted = built({**config("c", a="plainly secret"), "spec": [{"x": "nested"}]}, secret=True)
    assert set(planview.secret_values(encrypted.objects)) == {"plainly secret", "nested"}


def test_a_plan_that_isnt_there_yet_is_pending() -> None:
    (status,) = comment.statuses("shop", "fleet", None, None)
    assert (status.state, status.description) == (State.PENDING, "the plan is being made")
    waiting = comment.statuses("shop", "fleet", PlanView(), PreviewView(Stage.WAITING, message="a label"))[1]
    assert (waiting.state, waiting.description) == (State.PENDING, "waiting: a label")


def test_a_preview_gets_of_the_template_s_secrets_those_on_the_list() -> None:
    found = made(load(APPLICATION), secrets=("db", "keys"))
    assert found.environment["spec"]["secrets"] == [{"name": "db", "from": "db-preview"}]
    assert found.said == ("Secret keys is on the list of environment.secrets, and the template preview has none so.",)


def test_what_is_said_of_a_pull_request_is_no_notification_s() -> None:
    """A Notification's is ``homeport/<namespace>/<source>``, whatever these are called."""
    said = comment.statuses("shop", "fleet", PlanView(), PreviewView(Stage.WAITING))
    other = comment.statuses("garden", "fleet", PlanView(), PreviewView(Stage.WAITING))
    contexts = [status.context for status in (*said, *other)]
    assert len(set(contexts)) == 4, "two sources of one name are two"
    assert {context.count("/") for context in contexts} == {3}
