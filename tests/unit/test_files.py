import errno
import os
import subprocess

import pytest

from immo_hpc.errors import OutputError
from immo_hpc.files import atomic_path, new_folder, require_absent, write_text


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(KeyError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert target.read_text() == "old"
    write_text(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "new"


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "out"
    with pytest.raises(KeyError), new_folder(target) as folder:
        (folder / "half").write_text("x")
        raise KeyError
    assert list(target.parent.iterdir()) == []
    with new_folder(target) as folder:
        (folder / "whole").write_text("x")
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_what_is_there_already_is_not_touched(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="found a file.*Choose another"):
        require_absent(tmp_path / "file")
    with pytest.raises(OutputError, match="a folder that is not empty"), new_folder(tmp_path):
        pass
    assert (tmp_path / "file").read_text() == "x"


def test_an_empty_folder_may_be_filled(tmp_path):
    target = tmp_path / "empty"
    target.mkdir()
    with new_folder(target) as folder:
        (folder / "a").write_text("x")
    assert (target / "a").exists()


def test_a_full_disk_says_so(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.txt: the disk is full.*half-written"):
        write_text(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_disk_that_is_really_full(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets no file system be mounted")
    try:
        with pytest.raises(OutputError, match="the disk is full"):
            write_text(mount / "big.txt", "x" * 1_000_000)
        assert list(mount.iterdir()) == []
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "absent" / "a.txt", "x")
