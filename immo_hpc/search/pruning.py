"""Which trials are ended early: those behind the others after as many epochs."""

from __future__ import annotations

from collections.abc import Sequence

from immo_hpc.errors import ConfigError
from immo_hpc.search.space import Space
from immo_hpc.search.suggest import Seen, frozen, quiet_optuna

Steps = Sequence[tuple[int, float]]
# Trials that must be complete, and epochs a trial is given, before any is ended.
_NUM_START, _NUM_WARM_UP = 5, 10


def check_pruner(text: str) -> str:
    """``text`` if it names a pruner.

    Raises:
        ConfigError: If it does not.

    Example:
        >>> check_pruner("percentile:25")
        'percentile:25'
    """
    name, _, share = text.partition(":")
    is_share = share.isdigit() and 0 < int(share) < 100
    if text in ("none", "median") or (name == "percentile" and is_share):
        return text
    message = (
        f"--prune '{text}': expected none, median, or percentile:P, which ends trials that are "
        "not among the best P percent, P from 1 to 99."
    )
    raise ConfigError(message)


class Pruning:
    """Tells whether a trial is to be ended.

    Args:
        pruner: As `check_pruner` takes it.
        space: The space of the study.
    """

    def __init__(self, pruner: str, space: Space) -> None:
        self._pruner, self._space = pruner, space

    @property
    def is_on(self) -> bool:
        """False if no trial is ever ended."""
        return self._pruner != "none"

    def is_behind(self, own: Steps, others: Sequence[Steps]) -> bool:
        """True if a trial is to be ended.

        Args:
            own: Its (step, value) pairs so far, lower values better.
            others: Those of the complete trials.
        """
        if not (self.is_on and own):
            return False
        import optuna

        name, _, share = self._pruner.partition(":")
        arguments = {"n_startup_trials": _NUM_START, "n_warmup_steps": _NUM_WARM_UP}
        pruner = (
            optuna.pruners.MedianPruner(**arguments)
            if name == "median"
            else optuna.pruners.PercentilePruner(float(share), **arguments)
        )
        with quiet_optuna():
            study = optuna.create_study()
            study.add_trials(
                [frozen(self._space, Seen({}, (0.0,)), intermediate_values=dict(s)) for s in others]
            )
            running = frozen(self._space, Seen({}, None), intermediate_values=dict(own))
            return pruner.prune(study, running)
