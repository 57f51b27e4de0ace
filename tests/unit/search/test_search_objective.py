"""What a trial changes in the configuration it is trained with."""

from immo_hpc.config import load_config
from immo_hpc.search.objective import _seldom_written


def test_trials_write_fewer_checkpoints_unless_told():
    default = load_config()
    written = _seldom_written(default)
    assert written.train.checkpoint_epochs == 20
    same = written.train.model_copy(update={"checkpoint_epochs": 5})
    assert written.model_copy(update={"train": same}) == default
    told = load_config(assignments=["train.checkpoint_epochs=2"])
    assert _seldom_written(told) is told
