"""Layers as one root filesystem: what stays of them, what is refused, and that GNU tar unpacks it as it should be."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import itertools
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from homeport.drivers.oci import flatten, rootfs
from homeport.drivers.oci.errors import Unusable
from homeport.drivers.oci.reference import Reference
from homeport.drivers.oci.registry import Blob, Image
from homeport.plan import agent

PLAIN = "application/vnd.oci.image.layer.v1.tar"
GZIP = PLAIN + "+gzip"
OPERATOR = {agent.ENV_URL: "https://10.0.0.9:8443", agent.ENV_FINGERPRINT: "ab" * 32}

Entry = tuple[str, dict[str, Any], bytes]


def file(path: str, content: bytes = b"", **more: Any) -> Entry:
    return path, more, content


def folder(path: str, mode: int = 0o755, **more: Any) -> Entry:
    return path, {"type": tarfile.DIRTYPE, "mode": mode, **more}, b""


def link(path: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    return path, {"type": kind, "linkname": target}, b""


def layer(*entries: Entry) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, fields, content in entries:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            for name, value in fields.items():
                setattr(info, name, value)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


Make = Callable[..., tarfile.TarFile]


@pytest.fixture
def flat(tmp_path: Path) -> Make:
    """One archive of layers, without what is added to images."""
    numbers = itertools.count()

    def make(*layers: bytes, kind: str = PLAIN, **added: bytes) -> tarfile.TarFile:
        pairs = []
        for text in layers:
            path = tmp_path / str(next(numbers))
            path.write_bytes(text)
            pairs.append((path, kind))
        out = io.BytesIO()
        flatten.flatten(pairs, out.write, {name: (text, 0o755) for name, text in added.items()}, {})
        out.seek(0)
        return tarfile.open(fileobj=out)

    return make


def shown(tar: tarfile.TarFile) -> dict[str, str]:
    """What is in it beside the folders that every container has: content, or where a link leads."""
    out = {}
    for info in tar:
        assert info.name.startswith("./") and info.name not in out, (
            "each is there once, by a name that tar can leave out"
        )
        path = info.name.removeprefix("./")
        if info.isdir():
            if path not in flatten.FOLDERS:
                out[path] = "/"
        elif info.issym():
            out[path] = f"-> {info.linkname}"
        else:
            data = tar.extractfile(info)
            out[path] = data.read().decode() if data is not None else "?"
    return out


def test_the_topmost_stays(flat: Make) -> None:
    found = flat(
        layer(folder("./app"), file("./app/one", b"1"), file("app/two", b"2"), folder("app/deep"),
              file("app/deep/x", b"x")),
        layer(file("app/two", b"zwei", mode=0o600), folder("app", 0o700)),
    )  # fmt: skip
    assert shown(found) == {"app": "/", "app/one": "1", "app/two": "zwei", "app/deep": "/", "app/deep/x": "x"}
    assert found.getmember("./app").mode == 0o700 and found.getmember("./app/two").mode == 0o600


def test_whiteouts_hide_what_is_below_and_nothing_beside(flat: Make) -> None:
    low = layer(
        folder("a"), file("a/x", b"old"), file("a/y", b"old"), folder("a/d"), file("a/d/z", b"old"), file("b", b"old")
    )
    high = layer(
        file("a/y", b"new"), file("a/.wh.x"), file("a/.wh.y"), file("a/.wh.d"), file(".wh.b"), file(".wh.never")
    )
    assert shown(flat(low, high)) == {"a": "/", "a/y": "new"}
    # A folder that is made anew where one was hidden.
    again = layer(folder("a/d"), file("a/d/new", b"new"), file("a/.wh.d"))
    assert shown(flat(low, again)) == {
        "a": "/", "a/x": "old", "a/y": "old", "a/d": "/", "a/d/new": "new", "b": "old",
    }  # fmt: skip


def test_an_opaque_folder_has_only_its_own(flat: Make) -> None:
    low = layer(folder("a"), file("a/x", b"old"), folder("a/d"), file("a/d/z", b"old"), file("b", b"old"))
    for order in itertools.permutations(
        [file("a/.wh..wh..opq"), file("a/y", b"new"), folder("a/d"), file("a/d/w", b"new")]
    ):
        assert shown(flat(low, layer(folder("a"), *order))) == {
            "a": "/", "a/y": "new", "a/d": "/", "a/d/w": "new", "b": "old",
        }  # fmt: skip


def test_another_kind_takes_the_place(flat: Make) -> None:
    low = layer(folder("a"), file("a/x", b"old"), file("b", b"old"), link("c", "b"))
    high = layer(file("a", b"now a file"), folder("b"), file("b/x", b"new"), folder("c"))
    assert shown(flat(low, high)) == {"a": "now a file", "b": "/", "b/x": "new", "c": "/"}


def test_hard_links_are_the_file_that_they_were_made_to(flat: Make) -> None:
    low = layer(
        file("bin/z", b"one"), link("bin/a", "bin/z", tarfile.LNKTYPE), link("bin/b", "./bin/a", tarfile.LNKTYPE)
    )
    found = flat(low, layer(file("bin/z", b"two"), file("bin/.wh.a")))
    assert shown(found) == {"bin": "/", "bin/z": "two", "bin/b": "one"}
    found = flat(low)
    assert [info.islnk() for info in found if info.name.startswith("./bin/")] == [False, True, True]
    assert shown(found) == {"bin": "/", "bin/z": "one", "bin/a": "one", "bin/b": "one"}
    with pytest.raises(Unusable, match="a hard link, /x, to y, which is no file of it"):
        flat(layer(link("x", "y", tarfile.LNKTYPE)))


def test_paths_lead_through_links_and_not_out(flat: Make) -> None:
    low = layer(folder("usr"), folder("usr/lib"), link("lib", "usr/lib"), link("up", "../../usr"), link("abs", "/usr"))
    high = layer(file("lib/x", b"x"), file("up/y", b"y"), file("abs/z", b"z"), file("lib/.wh.gone"))
    assert shown(flat(low, high)) == {
        "usr": "/", "usr/lib": "/", "usr/lib/x": "x", "usr/y": "y", "usr/z": "z",
        "lib": "-> usr/lib", "up": "-> ../../usr", "abs": "-> /usr",
    }  # fmt: skip
    with pytest.raises(Unusable, match="which leads out of it"):
        flat(layer(file("../etc/passwd", b"x")))
    with pytest.raises(Unusable, match="lead nowhere"):
        flat(layer(link("a", "b"), link("b", "a"), file("a/x", b"x")))
    with pytest.raises(Unusable, match="something else where /a/x needs a folder"):
        flat(layer(file("a", b"x"), file("a/x/y", b"x")))


def test_init_goes_behind_the_link(flat: Make) -> None:
    merged = layer(
        folder("usr"), folder("usr/sbin"), link("sbin", "usr/sbin"), link("usr/sbin/init", "/lib/systemd/systemd")
    )
    found = shown(flat(merged, **{"/sbin/init": b"ours"}))
    assert found["usr/sbin/init"] == "ours" and found["sbin"] == "-> usr/sbin" and "sbin/init" not in found
    dangling = shown(flat(layer(link("sbin", "/usr/sbin")), **{"/sbin/init": b"ours"}))
    assert dangling["usr/sbin/init"] == "ours"
    with pytest.raises(Unusable, match="something else where /sbin is to be a folder"):
        flat(layer(file("sbin", b"x")), **{"/sbin/init": b"ours"})


def test_devices(flat: Make) -> None:
    null = ("dev/null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b"")
    assert shown(flat(layer(folder("dev"), null, file("dev/x", b"x")))) == {}
    with pytest.raises(Unusable, match="the image has a device, /etc/null, which a container can't make"):
        flat(layer(("etc/null", null[1], b"")))


def test_what_cant_be_read(flat: Make) -> None:
    with pytest.raises(Unusable, match="a layer of the image can't be read"):
        flat(b"nothing of the kind" * 100)
    whole = gzip.compress(layer(file("x", os.urandom(4000))))
    with pytest.raises(Unusable, match="can't be read"):
        flat(whole[:-2000], kind=GZIP)


def test_layers_of_several_members(flat: Make) -> None:
    """As pigz and eStargz write them."""
    text = layer(file("x", b"x" * 3000), file("y", b"y"))
    assert set(shown(flat(gzip.compress(text[:1000]) + gzip.compress(text[1000:]), kind=GZIP))) == {"x", "y"}


def test_too_many_entries(flat: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "ENTRIES", 3)
    with pytest.raises(Unusable, match="more than 3 files"):
        flat(layer(*(file(str(number)) for number in range(4))))


def test_deep_folders(flat: Make) -> None:
    deep = "/".join(["d"] * 1500)
    assert len(shown(flat(layer(file(f"{deep}/x", b"x")), layer(file(".wh.e"))))) == 1501
    assert shown(flat(layer(file(f"{deep}/x", b"x")), layer(file(".wh.d")))) == {}


# --- an image ---------------------------------------------------------------------------------------------------------


def image(*layers: bytes, kind: str = GZIP) -> tuple[Image, Callable[[Blob], AsyncIterator[bytes]]]:
    """An image, and what fetches its layers."""
    packed = [gzip.compress(text, mtime=0) for text in layers]
    blobs = tuple(Blob(f"sha256:{hashlib.sha256(text).hexdigest()}", len(text), kind) for text in packed)
    known = dict(zip(blobs, packed, strict=True))
    config = {"architecture": "amd64", "config": {"Cmd": ["serve"], "User": "app", "Labels": {"a": "b"}},
              "rootfs": {"type": "layers", "diff_ids": []}}  # fmt: skip

    async def fetch(blob: Blob) -> AsyncIterator[bytes]:
        for at in range(0, blob.size, 100):
            yield known[blob][at : at + 100]

    digest = "sha256:" + "1" * 64
    return Image(Reference.parse("registry.example/shop/web:1"), digest, digest, config, blobs), fetch


def made(where: Path, *layers: bytes) -> tuple[flatten.Flat, Path, str]:
    found, fetch = image(*layers)
    flat = flatten.with_init(found, b"\x7fELF", "here", OPERATOR)
    where.mkdir()
    path, checksum = asyncio.run(flat.write(where, fetch))
    return flat, path, checksum


CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00\xff" + bytes(11)
SYSTEM = (
    layer(folder("usr"), folder("usr/sbin"), link("sbin", "usr/sbin"),
          file("usr/sbin/tool", b"tool", mode=0o4755, uid=0)),
    layer(
        folder("data", 0o700, uid=70, gid=71),
        file("data/one", b"1" * 2000, uid=70, gid=71, mode=0o640, pax_headers={
            "SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape"),
            "SCHILY.xattr.user.note": "n", "SCHILY.xattr.trusted.overlay.opaque": "y",
        }),
        link("data/two", "data/one", tarfile.LNKTYPE),
        file("d\udcff", b"a name that isn't UTF-8"),
        file("long/" + "n" * 200, b"long"),
    ),
)  # fmt: skip


def test_the_same_image_is_the_same_archive(tmp_path: Path) -> None:
    flat, path, checksum = made(tmp_path / "one", *SYSTEM)
    size = path.stat().st_size
    assert path.name == f"{flat.stem}-{size}.tar.gz" and checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    assert flatten.stem_of(path.name) == flat.stem and flatten.stem_of("other.tar") == "other.tar"
    _, again, same = made(tmp_path / "two", *SYSTEM)
    assert (again.name, same) == (path.name, checksum)
    assert flat.whole({path.name: size, "other.tar.gz": size}) == path.name
    assert flat.whole({path.name: size - 1}) is None and flat.half({path.name: size - 1}) == path.name
    assert flat.half({path.name: size}) is None and flat.half({}) is None
    other = flatten.with_init(image(*SYSTEM)[0], b"\x7fELF", "here", {**OPERATOR, agent.ENV_URL: "https://10.0.0.8:1"})
    assert other.stem != flat.stem, "what is in it is in its name"


def test_gnu_tar_unpacks_it(tmp_path: Path) -> None:
    _, path, _ = made(tmp_path / "made", *SYSTEM)
    root = tmp_path / "root"
    root.mkdir()
    # As Proxmox VE calls it (pve-container LXC/Create.pm), but for the attributes that only root may set.
    owners = ["--same-owner"] if os.geteuid() == 0 else ["--no-same-owner"]
    done = subprocess.run(
        ["tar", "xpf", path, "--totals", "--one-file-system", "-p", "--sparse", "--numeric-owner", "--acls", "--xattrs",
         "--xattrs-include=user.*", "--skip-old-files", "--anchored", "--exclude", "./dev/*", "-C", root, *owners],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (root / "usr/sbin/init").readlink() == Path(agent.INIT) and (root / "sbin").is_symlink()
    assert (root / agent.INIT.lstrip("/")).read_bytes() == b"\x7fELF"
    assert json.loads((root / agent.CLAIM_FILE.lstrip("/")).read_text()) == OPERATOR
    config = json.loads((root / agent.IMAGE_FILE.lstrip("/")).read_text())
    assert config == {"config": {"Cmd": ["serve"], "User": "app"}}
    assert stat.S_IMODE((root / "usr/sbin/tool").stat().st_mode) == 0o4755
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    one = (root / "data/one").stat()
    assert one.st_ino == (root / "data/two").stat().st_ino and one.st_size == 2000
    if os.geteuid() == 0:
        assert (one.st_uid, one.st_gid) == (70, 71)
    assert os.getxattr(root / "data/one", "user.note") == b"n"
    assert (root / os.fsdecode(b"d\xff")).read_bytes() == b"a name that isn't UTF-8"
    assert (root / "long" / ("n" * 200)).read_bytes() == b"long"
    assert set(flatten.FOLDERS) <= {entry.name for entry in root.iterdir()}
    with tarfile.open(path) as tar:
        kept = tar.getmember("./data/one").pax_headers
        assert "SCHILY.xattr.trusted.overlay.opaque" not in kept
        assert kept["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == CAPABILITY
        assert len(tar.getnames()) >= 10, "Proxmox VE refuses archives with fewer entries"


def test_an_image_of_one_file_has_enough(tmp_path: Path) -> None:
    _, path, _ = made(tmp_path / "made", layer(file("serve", b"\x7fELF", mode=0o755)))
    with tarfile.open(path) as tar:
        assert len(tar.getnames()) >= 10 and "./sbin/init" in tar.getnames()


def test_it_is_given_up_when_nobody_wants_it(tmp_path: Path) -> None:
    found, fetch = image(layer(file("x", os.urandom(2**20))))
    flat = flatten.with_init(found, b"\x7fELF", "here", OPERATOR)

    async def run() -> None:
        async def slow(blob: Blob) -> AsyncIterator[bytes]:
            async for piece in fetch(blob):
                yield piece
            writing.cancel()

        writing = asyncio.create_task(flat.write(tmp_path, slow))
        await asyncio.wait({writing})
        assert writing.cancelled()

    asyncio.run(run())
    assert not list(tmp_path.glob("*.tar.gz"))


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, fetch = image(layer(file("x", os.urandom(2**16))))
    flat = flatten.with_init(found, b"\x7fELF", "here", OPERATOR)
    monkeypatch.setattr(flatten, "LIMIT", 2**15)
    with pytest.raises(Unusable, match="as one archive the image is too large"):
        asyncio.run(flat.write(tmp_path, fetch))
    monkeypatch.setattr(flatten, "UNPACKED", 2**15)
    with pytest.raises(Unusable, match="the image's files are larger than"):
        asyncio.run(flat.write(tmp_path, fetch))


def test_zstd_is_refused() -> None:
    found, _ = image(layer(), kind=PLAIN + "+zstd")
    with pytest.raises(Unusable, match=r"layers in zstd, which are taken only where the host is Proxmox VE 9\.1"):
        flatten.with_init(found, b"\x7fELF", "here", OPERATOR)
