"""The command line as a whole: what help shows, what is imported for it, and how errors speak."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import localplane.__main__ as localplane
from homeport import cli, main
from homeport.api.kinds import KINDS
from homeport.api.resource import InvalidSpec
from homeport.cli import app, errors, kinds, local
from homeport.drivers.kubernetes import errors as api_errors
from homeport.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.main(args)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "--help")
    assert code == 0
    for name, entry in app.COMMANDS.items():
        assert f"\n  {name} " in out
        assert entry.help in out


@pytest.mark.parametrize("name", list(app.COMMANDS))
def test_each_command_has_help_of_its_own(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = said(capsys, name, "-h")
    assert code == 0
    assert f"Usage: homeport {name}" in out
    assert "--debug" in out


def test_help_and_completion_import_nothing_heavy() -> None:
    script = (
        "import sys; from homeport import cli; cli.main(['--help']); "
        "heavy = {'rich', 'pydantic', 'aiohttp', 'yaml', 'kopf'} & set(sys.modules); print(heavy); sys.exit(len(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_kubectl_plugin_says_its_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/kubectl-homeport"])
    assert "Usage: kubectl homeport [OPTIONS]" in said(capsys, "--help")[1]


def test_python_m_homeport_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "homeport", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "homeport")


def test_a_mistyped_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = said(capsys, "stats")
    assert code == 1
    assert "there is no command 'stats'; did you mean status?" in err


def test_usage_errors_are_1_because_2_means_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "plan")[0] == 1
    assert said(capsys, "get", "--nonsense")[0] == 1


def test_the_names_of_kinds_are_those_of_the_models() -> None:
    table = {(k.kind, k.gvk.plural, k.short, k.gvk.namespaced) for k in kinds.ALL}
    assert table == {(k.name, k.plural, k.short_name, k.namespaced) for k in KINDS}


@pytest.mark.parametrize("text", ["Application", "applications", "hpapp", "app", "apps", "applications.homeport.dev"])
def test_kinds_are_found_by_any_name(text: str) -> None:
    assert kinds.find(text).kind == "Application"


def test_an_unknown_kind_lists_the_kinds() -> None:
    with pytest.raises(errors.Failure, match="there is no kind 'pods'") as caught:
        kinds.find("pods")
    assert "application (hpapp)" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "kind", "names"),
    [
        ([], None, []),
        (["app"], "app", []),
        (["app", "a", "b"], "app", ["a", "b"]),
        (["app/a", "applications/b"], "app", ["a", "b"]),
    ],
)
def test_words_are_a_kind_and_names(words: list[str], kind: str | None, names: list[str]) -> None:
    assert kinds.split(words) == (kind, names)


@pytest.mark.parametrize("words", [["app/a", "env/b"], ["app/a", "b"]])
def test_two_kinds_with_names_are_refused(words: list[str]) -> None:
    with pytest.raises(errors.Failure):
        kinds.split(words)


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (api_errors.ServerUnavailable(0, "", "no answer"), "no answer", "homeport up"),
        (api_errors.Forbidden(403, "", "no list"), "you lack the right for this: no list", "ask the project's lead"),
        (api_errors.Unauthorized(401, "", "who?"), "doesn't accept the kubeconfig's credentials", "expired"),
        (InvalidSpec(["spec.version: is required"]), "spec.version: is required", ""),
        (TimeoutError("not synced"), "took too long: not synced", "again"),
        (KeyError("x"), "a fault in homeport: KeyError: 'x'", "--debug"),
        (ExceptionGroup("g", [errors.Failure("inner", "do")]), "inner", "do"),
    ],
)
def test_errors_say_what_to_do(error: Exception, message: str, hint: str) -> None:
    shown, advice = errors.describe(error)
    assert message in shown
    assert hint in advice


def test_no_kubeconfig(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    code, out, err = said(capsys, "status", "--kubeconfig", str(tmp_path / "none"))
    assert (code, out) == (1, "")
    assert "cannot be read" in err
    assert "homeport up" in err
    assert "Traceback" not in err


def test_debug_shows_where(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="cannot be read"):
        cli.main(["status", "--debug", "--kubeconfig", str(tmp_path / "none")])


def test_operator_turns_options_into_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr(main, "run", lambda settings: seen.append(settings) or 7)
    monkeypatch.setenv("HOMEPORT_CONCURRENCY", "4")
    monkeypatch.setenv("HOMEPORT_NAMESPACE", "a b")
    code = cli.main(
        ["--context", "c", "operator", "--resync", "1h30m", "--shard", "homeport.dev/shard in (a,b),x!=y",
         "--log-format", "json", "--no-leader-election", "--identity", "me"]
    )  # fmt: skip
    assert code == 7
    assert seen == [
        Settings(
            concurrency=4, resync_seconds=5400.0, namespaces=("a", "b"), shard="homeport.dev/shard in (a,b),x!=y",
            log_format="json", leader_election=False, identity="me", context="c",
        )
    ]  # fmt: skip


def test_operator_defaults_are_those_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []
    monkeypatch.setattr(main, "run", lambda settings: seen.append(settings) or 0)
    assert cli.main(["operator"]) == 0
    assert seen == [Settings()]


@pytest.mark.parametrize(
    "options", [["--resync", "soon"], ["--listen", "8080"], ["--shard", "a b"], ["--concurrency", "0"]]
)
def test_operator_refuses(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    assert said(capsys, "operator", *options)[0] == 1


def test_up_passes_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(localplane, "main", lambda args: seen.append(list(args)) or 0)
    assert cli.main(["up", "--some", "thing"]) == 0
    assert cli.main(["down"]) == 0
    assert seen == [["up", "--some", "thing"], ["down"]]


def test_up_without_a_checkout_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def gone(name: str) -> None:
        raise ModuleNotFoundError(name="localplane")

    monkeypatch.setattr(local.importlib, "import_module", gone)
    monkeypatch.setattr(local, "__file__", "/nowhere/operator/homeport/cli/local.py")
    with pytest.raises(errors.Failure, match="works in a checkout of Homeport only"):
        local._localplane("up", [])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_this_program(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    code, out, _ = said(capsys, "completion", shell)
    assert code == 0
    assert f"_HOMEPORT_COMPLETE={shell}_complete" in out


def test_completion_without_a_shell_that_we_know(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    code, _, err = said(capsys, "completion")
    assert code == 1
    assert "there is no completion for tcsh" in err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("homeport st", ["status"]),
        ("homeport get hpa", ["hpapp"]),
        ("homeport tree app", ["application/"]),
        ("homeport tree application/", []),
        ("homeport completion f", ["fish"]),
    ],
)
def test_completions_without_a_cluster_are_silent(words: str, found: list[str], tmp_path: Path) -> None:
    line = words.split(" ")
    environment = {
        "PATH": "", "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none"), "COMP_WORDS": words,
        "COMP_CWORD": str(len(line) - 1), "_HOMEPORT_COMPLETE": "bash_complete", "PYTHONPATH": str(ROOT / "operator"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "homeport"], env=environment, capture_output=True, text=True, check=False
    )
    assert [entry.partition(",")[2] for entry in done.stdout.split()] == found
    assert done.stderr == ""
