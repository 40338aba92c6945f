"""Names to domains, presets and folders."""

import pytest

from genesis import registry
from genesis.errors import ResourceError, UsageError


def test_domains_are_found_by_entry_point():
    assert "molecules" in registry.domains()
    assert registry.domain("molecules").name == "molecules"


def test_an_unknown_domain_suggests_a_near_name():
    with pytest.raises(UsageError, match="unknown domain 'molecule'; did you mean 'molecules'"):
        registry.domain("molecule")


def test_the_domain_name_is_its_default_preset():
    assert registry.resolve("molecules") == registry.presets()["molecules-moses"] == registry.resolve("molecules-moses")


def test_folders_and_runs_resolve(tmp_path):
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "config.json").touch()
    assert registry.resolve(tmp_path / "run") == tmp_path / "run" / "model"
    assert registry.resolve(str(tmp_path / "run" / "model")) == tmp_path / "run" / "model"


def test_what_is_no_model_says_so(tmp_path):
    with pytest.raises(ResourceError, match="no checkpoint here"):
        registry.resolve(tmp_path)
    with pytest.raises(ResourceError, match="neither a preset nor a folder; did you mean 'molecules-moses'"):
        registry.resolve("molecules-mose")
