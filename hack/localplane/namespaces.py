"""Linux namespaces, as far as the node needs them: entering a network namespace for the making of a socket."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000  # linux/sched.h
MNT_DETACH = 2  # sys/mount.h

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int | bytes) -> None:
    if getattr(_libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def new_network() -> None:
    """Give this thread, and what it starts from now on, a network namespace of its own."""
    _call("unshare", CLONE_NEWNET)


def rooted(root: Path) -> int:
    """A descriptor of a new mount namespace, a copy of this one whose root is a mount point of this one.

    `chroot` would not do: whoever enters the namespace of a process that is chrooted arrives at the real root.
    https://man7.org/linux/man-pages/man2/pivot_root.2.html, "pivot_root(".", ".")"
    """
    ready, made = os.pipe()
    wait, done = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(done)
            _call("unshare", CLONE_NEWNS)
            os.chdir(root)
            _call("pivot_root", b".", b".")
            _call("umount2", b".", MNT_DETACH)
            os.write(made, b"1")
            os.read(wait, 1)
        finally:
            os._exit(0)
    os.close(made)
    os.close(wait)
    try:
        if not os.read(ready, 1):
            raise OSError(f"{root} can't be made the root of a mount namespace")
        return os.open(f"/proc/{child}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(done)
        os.close(ready)
        os.waitpid(child, 0)


def enter_mounts(descriptor: int) -> None:
    """Be in another mount namespace, at its root."""
    _call("setns", descriptor, CLONE_NEWNS)


@contextmanager
def network(descriptor: int) -> Iterator[None]:
    """Be in another network namespace, with this thread only; a socket stays in the one in which it was made."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", descriptor, CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", here, CLONE_NEWNET)
    finally:
        os.close(here)


def connect(namespace: Path, host: str, port: int, timeout: float) -> socket.socket:
    """A TCP connection that begins in another network namespace. Raises OSError as `create_connection` does."""
    result: list[socket.socket | BaseException] = []

    def work() -> None:
        # A thread of its own: were it to hang in the other namespace, no one else would be there with it.
        try:
            descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with network(descriptor):
                    result.append(socket.create_connection((host, port), timeout))
            finally:
                os.close(descriptor)
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    found = result[0]
    if isinstance(found, BaseException):
        raise found
    return found
