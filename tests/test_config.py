"""The settings: read once, checked, secret where they must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from uar.config import SETTINGS, ConfigError, Secret, Settings, load_settings

APP_ID = "ari:cloud:ecosystem::app/5f1c2b3a-0000-4000-8000-123456789abc"


def settings(environ: Mapping[str, str], folder: Path) -> Settings:
    return load_settings(environ, folder)


def test_an_empty_environment_gives_the_documented_defaults(tmp_path: Path) -> None:
    read = settings({}, tmp_path)
    assert (read.worker_host, read.worker_port) == ("127.0.0.1", 8080)
    assert (read.dashboard_host, read.dashboard_port) == ("127.0.0.1", 8501)
    assert read.database_url.reveal() == "sqlite:///data/uar.db"
    assert read.spool_path == Path("data/spool.db")
    assert (read.timezone, read.status_days, read.retention_months, read.spool_limit_mb) == ("UTC", (30, 90), 25, 2048)
    assert not read.store_titles
    assert not read.has_source()


def test_the_store_follows_the_data_folder(tmp_path: Path) -> None:
    assert settings({"UAR_DATA_DIR": "/srv/uar"}, tmp_path).database_url.reveal() == "sqlite:////srv/uar/uar.db"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "uar.toml").write_text('worker_port = 9001\ntimezone = "Asia/Kathmandu"\nstore_titles = true\n')
    read = settings({"UAR_WORKER_PORT": "9002"}, tmp_path)
    assert (read.worker_port, read.timezone, read.store_titles) == (9002, "Asia/Kathmandu", True)


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    (tmp_path / "uar.toml").write_text("worker_port = 9001\n")
    assert settings({"UAR_WORKER_PORT": " "}, tmp_path).worker_port == 9001


def test_a_list_in_the_file_is_a_list_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "uar.toml").write_text('datacenter_secrets = ["wiki=old", "wiki=new"]\n')
    assert settings({}, tmp_path).datacenter_secrets == (("wiki", Secret("old")), ("wiki", Secret("new")))


def test_a_secret_comes_from_the_file_its_variable_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("wiki=from-a-file\n")
    read = settings({"UAR_DATACENTER_SECRETS_FILE": str(tmp_path / "secret")}, tmp_path)
    assert read.datacenter_secrets == (("wiki", Secret("from-a-file")),)


def test_a_secret_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"UAR_CONNECT_TOKENS_FILE: /no/such/file cannot be read"):
        settings({"UAR_CONNECT_TOKENS_FILE": "/no/such/file"}, tmp_path)


def test_no_secret_is_printed(tmp_path: Path) -> None:
    read = settings(
        {
            "UAR_DATABASE_URL": "postgresql://uar:hush@db/uar",
            "UAR_DATACENTER_SECRETS": "wiki=hush",
            "UAR_CONNECT_TOKENS": "acme=hush",
            "UAR_CONFLUENCE_CREDENTIALS": "acme=me@example.org:hush",
        },
        tmp_path,
    )
    assert "hush" not in f"{read!r} {read} {read.database_url!s} {read.datacenter_secrets!r} {read.confluence_credentials!r}"


def test_settings_cannot_be_changed_afterwards(tmp_path: Path) -> None:
    with pytest.raises(FrozenInstanceError):
        settings({}, tmp_path).worker_port = 1  # type: ignore[misc]


@pytest.mark.parametrize("source", [{"UAR_FORGE_APP_ID": APP_ID}, {"UAR_DATACENTER_SECRETS": "wiki=x"}, {"UAR_CONNECT_TOKENS": "acme=x"}])
def test_one_configured_sender_is_a_source(source: dict[str, str], tmp_path: Path) -> None:
    assert settings(source, tmp_path).has_source()


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("UAR_WORKER_PORT", "http", "'http' is not a whole number from 0 to 65535"),
        ("UAR_WORKER_PORT", "65536", "'65536' is not a whole number from 0 to 65535"),
        ("UAR_RETENTION_MONTHS", "0", "'0' is not a whole number from 1 to 1200"),
        ("UAR_SPOOL_LIMIT_MB", "2.5", "'2.5' is not a whole number"),
        ("UAR_TIMEZONE", "Berlin", "'Berlin' is not a timezone"),
        ("UAR_TIMEZONE", "../etc/passwd", "is not a timezone"),
        ("UAR_STATUS_DAYS", "90/30", "'90/30' is not two rising numbers of days"),
        ("UAR_STATUS_DAYS", "30", "'30' is not two rising numbers of days"),
        ("UAR_STORE_TITLES", "perhaps", "'perhaps' is neither true nor false"),
        ("UAR_LOG_FORMAT", "xml", "'xml' is none of text, json"),
        ("UAR_PRIVACY", "open", "'open' is none of named, pseudonymous, team"),
        ("UAR_PRIVACY", "pseudonymous", "this release shows names only"),
        ("UAR_PRIVACY", "team", "this release shows names only"),
        ("UAR_FORGE_APP_ID", "my-app", "'my-app' is not of the form ari:cloud:ecosystem::app/<uuid>"),
        ("UAR_FORGE_JWKS_URL", "ftp://keys", "is not an address that starts with https:// or http://"),
        ("UAR_DATABASE_URL", "mysql://db/uar", "needs sqlite:///path or postgresql://"),
        ("UAR_CONFLUENCE_URLS", "https://acme.atlassian.net", "entry 1 is not of the form site=value"),
        ("UAR_DATACENTER_SECRETS", "wiki=ok broken", "entry 2 is not of the form site=value"),
        ("UAR_DATACENTER_SECRETS", "../wiki=x", "entry 1 is not of the form site=value"),
        ("UAR_SUPPORT_URL", "javascript:alert(1)", "is not an address that starts with https:// or http://"),
    ],
)
def test_a_value_that_makes_no_sense_names_its_key(name: str, value: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings({name: value}, tmp_path)
    assert str(caught.value).startswith(f"{name}: ")
    assert complaint in str(caught.value)


def test_a_broken_pair_of_secrets_is_named_without_its_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings({"UAR_DATACENTER_SECRETS": "hush-hush"}, tmp_path)
    assert "hush" not in str(caught.value)


def test_an_unknown_key_in_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "uar.toml").write_text("worker_prot = 9001\n")
    with pytest.raises(ConfigError, match="'worker_prot' is not a setting"):
        settings({}, tmp_path)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "uar.toml").write_text("worker_port: 9001\n")
    with pytest.raises(ConfigError, match=r"uar\.toml: cannot be read as TOML"):
        settings({}, tmp_path)


def test_every_setting_carries_the_prefix_and_a_sentence() -> None:
    for setting in SETTINGS:
        assert setting.name.startswith("UAR_")
        assert setting.help.endswith(".")
