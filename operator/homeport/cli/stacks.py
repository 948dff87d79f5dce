"""Pulumi programs of Homeport by the Automation API: what ``homeport cluster`` and ``homeport pipeline`` share.

A *project* is a program's name for Pulumi, a *stack* one set of what it made, with a state of its own.
"""

# ruff: noqa: PLC0415 - imported when it is needed, so that help, completion and errors are quick
from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from homeport.cli import engine
from homeport.cli.errors import Failure

if TYPE_CHECKING:
    from pulumi import automation
    from pulumi.automation import events

Program = Callable[[], None]
Verb = Literal["up", "preview", "refresh", "destroy"]

SIGNS = {"create": "+", "update": "~", "replace": "±", "delete": "-", "refresh": "~", "import": "=", "read": "="}
DONE = {
    "create": "created",
    "update": "updated",
    "replace": "replaced",
    "delete": "deleted",
    "refresh": "refreshed",
    "read": "read",
}
_NOISE = re.compile(r"^Exception calling application: ")
_NOT_TOLD = ("pulumi:pulumi:Stack", "pulumi:providers:")
_CHATTER = "using pulumi-resource-pulumi-python from $PATH"


@dataclass(frozen=True)
class Project:
    """A program's name for Pulumi. ``backend`` is a URL of Pulumi's, None for the file backend in ``data``."""

    name: str
    backend: str | None = None
    data: Path = field(default_factory=engine.data_folder)

    @property
    def url(self) -> str:
        """Where its state is."""
        return self.backend or f"file://{self.data / 'state'}"


@dataclass(frozen=True)
class Step:
    """What happened, or would happen, to one resource."""

    operation: str
    type: str
    name: str


@dataclass(frozen=True)
class Result:
    """What an operation came to: numbers by operation, the steps that changed something, the program's outputs."""

    changes: Mapping[str, int]
    steps: tuple[Step, ...]
    outputs: Mapping[str, Any]
    secret: frozenset[str]
    """The names of outputs that are secret."""

    @property
    def changed(self) -> bool:
        """Whether there was, or would be, anything to do."""
        return any(number for operation, number in self.changes.items() if operation != "same")

    def shown(self, *, secrets: bool = False) -> dict[str, Any]:
        """For ``-o json``."""
        outputs = {
            name: value if secrets or name not in self.secret else "[secret]" for name, value in self.outputs.items()
        }
        steps = [{"operation": step.operation, "type": step.type, "name": step.name} for step in self.steps]
        return {"changes": dict(self.changes), "steps": steps, "outputs": outputs}


class Session:
    """One stack, open. ``tell`` gets each line of progress."""

    def __init__(self, stack: automation.Stack, tell: Callable[[str], None]) -> None:
        self._stack = stack
        self._tell = tell

    def run(self, verb: Verb, *, refresh: bool = False) -> Result:
        """Run an operation to its end. A lock of a run that was killed on this machine is taken off.

        Raises Failure with what went wrong, resource by resource.
        """
        from pulumi.automation import errors

        try:
            return self._once(verb, refresh)
        except errors.ConcurrentUpdateError as error:
            if not engine.locked_by_dead(str(error)):
                raise Failure(
                    f"another run works on stack {self._stack.name}",
                    "wait for its end; `pulumi cancel` takes off the lock of one that died on another machine",
                ) from None
        self._tell("a run on this machine was killed; its lock is taken off")
        self._stack.cancel()
        return self._once(verb, refresh)

    def _once(self, verb: Verb, refresh: bool) -> Result:
        from pulumi.automation import errors

        if verb == "destroy" and (unknown := unfinished(self.state())):
            raise Failure(
                f"a run of {self._stack.name} was killed while it made {', '.join(unknown[:3])}: "
                "whether that is there isn't in the state, and it would be left for ever",
                "run `up` first, with it in the file: that finds what was made; destroy it then",
            )
        log = Log(self._tell, verb)
        keywords: dict[str, Any] = {"on_event": log.take}
        if verb != "refresh":
            keywords["refresh"] = refresh
        if verb != "preview":
            keywords["show_secrets"] = False
        try:
            getattr(self._stack, verb)(**keywords)
        except errors.ConcurrentUpdateError:
            raise
        except errors.CommandError as error:
            raise Failure(log.failure or _last(str(error))) from None
        found = {} if verb in ("preview", "destroy") else self._stack.outputs()
        outputs = {name: output.value for name, output in found.items()}
        return Result(log.changes, tuple(log.steps), outputs, frozenset(n for n, o in found.items() if o.secret))

    def state(self) -> Mapping[str, Any]:
        """What the engine knows: ``resources`` and ``pending_operations``, secrets among them. Raises Failure."""
        from pulumi.automation import errors

        try:
            return self._stack.export_stack().deployment or {}
        except errors.CommandError as error:
            raise Failure(_last(str(error))) from None

    def outputs(self) -> dict[str, Any]:
        """The program's outputs, secret ones too."""
        return {name: output.value for name, output in self._stack.outputs().items()}

    def forget(self) -> None:
        """Remove a stack that has nothing any more, with its history."""
        self._stack.workspace.remove_stack(self._stack.name)


def unfinished(state: Mapping[str, Any]) -> list[str]:
    """The resources that a killed run was making, and that no later one has made.

    The engine keeps such an operation for good, even when the next run has finished it.
    """
    known = {entry["urn"] for entry in state.get("resources") or ()}
    pending = [entry for entry in state.get("pending_operations") or () if entry.get("type") == "creating"]
    urns = dict.fromkeys(str(entry["resource"]["urn"]) for entry in pending)
    # Not even the stack itself is there after a destroy that went through.
    return [f"{_kind(_type(urn))} {_name(urn)}" for urn in urns if known and urn not in known]


class Log:
    """What the engine tells as it works, in lines for people, and in the end what it came to."""

    def __init__(self, tell: Callable[[str], None], verb: Verb, *, clock: Callable[[], float] = time.monotonic):
        self._tell = tell
        self._verb = verb
        self._clock = clock
        self._started: dict[str, float] = {}
        self._errors: list[str] = []
        self.steps: list[Step] = []
        self.changes: dict[str, int] = {}

    @property
    def failure(self) -> str:
        """What went wrong, a line for each resource."""
        return "\n".join(dict.fromkeys(self._errors))

    def take(self, event: events.EngineEvent) -> None:
        """One event of the engine's."""
        if event.resource_pre_event:
            self._before(event.resource_pre_event.metadata)
        elif event.res_outputs_event:
            self._after(event.res_outputs_event.metadata)
        elif event.diagnostic_event:
            self._said(event.diagnostic_event)
        elif event.summary_event:
            self.changes = {str(getattr(k, "value", k)): n for k, n in event.summary_event.resource_changes.items()}

    def _before(self, step: events.StepEventMetadata) -> None:
        operation = _operation(step)
        if operation not in SIGNS or step.type.startswith(_NOT_TOLD):
            return
        self._started[step.urn] = self._clock()
        if self._verb in ("up", "destroy"):
            self._tell(f"{SIGNS[operation]} {_kind(step.type)} {_name(step.urn)} …")

    def _after(self, step: events.StepEventMetadata) -> None:
        operation = _operation(step)
        if operation not in SIGNS or step.type.startswith(_NOT_TOLD):
            return
        found = Step(operation, _kind(step.type), _name(step.urn))
        self.steps.append(found)
        took = self._clock() - self._started.get(step.urn, self._clock())
        ending = f"  {DONE.get(operation, operation)} in {took:.1f} s" if self._verb in ("up", "destroy") else ""
        if self._verb == "refresh":
            ending = "  is gone" if operation == "delete" else f"  differs: {_drift(step)}"
        changed = f"  ({', '.join(step.diffs)})" if step.diffs else ""
        self._tell(f"{SIGNS[operation]} {found.type} {found.name}{ending}{changed}")

    def _said(self, event: events.DiagnosticEvent) -> None:
        if event.ephemeral or not event.message.strip() or _CHATTER in event.message:
            return
        text = _NOISE.sub("", _plain(event.message).strip())
        where = (
            f"{_kind(_type(event.urn))} {_name(event.urn)}: "
            if event.urn and not _type(event.urn).startswith(_NOT_TOLD)
            else ""
        )
        if event.severity == "error":
            self._errors.append(f"{where}{text}")
        elif event.severity in ("warning", "info#err", "info"):
            for line in text.splitlines():
                self._tell(f"  {where}{line}")


def _drift(step: events.StepEventMetadata) -> str:
    """What a provider of ours says that is otherwise; of others, which outputs are."""
    old, new = (step.old and step.old.outputs) or {}, (step.new and step.new.outputs) or {}
    names = [str(path) for path in new.get("drift") or ()]
    return ", ".join(names or sorted(name for name in new if new[name] != old.get(name))) or "it was mended"


def _operation(step: events.StepEventMetadata) -> str:
    """The engine's word for what it does, its parts of a replacement counted as one."""
    name = str(getattr(step.op, "value", step.op))
    return {"create-replacement": "replace", "delete-replaced": "", "discard-replaced": ""}.get(name, name)


def _type(urn: str) -> str:
    """The type in a URN, which is urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME."""
    parts = urn.split("::")
    return parts[2].rpartition("$")[2] if len(parts) > 2 else ""


def _kind(type_: str) -> str:
    return type_.rpartition(":")[2] or type_


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _plain(text: str) -> str:
    """Without the engine's colours."""
    return re.sub(r"<\{%.*?%\}>|\x1b\[[0-9;]*m", "", text)


def _last(message: str) -> str:
    lines = [line for line in _plain(message).splitlines() if line.strip()]
    errors = [line.strip() for line in lines if "error:" in line]
    return "\n".join(errors or lines[-5:])


def require() -> None:
    """Raises Failure, with what to install, where Pulumi's package or its engine isn't there."""
    import importlib.util

    if importlib.util.find_spec("pulumi") is None:
        raise Failure("the Python package of Pulumi isn't installed", engine.PACKAGES_HINT)
    engine.find()


@contextmanager
def opened(
    project: Project,
    stack: str,
    program: Program,
    *,
    tell: Callable[[str], None] | None = None,
    make: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Session]:
    """A stack of ``project``, made when it isn't there and ``make`` says so. Raises Failure."""
    with _workspace(project, program, environment or {}) as (automation, options):
        from pulumi.automation import errors

        choose = automation.create_or_select_stack if make else automation.select_stack
        try:
            found = choose(stack, project.name, program, opts=options)
        except errors.StackNotFoundError:
            known = ", ".join(entry["name"] for entry in listed(project)) or "none"
            raise Failure(f"there is no {stack!r} in {project.url}; there are: {known}") from None
        except errors.CommandError as error:
            raise Failure(_last(str(error))) from None
        yield Session(found, tell or (lambda line: click.echo(line, err=True)))


def listed(project: Project) -> list[dict[str, Any]]:
    """The project's stacks: name, when it was last changed, how many resources, whether something runs."""
    with _workspace(project, lambda: None, {}) as (automation, options):
        from pulumi.automation import errors

        settings = options.project_settings
        workspace = automation.LocalWorkspace(
            work_dir=options.work_dir, pulumi_command=options.pulumi_command, env_vars=options.env_vars,
            project_settings=settings, program=lambda: None,
        )  # fmt: skip
        try:
            found = workspace.list_stacks()
        except errors.CommandError as error:
            raise Failure(_last(str(error))) from None
    return [
        {
            "name": entry.name,
            "updated": entry.last_update.isoformat() if entry.last_update else None,
            "resources": entry.resource_count or 0,
            "running": bool(entry.update_in_progress),
        }
        for entry in found
    ]


@contextmanager
def _workspace(project: Project, program: Program, environment: Mapping[str, str]) -> Iterator[tuple[Any, Any]]:
    """The Automation API, and the options of a workspace in which stacks of ``project`` are found."""
    require()
    from pulumi import automation

    work = project.data / "projects" / project.name
    work.mkdir(parents=True, exist_ok=True)
    if project.backend is None:
        (project.data / "state").mkdir(parents=True, exist_ok=True)
    with engine.installation(engine.find()) as root:
        options = automation.LocalWorkspaceOptions(
            work_dir=str(work),
            program=program,
            pulumi_command=automation.PulumiCommand(root=str(root)),
            project_settings=automation.ProjectSettings(
                name=project.name, runtime="python", backend=automation.ProjectBackend(project.url)
            ),
            env_vars={
                **engine.passphrase(project.data),
                "PULUMI_BACKEND_URL": project.url,
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "PYTHONPATH": engine.python_path(),
                **environment,
            },
        )
        yield automation, options
