"""Exceptions a user may meet.

Every message says which thing, what was expected, what was found, where
(file, row, column, parameter path) and what to do. The command line prints the
message of an ``ImmoError`` and exits with 1 (2 for ``UsageError``); anything else
is a bug in this package and keeps its traceback.
"""

from __future__ import annotations


class ImmoError(Exception):
    """Base of every error that is about the user's input or surroundings."""


class UsageError(ImmoError, ValueError):
    """Arguments that contradict each other or do not fit the verb (exit code 2)."""


class ConfigError(ImmoError, ValueError):
    """An unknown, ill-typed, out-of-range or contradictory configuration key."""


class CohortError(ImmoError, ValueError):
    """A cohort table or its description that cannot be used as it is."""


class ShardError(ImmoError, ValueError):
    """A shard or manifest that is damaged, foreign or of another format version."""


class RunError(ImmoError, ValueError):
    """A run folder that is incomplete, of another format version, or of other data."""


class TrainingError(ImmoError, RuntimeError):
    """Training that cannot go on: a non-finite loss, or nothing to learn from."""


class InterruptedRun(ImmoError, RuntimeError):
    """Training stopped on request after a checkpoint was written; it can be resumed."""


class LostProcess(InterruptedRun):
    """Another process of a shared training ended or fell silent; it can be resumed."""


class OutputError(ImmoError, OSError):
    """An output that exists already or cannot be written (disk full, no permission)."""


class BusyError(ImmoError, RuntimeError):
    """A folder or file that another living process works at; wait for it, or stop it."""


class SubmissionError(ImmoError, RuntimeError):
    """A job that cannot be submitted: no queue here, a refusal, an image that does not fit."""
