"""Variables of Compose files: ``${VAR:-default}`` and its like, ``.env`` files, and what nobody has set.

Source: https://docs.docker.com/reference/compose-file/interpolation/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeport.cli.errors import Failure

if TYPE_CHECKING:
    from homeport.cli.importing.source import Source

UNSET, REQUIRED = "\x01unset:", "\x01required:"
END = "\x02"
"""A variable that nobody has set stands as UNSET or REQUIRED + name + END until it is known whether it is a secret."""
FILE_LIMIT = 256 * 1024

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)|"
    r"\{(?P<braced>[A-Za-z_]\w*)(?:(?P<operator>:?[-?+])(?P<rest>(?:[^{}]|\{[^{}]*\})*))?\}|(?P<broken>\{))"
)


def interpolate(text: str, variables: Mapping[str, str], source: Source) -> str:
    """``text`` with its variables put in. Raises Failure for what begins like a variable and isn't one."""

    def put(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["broken"]:
            shown = text[match.start() : match.start() + 40]
            raise Failure(
                f"{source.file}: {shown!r} isn't a variable",
                "write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${NAME:+text}; $$ is a dollar sign",
            )
        name, operator = match["plain"] or match["braced"], match["operator"] or ""
        value = variables.get(name)
        empty = value is None or (value == "" and operator.startswith(":"))
        rest = interpolate(match["rest"], variables, source) if match["rest"] else ""
        kind = operator[-1:]
        if kind == "+":
            return "" if empty else rest
        if not empty:
            return value or ""
        if kind == "-":
            source.say("", f"${{{name}}}", f"is {rest!r} from now on; --var {name}=… sets another")
            return rest
        if kind == "?":
            source.required[name] = rest
        return f"{REQUIRED if kind == '?' else UNSET}{name}{END}"

    return _VARIABLE.sub(put, text)


def dotenv(path: Path) -> dict[str, str]:
    """What a file of ``NAME=value`` lines sets; nothing when there is no such file. Raises Failure."""
    if not path.is_file():
        return {}
    if path.stat().st_size > FILE_LIMIT:
        raise Failure(f"{path}: is larger than {FILE_LIMIT // 1024} KiB")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise Failure(f"{path}: can't be read: {error}") from None
    out = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            out[name.strip()] = _unquoted(value.strip())
    return out


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return re.sub(r"\s+#.*$", "", value)


def unset(text: str) -> str:
    """The first variable in ``text`` that nobody has set."""
    found = re.search(f"(?:{UNSET}|{REQUIRED})([^{END}]*){END}", text)
    return found.group(1) if found else ""


def without_unset(text: str, source: Source, service: str) -> str:
    """``text`` with variables that nobody has set as nothing, which is said. Raises Failure for those that must be."""
    while name := unset(text):
        if f"{REQUIRED}{name}{END}" in text:
            raise needed(source, [name])
        source.say(service, f"${{{name}}}", "nobody has set it, so it is empty; --var NAME=VALUE sets it")
        text = text.replace(f"{UNSET}{name}{END}", "")
    return text


def needed(source: Source, names: Iterable[str]) -> Failure:
    """What to say when variables must be set."""
    said = source.required
    shown = ", ".join(f"{name} ({said[name]})" if said.get(name) else name for name in sorted(set(names)))
    return Failure(
        f"{source.file}: needs the variable {shown}", "set it with --var NAME=VALUE, or in a file .env beside it"
    )


def texts(value: Any) -> list[str]:
    """Every text in a value."""
    if isinstance(value, str):
        return [value]
    each = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in each for text in texts(one)]
