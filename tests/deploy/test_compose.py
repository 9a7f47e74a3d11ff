"""The compose file is valid for Compose itself, keeps the containers small and shut, and names files and settings that exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY, ROOT, run, tool
from uar.config import SETTINGS, load_settings

SERVICES = ("dashboard", "postgres", "proxy", "worker")


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each service's part of what Compose makes of the file, after its own validation."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copytree(DEPLOY, folder / "deploy")
    shutil.copy(DEPLOY / "uar.env.example", folder / "deploy" / "uar.env")
    has_plugin = shutil.which("docker") is not None and run(["docker", "compose", "version"]).returncode == 0
    compose = ["docker", "compose"] if has_plugin else [tool("docker-compose", "docker-compose")]
    done = run([*compose, "-f", str(folder / "deploy" / "compose.yaml"), "config"])
    assert done.returncode == 0, done.stderr
    block = re.search(r"^services:\n((?:  .*\n)+)", done.stdout, re.MULTILINE)
    assert block is not None, done.stdout
    parts = re.split(r"^  (\w+):\n", block[1], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_compose_accepts_the_file_and_finds_four_services(services: dict[str, str]) -> None:
    assert tuple(sorted(services)) == SERVICES


def test_compose_refuses_a_file_with_a_misspelt_key(tmp_path: Path) -> None:
    compose = tmp_path / "compose.yaml"
    compose.write_text((DEPLOY / "compose.yaml").read_text().replace("read_only:", "readonly:").replace("env_file: uar.env", ""))
    has_plugin = shutil.which("docker") is not None and run(["docker", "compose", "version"]).returncode == 0
    command = ["docker", "compose"] if has_plugin else [tool("docker-compose", "docker-compose")]
    assert run([*command, "-f", str(compose), "config"]).returncode != 0


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_small_and_shut(services: dict[str, str], name: str) -> None:
    text = services[name]
    assert "read_only: true" in text
    assert re.search(r"cap_drop:\n +- ALL", text)
    assert "no-new-privileges:true" in text
    for limit in ("mem_limit:", "pids_limit:", "restart: unless-stopped"):
        assert limit in text


@pytest.mark.parametrize("name", ["worker", "dashboard", "postgres"])
def test_a_container_has_a_health_check_and_no_open_port(services: dict[str, str], name: str) -> None:
    assert "healthcheck:" in services[name]
    assert "ports:" not in services[name]


def test_only_the_proxy_is_reachable_from_outside(services: dict[str, str]) -> None:
    assert [name for name in SERVICES if "ports:" in services[name]] == ["proxy"]


def test_programs_do_not_run_as_root(services: dict[str, str]) -> None:
    assert [re.search(r"user: '?(\d+):", services[name])[1] for name in ("worker", "dashboard", "postgres")] == ["10001", "10001", "999"]  # type: ignore[index]


def test_no_secret_stands_in_the_file(services: dict[str, str]) -> None:
    text = "".join(services.values())
    assert "UAR_DATABASE_URL_FILE: /run/secrets/database_url" in text
    assert not re.search(r"(PASSWORD|DATABASE_URL): ", text)


def test_every_file_that_the_proxy_mounts_is_there_or_explained() -> None:
    operation = (ROOT / "docs" / "operation.md").read_text()
    mounted = re.findall(r"^ +- \./(\S+?):/", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE)
    assert len(mounted) == 4
    assert [name for name in mounted if not (DEPLOY / name).exists() and f"deploy/{name}" not in operation] == []


def test_the_example_of_settings_is_accepted() -> None:
    lines = (DEPLOY / "uar.env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    offered = {line[1:].split("=", 1)[0] for line in lines if re.match(r"#UAR_", line)}
    known = {setting.name for setting in SETTINGS}
    assert given.keys() | offered <= known
    assert load_settings(given, Path("/nonexistent")).timezone == "UTC"


def test_the_image_takes_only_files_that_exist() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)]
    names = [name for line in copied for name in line]
    assert len(names) >= 7
    assert [name for name in names if not (ROOT / name).exists()] == []
    kept = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(kept) == sorted(set(names))


def test_the_image_runs_a_command_that_exists_and_not_as_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    instructions = re.findall(r"^([A-Z]+) (.+)$", text, re.MULTILINE)
    assert ("USER", "10001") in instructions
    assert instructions[-2:] == [("ENTRYPOINT", '[".venv/bin/python", "-m", "uar"]'), ("CMD", '["worker"]')]
    known = {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in instructions} == known
