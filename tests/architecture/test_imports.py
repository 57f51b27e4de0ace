"""Imports run downwards only (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Highest first. A file may import its own row and the rows below it.
ROWS = [
    ["immo_hpc.cli"],
    ["immo_jobs"],
    ["immo_hpc.workflow", "immo_hpc.estimator", "immo_hpc.bench"],
    ["immo_hpc.search"],
    ["immo_hpc.analysis"],
    ["immo_hpc.inference"],
    ["immo_hpc.train"],
    ["immo_hpc.nn"],
    ["immo_hpc.companion"],
    ["immo_hpc.data"],
    ["immo_hpc.config"],
    [
        "immo_hpc.files",
        "immo_hpc.errors",
        "immo_hpc.lease",
        "immo_hpc.lines",
        "immo_hpc.processes",
        "immo_hpc.work",
        "immo_hpc._version",
    ],
    ["immo_kernels"],
    ["immo_compiling"],
]
# What a room may never import, beyond the rows above it.
NEVER = {
    "immo_hpc.config": {"torch"},
    "immo_hpc.errors": {"torch"},
    "immo_hpc.files": {"torch"},
    "immo_hpc.lease": {"torch"},
    "immo_hpc.work": {"torch"},
    "immo_hpc.companion": {"torch"},
    "immo_hpc.nn": {"pathlib", "safetensors", "pyarrow", "json"},
    "immo_hpc.train": {"optuna", "submitit"},
    "immo_hpc.search": {"submitit"},
    "immo_jobs": {"torch"},
    "immo_kernels": {"immo_hpc", "immo_jobs"},
    # It is for rooms without torch, too.
    "immo_compiling": {"torch"},
}
SOURCES = sorted(
    path
    for folder in ("immo_hpc", "kernels/immo_compiling", "kernels/immo_kernels", "jobs/immo_jobs")
    for path in (ROOT / folder).rglob("*.py")
)


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] in {"kernels", "jobs"} else parts
    return ".".join(part for part in parts if part != "__init__")


def row_of(module):
    for number, names in enumerate(ROWS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return number
    return None


def imports_of(path):
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    type_only = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            type_only |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in type_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, base]) if base else ".".join(anchor)
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_run_downwards(path):
    module = module_of(path)
    own = row_of(module)
    if module == "immo_hpc":  # the public list, imported lazily
        return
    assert own is not None, f"{module} stands in no row of docs/architecture.md"
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for name, line in imports_of(path)
        if (row_of(name) is not None and row_of(name) < own)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_rooms_keep_to_their_matter(path):
    module = module_of(path)
    barred = {
        name
        for room, names in NEVER.items()
        if module == room or module.startswith(room + ".")
        for name in names
    }
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for name, line in imports_of(path)
        if name.split(".")[0] in barred
    ]
    assert not wrong, "\n".join(wrong)


def test_kernels_know_nothing_of_the_rest():
    names = {
        name.split(".")[0]
        for path in SOURCES
        if module_of(path).startswith("immo_kernels")
        for name, _ in imports_of(path)
    }
    assert not names & {"immo_hpc", "immo_jobs"}
    assert "torch" in names  # the walk did read them
