"""Setting up on GitHub. Source: https://github.com/github/rest-api-description (version 2022-11-28).

Branches are protected by rulesets, which take patterns and branches that aren't there yet; ours are named for what they
protect, and a person's own branch protection and rulesets beside them aren't touched.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from homeport.drivers.forge.errors import ForgeFailed
from homeport.drivers.forge.http import Http
from homeport.drivers.forge.setup import likegithub
from homeport.drivers.forge.setup.common import Part, Spec, split

RULESET = "homeport: "
"""How the names of our rulesets begin."""
_PERMISSIONS = {"read": "pull", "write": "push", "admin": "admin"}


class Repositories(likegithub.Repositories):
    """The repository itself."""

    def change(self, spec: Spec) -> Spec:
        """The document that changes it."""
        document = {**super().change(spec), "visibility": spec["visibility"]}
        del document["private"]
        return document

    async def branch(self, name: str, base: str) -> None:
        """Make a branch at another's commit, unless it is there."""
        if await self.http.get(f"{self.base}/git/ref/heads/{quote(name)}", accept=(404,)) is None:
            ref = await self.http.get(f"{self.base}/git/ref/heads/{quote(base)}")
            body = {"ref": f"refs/heads/{name}", "sha": ref["object"]["sha"]}
            await self.http.send("POST", f"{self.base}/git/refs", body)


class Protections(likegithub.Owned):
    """Rulesets by the branch or pattern that they are for."""

    method = "PUT"

    async def _find(self, key: str) -> Any:
        listed = await self.all("/rulesets", includes_parents="false")
        number = next((one["id"] for one in listed if one.get("name") == RULESET + key), None)
        return None if number is None else await self.http.get(f"{self.base}/rulesets/{number}", accept=(404,))

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self._find(key)
        if found is None:
            return None
        rules = {rule["type"]: rule.get("parameters") or {} for rule in found.get("rules") or ()}
        pull, checks = rules.get("pull_request"), rules.get("required_status_checks") or {}
        active = found.get("enforcement") == "active" and not found.get("bypass_actors")
        included = ((found.get("conditions") or {}).get("ref_name") or {}).get("include") or []
        return {
            "requiredChecks": [str(one["context"]) for one in checks.get("required_status_checks") or ()],
            "reviews": int((pull or {}).get("required_approving_review_count") or 0),
            "dismissStale": bool((pull or {}).get("dismiss_stale_reviews_on_push", True)),
            "codeOwners": bool((pull or {}).get("require_code_owner_review")),
            "signed": "required_signatures" in rules,
            "linearHistory": "required_linear_history" in rules,
            "push": pull is None,
            "noForce": "non_fast_forward" in rules,
            "noDelete": "deletion" in rules,
            "active": active and included == [f"refs/heads/{key}"],
        }

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it."""
        body = {
            "name": RULESET + key,
            "target": "branch",
            "enforcement": "active",
            "bypass_actors": [],
            "conditions": {"ref_name": {"include": [f"refs/heads/{key}"], "exclude": []}},
            "rules": _rules(spec),
        }
        await self.write("/rulesets", await self._find(key), body)

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.drop("/rulesets", await self._find(key))


def _rules(spec: Spec) -> list[Spec]:
    plain = {
        "signed": "required_signatures",
        "linearHistory": "required_linear_history",
        "noForce": "non_fast_forward",
        "noDelete": "deletion",
    }
    rules: list[Spec] = [{"type": theirs} for ours, theirs in plain.items() if spec[ours]]
    if not spec["push"]:
        parameters = {
            "required_approving_review_count": int(spec["reviews"]),
            "dismiss_stale_reviews_on_push": spec["dismissStale"],
            "require_code_owner_review": spec["codeOwners"],
            "require_last_push_approval": False,
            "required_review_thread_resolution": False,
        }
        rules.append({"type": "pull_request", "parameters": parameters})
    if spec["requiredChecks"]:
        checks = [{"context": name} for name in spec["requiredChecks"]]
        strict = {"required_status_checks": checks, "strict_required_status_checks_policy": False}
        rules.append({"type": "required_status_checks", "parameters": strict})
    return rules


class Environments(likegithub.Owned):
    """Environments by name."""

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.http.get(self._one(key), accept=(404,))
        if found is None:
            return None
        rules = {rule["type"]: rule for rule in found.get("protection_rules") or ()}
        reviewers = [_reviewer(one) for one in rules.get("required_reviewers", {}).get("reviewers") or ()]
        policy = found.get("deployment_branch_policy") or {}
        branches = [one["name"] for one in await self._policies(key)] if policy.get("custom_branch_policies") else []
        wait = int(rules.get("wait_timer", {}).get("wait_timer") or 0)
        return {"reviewers": reviewers, "branches": branches, "waitMinutes": wait}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it, then the branches that may deploy to it."""
        policy = {"protected_branches": False, "custom_branch_policies": True} if spec["branches"] else None
        body = {
            "wait_timer": int(spec["waitMinutes"]),
            "reviewers": [await self._asked(name) for name in spec["reviewers"]] or None,
            "deployment_branch_policy": policy,
        }
        await self.http.send("PUT", self._one(key), body)
        if not policy:
            return
        there = {str(one["name"]): one["id"] for one in await self._policies(key)}
        path = f"{self._one(key)}/deployment-branch-policies"
        for name in [name for name in spec["branches"] if name not in there]:
            await self.http.send("POST", path, {"name": name})
        for name in [name for name in there if name not in spec["branches"]]:
            await self.http.send("DELETE", f"{path}/{there[name]}", accept=(404,))

    async def remove(self, key: str) -> None:
        """Take it away, with its secrets and variables."""
        await self.http.send("DELETE", self._one(key), accept=(404,))

    async def _policies(self, key: str) -> list[Any]:
        found = await self.http.get(f"{self._one(key)}/deployment-branch-policies", {"per_page": 100}, accept=(404,))
        return list((found or {}).get("branch_policies") or ())

    async def _asked(self, name: str) -> Spec:
        organisation, _, team = name.rpartition("/")
        path = f"/orgs/{quote(organisation)}/teams/{quote(team)}" if organisation else f"/users/{quote(name)}"
        found = await self.http.get(path, accept=(404,))
        if found is None:
            raise ForgeFailed(f"there is no reviewer {name}; write a login, or organisation/team", passes=False)
        return {"type": "Team" if organisation else "User", "id": found["id"]}

    def _one(self, key: str) -> str:
        return f"{self.base}/environments/{quote(key, safe='')}"


def _reviewer(one: Any) -> str:
    who = one.get("reviewer") or {}
    if one.get("type") == "Team":
        # https://github.com/orgs/<organisation>/teams/<team>
        parts = str(who.get("html_url") or "").rstrip("/").split("/")
        return f"{parts[-3]}/{parts[-1]}" if len(parts) > 3 else str(who.get("slug") or "")
    return str(who.get("login") or "")


class Secrets(likegithub.Owned):
    """Secrets of Actions by name, of the repository or of an environment. Their values are never told."""

    async def observe(self, key: str) -> Spec | None:
        """That it is there."""
        return None if await self.http.get(self._one(key), accept=(404,)) is None else {}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Write its value, sealed for the key that GitHub names."""
        public = await self.http.get(f"{self._all(key)}/public-key")
        body = {"encrypted_value": sealed(str(public["key"]), value), "key_id": str(public["key_id"])}
        await self.http.send("PUT", self._one(key), body)

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.http.send("DELETE", self._one(key), accept=(404,))

    def _all(self, key: str) -> str:
        environment, _ = split(key)
        return (
            f"{self.base}/environments/{quote(environment, safe='')}/secrets"
            if environment
            else (f"{self.base}/actions/secrets")
        )

    def _one(self, key: str) -> str:
        return f"{self._all(key)}/{quote(split(key)[1])}"


def sealed(key: str, value: str) -> str:
    """A value in a box that only the owner of ``key`` opens (libsodium's sealed box), in base64."""
    from nacl import public  # noqa: PLC0415 - an optional dependency, of this alone

    box = public.SealedBox(public.PublicKey(base64.b64decode(key)))
    return base64.b64encode(box.encrypt(value.encode())).decode()


class Variables(likegithub.Owned):
    """Variables of Actions by name, of the repository or of an environment."""

    async def observe(self, key: str) -> Spec | None:
        """What is there."""
        found = await self.http.get(self._one(key), accept=(404,))
        return None if found is None else {"value": str(found.get("value") or "")}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Make or change it."""
        body = {"name": split(key)[1], "value": spec["value"]}
        if found is None:
            await self.http.send("POST", self._all(key), body)
        else:
            await self.http.send("PATCH", self._one(key), body)

    async def remove(self, key: str) -> None:
        """Take it away."""
        await self.http.send("DELETE", self._one(key), accept=(404,))

    def _all(self, key: str) -> str:
        environment, _ = split(key)
        place = f"/environments/{quote(environment, safe='')}" if environment else "/actions"
        return f"{self.base}{place}/variables"

    def _one(self, key: str) -> str:
        return f"{self._all(key)}/{quote(split(key)[1])}"


class Webhooks(likegithub.Webhooks):
    """Webhooks by address."""

    first = {"name": "web"}  # noqa: RUF012

    def config(self, key: str, spec: Spec, value: str) -> Spec:
        """As GitHub takes it."""
        return {**super().config(key, spec, value), "insecure_ssl": "0" if spec["verifyTls"] else "1"}


class Labels(likegithub.Labels):
    """Labels by name."""

    def one(self, path: str, there: Any) -> str:
        """The address of one: GitHub's have their names in it."""
        return f"{self.base}{path}/{quote(str(there['name']), safe='')}"


class Collaborators(likegithub.Owned):
    """People by login; one who hasn't taken the invitation yet is one, too."""

    async def observe(self, key: str) -> Spec | None:
        """What was given to them in this repository."""
        for one in await self.all("/collaborators", affiliation="direct"):
            if str(one.get("login")).lower() == key.lower():
                granted = one.get("permissions") or {}
                return {"permission": next((o for o in ("admin", "write", "read") if granted.get(_PERMISSIONS[o])), "")}
        invited = await self._invitation(key)
        return None if invited is None else {"permission": str(invited.get("permissions") or "")}

    async def put(self, key: str, spec: Spec, value: str, found: Spec | None) -> None:
        """Let them in, or invite them."""
        body = {"permission": _PERMISSIONS[spec["permission"]]}
        await self.http.send("PUT", f"{self.base}/collaborators/{quote(key)}", body)

    async def remove(self, key: str) -> None:
        """Let them in no more; take an invitation back."""
        invited = await self._invitation(key)
        if invited is not None:
            await self.http.send("DELETE", f"{self.base}/invitations/{invited['id']}", accept=(404,))
        await self.http.send("DELETE", f"{self.base}/collaborators/{quote(key)}", accept=(404,))

    async def _invitation(self, key: str) -> Any:
        all_ = await self.all("/invitations")
        return next((one for one in all_ if str((one.get("invitee") or {}).get("login")).lower() == key.lower()), None)


class GitHubSetup(likegithub.Tree):
    """One repository on GitHub."""

    def __init__(self, http: Http, repository: str) -> None:
        super().__init__(http, repository)
        self.parts: Mapping[str, Part] = {
            "repository": Repositories(http, repository),
            "protection": Protections(http, repository),
            "environment": Environments(http, repository),
            "secret": Secrets(http, repository),
            "variable": Variables(http, repository),
            "webhook": Webhooks(http, repository),
            "label": Labels(http, repository),
            "collaborator": Collaborators(http, repository),
        }

    async def commit(self, branch: str, base: str, message: str, changes: Mapping[str, str | None]) -> None:
        """One commit with all changes: a tree, the commit, and the branch moved to it, never by force."""
        ref = await self.http.get(f"{self.base}/git/ref/heads/{quote(base or branch)}")
        head = str(ref["object"]["sha"])
        there = await self.tree(head) or {}
        entries = [
            {"path": path, "mode": "100644", "type": "blob", **({"sha": None} if text is None else {"content": text})}
            for path, text in changes.items()
            if text is not None or path in there
        ]
        old = await self.http.get(f"{self.base}/git/commits/{head}")
        body = {"base_tree": str(old["tree"]["sha"]), "tree": entries}
        tree = await self.http.send("POST", f"{self.base}/git/trees", body)
        made = {"message": message, "tree": str(tree["sha"]), "parents": [head]}
        commit = str((await self.http.send("POST", f"{self.base}/git/commits", made))["sha"])
        if base:
            await self.http.send("POST", f"{self.base}/git/refs", {"ref": f"refs/heads/{branch}", "sha": commit})
        else:
            path = f"{self.base}/git/refs/heads/{quote(branch)}"
            await self.http.send("PATCH", path, {"sha": commit, "force": False})
