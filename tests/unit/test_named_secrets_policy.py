"""Who may name a Secret: the expressions of the policy ``homeport-named-secrets``, asked of a played authorizer.

The library isn't the API server's, and counts no costs: that it says the same there is for the cases in
policies/tests/named-secrets.yaml. How many questions are asked is counted here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pytest
from cel_expr_python import cel
from cel_expr_python.ext.ext_optional import ExtOptional
from cel_expr_python.ext.ext_strings import ExtStrings

from manifests import ROOT, load_all

(POLICY,) = (
    manifest
    for _, manifest in load_all(ROOT / "policies")
    if (manifest["kind"], manifest["metadata"]["name"]) == ("ValidatingAdmissionPolicy", "homeport-named-secrets")
)
DYN, STRING = cel.Type.DYN, cel.Type.STRING
MAP = cel.Type.Map(STRING, DYN)
ALL = "*"
PER_EXPRESSION, ALL_TOGETHER = 2, 28
"""Questions to the authorizer that the API server's budgets have room for (1,000,000 and 10,000,000; 350,000 each)."""


class Asked:
    """One request to the API server, by somebody who may read the Secrets ``readable``."""

    def __init__(self, new: dict[str, Any], old: dict[str, Any] | None, readable: Collection[str]) -> None:
        self.readable = readable
        self.questions: list[str] = []
        self.most = 0
        self.data: dict[str, Any] = {
            "object": new,
            "oldObject": old,
            "request": {
                "operation": "CREATE" if old is None else "UPDATE",
                "namespace": "shop",
                "userInfo": {"username": "ann"},
            },
            "authorizer": {},
        }
        names = ("group", "resource", "namespace", "name")
        functions = [
            cel.FunctionDecl(
                name, [cel.Overload(f"the_{name}", MAP, [MAP, STRING], is_member=True, impl=self._with(name))]
            )
            for name in names
        ]
        functions += [
            cel.FunctionDecl("check", [cel.Overload("check", MAP, [MAP, STRING], is_member=True, impl=self._check)]),
            cel.FunctionDecl(
                "allowed",
                [cel.Overload("allowed", cel.Type.BOOL, [MAP], is_member=True, impl=lambda found: found["allowed"])],
            ),
        ]
        self._functions = functions

    def _with(self, name: str) -> Any:
        return lambda so_far, value: {**so_far, name: value}

    def _check(self, question: dict[str, Any], verb: str) -> dict[str, bool]:
        assert (question["group"], question["resource"], question["namespace"]) == ("", "secrets", "shop")
        assert verb == "get"
        name = question.get("name", ALL)
        self.questions.append(name)
        return {"allowed": name in self.readable or ALL in self.readable}

    def said(self, expression: str) -> Any:
        before = len(self.questions)
        # As on the API server, variables have the types of their expressions.
        types = {name: cel.Type.List(DYN) if isinstance(of, list) else DYN for name, of in self.data.items()}
        env = cel.NewEnv(variables=types, extensions=[ExtOptional(), ExtStrings()], functions=self._functions)
        found = env.compile(expression).eval(data=self.data)
        self.most = max(self.most, len(self.questions) - before)
        assert found.type() != cel.Type.ERROR, found.value()
        return found.plain_value()

    def refused(self) -> str:
        """Why the policy refuses it; empty when it doesn't."""
        spec = POLICY["spec"]
        if not all(self.said(condition["expression"]) for condition in spec["matchConditions"]):
            return ""
        for variable in spec["variables"]:
            self.data[f"variables.{variable['name']}"] = self.said(variable["expression"])
        assert self.most <= PER_EXPRESSION and len(self.questions) <= ALL_TOGETHER
        for rule in spec["validations"]:
            if not self.said(rule["expression"]):
                return str(self.said(rule["messageExpression"]) if "messageExpression" in rule else rule["message"])
        return ""


def refused(new: dict[str, Any], *readable: str, old: dict[str, Any] | None = None, pin: str = "") -> str:
    metadata = {"name": "fleet", "annotations": {"homeport.dev/pin": pin}} if pin else {"name": "fleet"}
    before = None if old is None else {"metadata": {"name": "fleet"}, "spec": old}
    return Asked({"metadata": metadata, "spec": new}, before, readable).refused()


URL: dict[str, Any] = {"url": "https://git.example.com/fleet.git", "ref": {"branch": "main"}}
REF = {"name": "x"}


@pytest.mark.parametrize(
    "spec",
    [
        {**URL, "credentialsSecretRef": REF},
        {**URL, "verify": {"keysSecretRef": REF}},
        {**URL, "decryption": {"keySecretRef": REF}},
        {**URL, "webhook": {"secretRef": REF}},
        {**URL, "pullRequests": {"forge": {"provider": "Gitea", "tokenSecretRef": {**REF, "key": "token"}}}},
        {**URL, "build": {"variablesFrom": [{"kind": "ConfigMap", "name": "y"}, {"kind": "Secret", **REF}]}},
        {**URL, "build": {"helm": {"valuesFrom": [{"kind": "Secret", **REF}]}}},
        {"sourceRef": {"name": "fleet"}, "images": [{"name": "a"}, {"name": "b", "credentialsSecretRef": REF}]},
        {"webhook": {"url": "https://a.example.com", "secretRef": {**REF, "key": "k"}}},
        {"webhook": {"url": "https://a.example.com", "headersSecretRef": REF}},
        {"slack": {"urlSecretRef": {**REF, "key": "k"}}},
        {"email": {"server": "a.example.com:25", "credentialsSecretRef": REF}},
        {"git": {**URL, "credentialsSecretRef": REF}},
        {"s3": {"bucket": "b", "credentialsSecretRef": REF}},
        {"s3": {"bucket": "b", "caSecretRef": REF}},
        {"encryption": {"passwordSecretRef": {**REF, "key": "k"}}},
        {"kubernetes": {"kubeconfigSecretRef": {**REF, "key": "k"}}},
        {"secrets": [REF]},
        {"secrets": [{"name": "y", "from": "x"}]},
    ],
)
def test_every_secret_that_is_named_has_to_be_readable(spec: dict[str, Any]) -> None:
    assert refused(spec).startswith("Secrets that this names: ann may not read each of x, whose content")
    assert refused(spec, "y") != ""
    assert refused(spec, "x") == refused(spec, ALL) == ""


@pytest.mark.parametrize(
    "spec",
    [
        URL,
        {**URL, "webhook": None, "build": {"variablesFrom": [{"kind": "ConfigMap", "name": "y"}], "helm": {}}},
        {"sourceRef": {"name": "fleet"}, "images": [{"name": "a"}]},
        {"webhook": {"url": "https://a.example.com"}},
        {"commitStatus": {"sourceRef": {"name": "fleet"}}},
    ],
)
def test_without_a_secret_nobody_needs_anything(spec: dict[str, Any]) -> None:
    assert refused({key: value for key, value in spec.items() if value is not None}) == ""


def test_what_stays_as_it_was_asks_nobody() -> None:
    old = {**URL, "interval": "1m", "credentialsSecretRef": REF, "path": "./a"}
    assert refused(old, old=old) == ""
    assert refused({**old, "interval": "5m", "suspend": True, "prune": False}, old=old) == ""
    for change in (
        {"url": "https://elsewhere.example.com/a"},
        {"path": "./b"},
        {"credentialsSecretRef": {"name": "y"}},
    ):
        assert refused({**old, **change}, old=old) != "", change
    assert refused({**old, "build": {"substitute": True}}, old=old) != ""
    assert refused(old, old=old, pin="a" * 40) != ""
    assert refused(old, "x", old=old, pin="a" * 40) == ""
    assert refused(URL, old=old) == "", "to let go of a Secret needs no right"
    sent = {"webhook": {"url": "https://a.example.com", "headersSecretRef": REF}}
    assert refused({**sent, "suspend": True}, old=sent) == ""
    assert refused({"webhook": {**sent["webhook"], "url": "https://b.example.com"}}, old=sent) != ""


AS_PODS_DO = {"Application", "Backup", "LXCContainer"}
"""They use Secrets of the place where they run, as Pods do."""
ELSEWHERE = {"ProxmoxHost": "proxmoxhost-secrets.yaml"}
"""It is in no namespace; its policy is its own."""


def _named(schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """The fields of a definition that name a Secret."""
    for name, inner in (schema.get("properties") or {}).items():
        path = f"{at}.{name}"
        if name.lower().endswith("secretref"):
            yield path
        yield from _named(inner, path)
    if "items" in schema:
        yield from _named(schema["items"], f"{at}[]")


def test_no_field_that_names_a_secret_is_forgotten() -> None:
    text = (ROOT / "policies" / "named-secrets.yaml").read_text()
    (held,) = (rule["resources"] for rule in POLICY["spec"]["matchConstraints"]["resourceRules"])
    naming = {}
    for _, definition in load_all(ROOT / "crds"):
        names = definition["spec"]["names"]
        spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        found = list(_named(spec))
        if found:
            naming[names["kind"]] = (names["plural"], found)
    assert set(naming) >= AS_PODS_DO | set(ELSEWHERE), "off the list"
    for kind, (plural, paths) in naming.items():
        if kind in AS_PODS_DO:
            continue
        if kind in ELSEWHERE:
            other = (ROOT / "policies" / ELSEWHERE[kind]).read_text()
            assert all(f"object.spec{path}" in other for path in paths), kind
            continue
        assert plural in held, kind
        for path in paths:
            listed, _, field = path.rpartition("[].")
            wanted = f"i.{field}.name" if listed else f"object.spec{path.replace('.', '.?')}.?name"
            assert wanted in text, f"{kind}: spec{path}"


def test_as_many_as_can_be_asked_for() -> None:
    def images(*names: str) -> dict[str, Any]:
        return {"images": [{"name": f"i{at}", "credentialsSecretRef": {"name": n}} for at, n in enumerate(names)]}

    eight = [f"s{at}" for at in range(8)]
    assert refused(images(*["s0"] * 63, "s1"), "s0", "s1") == ""
    assert "each of s0, s1, whose" in refused(images(*["s0"] * 63, "s1"), "s0")
    assert refused(images(*eight, *eight), *eight) == ""
    for missing in eight:
        assert refused(images(*eight), *(name for name in eight if name != missing)) != "", missing
    assert "more than 8 Secrets" in refused(images(*eight, "s8"), *eight, "s8")
    assert refused(images(*eight, "s8"), ALL) == ""
