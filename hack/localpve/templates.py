"""Templates: what is offered, downloaded, pulled and uploaded, and there only when its task has ended well.

As in pve-storage's API2/Storage/Status.pm and pve-manager's API2/Nodes.pm: names are made harmless, the ending must
be a template's (``.tar`` since 9.1), an upload overwrites, a download with another checksum fails, a pull refuses
a name that is taken and wants a tag. Progress is wget's, in the task's log.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from typing import Any

from aiohttp import web
from fakepve.model import PveError, TaskError
from fakepve.server import USER, ok, params
from fakepve.storage import StorageApi, split_list

from homeport.plan import agent as wire

Values = dict[str, Any]
MIB = 2**20
CHUNK = 32 * MIB
"""What a line of wget's ``--progress=dot:giga`` stands for."""
ENDINGS = r"\.tar\.(gz|xz|zst|bz2)"
OCI_SINCE = (9, 1)


def offered(name: str, os: str, version: str, size: int = 120 * MIB) -> Values:
    """A template as ``pveam available`` knows it."""
    digest = hashlib.sha512(name.encode()).hexdigest()
    return {
        "template": name, "package": name.split("_", maxsplit=1)[0], "version": version, "os": os, "section": "system",
        "type": "lxc", "architecture": "amd64", "sha512sum": digest, "md5sum": digest[:32], "source": "https://releases",
        "location": f"http://download.proxmox.com/images/system/{name}", "headline": f"{os} (standard)",
        "description": f"A small {os} system.", "infopage": "https://pve.proxmox.com/wiki/Linux_Container",
        "maintainer": "Proxmox Support Team <support@proxmox.com>", "_size": size,
    }  # fmt: skip


OFFERED = (
    offered("debian-12-standard_12.7-1_amd64.tar.zst", "debian-12", "12.7-1"),
    offered("debian-12-standard_12.12-1_amd64.tar.zst", "debian-12", "12.12-1"),
    offered("debian-13-standard_13.1-2_amd64.tar.zst", "debian-13", "13.1-2"),
    offered("ubuntu-24.04-standard_24.04-2_amd64.tar.zst", "ubuntu-24.04", "24.04-2", 135 * MIB),
    offered("alpine-3.22-default_20250617_amd64.tar.xz", "alpine", "20250617", 3 * MIB),
)


class Templates(StorageApi):
    """A mixin of the stand-in."""

    def _routes_templates(self) -> list[tuple[str, str, Any]]:
        return [
            ("GET", "/nodes/{node}/aplinfo", self._aplinfo),
            ("POST", "/nodes/{node}/aplinfo", self._apl_download),
            ("POST", "/nodes/{node}/storage/{storage}/oci-registry-pull", self._oci_pull),
            ("GET", "/nodes/{node}/query-url-metadata", self._url_metadata),
        ]

    async def _aplinfo(self, v: Values, user: str) -> list[Values]:
        return [{key: value for key, value in entry.items() if key[0] != "_"} for entry in self.offered.values()]

    async def _apl_download(self, v: Values, user: str) -> str:
        name, sid = v["template"], v["storage"]
        appliance = self.offered.get(name)
        if appliance is None:
            raise PveError(400, "Parameter verification failed.", {"template": "no such template"})
        store = self._check_enabled(sid, v["node"])
        if "vztmpl" not in split_list(store.get("content")):
            raise PveError(500, f"storage '{sid}' does not support templates")
        source = self._source(appliance["location"], {"size": appliance["_size"], "sha512": appliance["sha512sum"]})
        return await self._fetch(v["node"], sid, name, name, user, source, ("sha512", appliance["sha512sum"]))

    async def _download_url(self, request: web.Request) -> web.Response:
        name, store = self._file_storage(request, "download")
        user, node = request[USER], request.match_info["node"]
        self.require(user, f"/storage/{name}", "Datastore.AllocateTemplate")
        self._need_network(user, node)
        v = self._verify(request, await params(request))
        self._need_file_storage(store, "can't upload to storage type '{0}', not a file based storage!")
        if v["content"] not in split_list(store.get("content")):
            raise PveError(500, f"storage '{name}' is not configured for content-type '{v['content']}'")
        filename = self._template_name(v["filename"], v["content"])
        checksum = (v["checksum-algorithm"], v["checksum"]) if v.get("checksum") else None
        source = self._source(v["url"])
        upid = await self._fetch(node, name, filename, filename, user, source, checksum, v["content"])
        answered: web.Response = ok(upid)
        return answered

    def _need_network(self, user: str, node: str) -> None:
        if not self.allowed(user, f"/nodes/{node}", "Sys.AccessNetwork"):
            self.require(user, "/", "Sys.Audit")
            self.require(user, "/", "Sys.Modify")

    async def _url_metadata(self, v: Values, user: str) -> Values:
        source = self._source(v["url"])
        if source.get("error"):
            raise PveError(500, f"invalid server response: '{source['error']}'")
        return {"filename": v["url"].rsplit("/", 1)[-1], "size": source["size"], "mimetype": "application/octet-stream"}

    def _source(self, url: str, default: Values | None = None) -> Values:
        """What lies behind a URL: ``size``, and ``sha512`` or another digest; ``error`` when nothing can be had."""
        found: Values = {"url": url, "size": 120 * MIB, **(default or {}), **self.remote.get(url, {})}
        return found

    async def _fetch(
        self, node: str, sid: str, filename: str, ident: str, user: str, source: Values,
        checksum: tuple[str, str] | None = None, content: str = "vztmpl",
    ) -> str:  # fmt: skip
        target = self._volume_path(sid, f"{content}/{filename}", content)
        lines = [f"downloading {source['url']} to {target}"]

        async def body() -> str:
            there = self._find_volume(sid, f"{content}/{filename}")
            if there is not None:
                if checksum is None:
                    raise TaskError(f"refusing to override existing file '{target}'")
                if there.get(checksum[0], checksum[1]) == checksum[1]:
                    return "calculating checksum of existing file...OK, got correct file already, no need to download"
                text = f"checksum mismatch: got '{there[checksum[0]]}' != expect '{checksum[1]}', aborting"
                raise TaskError(text)
            if source.get("error"):
                lines.append(f"HTTP request sent, awaiting response... {source['error']}")
                raise TaskError("download failed: exit code 8")
            done = 0
            while done < source["size"]:
                await self.pause(self.download_secs * min(CHUNK, source["size"] - done) / source["size"])
                done = min(source["size"], done + CHUNK)
                lines.append(_dots(done, source["size"]))
            if checksum is not None:
                got = source.get(checksum[0], checksum[1])
                if got != checksum[1]:
                    raise TaskError(f"checksum mismatch: got '{got}' != expect '{checksum[1]}'")
                lines.append("calculating checksum...OK, checksum verified")
            self._lay_down(sid, filename, source["size"], content, **({checksum[0]: checksum[1]} if checksum else {}))
            return f"download of '{source['url']}' to '{target}' finished"

        return str(await self.task(node, "download", ident, user, body, log=lines))

    async def _oci_pull(self, v: Values, user: str) -> Any:
        self._need_oci()
        sid, node = v["storage"], v["node"]
        store = self._check_enabled(sid, node)
        self._need_file_storage(store, "can't upload to storage type '{0}', not a file based storage!")
        if "vztmpl" not in split_list(store.get("content")):
            raise PveError(500, f"storage '{sid}' is not configured for content-type 'vztmpl'")
        filename = harmless(v.get("filename") or v["reference"]) + ".tar"
        if self._find_volume(sid, f"vztmpl/{filename}") is not None:
            raise PveError(500, f"refusing to override existing file '{filename}'")
        image = self.registry.get(v["reference"])

        async def body() -> None:
            await self.pause(self.download_secs)
            if image is None:
                text = f"command 'skopeo copy docker://{v['reference']} oci-archive:…' failed: exit code 1"
                raise TaskError(text)
            self._lay_down(sid, filename, 60 * MIB, oci=image)

        return await self.task(node, "ociregistrypull", filename, user, body)

    async def _upload(self, request: web.Request) -> web.Response:
        name, store = self._file_storage(request, "upload")
        user, node = request[USER], request.match_info["node"]
        self.require(user, f"/storage/{name}", "Datastore.AllocateTemplate")
        fields, data = form(request, await request.read())
        content = fields.get("content", "")
        self._need_file_storage(store, "can't upload to storage type '{0}'")
        filename = self._template_name(fields["filename"], content)
        if content not in split_list(store.get("content")):
            raise PveError(500, f"storage '{name}' does not support '{content}' content")
        image = oci_image(data) if filename.endswith(".tar") else None
        operator = operator_in(data) if filename.endswith(".tar.gz") else None
        log = ["starting file import from: /var/tmp/pveupload-0123456789abcdef0123456789abcdef"]

        async def body() -> str:
            if (kind := fields.get("checksum-algorithm")) is not None:
                got = hashlib.new(kind, data).hexdigest()
                if got != fields.get("checksum", "").lower():
                    raise TaskError(f"checksum mismatch: got '{got}' != expect '{fields.get('checksum')}'")
            await self.pause(self.upload_secs)
            self._lay_down(name, filename, len(data), content, **({"oci": image} if image is not None else {}),
                            **({"operator": operator} if operator is not None else {}))  # fmt: skip
            if self.files is not None:
                path = self.files / name / content / filename
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            return "finished file import successfully"

        answered: web.Response = ok(await self.task(node, "imgcopy", "", user, body, log=log))
        return answered

    def _lay_down(self, sid: str, filename: str, size: int, content: str = "vztmpl", **also: Any) -> None:
        self.storages[sid].setdefault("volumes", {}).pop(f"{content}/{filename}", None)
        self.store_file(sid, filename, size, content)
        if content != "iso":
            self.storages[sid]["volumes"][f"{content}/{filename}"].update(also)

    @property
    def takes_oci(self) -> bool:
        """Whether this version makes containers of OCI archives."""
        major, minor = (int(part) for part in str(self.version).split(".")[:2])
        return (major, minor) >= OCI_SINCE

    def _need_oci(self) -> None:
        if not self.takes_oci:
            raise PveError(501, "Method 'POST /nodes/{node}/storage/{storage}/oci-registry-pull' not implemented")

    def _template_name(self, filename: str, content: str) -> str:
        name = harmless(filename)
        endings = ENDINGS + (r"|\.tar" if self.takes_oci else "")
        if content == "vztmpl" and not re.search(rf"[^/]({endings})$", name, re.I):
            raise PveError(400, "Parameter verification failed.", {"filename": "wrong file extension"})
        return name

    def _parse_volname(self, store: Values, volname: str) -> tuple[str, int | None, str]:
        if self.takes_oci and re.match(r"^vztmpl/[^/]+\.tar$", volname):
            return "vztmpl", None, "raw"
        found: tuple[str, int | None, str] = super()._parse_volname(store, volname)
        return found


def harmless(filename: str) -> str:
    """``normalize_content_filename``."""
    return re.sub(r"[^a-zA-Z0-9_.-]", "_", re.sub(r"^.*[/\\]", "", filename))


def form(request: web.Request, body: bytes) -> tuple[dict[str, str], bytes]:
    """The fields of a complete multipart body, and the file in it. Raises PveError."""
    found = re.search(r'boundary="?([^";]+)', request.headers.get("Content-Type", ""))
    if request.content_type != "multipart/form-data" or found is None:
        raise PveError(400, "bad upload request")
    fields: dict[str, str] = {}
    data = b""
    for part in body.split(b"--" + found[1].encode())[1:-1]:
        head, _, value = part[2:-2].partition(b"\r\n\r\n")
        named = dict(re.findall(r'(\w+)="([^"]*)"', head.decode()))
        if "filename" in named:
            fields["filename"], data = named["filename"], value
            break  # the file comes last: what follows it isn't read
        if "name" in named:
            fields[named["name"]] = value.decode()
    return fields, data


def oci_image(archive: bytes) -> Values | None:
    """The configuration of the first image in an OCI archive; None when it isn't one."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            names = {name.removeprefix("./"): name for name in tar.getnames()}
            if not {"oci-layout", "index.json"} <= names.keys():
                return None

            def blob(digest: str) -> Values:
                member = tar.extractfile(names["blobs/" + digest.replace(":", "/")])
                assert member is not None
                found: Values = json.loads(member.read())
                return found

            index = tar.extractfile(names["index.json"])
            assert index is not None
            manifest = json.loads(index.read())["manifests"][0]
            while "config" not in (found := blob(manifest["digest"])):
                manifest = found["manifests"][0]
            image = blob(found["config"]["digest"])
            return {**(image.get("config") or {}), "architecture": image.get("architecture")}
    except (tarfile.TarError, KeyError, IndexError, ValueError, AssertionError):
        return None


def operator_in(archive: bytes) -> str | None:
    """Where Homeport's init in a root filesystem finds its operator; None where there is no init."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            member = tar.extractfile("." + wire.CLAIM_FILE)
            return member.read().decode() if member is not None else None
    except (tarfile.TarError, KeyError, EOFError, OSError, ValueError):
        return None


def _dots(done: int, size: int) -> str:
    """A line as ``wget --progress=dot:giga`` writes it."""
    row = " ".join(["." * 8] * 4)
    return f"{(done - 1) // CHUNK * CHUNK // 1024:6}K {row} {100 * done // size:3}% 45.2M 1s"
