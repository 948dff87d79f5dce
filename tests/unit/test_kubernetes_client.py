from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import yaml
from aiohttp import web

from homeport.drivers.kubernetes import config, errors, types
from homeport.drivers.kubernetes.client import Client
from homeport.drivers.kubernetes.config import ClientConfig, KubeconfigError, KubeconfigRefused

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, reason: str = "", message: str = "", **details: Any) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return web.json_response(body, status=code)


@asynccontextmanager
async def serving(*answers: Handler, **options: Any) -> AsyncIterator[tuple[Client, list[tuple[str, str, bytes, Any]]]]:
    """A client, and a server that gives one answer after the other (the last one for ever) and notes the requests."""
    seen: list[tuple[str, str, bytes, Any]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, request.path_qs, await request.read(), request.headers))
        return await answers[min(len(seen), len(answers)) - 1](request)

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(ClientConfig(f"http://127.0.0.1:{runner.addresses[0][1]}", token="t0k"), **options)
    try:
        yield client, seen
    finally:
        await client.close()
        await runner.cleanup()


def says(body: Any, code: int = 200, **headers: str) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(
            body=orjson.dumps(body), status=code, headers={"Content-Type": "application/json", **headers}
        )

    return handle


def refuses(response: Callable[[], web.Response]) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return response()

    return handle


async def hangs_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


THING = {"metadata": {"name": "a", "namespace": "ns", "resourceVersion": "5"}}

# -- paths and kinds ---------------------------------------------------------------------------------------------------


def test_paths() -> None:
    assert types.DEPLOYMENT.path("ns", "web", "scale") == "/apis/apps/v1/namespaces/ns/deployments/web/scale"
    assert types.POD.path() == "/api/v1/pods"
    assert types.NAMESPACE.path("ignored", "ns") == "/api/v1/namespaces/ns"
    assert types.ROLE.path("ns", "system:x") == "/apis/rbac.authorization.k8s.io/v1/namespaces/ns/roles/system:x"


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_a_name_cannot_leave_its_collection(name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        types.POD.path("ns", name)


def test_a_strange_name_is_one_segment() -> None:
    assert types.POD.path("ns", "../../x?y") == "/api/v1/namespaces/ns/pods/..%2F..%2Fx%3Fy"


def test_kinds_are_found_by_manifest() -> None:
    assert types.gvk_of({"apiVersion": "apps/v1", "kind": "Deployment"}) is types.DEPLOYMENT
    with pytest.raises(KeyError, match="known as networking"):
        types.gvk_of({"apiVersion": "extensions/v1beta1", "kind": "Ingress"})


# -- the verbs ---------------------------------------------------------------------------------------------------------


async def test_get_and_its_absence() -> None:
    async with serving(says(THING), refuses(lambda: status(404, "NotFound"))) as (client, seen):
        found = await client.get(types.CONFIG_MAP, "ns", "a")
        assert found is not None
        assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")
        assert await client.get(types.CONFIG_MAP, "ns", "a") is None
        assert seen[0][1] == "/api/v1/namespaces/ns/configmaps/a"
        assert seen[0][3]["Authorization"] == "Bearer t0k"
        assert seen[0][3]["User-Agent"] == "homeport"


async def test_apply_sends_json_as_an_apply_patch() -> None:
    async with serving(says(THING)) as (client, seen):
        await client.apply(types.CONFIG_MAP, "ns", "a", {"x": 1}, subresource="status", dry_run=True, force=False)
        method, path, body, headers = seen[0]
        assert method == "PATCH"
        assert path == "/api/v1/namespaces/ns/configmaps/a/status?fieldManager=homeport&force=false&dryRun=All"
        assert orjson.loads(body) == {"x": 1}
        assert headers["Content-Type"] == "application/apply-patch+yaml"
        assert "as=PartialObjectMetadata" in headers["Accept"]


async def test_list_follows_pages_and_names_the_items() -> None:
    pages = (
        says({"metadata": {"resourceVersion": "7", "continue": "next/1"}, "items": [dict(THING)]}),
        says({"metadata": {"resourceVersion": "7"}, "items": [dict(THING)]}),
    )
    async with serving(*pages) as (client, seen):
        items, version = await client.list(types.SECRET, labels="a=b,c!=d", resource_version="0")
        assert version == "7"
        assert [item["kind"] for item in items] == ["Secret", "Secret"]
        assert seen[0][1] == "/api/v1/secrets?labelSelector=a%3Db%2Cc%21%3Dd&limit=500&resourceVersion=0"
        assert "continue=next%2F1" in seen[1][1]
        assert "resourceVersion" not in seen[1][1]


async def test_delete_has_preconditions_and_is_false_for_what_is_gone() -> None:
    async with serving(says({}), refuses(lambda: status(404))) as (client, seen):
        assert await client.delete(types.POD, "ns", "a", uid="u", resource_version="5")
        assert not await client.delete(types.POD, "ns", "a")
        assert orjson.loads(seen[0][2])["preconditions"] == {"uid": "u", "resourceVersion": "5"}
        assert "preconditions" not in orjson.loads(seen[1][2])


async def test_discover() -> None:
    found = says({"resources": [{"name": "deployments"}, {"name": "deployments/scale"}]})
    async with serving(found, refuses(lambda: status(404))) as (client, seen):
        assert await client.discover("apps/v1") == {"deployments"}
        assert await client.discover("v1") == set()
        assert [entry[1] for entry in seen] == ["/apis/apps/v1", "/api/v1"]


async def test_as_somebody_else_over_the_same_connections() -> None:
    async with serving(says(THING), says(THING), says(THING)) as (client, seen):
        acting = client.impersonate("system:serviceaccount:ns:deployer")
        await acting.get(types.CONFIG_MAP, "ns", "a")
        await client.impersonate("jane", ["a", "b"]).get(types.CONFIG_MAP, "ns", "a")
        await client.get(types.CONFIG_MAP, "ns", "a")
        assert seen[0][3]["Impersonate-User"] == "system:serviceaccount:ns:deployer"
        assert "Impersonate-Group" not in seen[0][3]
        assert seen[1][3].getall("Impersonate-Group") == ["a", "b"]
        assert "Impersonate-User" not in seen[2][3]
        assert {headers["Authorization"] for _, _, _, headers in seen} == {"Bearer t0k"}


async def test_calls_are_told_with_code_and_time() -> None:
    told: list[tuple[str, Any, int]] = []
    async with serving(
        says(THING), refuses(lambda: status(403)), on_call=lambda verb, gvk, code, _: told.append((verb, gvk, code))
    ) as (client, _):
        await client.get(types.POD, "ns", "a")
        with pytest.raises(errors.Forbidden):
            await client.get(types.POD, "ns", "a")
    assert told == [("get", types.POD, 200), ("get", types.POD, 403)]


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.ApiError),
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "Conflict", errors.Conflict),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (500, "InternalError", errors.ServerUnavailable),
    ],
)
async def test_every_refusal_has_its_error(code: int, reason: str, kind: type[errors.ApiError]) -> None:
    async with serving(refuses(lambda: status(code, reason, "because"))) as (client, seen):
        with pytest.raises(kind) as caught:
            await client.create(types.POD, "ns", {})
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.reason, str(caught.value)) == (code, reason, "because")
        assert len(seen) == 1


async def test_a_field_conflict_names_the_managers() -> None:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl" using apps/v1',
            "field": ".spec.replicas",
        },
        {"reason": "FieldManagerConflict", "message": 'conflict with "hpa" with subresource "scale"', "field": ".x"},
    ]
    async with serving(refuses(lambda: status(409, "Conflict", "no", causes=causes))) as (client, _):
        with pytest.raises(errors.Conflict) as caught:
            await client.apply(types.DEPLOYMENT, "ns", "a", {}, force=False)
    assert caught.value.managers == ("kubectl", "hpa")
    assert caught.value.causes[0].field == ".spec.replicas"


async def test_invalid_names_the_fields() -> None:
    causes = [{"reason": "FieldValueInvalid", "message": "Invalid value: 0", "field": "spec.port"}]
    async with serving(refuses(lambda: status(422, "Invalid", "no", causes=causes))) as (client, _):
        with pytest.raises(errors.Invalid) as caught:
            await client.apply(types.SERVICE, "ns", "a", {})
    assert caught.value.causes[0][:2] == ("spec.port", "Invalid value: 0")


async def test_a_proxys_html_becomes_a_short_message() -> None:
    html = refuses(lambda: web.Response(status=413, text="<html>\n<h1>Too large</h1>" + "x" * 5000))
    async with serving(html) as (client, _):
        with pytest.raises(errors.ApiError) as caught:
            await client.create(types.POD, "ns", {})
    assert "Too large" in str(caught.value)
    assert len(str(caught.value)) < 400


# -- repetition --------------------------------------------------------------------------------------------------------


async def test_429_is_waited_for_as_it_asks() -> None:
    limited = refuses(lambda: web.Response(status=429, headers={"Retry-After": "0.05"}))
    async with serving(limited, limited, says(THING)) as (client, seen):
        await client.create(types.POD, "ns", {})
        assert len(seen) == 3


async def test_429_that_asks_for_long_is_the_queues_affair() -> None:
    async with serving(refuses(lambda: web.Response(status=429, headers={"Retry-After": "30"}))) as (client, seen):
        with pytest.raises(errors.TooManyRequests) as caught:
            await client.apply(types.POD, "ns", "a", {})
        assert caught.value.retry_after == 30
        assert len(seen) == 1


async def test_reads_and_applies_are_repeated_when_the_connection_breaks() -> None:
    async with serving(hangs_up, says(THING), hangs_up, says(THING)) as (client, seen):
        assert await client.get(types.POD, "ns", "a")
        assert await client.apply(types.POD, "ns", "a", {})
        assert len(seen) == 4


async def test_a_create_whose_outcome_is_unknown_says_so_and_is_not_repeated() -> None:
    async with serving(hangs_up) as (client, seen):
        with pytest.raises(errors.ServerUnavailable) as caught:
            await client.create(types.POD, "ns", {})
        assert caught.value.outcome_unknown
        assert len(seen) == 1


async def test_a_delete_is_repeated_only_for_one_uid() -> None:
    async with serving(refuses(lambda: status(503)), says({})) as (client, seen):
        assert await client.delete(types.POD, "ns", "a", uid="u")
        assert len(seen) == 2
    async with serving(refuses(lambda: status(503))) as (client, seen):
        with pytest.raises(errors.ServerUnavailable):
            await client.delete(types.POD, "ns", "a")
        assert len(seen) == 1


async def test_a_connection_that_was_never_made_has_written_nothing() -> None:
    client = Client(ClientConfig("http://127.0.0.1:1"))
    with pytest.raises(errors.ServerUnavailable) as caught:
        await client.create(types.POD, "ns", {})
    assert not caught.value.outcome_unknown
    await client.close()


async def test_a_silent_server_times_out() -> None:
    async def sleeps(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async with serving(sleeps, timeout=0.1) as (client, _):
        with pytest.raises(errors.ServerUnavailable, match="timed out") as caught:
            await client.create(types.POD, "ns", {})
        assert caught.value.outcome_unknown


async def test_an_expired_token_is_read_again(tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    async with serving(says(THING), refuses(lambda: status(401)), says(THING)) as (client, seen):
        client.config.token, client.config.token_file = None, token
        await client.get(types.POD, "ns", "a")
        token.write_text("new\n")
        await client.get(types.POD, "ns", "a")
        assert [entry[3]["Authorization"] for entry in seen] == ["Bearer old", "Bearer old", "Bearer new"]


def test_a_token_file_is_read_again_after_a_minute(tmp_path: Any) -> None:
    now = [0.0]
    token = tmp_path / "token"
    token.write_text("one")
    found = ClientConfig("http://x", token_file=token, clock=lambda: now[0])
    assert found.bearer() == "one"
    token.write_text("two")
    now[0] = 59
    assert found.bearer() == "one"
    now[0] = 61
    assert found.bearer() == "two"
    token.unlink()
    now[0] = 200
    assert found.bearer() == "two"


# -- watches -----------------------------------------------------------------------------------------------------------


def streams(*chunks: bytes, pause: float = 0.0) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for chunk in chunks:
            await answer.write(chunk)
            await asyncio.sleep(pause)
        return answer

    return handle


def line(kind: str, version: str, **more: Any) -> bytes:
    return (
        orjson.dumps({"type": kind, "object": {"metadata": {"name": "a", "resourceVersion": version}, **more}}) + b"\n"
    )


async def test_events_are_cut_at_lines_not_at_chunks() -> None:
    big = line("MODIFIED", "2", data={"x": "y" * 3_000_000})
    whole = line("ADDED", "1") + big + line("BOOKMARK", "3")
    parts = [whole[:10], whole[10:60], whole[60:1_000_000], whole[1_000_000:]]
    async with serving(streams(*parts)) as (client, seen):
        got = [
            (kind, m["metadata"]["resourceVersion"]) async for kind, m in client.watch(types.POD, resource_version="0")
        ]
        assert got == [("ADDED", "1"), ("MODIFIED", "2"), ("BOOKMARK", "3")]
        assert "allowWatchBookmarks=true" in seen[0][1]
        assert "watch=true" in seen[0][1]


async def test_gone_in_the_stream_and_as_an_answer() -> None:
    gone = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
    async with serving(streams(line("ADDED", "1"), gone), refuses(lambda: status(410, "Expired"))) as (client, _):
        for _ in range(2):
            with pytest.raises(errors.Gone):
                async for _ in client.watch(types.POD):
                    pass


async def test_a_half_open_watch_is_noticed() -> None:
    async with serving(streams(line("ADDED", "1"), pause=5), silence=0.2) as (client, _):
        opened: list[int] = []
        with pytest.raises(errors.ServerUnavailable) as caught:
            async for _ in client.watch(types.POD, on_open=lambda: opened.append(1)):
                pass
        assert caught.value.reason == errors.SILENT
        assert opened == [1]


async def test_nonsense_in_a_watch_is_an_api_error() -> None:
    async with serving(streams(b"<html>\n")) as (client, _):
        with pytest.raises(errors.ServerUnavailable, match="not an event"):
            async for _ in client.watch(types.POD):
                pass


async def test_watches_do_not_use_up_the_connections_of_requests() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await (streams(line("ADDED", "1"), pause=1) if "watch=" in request.path_qs else says(THING))(request)

    async with serving(answer, connections=1) as (client, _):

        async def follow() -> None:
            async for _ in client.watch(types.POD):
                pass

        watches = [asyncio.create_task(follow()) for _ in range(5)]
        await asyncio.sleep(0.1)
        assert await asyncio.wait_for(client.get(types.POD, "ns", "a"), 0.5)
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


# -- kubeconfigs -------------------------------------------------------------------------------------------------------


def kubeconfig(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example.com:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": {"token": "t"} if user is None else user}],
    }


def inline(**parts: dict[str, Any]) -> ClientConfig:
    return config.from_inline(yaml.safe_dump(kubeconfig(**parts)))


def test_an_inline_kubeconfig() -> None:
    found = inline(cluster={"insecure-skip-tls-verify": True, "tls-server-name": "kubernetes"})
    assert (found.server, found.token, found.server_name) == ("https://api.example.com:6443", "t", "kubernetes")
    assert "token=" not in repr(found)


@pytest.mark.parametrize(
    ("where", "field", "instead"),
    [
        ("user", "exec", "token"),
        ("user", "auth-provider", "token"),
        ("user", "tokenFile", "token"),
        ("user", "client-certificate", "client-certificate-data"),
        ("user", "client-key", "client-key-data"),
        ("user", "username", "token"),
        ("user", "password", "token"),
        ("user", "as", "rights"),
        ("user", "as-groups", "rights"),
        ("user", "unheard-of", "token"),
        ("cluster", "certificate-authority", "certificate-authority-data"),
        ("cluster", "proxy-url", "directly"),
    ],
)
def test_a_secrets_kubeconfig_may_only_hold_inline_credentials(where: str, field: str, instead: str) -> None:
    entry = {"token": "t", field: "x"} if where == "user" else {field: "x"}
    with pytest.raises(KubeconfigRefused, match=field) as caught:
        inline(**{where: entry})
    assert instead in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "clusters: 3", "current-context: x", "contexts: [{name: 1}]"])
def test_what_is_not_a_kubeconfig_is_said_to_be_none(text: str) -> None:
    with pytest.raises(KubeconfigError, match="kubeconfig"):
        config.from_inline(text)


def test_plain_http_and_no_credentials_are_refused_inline() -> None:
    with pytest.raises(KubeconfigRefused, match="https"):
        inline(cluster={"server": "http://10.0.0.1"})
    with pytest.raises(KubeconfigError, match="credentials"):
        inline(user={})
    with pytest.raises(KubeconfigError, match="certificate"):
        inline(cluster={"certificate-authority-data": base64.b64encode(b"nonsense").decode()})


def test_a_trusted_kubeconfig_may_point_at_files(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("from-file")
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(kubeconfig(user={"tokenFile": "token"}, cluster={"server": "http://localhost:1"})))
    monkeypatch.setenv("KUBECONFIG", str(path))
    found = config.load()
    assert (found.server, found.bearer(), found.ssl) == ("http://localhost:1", "from-file", None)
    with pytest.raises(KubeconfigError, match="no context 'y'"):
        config.load(path, context="y")
    with pytest.raises(KubeconfigError, match="exec"):
        config.load(kubeconfig(user={"exec": {"command": "aws"}}))


def test_in_cluster(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("homeport-system")
    found = config.in_cluster(tmp_path)
    assert (found.server, found.token, found.namespace) == ("https://[fd00::1]:443", "t", "homeport-system")


def test_certificates_are_checked_as_clients_in_go_do() -> None:
    """Python 3.13 refuses those without an Authority Key Identifier, which clusters' own authorities may leave out."""
    found = inline().ssl
    assert found is not None and found.verify_mode is ssl.CERT_REQUIRED and found.check_hostname
    assert not found.verify_flags & ssl.VERIFY_X509_STRICT
