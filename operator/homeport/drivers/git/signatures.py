"""Who signed a commit or a tag: OpenPGP and SSH signatures, held against public keys that are given.

git does it, with a keyring and a list of signers made for this one look, in a folder of its own: no key of this machine
counts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from homeport.drivers.git.mirror import Mirror
from homeport.drivers.git.program import BOUNDED
from homeport.drivers.git.types import MIB, GitFailed, Unsigned

Keys = tuple[tuple[str, str], ...]
"""(name, content) of public keys."""
_PGP = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_SSH_TYPES = r"(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-\S+|sk-\S+@openssh\.com)"
_SECONDS = 20.0
_GNUPG = r"^\[GNUPG:\] "
_WHERE = "the Secret of verify.keysSecretRef"


def verified(mirror: Mirror, commit: str, tag: str, keys: Keys) -> str:
    """Who signed ``commit``, or the annotated tag ``tag`` (its object; may be empty) that it was fetched by.

    A tag that is signed must be so by one of ``keys``, and speaks for its commit; else the commit must be. Raises
    GitFailed that says why not.
    """
    openpgp = [text for _, text in keys if _PGP in text]
    signers = [line for name, text in keys if _PGP not in text for line in allowed_signers(name, text)]
    if not openpgp and not signers:
        raise GitFailed(
            f"{_WHERE} has no public key; write OpenPGP keys in ASCII armour, SSH public keys, or lines of "
            "allowed_signers",
            passes=False,
        )
    name, kind = (tag, "tag") if tag and _signed(mirror, tag) else (commit, "commit")
    form = _signed(mirror, name)
    if not form:
        told = f"commit {commit[:12]} isn't signed" + (", and its tag isn't either" if tag else "")
        raise Unsigned(f"{mirror.url}: {told}; only what is signed by a key in {_WHERE} is used")
    if form == "X.509":
        raise Unsigned(f"{mirror.url}: the {kind} is signed with X.509; sign it with OpenPGP or SSH")
    needed = "gpg" if form == "OpenPGP" else "ssh-keygen"
    if shutil.which(needed) is None:
        raise GitFailed(f"{kind}s with {form} signatures need {needed}, which isn't on the operator's PATH", False)
    with tempfile.TemporaryDirectory(prefix="homeport-keys-") as scratch:
        folder = Path(scratch)
        _keyring(folder, openpgp)
        (folder / "signers").write_text("\n".join([*signers, ""]))
        said = mirror.local().told(
            f"verify-{kind}", "--raw", name,
            settings=(f"gpg.ssh.allowedSignersFile={folder / 'signers'}", "gpg.program=gpg",
                      "gpg.minTrustLevel=undefined",
                      "gpg.ssh.program=ssh-keygen", "gpg.ssh.revocationFile="),
            also={"GNUPGHOME": str(folder / "gnupg")},
            anyhow=True,
        )  # fmt: skip
    good, why = judged(said.text)
    if not good or said.code != 0:
        what = f"tag {mirror_name(mirror, tag)}" if kind == "tag" else f"commit {commit[:12]}"
        raise Unsigned(f"{mirror.url}: the {form} signature of {what} doesn't count: {why or 'git refuses it'}")
    return good


def mirror_name(mirror: Mirror, tag: str) -> str:
    """What a tag's object calls itself."""
    head = mirror.objects.content(tag, MIB).partition(b"\n\n")[0].decode(errors="replace")
    found = re.search(r"^tag (.*)$", head, re.MULTILINE)
    return found[1] if found else tag[:12]


def allowed_signers(name: str, text: str) -> Iterable[str]:
    """Lines for ``ssh-keygen``: those that are written so, and public keys under the comment that they bear.

    Source: ssh-keygen(1), "ALLOWED SIGNERS".
    """
    for line in text.splitlines():
        plain = line.strip()
        if not plain or plain.startswith("#"):
            continue
        if re.match(rf"{_SSH_TYPES}\s+\S+", plain):
            words = plain.split(None, 2)
            who = re.sub(r"[^\w.@+-]", "-", words[2].strip()) if len(words) == 3 and words[2].strip() else name
            yield f'{who} namespaces="git" {words[0]} {words[1]}'
        elif re.search(rf"\s{_SSH_TYPES}\s+\S+", plain):
            yield plain


def judged(said: str) -> tuple[str, str]:
    """(who signed, "") or ("", why the signature doesn't count), from what ``git verify-commit --raw`` says.

    Source: GnuPG's doc/DETAILS ("GOODSIG" and what follows); git's gpg-interface.c for what SSH says.
    """
    good = re.search(rf"{_GNUPG}GOODSIG (\S+) (.*)$", said, re.MULTILINE)
    if good and re.search(rf"{_GNUPG}VALIDSIG ", said, re.MULTILINE) and len(re.findall("GOODSIG ", said)) == 1:
        return f"{good[2].strip()} (OpenPGP {good[1]})", ""
    for word, why in _PGP_FAULTS:
        found = re.search(rf"{_GNUPG}{word} ?(.*)$", said, re.MULTILINE)
        if found:
            return "", why.format(found[1].split(" ")[0] if found[1] else "")
    ssh = re.search(r'^Good "git" signature for (\S+) with (\S+) key (\S+)\s*$', said, re.MULTILINE)
    if ssh and "No principal matched" not in said:
        return f"{ssh[1]} (SSH {ssh[3]})", ""
    if "No principal matched" in said or re.search(r'Good "git" signature with', said):
        key = re.search(r"(SHA256:\S+)", said)
        return "", f"it was made with the SSH key {key[1] if key else ''}, which isn't in {_WHERE}"
    if re.search(r"expired|not yet valid", said):
        return "", f"its SSH key isn't valid at that time, as {_WHERE} says"
    if re.search(r"incorrect signature|Signature verification failed|Could not verify", said):
        return "", "it isn't of this content: somebody changed it after it was signed"
    last = " ".join(said.split())[-200:]
    return "", last or "it can't be read"


_PGP_FAULTS = (
    ("REVKEYSIG", "key {} was revoked"),
    ("EXPKEYSIG", "key {} has expired"),
    ("EXPSIG", "it has expired"),
    ("BADSIG", "it isn't of this content: somebody changed it after it was signed with key {}"),
    ("ERRSIG", f"it was made with key {{}}, which isn't in {_WHERE}"),
    ("NO_PUBKEY", f"it was made with key {{}}, which isn't in {_WHERE}"),
)


def _signed(mirror: Mirror, name: str) -> str:
    """``OpenPGP`` or ``SSH`` for what bears a signature, ``X.509`` for what nobody verifies here; else empty."""
    text = mirror.objects.content(name, MIB)
    head, _, body = text.partition(b"\n\n")
    signature = body if head.startswith(b"object ") else head if re.search(rb"^gpgsig", head, re.MULTILINE) else b""
    if b"-----BEGIN SSH SIGNATURE-----" in signature:
        return "SSH"
    if b"-----BEGIN PGP SIGNATURE-----" in signature or b"-----BEGIN PGP MESSAGE-----" in signature:
        return "OpenPGP"
    return "X.509" if b"-----BEGIN SIGNED MESSAGE-----" in signature else ""


def _keyring(folder: Path, keys: list[str]) -> None:
    home = folder / "gnupg"
    home.mkdir(mode=0o700)
    if not keys:
        return
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-autostart", "--no-auto-check-trustdb",
               "--import-options", "import-minimal", "--import"]  # fmt: skip
    try:
        done = subprocess.run(
            ["sh", "-c", BOUNDED, "sh", str(64 * MIB // 512), *command],
            input="\n".join(keys).encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise GitFailed(f"the OpenPGP keys in {_WHERE} take longer than {_SECONDS:g} s to read", False) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        raise GitFailed(f"the OpenPGP keys in {_WHERE} can't be read: {said}", passes=False)
