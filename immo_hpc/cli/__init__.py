"""The command line `immo`: parse, call one function, print.

Heavy imports happen inside the verbs, so that ``immo --help`` answers at once.
"""

from __future__ import annotations

import signal
import sys
import warnings

from immo_hpc.cli._app import app
from immo_hpc.cli._console import report_error
from immo_hpc.errors import ImmoError, InterruptedRun, UsageError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line and exit.

    With 0 (done), 1 (failed), 2 (wrong usage), 3 (stopped on request after a checkpoint, can be
    resumed), or 130 (interrupted).
    """
    # A false alarm of OpenBLAS about finite numbers (numpy issue 24067), seen on a busy machine.
    warnings.filterwarnings("ignore", "invalid value encountered in matmul", RuntimeWarning)
    try:
        app(prog_name="immo")
    except UsageError as error:
        report_error(str(error))
        sys.exit(2)
    except InterruptedRun as error:
        # Under Slurm one request arrives as several signals; a late one must not end in
        # disorder what is ending in order.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        report_error(str(error))
        sys.exit(3)
    except ImmoError as error:
        report_error(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        report_error("interrupted; files that were being written are gone, finished ones stay.")
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has gone: that is its right and no failure of ours.
        sys.stderr.close()
        sys.exit(0)
