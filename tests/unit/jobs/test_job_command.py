import pytest

from immo_hpc.errors import ConfigError
from immo_jobs.command import environment_of, plain_program, ranks_of, started_command
from immo_jobs.profile import Container, Profile
from immo_jobs.task import Task

TASK = Task(
    "t",
    ("immo", "train", "/data/my shards", "/runs/a"),
    "/runs/a",
    "/runs/a/checkpoints",
    ("/data/my shards", "/runs", "/runs"),
)


def test_in_a_container(commands):
    apptainer = commands("apptainer")
    container = Container(image="/images/immo 1.sif", nv=True, binds=("/scratch:/tmp",))
    words = started_command(TASK, Profile(executor="slurm", container=container))
    assert words == [
        *(str(apptainer), "exec", "--contain", "--no-home", "--pwd", "/", "--nv"),
        *("--bind", "/data/my shards", "--bind", "/runs", "--bind", "/scratch:/tmp"),
        *("/images/immo 1.sif", "immo", "train", "/data/my shards", "/runs/a"),
    ]


def test_singularity_is_another_name(commands):
    singularity = commands("singularity")
    profile = Profile(executor="slurm", container=Container(image="/i.sif"))
    words = started_command(TASK, profile)
    assert words[0] == str(singularity)
    assert "--nv" not in words


def test_in_the_plain_environment():
    assert started_command(TASK, Profile(executor="local"))[0] == plain_program("immo")
    assert plain_program("immo").endswith("/immo")


def test_without_apptainer(commands):
    profile = Profile(executor="slurm", container=Container(image="/i.sif"))
    with pytest.raises(ConfigError, match="neither apptainer nor singularity is on PATH"):
        started_command(TASK, profile)


def test_a_path_that_apptainer_cannot_show(commands):
    commands("apptainer")
    task = Task("t", ("immo",), "/o", "/o", ("/data/a:b",))
    with pytest.raises(ConfigError, match=r"/data/a:b: Apptainer cannot show"):
        started_command(task, Profile(executor="slurm", container=Container(image="/i.sif")))


def test_the_hosts_python_stays_outside_a_container():
    inherited = {"PYTHONPATH": "/home/me", "VIRTUAL_ENV": "/v", "SLURM_JOB_ID": "7"}
    plain = Profile(executor="slurm", cpus=3, environment={"A": "1"})
    assert environment_of(plain, inherited) == {**inherited, "A": "1", "OMP_NUM_THREADS": "3"}
    inside = plain.model_copy(update={"container": Container(image="/i.sif")})
    assert environment_of(inside, {**inherited, "OMP_NUM_THREADS": "1"}) == {
        "SLURM_JOB_ID": "7",
        "A": "1",
        "OMP_NUM_THREADS": "1",
    }


def test_processes_of_one_task_know_each_other(monkeypatch):
    slurm = {
        "SLURM_JOB_ID": "4711",
        "SLURM_RESTART_COUNT": "2",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_NTASKS": "4",
        "SLURM_JOB_NODELIST": "gpu[07,09]",
    }
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    assert ranks_of(Profile(executor="slurm"), slurm) == {}
    assert ranks_of(Profile(executor="slurm", nodes=2, processes=2), slurm) == {
        "MASTER_ADDR": "gpu07",
        "MASTER_PORT": "24713",
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "2",
    }
