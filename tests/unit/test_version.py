"""What tells two states of one version apart."""

import pytest

from immo_hpc import _version


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "immo_of_the_test"
    (folder / "part").mkdir(parents=True)
    (folder / "__init__.py").write_text("a = 1\n")
    (folder / "part" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(_version, "_PACKAGES", (folder.name,))
    return folder


def test_the_digest_is_that_of_names_and_contents_of_python_files(package):
    digest = _version.source_digest()
    (package / "part" / "data.yaml").write_text("a: 1\n")
    assert _version.source_digest() == digest
    (package / "part" / "__init__.py").rename(package / "part" / "other.py")
    renamed = _version.source_digest()
    (package / "part" / "other.py").write_text("b = 2\n")
    assert len({digest, renamed, _version.source_digest()}) == 3
