"""Preparing by many processes: the same bytes, whoever did what and whoever was killed."""

import os
import random
import re
import shutil
import signal

import numpy as np
import pandas as pd
import pytest

from immo_hpc.config import load_config
from immo_hpc.data.manifest import read_manifest
from immo_hpc.data.read import read_cohort
from immo_hpc.data.shards import verify_shards
from immo_hpc.errors import CohortError, ImmoError, OutputError, UsageError
from immo_hpc.workflow import prepare as prepare_module
from immo_hpc.workflow import reading
from immo_hpc.workflow.prepare import CohortOptions, prepare, prepare_cohort
from immo_hpc.workflow.preparing import place as place_module
from immo_hpc.workflow.preparing import streamed as streamed_module
from immo_hpc.workflow.preparing.place import PreparePlace, prepare_place
from immo_hpc.workflow.preparing.steps import ShardFormat, shard_format
from immo_hpc.workflow.preparing.workers import further_workers

NUM_SAMPLES = 120
# Five rows a chunk instead of thousands, so that every round has many.
SMALL_CHUNKS = """
from immo_hpc.data.preparation import rows
from immo_hpc.workflow import prepare, reading
reading.SMALL_BYTES = -1
rows.BLOCK_BYTES, rows._CHUNK_BLOCKS, rows._CHUNK_ROWS = 4 * 6 * 5, 1, 20
"""
COMMAND = SMALL_CHUNKS + "from immo_hpc.cli import main\nmain()\n"
# Kills itself over its n-th file: half of it written, or (every other life) all of it.
SHORT_LIFE = """
import os, signal, sys
from immo_hpc import work
life = int(sys.argv.pop(1))
left = [life]
def dying(do):
    def make(name, temporary):
        left[0] -= 1
        if left[0] == 0 and life % 2:
            temporary.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        do(name, temporary)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return make
whole = work.WorkFolder.do_all
work.WorkFolder.do_all = lambda self, names, do: whole(self, names, dying(do))
"""


@pytest.fixture(autouse=True)
def small_cohorts_over_files_too(monkeypatch, no_fsync):
    monkeypatch.setattr(reading, "SMALL_BYTES", -1)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Counts and intensities of 40 people with 3 visits; every third sample lacks mb."""
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(5)
    ids = [f"s{number:03d}" for number in range(NUM_SAMPLES)]
    people = [f"p{number // 3}" for number in range(NUM_SAMPLES)]
    samples = pd.DataFrame({"sample_id": ids, "subject_id": people, "group": ["a", "b"] * 60})
    samples.to_csv(folder / "samples.tsv", sep="\t", index=False)
    rna = pd.DataFrame(
        rng.poisson(rng.lognormal(4, 1, 6), (NUM_SAMPLES, 6)), columns=list("uvwxyz")
    )
    mb = pd.DataFrame(rng.lognormal(8, 1, (NUM_SAMPLES, 5)), columns=list("abcde"))
    mb[rng.random(mb.shape) < 0.1] = np.nan
    for name, table in {"rna": rna, "mb": mb}.items():
        table.insert(0, "sample_id", ids)
        table = table[np.arange(NUM_SAMPLES) % 3 != 0] if name == "mb" else table
        table.to_csv(folder / f"{name}.csv", index=False)
    (folder / "cohort.yaml").write_text(
        "layers: {rna: {kind: counts}, mb: {kind: intensity}}\nlabel: group\n"
    )
    return folder


@pytest.fixture(scope="module")
def run(forked):
    """Types ``immo prepare`` in a process of its own."""

    def typed(*words, script=COMMAND):
        return forked(script, *words)

    return typed


def done(process):
    said, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    return said, told


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def words(cohort, output, *more):
    return ["prepare", cohort, output, "--rows-per-shard=16", *more]


@pytest.fixture(scope="module")
def expected(cohort, tmp_path_factory, run):
    """The shards of the cohort, prepared in memory by a process that is left alone."""
    output = tmp_path_factory.mktemp("expected") / "shards"
    script = SMALL_CHUNKS + (
        "import sys\n"
        "from pathlib import Path\n"
        "from immo_hpc.config import load_config\n"
        "cohort = prepare.CohortOptions().read(Path(sys.argv[1]))\n"
        "stored = prepare.ShardFormat(rows_per_shard=16)\n"
        "prepare._prepare(cohort, Path(sys.argv[2]), load_config(), Path(sys.argv[1]).name, stored)"
    )
    done(run(cohort, output, script=script))
    assert verify_shards(output) == ()
    assert len(content(output)) == NUM_SAMPLES // 16 + 2
    return content(output)


def test_one_process_over_files_gives_the_bytes_of_memory(cohort, expected, tmp_path, run):
    said, told = done(run(*words(cohort, tmp_path / "shards")))
    assert content(tmp_path / "shards") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["shards"], "something was left"
    assert re.search(r"split: train \d+ people, \d+ samples; .*\n  \d+\.\d s, 1 process", said)
    assert "writing 8 shards" in told


def test_array_tasks_share_the_work_and_all_end_well(cohort, expected, tmp_path, run):
    arguments = words(cohort, tmp_path / "shards", f"--work={tmp_path / 'work'}")
    tasks = [run(*arguments) for _ in range(3)]
    texts = [done(task)[0].rpartition("\n  ")[0] for task in tasks]
    assert content(tmp_path / "shards") == expected
    late = done(run(*arguments))[0].rpartition("\n  ")[0]
    assert texts == [late] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards", "work"]
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["inputs.json"]


def test_workers_of_one_command_give_the_same_bytes(cohort, expected, tmp_path, run):
    said, _ = done(run(*words(cohort, tmp_path / "shards", "--workers=2", "--json")))
    # Its worker has chunks of the usual size, and so has this set: shards alone are compared.
    assert '"workers": 2' in said
    assert '"seconds": ' in said
    found = content(tmp_path / "shards")
    assert sorted(found) == sorted(expected)
    assert verify_shards(tmp_path / "shards") == ()
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_killed_at_any_moment_and_repeated_the_bytes_are_the_same(cohort, expected, tmp_path, run):
    output = tmp_path / "shards"
    arguments = words(cohort, output, f"--work={tmp_path / 'work'}")
    lives, deaths = random.Random(3), 0
    while not output.exists():
        pair = [run(lives.randint(3, 14), *arguments, script=SHORT_LIFE + COMMAND) for _ in "ab"]
        for process in pair:
            _, told = process.communicate(timeout=120)
            assert process.returncode in (0, -signal.SIGKILL), told
            deaths += process.returncode != 0
    done(run(*arguments))
    assert deaths > 2
    assert content(output) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards", "work"]


def test_killed_from_outside_at_random_moments(cohort, expected, tmp_path, run):
    output = tmp_path / "shards"
    moments = random.Random(4)
    for _ in range(4):
        process = run(*words(cohort, output))
        try:
            process.wait(moments.uniform(0.05, 0.5))
        except AssertionError:
            process.kill()
            process.wait()
        if output.exists():
            break
    if not output.exists():
        done(run(*words(cohort, output)))
    assert content(output) == expected


def test_a_full_disk_is_told_and_the_command_goes_on_later(cohort, expected, tmp_path, run):
    output = tmp_path / "shards"
    full = SMALL_CHUNKS + (
        "import resource\nfrom immo_hpc.data.shards import write\n"
        "inner = write.pq.ParquetWriter\n"
        "def limited(path, *args, **options):\n"
        "    if path.name.endswith('00003.parquet'):\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
        "    return inner(path, *args, **options)\n"
        "write.pq.ParquetWriter = limited\n"
        "import os\nos.getpid = lambda: 0\n"  # the first of the names is done first
        "from immo_hpc.cli import main\nmain()\n"
    )
    process = run(*words(cohort, output), script=full)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the disk is full or over quota" in told
    assert "Traceback" not in told
    assert not output.exists()
    waiting = sorted(path.name for path in (tmp_path / ".shards.prepare" / "shards").iterdir())
    assert waiting == ["00000.parquet", "00001.parquet", "00002.parquet"]
    done(run(*words(cohort, output)))
    assert content(output) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def _prepare(cohort, output, **options):
    return prepare([cohort], output, load_config(), CohortOptions(), **options)


def test_other_inputs_are_refused_until_the_folder_is_removed(cohort, tmp_path):
    output = tmp_path / "shards"
    prepare_place(output, None).begin({"input files": [], "storage": 1})
    with pytest.raises(OutputError, match=r"\.shards\.prepare: .* differ in: input files, output"):
        _prepare(cohort, output)
    assert not output.exists()
    shutil.rmtree(tmp_path / ".shards.prepare")
    _prepare(cohort, output)
    assert verify_shards(output) == ()


def test_a_process_killed_while_it_cleared_away_is_made_up_for(cohort, tmp_path, monkeypatch):
    output = tmp_path / "shards"
    with monkeypatch.context() as patch:
        patch.setattr(PreparePlace, "clear", lambda place: None)
        first = _prepare(cohort, output)
    assert (tmp_path / ".shards.prepare").exists()
    again = _prepare(cohort, output)
    assert again.values["layers"] == first.values["layers"]
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


@pytest.mark.parametrize("moment", ["require_absent", "_claim", "_require_same", "make_folder"])
@pytest.mark.parametrize("is_shared", [True, False])
def test_whoever_begins_while_another_ends_ends_well(
    cohort, tmp_path, run, monkeypatch, moment, is_shared
):
    """At that moment another process does all the work and clears it away."""
    output, left = tmp_path / "shards", []
    arguments = words(cohort, output, *([f"--work={tmp_path / 'work'}"] if is_shared else []))
    if is_shared:
        work = tmp_path / "work"
    else:
        # Begun before by one that was killed: else there is nothing to say whose the output is.
        work = None
        with monkeypatch.context() as patch:
            patch.setattr(streamed_module, "_work", killed)
            with pytest.raises(KeyboardInterrupt):
                _prepare(cohort, output, stored=ShardFormat(rows_per_shard=16))
    owner = {"require_absent": streamed_module, "_require_same": PreparePlace}
    owner = owner.get(moment, place_module)
    inner = getattr(owner, moment)

    def late(*values):
        if not left and (moment == "require_absent" or ".shards.prepare" in str(values)):
            left.append(done(run(*arguments)))
        inner(*values)

    monkeypatch.setattr(owner, moment, late)
    outcome = _prepare(cohort, output, work=work, stored=ShardFormat(rows_per_shard=16))
    assert len(left) == 1
    assert outcome.values["shards"] == str(output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards", "work"][: 1 + is_shared]


def killed(*_):
    raise KeyboardInterrupt


def test_an_output_of_other_work_is_left_alone(cohort, tmp_path):
    output = tmp_path / "shards"
    _prepare(cohort, output)
    before = content(output)
    with pytest.raises(OutputError, match="a folder that is not empty"):
        _prepare(cohort, output)
    with pytest.raises(OutputError, match="a folder that is not empty"):
        _prepare(cohort, output, work=tmp_path / "work")
    assert content(output) == before
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_a_lost_shard_is_told(cohort, tmp_path, monkeypatch):
    output = tmp_path / "shards"
    whole = PreparePlace.end

    def end(place, names, write_manifest):
        (place.shards / names[2]).unlink()
        whole(place, names, write_manifest)

    monkeypatch.setattr(PreparePlace, "end", end)
    with pytest.raises(OutputError, match=r"00002\.parquet was written, but is not there"):
        _prepare(cohort, output, stored=ShardFormat(rows_per_shard=16))
    assert not output.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cohort_that_cannot_be_used_leaves_nothing(cohort, tmp_path, workers):
    bad = tmp_path / "bad"
    shutil.copytree(cohort, bad)
    text = (bad / "mb.csv").read_text().splitlines()
    text[7] = text[7].rpartition(",")[0] + ",-5"
    (bad / "mb.csv").write_text("\n".join(text) + "\n")
    with pytest.raises(CohortError, match=r"'e': found -5; expected no negative value"):
        _prepare(bad, tmp_path / "shards", workers=workers)
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_a_work_folder_in_the_output_is_refused(cohort, tmp_path):
    with pytest.raises(UsageError, match="expected a folder outside the output"):
        _prepare(cohort, tmp_path / "shards", work=tmp_path / "shards" / "work")


@pytest.mark.parametrize(("dtype", "rows"), [("float64", 16), ("float32", 0)])
def test_unknown_storage_is_refused(dtype, rows):
    with pytest.raises(UsageError, match=rf"--dtype {dtype} --rows-per-shard {rows}: expected"):
        shard_format(dtype, rows)
    assert shard_format("float16", 3) == ShardFormat("float16", 3)


def test_a_worker_that_fails_is_told_with_its_message():
    with (
        pytest.raises(ImmoError, match=r"a worker failed: .*nothing-there.* expected a folder"),
        further_workers(["validate", "nothing-there"], 1) as team,
    ):
        team.processes[0][0].wait(60)
        team.check()


def test_a_worker_that_is_killed_is_only_noted():
    with further_workers(["--help"], 2) as team:
        first, other = (process for process, _ in team.processes)
        first.kill()
        first.wait(60)
        team.check()
        assert team.lost == ["a worker was ended by SIGKILL; the others did its work."]
        assert [process for process, _ in team.processes] == [other]
    assert other.poll() is not None


def test_a_worker_without_its_command_gives_up(monkeypatch):
    other = os.getpid()  # Nobody is started by itself.
    monkeypatch.setenv("IMMO_PREPARE_PARENT", str(other))
    gone = f"process {other}, .* is gone"
    with further_workers([], 0) as team, pytest.raises(ImmoError, match=gone):
        team.check()
    monkeypatch.setenv("IMMO_PREPARE_PARENT", str(os.getppid()))
    with further_workers([], 0) as team:
        team.check()


def test_a_cohort_in_memory_is_prepared_alike(cohort, tmp_path):
    streamed = _prepare(cohort, tmp_path / "one")
    held = prepare_cohort(read_cohort(cohort), tmp_path / "two", load_config(), source=cohort.name)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert held.values["split"] == streamed.values["split"]
    assert held.notices == streamed.notices


def test_a_small_cohort_is_prepared_without_files(cohort, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SMALL_BYTES", 10**6)
    monkeypatch.setattr(prepare_module, "prepare_streamed", None)
    stored = ShardFormat(rows_per_shard=16)
    outcome = _prepare(cohort, tmp_path / "shards", stored=stored)
    assert sorted(content(tmp_path / "shards")) == sorted(expected)
    assert outcome.values["workers"] == 1


def test_parts_of_a_cohort_are_prepared_as_one(cohort, tmp_path):
    parts = [tmp_path / "north", tmp_path / "south"]
    for number, part in enumerate(parts):
        part.mkdir()
        shutil.copy(cohort / "cohort.yaml", part)
        for file in ("samples.tsv", "rna.csv", "mb.csv"):
            lines = (cohort / file).read_text().splitlines()
            mine = [line for line in lines[1:] if (line < "s060") == (number == 0)]
            (part / file).write_text("\n".join([lines[0], *mine]) + "\n")
    streamed = prepare(parts, tmp_path / "one", load_config(), CohortOptions())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "SMALL_BYTES", 10**6)
        held = prepare(parts, tmp_path / "two", load_config(), CohortOptions())
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert streamed.values["layers"]["rna"]["samples"] == NUM_SAMPLES
    assert held.values["layers"] == streamed.values["layers"]
    assert read_manifest(tmp_path / "one").source == "north + south"
