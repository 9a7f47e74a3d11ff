"""Documents that cannot rot: every setting, command and dependency stands in the README, and every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from uar.__main__ import main
from uar.activity import ActivityType
from uar.config import SETTINGS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "guide.md").read_text()
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "bench/requirements.txt")
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "docs" / "guide.md",
    ROOT / "docs" / "connect.md",
    ROOT / "docs" / "operation.md",
    ROOT / "forge" / "README.md",
)


def part(name: str) -> str:
    """What stands between the two marks of a part of the README."""
    return README.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]


def first_cells(table: str) -> list[str]:
    return [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")][2:]


def command_names(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from command_names(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def command_named(name: str) -> click.Command:
    command: click.Command = main
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


def test_every_setting_stands_in_the_readme_with_its_default_and_no_other_does() -> None:
    documented = re.findall(r"`(UAR_[A-Z_]+)`", "\n".join(first_cells(part("settings"))))
    assert documented == [setting.name for setting in SETTINGS]
    for setting in SETTINGS:
        row = next(line for line in part("settings").splitlines() if f"`{setting.name}`" in line)
        if setting.default and not setting.default.startswith("https://"):
            assert f"`{setting.default}`" in row, setting.name
        assert ("•" in row) == setting.is_secret, setting.name


def test_every_command_stands_in_the_readme_and_no_other_does() -> None:
    documented = [re.sub(r"[ `]*(FILE|FOLDER)?`$", "", cell).strip("` ") for cell in first_cells(part("commands"))]
    assert sorted(documented) == sorted(command_names(main))


@pytest.mark.parametrize("name", sorted(command_names(main)))
def test_every_command_says_what_it_does(name: str) -> None:
    assert (command_named(name).help or "").strip().endswith(".")


@pytest.mark.parametrize("name", sorted(command_names(main)))
def test_every_option_says_what_it_means(name: str) -> None:
    for parameter in command_named(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_every_option_of_the_reports_is_explained_in_the_readme() -> None:
    commands = [command_named(name) for name in command_names(main) if name.startswith("report ")]
    parameters = [parameter for command in commands for parameter in command.params if isinstance(parameter, click.Option)]
    options = {option for parameter in parameters for option in parameter.opts}
    assert options
    assert [option for option in sorted(options) if f"`{option}" not in README] == []


def test_every_dependency_has_its_line_in_the_readme_and_no_other_has() -> None:
    lines = [line for name in REQUIREMENTS for line in (ROOT / name).read_text().splitlines()]
    packages = [re.split(r"[=\[]", line)[0] for line in lines if line and not line.startswith(("-", "#"))]
    assert first_cells(part("dependencies")) == packages


def test_every_requirement_is_pinned_to_one_version() -> None:
    for name in (*REQUIREMENTS, "constraints.txt"):
        for line in (ROOT / name).read_text().splitlines():
            assert line.startswith(("-", "#")) or re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", line), line


def test_the_guide_explains_the_ten_types_in_their_order() -> None:
    table = GUIDE.partition("## Event types")[2].partition("\n## ")[0]
    assert first_cells(table) == [kind.label for kind in ActivityType]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_the_documents_leads_somewhere(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file) if file else path
        assert linked.exists(), f"{path.name}: {target}"
        if anchor:
            assert anchor in anchors(linked.read_text()), f"{path.name}: {target}"


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_target_of_make_named_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make (\w+)`", README)) <= targets


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-1] == "exec make test"
    assert "`make test`" in README
