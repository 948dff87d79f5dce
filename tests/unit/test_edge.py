"""What ingress controllers are told of routes, and what is said about the rest."""

from __future__ import annotations

import pytest

from homeport.api.component import Component
from homeport.plan import edge


def component(**route: object) -> Component:
    return Component.model_validate(
        {"name": "web", "image": "web:1", "ports": [{"name": "http", "port": 80}], "routes": [{"path": "/", **route}]}
    )


@pytest.mark.parametrize(
    ("class_name", "route", "left_out"),
    [
        ("nginx", {"rateLimit": "5/s", "websocket": True, "cors": {"origins": ["https://a.example.com"]}}, ()),
        ("nginx", {"compress": True, "headers": {"preset": "Secure"}}, ("headers", "compress")),
        (None, {"compress": True}, ("compress",)),
        ("traefik", {"rateLimit": "5/s"}, ("rateLimit",)),
        ("traefik", {"websocket": True, "compress": False}, ()),
        ("haproxy", {"cors": {"origins": ["https://a.example.com"]}}, ("cors",)),
    ],
)
def test_what_is_not_carried_out_is_named(
    class_name: str | None, route: dict[str, object], left_out: tuple[str, ...]
) -> None:
    assert edge.left_out(component(**route), class_name) == left_out


def test_cross_origin_access_on_nginx() -> None:
    part = component(cors={"origins": ["https://a.example.com", "https://b.example.com"], "methods": ["GET"]})
    assert part.routes is not None
    assert edge.dialect("nginx").annotations(part.routes[0]) == {
        "nginx.ingress.kubernetes.io/enable-cors": "true",
        "nginx.ingress.kubernetes.io/cors-allow-origin": "https://a.example.com, https://b.example.com",
        "nginx.ingress.kubernetes.io/cors-allow-methods": "GET",
        "nginx.ingress.kubernetes.io/cors-allow-credentials": "false",
    }
