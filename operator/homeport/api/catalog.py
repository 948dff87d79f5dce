"""An item of the catalog: what it is, which versions there are, what it needs. Its templates make components.

``Item`` is the folder's ``item.yaml``; ``CatalogItemSpec`` is the same thing as an object in a cluster, written out or
read from Git.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool

from homeport.api.base import (
    ATOMIC,
    FREE_FORM,
    SET,
    Label,
    ListMap,
    LongText,
    Model,
    NameRef,
    Quantity,
    Rule,
    ShortText,
    interval_between,
)
from homeport.api.component import Image
from homeport.api.git import NO_PASSWORD_IN_CLEAR_TEXT, GitCommit, GitRefName, GitUrl, inside
from homeport.api.pod import Port, Probe, Resources
from homeport.api.status import Status

BackupMethod = Literal["Postgres", "MySQL", "SQLite", "Redis", "Files", "Manifests"]


class ItemVersion(Model):
    """One version that can be asked for."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """What is written in ``catalog.version``, such as 15."""
    image: Image
    """The main component's image."""
    images: Annotated[dict[str, Image], Field(max_length=31)] | None = None
    """The images of further components, by their part."""


class ItemNeeds(Model):
    """What one needs at least, for whoever looks for a place to run it."""

    cpu: Quantity | None = None
    """CPUs."""
    memory: Quantity | None = None
    """Memory."""
    disk: Quantity | None = None
    """The volumes together."""


class ItemBackup(Model):
    """How its data is backed up."""

    method: BackupMethod
    """The method that a Backup of it takes by default."""
    part: Label | None = None
    """The further component that holds the data; absent means the main one."""


class ItemFields(Model):
    """What ``item.yaml`` says of one piece of software, but its name."""

    title: Annotated[str, Field(min_length=1, max_length=128)]
    """Its name for people."""
    description: LongText
    """What it is for."""
    category: Annotated[str, Field(min_length=1, max_length=64)]
    """Such as Databases."""
    tags: Annotated[tuple[ShortText, ...], Field(max_length=32), SET] = ()
    """Words that it is found by."""
    icon: Annotated[str, Field(max_length=1024)] | None = None
    """A picture's address."""
    links: Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=8)] | None = None
    """Pages about it: website, documentation, source."""
    versions: Annotated[tuple[ItemVersion, ...], Field(min_length=1, max_length=32), ListMap("name")]
    """The first is the default."""
    runtimes: Annotated[tuple[Literal["Kubernetes", "Proxmox"], ...], Field(min_length=1), SET] = ("Kubernetes",)
    """Where it runs."""
    needs: ItemNeeds | None = None
    """What it needs at least."""
    pod_security: Literal["restricted", "baseline", "privileged"] = "restricted"
    """The strictest podSecurity of an environment that lets it in."""
    resources: Resources | None = None
    """The main component's, unless it says otherwise; templates see them."""
    ports: Annotated[tuple[Port, ...], Field(max_length=16), ListMap("name")] = ()
    """The main component's ports; templates see them."""
    health: Probe | None = None
    """How to ask the main component whether it is well; templates see it."""
    backup: ItemBackup | None = None
    """How its data is backed up; absent means that it has none worth it."""
    notes: Annotated[tuple[LongText, ...], Field(max_length=64), ATOMIC] = ()
    """What its users should know: defaults to change, what an import left out."""


class Item(ItemFields):
    """One piece of software. ``versions`` begin with the one that is taken when none is asked for."""

    name: Label
    """The name in ``catalog.name``; its folder is named alike."""

    def version(self, name: str | None) -> ItemVersion | None:
        """The version called ``name``, or the default for None."""
        if name is None:
            return self.versions[0]
        return next((version for version in self.versions if version.name == name), None)


class GitRef(Model):
    """What is read of a repository."""

    branch: GitRefName | None = None
    """A branch; followed as it moves."""
    tag: GitRefName | None = None
    """A tag."""
    commit: GitCommit | None = None
    """A commit, by its whole id."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.branch), has(self.tag), has(self.commit)].filter(x, x).size() == 1",
            "write exactly one of branch, tag and commit",
            lambda s: sum(each is not None for each in (s.branch, s.tag, s.commit)) == 1,
        ),
    )


class ItemGit(Model):
    """A folder of a Git repository that holds an item: item.yaml, values.schema.json and templates."""

    url: GitUrl
    """Where the repository is."""
    ref: GitRef
    """What is read of it."""
    path: Annotated[
        str,
        Field(min_length=1, max_length=512),
        inside("the item's folder as seen from the repository's root, such as items/thing"),
    ] = "."
    """The item's folder, named as the CatalogItem or not; its item.yaml is."""
    interval: Annotated[str, Field(min_length=2, max_length=16), interval_between("30s", "24h", "5m or 1h")] = "5m"
    """How often is looked whether the reference has moved."""
    credentials_secret_ref: NameRef | None = None
    """A Secret beside it with username and password (https), or with identity (an SSH key) and known_hosts."""

    rules: ClassVar[tuple[Rule, ...]] = (NO_PASSWORD_IN_CLEAR_TEXT,)


class CatalogItemSpec(Model):
    """An item of the catalog: written out, or read from Git.

    In a project's namespace it is the project's; in the operator's own namespace it is every project's.
    """

    item: ItemFields | None = None
    """What item.yaml says, but the name: that is the CatalogItem's own."""
    schema_: Annotated[dict[str, Any], FREE_FORM] | None = Field(default=None, alias="schema")
    """The JSON schema of the values, as in values.schema.json."""
    templates: (
        Annotated[
            dict[Annotated[str, Field(max_length=63)], Annotated[str, Field(max_length=65536)]],
            Field(min_length=1, max_length=64),
            Rule(
                "self.all(name, name.matches('^_?[a-z0-9]([-a-z0-9_]*[a-z0-9])?$'))",
                "name templates with lower-case letters, digits, '-' and '_', without .yaml.j2",
                lambda names: all(_TEMPLATE_NAME.search(name) for name in names),
            ),
        ]
        | None
    ) = None
    """Templates by name, as in templates/<name>.yaml.j2."""
    git: ItemGit | None = None
    """Where the item's folder is."""
    suspend: StrictBool = False
    """Stops reading it anew; what is known of it is used as before."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.item) != has(self.git)",
            "write either item, with templates, or git",
            lambda s: (s.item is None) != (s.git is None),
        ),
        Rule(
            "has(self.item) == has(self.templates)",
            "item and templates belong together: without templates it makes nothing",
            lambda s: (s.item is None) == (s.templates is None),
        ),
        Rule(
            "!has(self.schema) || has(self.item)",
            "schema stands beside item; with git it is the folder's values.schema.json",
            lambda s: s.schema_ is None or s.item is not None,
        ),
    )


_TEMPLATE_NAME = re.compile(r"^_?[a-z0-9]([-a-z0-9_]*[a-z0-9])?\Z")


class CatalogItemStatus(Status):
    """What is known of the item."""

    title: ShortText | None = None
    """Its name for people."""
    category: ShortText | None = None
    """Such as Databases."""
    versions: Annotated[tuple[ShortText, ...], Field(max_length=32), ATOMIC] = ()
    """The versions that can be asked for; the first is the default."""
    pod_security: ShortText | None = None
    """The strictest podSecurity of an environment that lets it in."""
    digest: ShortText | None = None
    """What it holds, as a digest: equal items have equal ones."""
    last_fetched_revision: ShortText | None = None
    """The commit that is in use, as branch@sha1:commit."""
