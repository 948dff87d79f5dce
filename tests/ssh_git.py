"""A real sshd on loopback that serves repositories by git-shell, and nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from localplane import debian

LAYER = debian.Layer(("openssh-server",))
"""Of a machine that has no sshd."""
_CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AcceptEnv GIT_PROTOCOL
LogLevel DEBUG
"""
# sshd as root needs /run/sshd, which is there for a service only, and a user: it gets a /run and a passwd of its own.
_OWN_RUN = 'mount -t tmpfs none /run && mkdir /run/sshd && mount --bind "$0" /etc/passwd && exec "$@"'
_USER = "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"


def missing() -> str:
    """Why there can't be one on this machine; empty when there can."""
    for program in ("ssh", "ssh-keygen", "git-shell"):
        if _program(program) is None:
            return f"{program} isn't installed (Debian: openssh-client, git)"
    if _program("sshd") is None and (os.geteuid() != 0 or debian.missing()):
        return (
            "sshd isn't installed (Debian: openssh-server), and Debian's isn't unpacked but by root on Linux with apt"
        )
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")


def _server() -> tuple[str, dict[str, str]]:
    """The machine's sshd, or Debian's beside its libraries; and the variables that it needs."""
    if installed := _program("sshd"):
        return installed, {}
    tree = debian.tree(LAYER)
    return str(tree / "usr/sbin/sshd"), {"LD_LIBRARY_PATH": debian.libraries(tree)}


def key(folder: Path, name: str) -> tuple[str, str]:
    """(private, public) of a new key."""
    path = folder / name
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
    subprocess.run(command, check=True, input=b"y\n", capture_output=True)
    return path.read_text(), path.with_suffix(".pub").read_text()


class SshServer:
    """Serves repositories below ``root`` to whoever has ``identity``."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.identity, public = key(folder, "client")
        command = 'command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\"",restrict'
        (folder / "authorized").write_text(f"{command} {public}")
        (folder / "config").write_text(_CONFIG.format(port=self.port, folder=folder))
        self._process: subprocess.Popen[bytes] | None = None
        self.known_hosts = self.new_host_key()

    def new_host_key(self) -> str:
        """Start it with another host key; what known_hosts should say from now on."""
        self.close()
        _, public = key(self.folder, "host")
        program, variables = _server()
        command = [program, "-D", "-e", "-f", str(self.folder / "config")]
        if os.geteuid() == 0:
            users = Path("/etc/passwd").read_text()
            passwd = self.folder / "passwd"
            passwd.write_text(users if "\nsshd:" in users else users + _USER)
            command = ["unshare", "--mount", "sh", "-c", _OWN_RUN, str(passwd), *command]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **variables})
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.05)
        return f"[127.0.0.1]:{self.port} {' '.join(public.split()[:2])}\n"

    def url(self, name: str) -> str:
        user = os.environ.get("USER") or ("root" if os.geteuid() == 0 else "nobody")
        return f"ssh://{user}@127.0.0.1:{self.port}{self.root}/{name}.git"

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
