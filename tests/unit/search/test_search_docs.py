"""The commands and the space file of docs/search.md are such that they work."""

import re
import shlex
from pathlib import Path

import typer.main

from immo_hpc.cli import app
from immo_hpc.config import ImmoConfig
from immo_hpc.search.build import build_space

PAGE = (Path(__file__).parents[3] / "docs" / "search.md").read_text(encoding="utf-8")


def test_every_command_is_understood():
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    # Those of the table name their places in capitals.
    lines += [
        line.replace("SHARDS", "shards").replace("STUDY", "study").replace("N --w", "9 --w")
        for line in re.findall(r"^\| `(immo [^`]*)` \|", PAGE, re.M)
    ]
    commands = typer.main.get_command(app).commands
    assert len(lines) >= 10
    for line in lines:
        program, verb, *words = shlex.split(line.replace("workers W", "workers 2"))
        assert program == "immo"
        commands[verb].make_context(f"immo {verb}", words)


def test_the_space_file_and_the_searches_make_a_space(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(re.search(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)[1])
    space, _ = build_space(("mg", "mt", "mb"), ImmoConfig(), file=file)
    keys = {item.key for item in space.dimensions}
    assert {"train.batch_size", "train.weight_decay", "loss.weights/mg"} <= keys
    assert not {"model.dropout", "train.lr_decay"} & keys
    texts = re.findall(r'--search "?([^"\s]+)"?', PAGE)
    assert len(texts) >= 3
    for text in texts:
        build_space(("mg", "mt", "mb"), ImmoConfig(), texts=[text])


def test_the_dashboards_lines_open_a_study(study, run_worker, monkeypatch, tmp_path, capsys):
    from immo_hpc.workflow.tuning.telling import told

    folder, _ = study()
    run_worker(folder)
    told(folder, write=True)
    monkeypatch.chdir(tmp_path)
    block = re.search(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[1]
    exec(compile(block, "search.md", "exec"), {})
    assert capsys.readouterr().out.strip()
