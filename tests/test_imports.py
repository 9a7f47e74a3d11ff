"""Who may import whom, read from the syntax trees: the arrows of the flow point one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("*.py"), *ROOT.glob("pages/*.py"), *ROOT.glob("uar/**/*.py")])

# What is imported, and the places (prefixes of the path) that alone may do so.
ONLY_IN = {
    "streamlit": ("streamlit_app.py", "pages/", "uar/ui/", "uar/dashboard.py"),
    "st_aggrid": ("uar/ui/",),
    "plotly": ("uar/ui/",),
    "sqlalchemy": ("uar/store/",),
    "alembic": ("uar/store/",),
    "psycopg": ("uar/store/",),
    "pysqlite3": ("uar/store/", "uar/capture/spool.py", "uar/capture/spool_file.py"),
    "requests": ("uar/confluence/",),
    "click": ("uar/__main__.py", "uar/commands/"),
}

# Places, and what must not be imported there.
NEVER_IN = {
    "uar/report/": ("uar.store", "uar.capture", "uar.confluence", "uar.ui", "uar.config"),
    "uar/capture/": ("uar.report", "uar.ui", "uar.live", "uar.confluence"),
    "uar/confluence/": ("uar.report", "uar.ui", "uar.live", "uar.capture"),
    "uar/store/": ("uar.report", "uar.ui", "uar.capture", "uar.live"),
    "uar/activity.py": ("uar.",),
    "uar/config.py": ("uar.",),
}


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package.rstrip(".") + ".")


def misplaced_imports(path: str, tree: ast.Module) -> list[str]:
    """Sentences on what `path` imports although it must not."""
    found = []
    for module in imports(tree):
        for package, places in ONLY_IN.items():
            if is_within(module, package) and not path.startswith(places):
                found.append(f"{path} imports {module}; only {', '.join(places)} may")
        for place, packages in NEVER_IN.items():
            if path.startswith(place) and any(is_within(module, package) for package in packages):
                found.append(f"{path} imports {module}; {place} must not")
    return found


def environment_uses(tree: ast.Module) -> list[int]:
    """The lines that touch `os.environ` or `os.getenv`."""
    names = {"environ", "getenv", "putenv"}
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in names]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_file_imports_only_what_its_place_allows(path: Path) -> None:
    assert misplaced_imports(str(path.relative_to(ROOT)), ast.parse(path.read_text())) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_environment_is_read_in_one_place_only(path: Path) -> None:
    if path.name != "config.py":
        assert environment_uses(ast.parse(path.read_text())) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("pages/*.py")), ids=lambda path: path.name)
def test_a_page_reads_top_down(path: Path) -> None:
    text = path.read_text()
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("uar/report/days.py", "from uar.store.reads import people"),
        ("uar/report/days.py", "from uar import store"),
        ("uar/store/writes.py", "import uar.report.mirror"),
        ("uar/live.py", "import streamlit as st"),
        ("pages/user_status.py", "from sqlalchemy import select"),
        ("uar/capture/worker.py", "import requests"),
        ("uar/capture/app.py", "from uar.confluence.client import Client"),
    ],
)
def test_a_misplaced_import_is_found(path: str, source: str) -> None:
    assert len(misplaced_imports(path, ast.parse(source))) >= 1


def test_a_use_of_the_environment_is_found() -> None:
    assert environment_uses(ast.parse("import os\nos.environ['X']")) == [2]
