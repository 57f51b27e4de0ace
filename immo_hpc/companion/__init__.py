"""Closed forms beside the network: hidden layers and values foretold from training samples."""

from immo_hpc.companion.companion import Companion
from immo_hpc.companion.fit import fit_companion
from immo_hpc.companion.rules import Rules
from immo_hpc.companion.store import load_companion, save_companion

__all__ = ["Companion", "Rules", "fit_companion", "load_companion", "save_companion"]
