import pytest

from immo_hpc.errors import ConfigError
from immo_jobs.profile import Profile, load_profile


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_shipped_profiles_are_valid(name):
    assert load_profile(name).executor == name


def test_assignments_go_over_the_file():
    profile = load_profile(
        "slurm", ["account=lab", "gpus=2", "container.image=/i.sif", "container.nv=true"]
    )
    assert (profile.account, profile.gpus, profile.container.nv) == ("lab", 2, True)
    assert profile.memory_gb == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("executor: slurm\npartitoin: gpu", ["partitoin", "partition", "account"]),
        ("executor: moon", ["executor", "'local', 'slurm' or 'inprocess'", "moon"]),
        ("executor: slurm\ncpus: 0", ["cpus", "greater than or equal to 1", "0"]),
        ("partition: gpu", ["executor: required"]),
        ("executor: slurm\ntime_min: 2\nsignal_lead_s: 120", ["signal_lead_s is 120 s", "2 min"]),
        ("executor: slurm\nrequire: [acount]", ["acount", "no keys of a profile"]),
        ("executor: slurm\nfolder_mode: '0777'", ["folder_mode", "0700, 0750 or 0770"]),
        ("executor: slurm\ncontainer: {imag: x}", ["container.imag", "image", "binds"]),
        ("executor: local\nnodes: 2", ["nodes and processes above 1 need executor: slurm"]),
        ("- executor", ["expected a mapping of keys, found list"]),
        ("executor: [", ["the profile cannot be read"]),
    ],
)
def test_a_wrong_profile_is_told_with_key_and_choice(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        load_profile(str(path))
    assert str(path) in str(told.value)
    for word in words:
        assert word in str(told.value)


@pytest.mark.parametrize("name", ["nowhere", "no/where.yaml"])
def test_a_profile_that_is_not_there_names_those_that_are(name):
    with pytest.raises(
        ConfigError, match=r"no such file, and the shipped profiles are local, slurm"
    ):
        load_profile(name)


def test_a_required_key_that_is_missing_is_asked_for():
    profile = Profile(executor="slurm", require=("account", "partition"), partition="gpu")
    with pytest.raises(
        ConfigError, match=r"mine: this profile requires account, .*--with account="
    ):
        profile.require_keys("mine")
    profile.model_copy(update={"account": "lab"}).require_keys("mine")


def test_an_assignment_without_a_value_is_refused():
    with pytest.raises(ConfigError, match="expected key=value"):
        load_profile("local", ["cpus"])
