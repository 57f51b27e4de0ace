"""Which of how many processes: torchrun's and Slurm's environments."""

import pytest

from immo_hpc.errors import ConfigError
from immo_hpc.train.distributed import Place, first_host, place_of

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "node7",
    "MASTER_PORT": "29500",
}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "6",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_JOB_NODELIST": "gpu[09-11],login",
    "SLURM_JOB_ID": "40123",
    "SLURM_RESTART_COUNT": "2",
}


def test_torchrun():
    assert place_of(TORCHRUN) == Place(1, 4, 1, "node7", 29500)
    served = place_of({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True"})
    assert served.is_served
    # torchrun started by srun: what torchrun says counts.
    assert place_of({**SRUN, **TORCHRUN}) == Place(1, 4, 1, "node7", 29500)


def test_srun():
    assert place_of(SRUN) == Place(5, 6, 1, "gpu09", 20000 + 40125 % 20000)
    assert place_of({**SRUN, "SLURM_STEP_NODELIST": "gpu[10-11]"}).address == "gpu10"
    given = place_of({**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "7000"})
    assert (given.address, given.port) == ("10.0.0.1", 7000)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        # A batch script of a job of six tasks, not started by srun.
        {name: value for name, value in SRUN.items() if name != "SLURM_STEP_NUM_TASKS"},
    ],
)
def test_alone(environment):
    assert place_of(environment) is None


@pytest.mark.parametrize(
    ("environment", "match"),
    [
        ({"RANK": "1"}, "WORLD_SIZE: expected a number, found ''"),
        ({**TORCHRUN, "RANK": "x"}, "RANK: expected a number, found 'x'"),
        ({**TORCHRUN, "RANK": "4"}, "number 4 of 4; expected 0 to 3"),
        ({**TORCHRUN, "MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ({**SRUN, "SLURM_JOB_NODELIST": ""}, "SLURM_JOB_NODELIST is not set"),
        ({**SRUN, "SLURM_JOB_NODELIST": ",["}, "expected names of nodes"),
    ],
)
def test_incomplete_environments_are_refused(environment, match):
    with pytest.raises(ConfigError, match=match):
        place_of(environment)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n[3]", "n3"),
        ("n[03-05]", "n03"),
        ("n[9,11-12],m1", "n9"),
        ("a1-b[2-3]c[07,09]-d,x", "a1-b2c07-d"),
        ("login1,n[1-2]", "login1"),
    ],
)
def test_first_host(nodes, first):
    assert first_host(nodes) == first
