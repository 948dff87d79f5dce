"""Who uses a host is woken once, and can leave at any time."""

from __future__ import annotations

from homeport.api.labels import OwnerKey
from homeport.engine.hostusers import Users


def test_one_who_was_woken_can_leave() -> None:
    woken: list[OwnerKey] = []
    users, key = Users(woken.append, lambda key: {}), OwnerKey("LXCContainer", "homelab", "dns")
    users.register("lab", key, waits=True)
    users.usable("lab")
    assert woken == [key]
    users.forget(key)
    users.forget(key)
    assert users.of("lab") == frozenset()
