"""A GPU for each process; no GPU is needed to see who gets which."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from immo_hpc.errors import ConfigError
from immo_hpc.train.device import resolve_device
from immo_hpc.train.distributed import Group, gpu


@dataclass(frozen=True)
class Told(Group):
    """A group whose other processes say what they are given to say."""

    others: tuple[str, ...] = ()

    def texts(self, text):
        return [text, *self.others]

    def on_each(self, do):
        return do()


def group(*others, local_rank=0):
    return Told(0, 1 + len(others), local_rank, others=others)


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that this machine has GPUs; returns the one that was chosen."""
    chosen = []

    def pretend(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda device: SimpleNamespace(uuid=f"uuid-{device.index or 0}"),
        )
        monkeypatch.setattr(gpu.socket, "gethostname", lambda: "node1")
        return chosen

    return pretend


@pytest.mark.parametrize(
    ("number", "local_rank", "expected"),
    [(4, 0, "cuda"), (4, 3, "cuda:3"), (1, 3, "cuda"), (0, 3, "cpu")],
)
def test_each_process_gets_a_gpu_of_its_own(gpus, number, local_rank, expected):
    gpus(number)
    device = resolve_device("auto", local_rank)
    assert (device.type, device.index or 0) == (
        torch.device(expected).type,
        torch.device(expected).index or 0,
    )


def test_more_processes_than_gpus_are_refused(gpus):
    gpus(2)
    with pytest.raises(ConfigError, match="'cuda:2' is not there: .* sees 2 GPUs"):
        resolve_device("auto", 2)


def test_processes_with_gpus_of_their_own_compute_on_them(gpus):
    chosen = gpus(2)
    device = gpu.group_device("auto", group("cuda uuid-0 of node1", local_rank=1))
    assert (device, chosen) == (torch.device("cuda:1"), [torch.device("cuda:1")])


def test_two_processes_on_one_gpu_are_refused(gpus):
    gpus(1)
    with pytest.raises(ConfigError, match="2 processes share 1 GPUs, and each needs one"):
        gpu.group_device("auto", group("cuda uuid-0 of node1", local_rank=1))


def test_gpus_and_none_do_not_go_together(gpus):
    gpus(0)
    with pytest.raises(ConfigError, match=r"some compute on GPUs and some do not \(cpu of node1; "):
        gpu.group_device("auto", group("cuda uuid-0 of node2"))


def test_processes_on_the_cpu_may_share_a_machine(gpus):
    gpus(0)
    assert gpu.group_device("auto", group("cpu of node1")) == torch.device("cpu")
