"""Kustomizations and charts on their way to objects: each is a run of the real program, kept by what it read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeport.drivers.build import ProgramFailed, Programs, Scratch
from homeport.engine.gitops.memory import Memory
from homeport.engine.gitops.tree import Tree
from homeport.engine.gitops.workers import Workers
from homeport.plan.gitops import helm, kustomize, kustomized, manifests, variables
from homeport.plan.gitops.build import BuildFailed, BuildSpec, BuiltObject
from homeport.plan.gitops.detect import CHART, joined
from homeport.plan.gitops.malformed import Malformed

_UNKNOWN = re.compile(r"\$\{([A-Za-z0-9_]+)\} isn't a variable")
ON_DISK = "what was decrypted was on the disk while {} ran, as this system has no folder in memory"


@dataclass(frozen=True)
class Made:
    """What came of one kustomization or chart."""

    objects: tuple[BuiltObject, ...]
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Units:
    """Runs kustomize and helm for one build."""

    def __init__(self, tree: Tree, spec: BuildSpec, programs: Programs, workers: Workers, memory: Memory[Made]) -> None:
        self._tree = tree
        self._spec = spec
        self._programs = programs
        self._workers = workers
        self._memory = memory

    def kustomization(self, closure: kustomize.Closure, seconds: float) -> Made:
        """The objects of a kustomization. Raises BuildFailed."""
        key = self._key("kustomize", closure.folder, sorted(closure.files))
        # What is elsewhere may have changed.
        held = None if closure.remote else self._memory.get(key)
        if held is not None:
            return held
        contents = self._tree.read(closure.files)
        secret = any(path in self._tree.secret for path in closure.files)
        with Scratch(private=secret) as scratch:
            scratch.write(contents, kustomized.INNER)
            wrapper = json.dumps(kustomized.wrapper(closure)).encode()
            scratch.write({"kustomization.yaml": wrapper})
            try:
                out = self._programs.run(
                    "kustomize", ["build", "."], scratch, seconds=seconds, network=bool(closure.remote)
                )
            except ProgramFailed as error:
                if secret and not error.ours and not self._spec.reveal:
                    raise BuildFailed(_quiet(closure.folder, "kustomize")) from None
                raise BuildFailed(kustomized.told(str(error), str(scratch.path), closure), error.passes) from None
            warnings = _on_disk(scratch, "kustomize")
        warnings += tuple(
            f"{closure.folder or '.'}: reads {each}, which is elsewhere: nothing says that it stays as it is"
            for each in closure.remote
        )
        texts = _texts(contents)
        own = kustomize.kustomization(self._tree, closure.folder)
        objects = []
        for printed, _ in self._parsed(out, own, texts):
            body, file = kustomized.from_where(printed, closure, own)
            objects.append(BuiltObject(body, file, kustomized.placed(body, texts.get(file, "")), secret))
        return self._kept(key, Made(tuple(objects), (), warnings), len(out))

    def chart(self, folder: str, alone: bool, seconds: float) -> Made:
        """The objects of a chart. Raises BuildFailed."""
        files = helm.files_of(folder, self._tree.listing(folder))
        name = helm.release(self._spec, folder, alone)
        given = [json.dumps(values).encode() for values in self._spec.helm.values]
        serves = self._spec.serves
        told = json.dumps([name, self._spec.helm.namespace or self._spec.namespace, self._spec.helm.include_crds,
                           serves.version, serves.apis, [each.decode() for each in given]])  # fmt: skip
        key = self._key("helm", told, sorted(files))
        held = self._memory.get(key)
        if held is not None:
            return held
        contents = self._tree.read(files)
        helm.check(folder, contents[joined(folder, CHART)], files)
        secret = any(path in self._tree.secret for path in files)
        # Values may come from Secrets.
        with Scratch(private=secret or bool(given)) as scratch:
            start = f"{folder}/" if folder else ""
            scratch.write({path.removeprefix(start): content for path, content in contents.items()}, "chart")
            values = {f"values/{number}.yaml": content for number, content in enumerate(given)}
            scratch.write(values)
            words = helm.arguments(self._spec, name, "./chart", [f"./{each}" for each in values])
            try:
                out = self._programs.run("helm", words, scratch, seconds=seconds)
            except ProgramFailed as error:
                if secret and not error.ours and not self._spec.reveal:
                    raise BuildFailed(_quiet(folder, "helm")) from None
                raise BuildFailed(helm.told(str(error), str(scratch.path), folder), error.passes) from None
            warnings = _on_disk(scratch, "helm")
        objects, left_out = [], []
        found = helm.sources(out.decode(errors="replace"), folder)
        for body, line in self._parsed(out, joined(folder, CHART), _texts(contents), found):
            hook = helm.hook_of(body)
            file = helm.source_of(line, found, folder)
            if not hook:
                objects.append(BuiltObject(helm.kept(body), file, 0, secret))
            elif not helm.is_test(hook):
                left_out.append(f"{body['kind']} {body['metadata']['name']} ({file}): a helm hook, {hook}")
        return self._kept(key, Made(tuple(objects), tuple(left_out), warnings), len(out))

    def _key(self, program: str, told: str, files: Sequence[str]) -> str:
        """Of everything that a run depends on. It may be of something secret, and stays in this process."""
        substituted = sorted(self._spec.variables.items()) if self._spec.substitute else None
        parts = [program, told, substituted, self._tree.keys, [(path, self._tree.blob(path)) for path in files]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _parsed(
        self, out: bytes, file: str, texts: Mapping[str, str], sources: Mapping[int, str] | None = None
    ) -> list[tuple[dict[str, Any], int]]:
        """What a program printed, as (object, line). ``sources``: from which line on it is of which file.

        Raises BuildFailed, which names the repository's file.
        """
        try:
            text = manifests.text_of(out)
        except Malformed:
            raise BuildFailed(f"{file}: what it makes isn't text in UTF-8") from None
        substituted = self._spec.variables if self._spec.substitute else None
        answer = self._workers.read({"out.yaml": text}, substituted)["out.yaml"]
        if "problem" not in answer:
            return [(body, line) for line, body in answer["objects"]]
        line, problem = answer["problem"]
        unknown = _UNKNOWN.match(problem)
        place = variables.place(unknown[1], texts) if unknown else None
        if place is not None:
            raise BuildFailed(f"{place[0]}:{place[1]}: {problem}")
        begins = max((each for each in sources or () if each <= line), default=0)
        told = f"line {line - begins} of what it makes: {problem}"
        raise BuildFailed(f"{(sources or {}).get(begins, file)}: {told}")

    def _kept(self, key: str, made: Made, size: int) -> Made:
        # As Python holds it, it is about eight times as large as written.
        self._memory.put(key, made, 8 * size)
        return made


def _texts(contents: Mapping[str, bytes]) -> dict[str, str]:
    return {path: content.decode(errors="replace") for path, content in contents.items()}


def _quiet(folder: str, program: str) -> str:
    """That a program fails over what was encrypted, which its words may quote."""
    return (
        f"{folder or '.'}: {program} fails, and what it says may quote what was decrypted for it; see it with "
        "`homeport build --age-key FILE --show-secrets`"
    )


def _on_disk(scratch: Scratch, program: str) -> tuple[str, ...]:
    return (ON_DISK.format(program),) if scratch.private and not scratch.in_memory else ()
