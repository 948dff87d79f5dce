"""Property strings: several values in one, ``name=eth0,bridge=vmbr0,ip=dhcp``; read and written without loss.

A key that this module doesn't know is kept as it is, so that what a newer PVE, or a person, has set survives our
writing. Compare values, not texts: PVE sorts keys and writes booleans as 1 and 0.

Sources: pve-common ``JSONSchema.pm`` (``parse_property_string``: parts at commas, the first may leave out its default
key; ``parse_boolean``), pve-container ``LXC/Config.pm`` (``$netconf_desc``, ``$rootfs_desc``, ``$mp_desc``,
``$features_desc``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from homeport.plan.proxmox import sizes

_TRUE = frozenset({"1", "on", "yes", "true"})
_FALSE = frozenset({"0", "off", "no", "false"})


class PropertyError(ValueError):
    """A text that isn't the property string which it should be."""


def split(text: str, default_key: str | None = None) -> dict[str, str]:
    """``a=1,b=2`` as a dict. Raises PropertyError for a part without a key, save the first if there is a default."""
    out: dict[str, str] = {}
    for part in text.split(","):
        if not part:
            continue
        key, equals, value = part.partition("=")
        if not equals:
            if default_key is None or default_key in out:
                raise PropertyError(f"{text!r}: {part!r} has no key")
            key, value = default_key, part
        if key in out:
            raise PropertyError(f"{text!r} has {key} twice")
        out[key] = value
    return out


def boolean(text: str) -> bool:
    """PVE's booleans. Raises PropertyError."""
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise PropertyError(f"{text!r} isn't a boolean")


def _key(name: str, kind: str = "text") -> Any:
    """A field that is the key ``name``; ``kind``: text, bool, int, number, size, or list (parts at semicolons)."""
    return field(default=() if kind == "list" else None, metadata={"key": name, "kind": kind})


@dataclass(frozen=True)
class _PropertyString:
    """What reads and writes the fields that ``_key`` made. ``extra``: keys that aren't known here, as they were."""

    default_key: ClassVar[str | None] = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value of ``text``. Raises PropertyError."""
        found = split(text, cls.default_key)
        values: dict[str, Any] = {}
        for entry in dataclasses.fields(cls):
            key = entry.metadata.get("key")
            if key in found:
                values[entry.name] = _read(found.pop(key), entry.metadata["kind"])
        required = [
            entry.metadata["key"]
            for entry in dataclasses.fields(cls)
            if entry.metadata.get("required") and entry.name not in values
        ]
        if required:
            raise PropertyError(f"{text!r} has no {' and no '.join(required)}")
        return cls(**values, extra=tuple(sorted(found.items())))

    def render(self) -> str:
        """The text that PVE takes: the default key's value first, without its key.

        Raises PropertyError for a value that would be read as several.
        """
        parts: list[str] = []
        for entry in dataclasses.fields(self):
            key, value = entry.metadata.get("key"), getattr(self, entry.name)
            if key is None or value is None or value == ():
                continue
            shown = _write(value, entry.metadata["kind"])
            parts.append(shown if key == self.default_key else f"{key}={shown}")
        parts.extend(f"{key}={value}" for key, value in self.extra)
        return ",".join(parts)

    extra: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)


def _read(text: str, kind: str) -> Any:
    try:
        match kind:
            case "bool":
                return boolean(text)
            case "int":
                return int(text)
            case "number":
                return float(text)
            case "size":
                return sizes.parse(text)
            case "list":
                return tuple(part for part in text.split(";") if part)
    except PropertyError:
        raise
    except ValueError as error:
        raise PropertyError(f"{text!r}: {error}") from None
    return text


def _write(value: Any, kind: str) -> str:
    match kind:
        case "bool":
            return "1" if value else "0"
        case "size":
            return sizes.render(value)
        case "number":
            return str(int(value)) if value == int(value) else repr(value)
        case "list":
            return ";".join(_whole(part, ",;") for part in value)
    return _whole(str(value), ",")


def _whole(value: str, separators: str) -> str:
    if any(separator in value for separator in separators):
        raise PropertyError(f"{value!r} can't be a value in a property string: it would be read as several")
    return value


def _required(name: str) -> Any:
    return field(metadata={"key": name, "kind": "text", "required": True})


@dataclass(frozen=True)
class Network(_PropertyString):
    """``netN``: one interface of a container. ``ip`` is an address with its prefix, ``dhcp`` or ``manual``."""

    name: str = _required("name")
    bridge: str | None = _key("bridge")
    hwaddr: str | None = _key("hwaddr")
    """The MAC. PVE invents one each time that it is left out (``parse_lxc_network``): see ``with_mac_of``."""
    ip: str | None = _key("ip")
    gw: str | None = _key("gw")
    ip6: str | None = _key("ip6")
    gw6: str | None = _key("gw6")
    tag: int | None = _key("tag", "int")
    trunks: tuple[str, ...] = _key("trunks", "list")
    mtu: int | None = _key("mtu", "int")
    rate: float | None = _key("rate", "number")
    """In MB/s."""
    firewall: bool | None = _key("firewall", "bool")
    link_down: bool | None = _key("link_down", "bool")
    host_managed: bool | None = _key("host-managed", "bool")
    type: str | None = _key("type")

    def with_mac_of(self, found: Network | None) -> Network:
        """This interface with the MAC that it has already, unless it asks for one: a PUT without would change it."""
        if self.hwaddr is not None or found is None or found.hwaddr is None:
            return self
        return dataclasses.replace(self, hwaddr=found.hwaddr)

    def same_as(self, found: Network) -> bool:
        """Whether ``found`` is what this asks for: PVE's own defaults aside, MACs in any case."""
        return self.with_mac_of(found)._settled() == found._settled()

    def _settled(self) -> Network:
        return dataclasses.replace(
            self,
            hwaddr=self.hwaddr.upper() if self.hwaddr else None,
            type=self.type or "veth",
            firewall=bool(self.firewall),
            link_down=bool(self.link_down),
            host_managed=bool(self.host_managed),
        )


@dataclass(frozen=True)
class Mount(_PropertyString):
    """``rootfs`` (without ``path``) or ``mpN``: a volume, and where it is mounted."""

    default_key: ClassVar[str | None] = "volume"

    volume: str = _required("volume")
    path: str | None = _key("mp")
    size: int | None = _key("size", "size")
    """In bytes; what PVE last read from the volume."""
    backup: bool | None = _key("backup", "bool")
    """Whether vzdump takes it along; without it, no (rootfs: always)."""
    read_only: bool | None = _key("ro", "bool")
    acl: bool | None = _key("acl", "bool")
    quota: bool | None = _key("quota", "bool")
    replicate: bool | None = _key("replicate", "bool")
    shared: bool | None = _key("shared", "bool")
    options: tuple[str, ...] = _key("mountoptions", "list")
    idmap: tuple[str, ...] = _key("idmap", "list")
    keep_attributes: bool | None = _key("keepattrs", "bool")

    @property
    def kind(self) -> str:
        """``volume``, or what only root@pam may configure: ``device`` or ``bind`` (``classify_mountpoint``)."""
        if self.volume.startswith("/dev/"):
            return "device"
        return "bind" if self.volume.startswith("/") else "volume"

    @property
    def storage(self) -> str | None:
        """The storage of a volume."""
        return self.volume.partition(":")[0] if self.kind == "volume" and ":" in self.volume else None


@dataclass(frozen=True)
class Features(_PropertyString):
    """``features``: what a container may do beyond the usual. A token may change nothing but ``nesting``."""

    nesting: bool | None = _key("nesting", "bool")
    keyctl: bool | None = _key("keyctl", "bool")
    fuse: bool | None = _key("fuse", "bool")
    mknod: bool | None = _key("mknod", "bool")
    mount: tuple[str, ...] = _key("mount", "list")
    force_rw_sys: bool | None = _key("force_rw_sys", "bool")

    def root_only(self, before: Features) -> tuple[str, ...]:
        """The flags whose change from ``before`` PVE lets root@pam make only (``check_ct_modify_config_perm``)."""
        mine, theirs = self._flags(), before._flags()
        changed = {key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)}
        return tuple(sorted(changed - {"nesting"}))

    def _flags(self) -> dict[str, Any]:
        known = {
            entry.metadata["key"]: getattr(self, entry.name)
            for entry in dataclasses.fields(self)
            if "key" in entry.metadata and getattr(self, entry.name) not in (None, False, ())
        }
        return {**known, **dict(self.extra)}


_TAG_SEPARATORS = re.compile(r"[\s,;]+")


def tags(text: str) -> frozenset[str]:
    """``tags``: PVE sorts, lower-cases and deduplicates them unless told otherwise, so they are a set."""
    return frozenset(part.lower() for part in _TAG_SEPARATORS.split(text) if part)


def tags_text(wanted: Iterable[str]) -> str:
    """Tags as PVE takes and stores them."""
    return ";".join(sorted({tag.lower() for tag in wanted}))


def echo_macs(wanted: Mapping[str, Network], found: Mapping[str, Network]) -> dict[str, Network]:
    """``netN`` to send: each with the MAC that it has. An interface is known by its name, or else by its number."""
    by_name = {network.name: network for network in found.values()}
    names = {network.name for network in wanted.values()}
    left = {key: network for key, network in found.items() if network.name not in names}
    return {key: network.with_mac_of(by_name.get(network.name) or left.get(key)) for key, network in wanted.items()}
