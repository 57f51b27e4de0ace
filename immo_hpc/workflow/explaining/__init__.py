"""Explaining a run: retrainings of its network, and what is told and written."""
