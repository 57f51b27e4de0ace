"""Jobs in the image, submitted by a plain user: every model as that of an undisturbed run.

Needs ``IMMO_IMAGE`` (make test-container). Root submits as the user ``nobody``.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import submitit
from cluster_tools import IMMO, Job, command, model_hash, wait_until
from freezer import Freezer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).parents[2]
NOBODY = ("runuser", "-u", "nobody", "--", "env", "HOME=/nonexistent")


@pytest.fixture(scope="module")
def image():
    if "IMMO_IMAGE" not in os.environ:
        pytest.skip("no image: run `make container test-container`")
    return Path(os.environ["IMMO_IMAGE"]).absolute()


@pytest.fixture
def place():
    """A folder of the plain user's, with blanks in its name."""
    top = Path(tempfile.mkdtemp(prefix="immo-plain."))
    top.chmod(0o755)
    place = top / "a place with blanks"
    place.mkdir()
    if os.getuid() == 0:
        shutil.chown(place, "nobody")
    yield place
    shutil.rmtree(top)


@pytest.fixture(scope="module")
def immo():
    """Words that start `immo` as the plain user, on the host."""
    if os.getuid() != 0:
        return (str(IMMO),)
    # The environment's Python may stand where only root can read; another of its version will do.
    packages = [REPOSITORY, REPOSITORY / "kernels", REPOSITORY / "jobs"]
    path = ":".join(map(str, [*packages, Path(submitit.__file__).parents[1]]))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        words = (*NOBODY, f"PYTHONPATH={path}", str(python))
        test = (*words, "-c", "import immo_jobs.submit, submitit, typer")
        if (
            python
            and subprocess.run(test, capture_output=True, check=False, cwd="/").returncode == 0
        ):
            return (*words, "-m", "immo_hpc.cli")
    pytest.skip(f"the user nobody can run neither {sys.executable} nor another {version}")
    return ()


@pytest.fixture
def as_user():
    """Words before a command that make it the plain user's."""
    return NOBODY if os.getuid() == 0 else ()


def test_jobs_of_a_plain_user_in_the_image(
    cluster, image, place, immo, as_user, shards, configs, profile
):
    names = ("killed", "requeued", "preempted", "cancelled")
    shards = shutil.copytree(shards, place.parent / "shards")
    folder = shutil.copytree(configs(names), place.parent / "configs")
    settings = shutil.copy(profile(attempts=10, container={"image": str(image)}), place.parent)
    run_in_image = (
        *(*as_user, "apptainer", "--silent", "exec", "--contain", "--no-home", "--pwd", "/"),
        *("--bind", place.parent, image, "immo", "train", shards),
    )
    expected = {}
    for name in names:
        run = place / "undisturbed" / name
        command(*run_in_image, run, "--config", folder / f"{name}.yaml", cwd="/")
        expected[name] = model_hash(run)

    job = Job(place / "runs", immo)
    job.submit(shards, folder, settings)
    with Freezer(job, names) as freezer:
        # Without cgroups Slurm's signal also ends the process that shows the image to a plain
        # user, and the training with it: it may go on from the checkpoint before.
        ended = "stopped on SIGTERM"
        kill = lambda pid: os.kill(pid, signal.SIGKILL)  # noqa: E731 - as short as the others
        freezer.disturb("killed", kill, "killed by SIGKILL")
        freezer.disturb("requeued", lambda pid: cluster.requeue(job.worker("requeued")), ended)
        freezer.disturb(
            "preempted",
            lambda pid: cluster.preempt(cluster.node_of(job.worker("preempted"))),
            ended,
        )
        freezer.disturb("cancelled", lambda pid: cluster.cancel(job.worker("cancelled")), ended)
        wait_until(lambda: not job.status()["cancelled"]["is_live"], 60, "one task is at rest")
        job.resume()
        rows = job.wait_until_over(600)

    assert {name: row["state"] for name, row in rows.items()} == dict.fromkeys(names, "finished")
    assert {name: model_hash(job.run(name)) for name in names} == expected
    assert freezer.most_at_once == dict.fromkeys(names, 1)
    for path in (place, job.run("killed"), job.folder):
        assert path.stat().st_uid == place.stat().st_uid
