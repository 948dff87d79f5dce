"""One build: what a folder holds is found, read, run and put together. Blocks; threads share what is remembered."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from homeport.api import labels
from homeport.api.resource import InvalidSpec, parse
from homeport.drivers.build import Programs
from homeport.engine.gitops.memory import Memory
from homeport.engine.gitops.tree import Tree
from homeport.engine.gitops.units import Made, Units
from homeport.engine.gitops.workers import Workers
from homeport.plan.gitops import detect, kustomize, manifests, places, variables
from homeport.plan.gitops.build import OBJECTS, BuildFailed, BuildSpec, Built, BuiltObject, without
from homeport.plan.gitops.checkout import Checkout
from homeport.plan.gitops.detect import Parts
from homeport.plan.gitops.malformed import Malformed
from homeport.plan.gitops.reading import Answer

CONTENTS = 32 * 1024**2
"""Bytes of files that are remembered."""
PARSED = 64 * 1024**2
"""Bytes of objects that are remembered, of plain files and of what programs made, each."""
RUNS = 3
"""Programs that run at a time, for all builds together."""
WARNINGS = 20


@dataclass(frozen=True)
class Result:
    """A build, and the digests of all folders that it looked at: while they stay, so does it."""

    built: Built
    digests: Mapping[str, str]


class Assembler:
    """Makes objects of folders. Threads may share it."""

    def __init__(self, programs: Programs | None = None, workers: Workers | None = None) -> None:
        self._programs = programs or Programs()
        self._workers = workers or Workers()
        self._contents: Memory[bytes] = Memory(CONTENTS)
        self._parsed: Memory[_File] = Memory(PARSED)
        self._made: Memory[Made] = Memory(PARSED)
        self._runs = ThreadPoolExecutor(RUNS, thread_name_prefix="builds-run")

    def build(self, checkout: Checkout, spec: BuildSpec) -> Result:
        """What ``spec`` asks for. Raises BuildFailed, CheckoutFailed."""
        try:
            return self._build(checkout, spec)
        except BuildFailed as error:
            raise BuildFailed(without(spec.hidden, str(error)), error.passes) from None

    def _build(self, checkout: Checkout, spec: BuildSpec) -> Result:
        until = time.monotonic() + spec.timeout
        tree = Tree(checkout, spec, self._programs, self._contents)
        listing = tree.listing(spec.path)
        if not listing and spec.path:
            raise BuildFailed(f"there is no folder {spec.path} in the repository; write its path from the root")
        ignored = {path: content.decode(errors="replace") for path, content in
                   tree.read(detect.ignore_files(listing)).items()}  # fmt: skip
        parts = detect.parts(listing, spec.path, detect.ignoring(ignored))
        closures = _alone(
            kustomize.Walk(tree, spec.allow_remote_bases and not spec.sealed).closures(parts.kustomizations)
        )
        found = self._plain(tree, parts, spec) | self._rendered(tree, parts, spec)
        made = self._units(Units(tree, spec, self._programs, self._workers, self._made), parts, closures, until)
        objects = tuple(_in_order(found, made))
        _once(objects, spec.namespace)
        built = Built(
            objects,
            _digest(tree, spec, parts, closures, objects),
            tuple(each for unit in made.values() for each in unit.left_out),
            _warnings(parts, found, made),
        )
        return Result(built, tree.digests())

    def stop(self) -> None:
        """End all that is under way."""
        self._runs.shutdown(wait=False, cancel_futures=True)
        self._programs.stop()
        self._workers.stop()

    # --- files --------------------------------------------------------------------------------------------------------

    def _plain(self, tree: Tree, parts: Parts, spec: BuildSpec) -> dict[str, _File]:
        substituted = spec.variables if spec.substitute else None
        under = _hashed(sorted(spec.variables.items())) if spec.substitute else ""

        def key(path: str) -> tuple[str, ...]:
            # Whether it is encrypted isn't known before it is read; with other keys it is read again.
            return "plain", tree.blob(path), path.rpartition(".")[2], under, tree.keys

        held = {path: self._parsed.get(key(path)) for path in parts.plain}
        missing = [path for path, known in held.items() if known is None]
        wrong: dict[str, tuple[int, str]] = {}
        texts = {}
        for path, content in tree.read(missing).items() if missing else ():
            try:
                texts[path] = manifests.text_of(content)
            except Malformed as error:
                wrong[path] = error.line, str(error)
        answers = self._workers.read(texts, substituted) if texts else {}
        found = {}
        for path in parts.plain:
            file = held[path]
            if file is None and path in answers:
                text = variables.marked(texts[path]) if spec.substitute else texts[path]
                file = _file(answers[path], path in tree.secret, text)
                self._parsed.put(key(path), file, 8 * len(texts[path]) + 1024)
            if file is not None:
                found[path] = file
                if file.secret:
                    tree.secret.add(path)
                if file.problem is not None:
                    wrong[path] = file.problem
        _tell(wrong)
        return found

    def _rendered(self, tree: Tree, parts: Parts, spec: BuildSpec) -> dict[str, _File]:
        if not parts.templates:
            return {}
        contents = tree.read(parts.included)
        under = _hashed([sorted((path, tree.blob(path)) for path in parts.included), sorted(spec.variables.items())])
        start = len(spec.path) + 1 if spec.path else 0
        texts = {}
        for path, content in contents.items():
            try:
                texts[path[start:]] = manifests.text_of(content)
            except Malformed as error:
                raise BuildFailed(f"{path}:{error.line}: {error}") from None
        held = {path: self._parsed.get(("template", path, under)) for path in parts.templates}
        missing = [path for path, known in held.items() if known is None]
        answers = self._answers(spec, [path[start:] for path in missing], texts) if missing else {}
        secret = any(path in tree.secret for path in parts.included)
        out = {}
        for path in parts.templates:
            file = held[path] or _file(answers[path[start:]], secret)
            if held[path] is None:
                self._parsed.put(("template", path, under), file, 64 * 1024)
            if file.problem is not None:
                _tell({path: file.problem})
            out[path] = file
        return out

    def _answers(self, spec: BuildSpec, names: list[str], texts: Mapping[str, str]) -> Mapping[str, Answer]:
        try:
            return self._workers.render(names, texts, spec.variables)
        except BuildFailed as error:
            # Templates are named from the source's folder; a person looks for them from the root.
            message = str(error)
            known = any(message.startswith(name) for name in texts)
            raise BuildFailed(detect.joined(spec.path, message) if known else message, error.passes) from None

    # --- programs -----------------------------------------------------------------------------------------------------

    def _units(
        self, units: Units, parts: Parts, closures: Collection[kustomize.Closure], until: float
    ) -> dict[str, Made]:
        alone = len(parts.charts) == 1
        work = {each.folder: self._runs.submit(_in_time, units.kustomization, until, each) for each in closures}
        work |= {folder: self._runs.submit(_in_time, units.chart, until, folder, alone) for folder in parts.charts}
        try:
            return {folder: future.result() for folder, future in work.items()}
        finally:
            for future in work.values():
                future.cancel()


def _in_time(run: Any, until: float, *arguments: Any) -> Made:
    left = until - time.monotonic()
    if left <= 0:
        raise BuildFailed("building takes longer than spec.timeout; raise it, or use several sources", passes=True)
    made: Made = run(*arguments, left)
    return made


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """What one file holds, wherever it is."""

    objects: tuple[tuple[int, dict[str, Any]], ...] = ()
    warnings: tuple[tuple[int, str], ...] = ()
    problem: tuple[int, str] | None = None
    secret: bool = False


def _file(answer: Answer, secret: bool, text: str = "") -> _File:
    """``text`` is what was read, where its lines are those of the answer."""
    if "problem" in answer:
        line, text = answer["problem"]
        return _File(problem=(line, text), secret=secret)
    objects = tuple((line, body) for line, body in answer["objects"])
    for line, body in objects:
        wrong = _own(body, secret)
        if wrong:
            at = places.lines(text, line, wrong[:1])[0] if text and line else line
            return _File(problem=(at, _told_of(body, wrong)), secret=secret)
    return _File(objects, tuple((line, text) for line, text in answer["warnings"]), secret=secret)


def _own(body: Mapping[str, Any], secret: bool) -> list[str]:
    """What is wrong with an object of our own kinds, so that it is told before the server sees it."""
    if str(body["apiVersion"]).partition("/")[0] != labels.GROUP:
        return []
    try:
        parse(body)
    except InvalidSpec as error:
        # A value that was encrypted isn't told, and a sentence may quote it.
        return [each.partition(": ")[0] + " is wrong" if secret else each for each in error.problems]
    return []


def _told_of(body: Mapping[str, Any], problems: Iterable[str]) -> str:
    return f"{body['kind']} {body['metadata']['name']}: {'; '.join(problems)}"


def _tell(wrong: Mapping[str, tuple[int, str]]) -> None:
    """Raise BuildFailed for the first file that is wrong; the others are counted."""
    if not wrong:
        return
    path = min(wrong)
    line, text = wrong[path]
    others = sorted(set(wrong) - {path})
    more = f" (and {len(others)} more are wrong: {', '.join(others[:5])})" if others else ""
    raise BuildFailed(f"{path}:{line}: {text}{more}" if line else f"{path}: {text}{more}")


# --- putting it together ----------------------------------------------------------------------------------------------


def _alone(closures: Collection[kustomize.Closure]) -> list[kustomize.Closure]:
    """The kustomizations that are built by themselves: those that no other one is made of, and no components."""
    bases = {base for closure in closures for base in closure.bases}
    return [each for each in closures if each.folder not in bases and not each.component]


def _in_order(found: Mapping[str, _File], made: Mapping[str, Made]) -> Iterator[BuiltObject]:
    number = 0
    for where in sorted([*found, *made]):
        if where in found:
            file = found[where]
            here: Iterable[BuiltObject] = (BuiltObject(body, where, line, file.secret) for line, body in file.objects)
        else:
            here = made[where].objects
            for each in made[where].objects:
                wrong = _own(each.manifest, each.secret)
                if wrong:
                    raise BuildFailed(f"{each.where}: {_told_of(each.manifest, wrong)}")
        for each in here:
            number += 1
            if number > OBJECTS:
                raise BuildFailed(f"{each.where}: more than {OBJECTS} objects are made; use several sources")
            yield each


def _once(objects: Collection[BuiltObject], namespace: str) -> None:
    """Raise BuildFailed where an object is there twice."""
    seen: dict[tuple[str, ...], BuiltObject] = {}
    for each in objects:
        body = each.manifest
        group, slash, _ = str(body["apiVersion"]).partition("/")
        metadata = body["metadata"]
        key = (group if slash else "", body["kind"], metadata.get("namespace") or namespace, metadata["name"])
        other = seen.setdefault(key, each)
        if other is not each:
            shown = f"{body['kind']} {metadata.get('namespace') or namespace}/{metadata['name']}"
            raise BuildFailed(f"{each.where}: {shown} is in {other.where} too; leave one out")


def _used(tree: Tree, parts: Parts, closures: Collection[kustomize.Closure]) -> list[tuple[str, str]]:
    paths = {*parts.plain, *parts.included, *(path for closure in closures for path in closure.files)}
    for folder in parts.charts:
        paths |= set(tree.listing(folder))
    return [(path, tree.blob(path)) for path in sorted(paths)]


def _digest(
    tree: Tree, spec: BuildSpec, parts: Parts, closures: Collection[kustomize.Closure], made: Collection[BuiltObject]
) -> str:
    """Of what objects were made of, which says nothing of what was secret."""
    inputs = spec.inputs or _hashed([sorted(spec.variables.items()), spec.helm.values])
    told = [spec.name, spec.namespace, spec.substitute, inputs, _used(tree, parts, closures)]
    if parts.charts:
        helm = spec.helm
        told += [helm.release, helm.namespace, helm.include_crds, spec.serves.version, spec.serves.apis]
    if any(closure.remote for closure in closures) and not tree.secret:
        # What came from elsewhere is in nothing but what was made of it.
        told.append([each.manifest for each in made])
    return f"sha256:{_hashed(told)}"


def _hashed(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _warnings(parts: Parts, found: Mapping[str, _File], made: Mapping[str, Made]) -> tuple[str, ...]:
    out = [f"{path} is a submodule and isn't read; write submodules: true" for path in parts.submodules]
    for path, file in found.items():
        out += [f"{path}:{line}: {text} stays as it is; only ${{NAME}} is replaced" for line, text in file.warnings]
    out += [each for unit in made.values() for each in unit.warnings]
    return tuple(dict.fromkeys(out))[:WARNINGS]
