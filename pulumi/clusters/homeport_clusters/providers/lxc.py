"""Containers of a Proxmox VE as resources; what is done is in ``homeport_clusters.lxc_containers``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import pulumi
from pulumi.dynamic import CheckFailure, CheckResult, CreateResult, ReadResult, Resource, UpdateResult

from homeport.drivers.proxmox.host import Host
from homeport_clusters import lxc_containers as containers
from homeport_clusters import lxc_preflight
from homeport_clusters.k3s_config import host_config
from homeport_clusters.lxc_containers import Ask
from homeport_clusters.providers.base import Props, Provider, ProviderError, gone, plain, run, unknown

T = TypeVar("T")


def ask_of(told: Mapping[str, Any]) -> Ask:
    """What a resource's input ``container`` says."""
    given = plain(told)
    for name in ("nameservers", "vmids"):
        if name in given:
            given[name] = tuple(given[name])
    known = {field.name for field in dataclasses.fields(Ask)}
    return Ask(**{name: value for name, value in given.items() if name in known})


def told_of(ask: Ask) -> dict[str, Any]:
    """The input ``container`` of an ask."""
    return {name: value for name, value in dataclasses.asdict(ask).items() if value is not None}


def connected(props: Props) -> Host:
    """The driver. Raises ProviderError for what can't be an endpoint or a token."""
    try:
        return Host(host_config(plain(props["host"]), str(props["token_secret"])))
    except ValueError as error:
        raise ProviderError(str(error)) from None


class LxcProvider(Provider):
    """Makes, mends and removes one container."""

    def create(self, props: Props) -> CreateResult:
        """Find it, or make it."""
        made = _ensured(props)
        return CreateResult(f"{made.node}/{made.vmid}", _outs(props, made))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Whether it is there, and what of it isn't as asked."""
        ask = ask_of(props["container"])
        found, differs = _with(props, lambda host: containers.drift(host, ask, int(props["vmid"])))
        if found is None:
            return gone()
        now = {**props, "vmid": found.vmid, "node": found.guest.node, "drift": list(differs)}
        return ReadResult(f"{found.guest.node}/{found.vmid}", now)

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Set what differs."""
        return UpdateResult(_outs(_news, _ensured(_news)))

    def delete(self, _id: str, _props: Props) -> None:
        """Stop and destroy it, if it is ours."""
        ask = ask_of(_props["container"])
        _with(_props, lambda host: containers.remove(host, ask, int(_props["vmid"])))


def _ensured(props: Props) -> containers.Made:
    ask = ask_of(props["container"])
    return _with(props, lambda host: containers.ensure(host, ask))


def _with(props: Props, work: Callable[[Host], Coroutine[Any, Any, T]]) -> T:
    async def all_of_it() -> T:
        async with containers.opened(lambda: connected(props)) as host:
            return await work(host)

    return run(all_of_it())


def _outs(props: Props, made: containers.Made) -> Props:
    for_state = {name: value for name, value in props.items() if name != "drift"}
    return {
        **for_state,
        "vmid": made.vmid,
        "node": made.node,
        "address": made.address,
        "mac": made.mac,
        "remains": list(made.differs),
    }


class LxcContainer(Resource, module="homeport", name="LxcContainer"):
    """A container. Of its outputs, ``remains`` has what only a new one could have."""

    vmid: pulumi.Output[int]
    node: pulumi.Output[str]
    address: pulumi.Output[str]
    mac: pulumi.Output[str]
    remains: pulumi.Output[list[str]]

    def __init__(
        self,
        name: str,
        *,
        host: Mapping[str, Any],
        token_secret: pulumi.Input[str],
        container: pulumi.Input[Mapping[str, Any]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``host``: what ``Proxmox.host`` tells; ``container``: what ``told_of`` tells."""
        outs = dict.fromkeys(("vmid", "node", "address", "mac", "remains"))
        props = {"host": host, "token_secret": token_secret, "container": container, **outs}
        super().__init__(LxcProvider(), name, props, opts)


class PreflightProvider(Provider):
    """Looks at a Proxmox VE before anything is made there: at each preview, too."""

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """What keeps the containers from being made."""
        if unknown({name: value for name, value in news.items() if name != "__provider"}):
            return CheckResult(news, [])
        asks = [ask_of(one) for one in news["containers"]]
        found = _with(news, lambda host: lxc_preflight.look(host, asks))
        for remark in found.remarks:
            pulumi.log.warn(remark)
        return CheckResult(news, [CheckFailure("containers", text) for text in found.problems])

    def create(self, props: Props) -> CreateResult:
        """Nothing is made."""
        return CreateResult("preflight", props)

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """Nothing is changed."""
        return UpdateResult(_news)


class Preflight(Resource, module="homeport", name="ProxmoxPreflight"):
    """A look at a Proxmox VE before anything is made there."""

    def __init__(
        self,
        name: str,
        *,
        host: Mapping[str, Any],
        token_secret: pulumi.Input[str],
        containers: list[Mapping[str, Any]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``containers``: all that are to be there, as ``told_of`` tells them."""
        props = {"host": host, "token_secret": token_secret, "containers": containers}
        super().__init__(PreflightProvider(), name, props, opts)
