"""An item of the catalog: what it is, which versions there are, what it needs. Its templates make components."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from homeport.api.base import ATOMIC, SET, Label, ListMap, LongText, Model, Quantity, Rule, ShortText
from homeport.api.component import Image
from homeport.api.pod import Port, Probe, Resources

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


class Item(Model):
    """One piece of software. ``versions`` begin with the one that is taken when none is asked for."""

    name: Label
    """The name in ``catalog.name``; its folder is named alike."""
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

    rules: ClassVar[tuple[Rule, ...]] = ()

    def version(self, name: str | None) -> ItemVersion | None:
        """The version called ``name``, or the default for None."""
        if name is None:
            return self.versions[0]
        return next((version for version in self.versions if version.name == name), None)
