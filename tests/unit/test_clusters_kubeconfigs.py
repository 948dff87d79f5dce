"""Kubeconfigs of the state, and what the files say of the same servers now."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from homeport_clusters import automation, config, kubeconfigs
from homeport_clusters.kubeconfigs import dumped, fresh

OLD = dumped("here", {"server": "https://here.example"}, {"token": "expired"})


def token(text: str) -> str:
    return str(yaml.safe_load(text)["users"][0]["user"]["token"])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """cluster.yaml names two kubeconfigs, of which one is gone."""
    (tmp_path / "here").write_text(dumped("here", {"server": "https://here.example"}, {"token": "new"}))
    pairs = [("gone", None), ("here", "here")]
    monkeypatch.setenv(kubeconfigs.FRESH, kubeconfigs.named(pairs, tmp_path))
    return tmp_path


def test_the_files_credentials_count_for_the_same_server(files: Path) -> None:
    assert token(fresh(OLD)) == "new"


def test_the_states_credentials_count_for_any_other(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dumped("there", {"server": "https://there.example"}, {"token": "there"})
    assert fresh(other) == other
    monkeypatch.delenv(kubeconfigs.FRESH)
    assert fresh(OLD) == OLD


def test_of_two_users_of_a_server_each_keeps_its_own(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "second").write_text(dumped("second", {"server": "https://here.example"}, {"token": "second"}))
    pairs = [("here", None), ("second", None)]
    monkeypatch.setenv(kubeconfigs.FRESH, kubeconfigs.named(pairs, files))
    second = kubeconfigs.flattened("second", None, files)
    assert fresh(second) == second and token(fresh(OLD)) == "new"


@pytest.mark.parametrize("verb", ["up", "refresh", "destroy"])
def test_every_operation_is_told_of_them(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, str] = {}

    def opened(*_: object, environment: dict[str, str], **__: object) -> None:
        told.update(environment)
        raise RuntimeError

    monkeypatch.setattr(automation.stacks, "opened", opened)
    clusters = [{"name": "here", "type": "existing", "existing": {"kubeconfig": "here"}}, {"name": "k", "type": "kind"}]
    file = config.parse({"name": "lab", "clusters": clusters})
    with pytest.raises(RuntimeError):
        automation.run(verb, file, tmp_path / "cluster.yaml")  # type: ignore[arg-type]
    assert told[kubeconfigs.FRESH] == kubeconfigs.named([("here", None)], tmp_path)
