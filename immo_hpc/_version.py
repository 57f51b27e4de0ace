"""Version of the distribution, read by the build and by `immo --version`."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"

_PACKAGES = ("immo_hpc", "immo_jobs", "immo_kernels")


def source_digest() -> str:
    """SHA-256 of the installed Python files: tells two states of one version apart.

    Returns:
        The digest in hexadecimal, the same wherever and however the packages are installed.
    """
    digest = hashlib.sha256()
    for package in _PACKAGES:
        spec = find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        for folder in map(Path, spec.submodule_search_locations):
            for path in sorted(folder.rglob("*.py")):
                name = f"{package}/{path.relative_to(folder).as_posix()}"
                content = path.read_bytes()
                digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
