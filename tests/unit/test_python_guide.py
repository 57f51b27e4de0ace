"""The Python guide runs as it stands."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "python.md"


def test_every_block_of_the_guide_runs_in_order(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mudata")
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 8
    monkeypatch.chdir(tmp_path)
    names = {}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{GUIDE.name}, block {number}", "exec"), names)
    assert names["latent"].shape == (len(names["wide"]), 8)
    assert names["complete"].notna().all(axis=None)
    assert ((names["scores"] >= 0) & (names["scores"] <= 1)).all()
    assert names["metabolites"].shape[0] == len(names["tables"]["mg"])
    printed = capsys.readouterr().out
    for said in ("'mg' is absent", "1 of the model's 20 features are missing"):
        assert said in printed
    assert (tmp_path / "latent.parquet").is_file()
