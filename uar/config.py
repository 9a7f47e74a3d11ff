"""Every setting, read once: from environment variables, else from `uar.toml`, else the default.

`SETTINGS` is the list (name, default, help); `load_settings` turns it into one frozen `Settings`. A value that makes no sense raises
`ConfigError` with the key's name; secrets print as stars and may come from a file named by `…_FILE`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

PREFIX = "UAR_"
CONFIG_FILE = "uar.toml"
ATLASSIAN_JWKS_URL = "https://forge.cdn.prod.atlassian-dev.net/.well-known/jwks.json"
FORGE_APP_ID = re.compile(r"ari:cloud:ecosystem::app/[0-9a-fA-F-]{36}")
SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PRIVACY_MODES = ("named", "pseudonymous", "team")
LOG_FORMATS = ("text", "json")
BUILT_PRIVACY_MODES = ("named",)  # a mode that is not built must stop the start, not show names all the same


class ConfigError(Exception):
    """A setting makes no sense; the message names the key and says what it needs."""


class Secret:
    """A string that prints as stars, so that no log or error page shows it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for the one place that compares or sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('**********')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True)
class Setting:
    """One documented setting: the environment variable, its default as text, and what it means."""

    name: str
    default: str
    help: str
    is_secret: bool = False


SETTINGS = (
    Setting("UAR_DATA_DIR", "data", "Folder of the spool, the SQLite store and the mirror's cache."),
    Setting("UAR_DATABASE_URL", "sqlite:///<data dir>/uar.db", "SQLAlchemy URL of the store.", is_secret=True),
    Setting("UAR_WORKER_HOST", "127.0.0.1", "Address on which the worker listens."),
    Setting("UAR_WORKER_PORT", "8080", "Port on which the worker listens."),
    Setting("UAR_DASHBOARD_HOST", "127.0.0.1", "Address on which the dashboard listens."),
    Setting("UAR_DASHBOARD_PORT", "8501", "Port on which the dashboard listens."),
    Setting("UAR_FORGE_APP_ID", "", "Forge app id `ari:cloud:ecosystem::app/<uuid>`; empty: the Forge path is off."),
    Setting("UAR_FORGE_JWKS_URL", ATLASSIAN_JWKS_URL, "Key set that signs Forge tokens."),
    Setting("UAR_FORGE_CLOUD_IDS", "", "Cloud ids to accept, space separated; empty: every site where the app is installed."),
    Setting("UAR_FORGE_ENVIRONMENTS", "", "Deployments of the app to accept (`production` …); empty: all."),
    Setting("UAR_DATACENTER_SECRETS", "", "`site=secret` pairs of Data Center webhooks; a site may stand twice.", is_secret=True),
    Setting("UAR_CONNECT_TOKENS", "", "`site=token` pairs of admin-registered Cloud webhooks; a site may stand twice.", is_secret=True),
    Setting("UAR_CONFLUENCE_URLS", "", "`site=base URL` pairs, e.g. `acme=https://acme.atlassian.net/wiki`."),
    Setting("UAR_CONFLUENCE_CREDENTIALS", "", "`site=email:API token` (Cloud) or `site=token` (Data Center) pairs.", is_secret=True),
    Setting("UAR_TIMEZONE", "UTC", "The site's timezone, used where no viewer is there."),
    Setting("UAR_STATUS_DAYS", "30/90", "Limits of Active and Low, in days."),
    Setting("UAR_RETENTION_MONTHS", "25", "Activities older than this are pruned."),
    Setting("UAR_STORE_TITLES", "false", "Keep page titles for the person's time line."),
    Setting("UAR_PRIVACY", "named", "`named`; `pseudonymous` and `team` are not built yet and stop the start."),
    Setting("UAR_DOCUMENTATION_URL", "", "Target of the Documentation button; empty: the guide that the dashboard serves itself."),
    Setting("UAR_SUPPORT_URL", "", "Target of the Support button; empty: the support page of that guide."),
    Setting("UAR_SPOOL_LIMIT_MB", "2048", "Size of the spool above which the worker answers 503."),
    Setting("UAR_LOG_FORMAT", "text", "Lines on stderr: `text` to be read, `json` to be collected."),
)


@dataclass(frozen=True)
class Settings:
    """All settings, checked. Pairs are kept in the order given, so that a site may have several live secrets."""

    data_dir: Path
    database_url: Secret
    worker_host: str
    worker_port: int
    dashboard_host: str
    dashboard_port: int
    forge_app_id: str
    forge_jwks_url: str
    forge_cloud_ids: frozenset[str]
    forge_environments: frozenset[str]
    datacenter_secrets: tuple[tuple[str, Secret], ...] = field(repr=False)
    connect_tokens: tuple[tuple[str, Secret], ...] = field(repr=False)
    confluence_urls: Mapping[str, str]
    confluence_credentials: Mapping[str, Secret]
    timezone: str
    status_days: tuple[int, int]
    retention_months: int
    store_titles: bool
    privacy: str
    documentation_url: str
    support_url: str
    spool_limit_mb: int
    log_format: str

    @property
    def spool_path(self) -> Path:
        """Where the worker keeps deliveries until the store has them."""
        return self.data_dir / "spool.db"

    def has_source(self) -> bool:
        """Whether any sender could deliver: a Forge app, a Data Center secret or a Cloud token is configured."""
        return bool(self.forge_app_id or self.datacenter_secrets or self.connect_tokens)


def load_settings(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Read and check every setting; raises `ConfigError` naming the key that makes no sense."""
    environ = os.environ if environ is None else environ
    values = _texts(environ, _file_values((folder or Path()) / CONFIG_FILE))
    data_dir = Path(values["DATA_DIR"])
    url = values["DATABASE_URL"]
    if url == _default("DATABASE_URL"):
        url = f"sqlite:///{data_dir / 'uar.db'}"
    return Settings(
        data_dir=data_dir,
        database_url=Secret(_database_url(url)),
        worker_host=values["WORKER_HOST"],
        worker_port=_number(values, "WORKER_PORT", 0, 65535),
        dashboard_host=values["DASHBOARD_HOST"],
        dashboard_port=_number(values, "DASHBOARD_PORT", 0, 65535),
        forge_app_id=_forge_app_id(values["FORGE_APP_ID"]),
        forge_jwks_url=_web_url("FORGE_JWKS_URL", values["FORGE_JWKS_URL"]),
        forge_cloud_ids=frozenset(values["FORGE_CLOUD_IDS"].split()),
        forge_environments=frozenset(word.lower() for word in values["FORGE_ENVIRONMENTS"].split()),
        datacenter_secrets=_secret_pairs(values, "DATACENTER_SECRETS"),
        connect_tokens=_secret_pairs(values, "CONNECT_TOKENS"),
        confluence_urls={site: _web_url("CONFLUENCE_URLS", url).rstrip("/") for site, url in _pairs(values, "CONFLUENCE_URLS")},
        confluence_credentials=dict(_secret_pairs(values, "CONFLUENCE_CREDENTIALS")),
        timezone=_timezone(values["TIMEZONE"]),
        status_days=_status_days(values["STATUS_DAYS"]),
        retention_months=_number(values, "RETENTION_MONTHS", 1, 1200),
        store_titles=_flag(values, "STORE_TITLES"),
        privacy=_privacy(values),
        documentation_url=_optional_url("DOCUMENTATION_URL", values),
        support_url=_optional_url("SUPPORT_URL", values),
        spool_limit_mb=_number(values, "SPOOL_LIMIT_MB", 1, 1_000_000),
        log_format=_choice(values, "LOG_FORMAT", LOG_FORMATS),
    )


def _default(name: str) -> str:
    return next(setting.default for setting in SETTINGS if setting.name == PREFIX + name)


def _file_values(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error}).") from error
    known = {setting.name.removeprefix(PREFIX).lower() for setting in SETTINGS}
    known |= {setting.name.removeprefix(PREFIX).lower() + "_file" for setting in SETTINGS if setting.is_secret}
    for key in values:
        if key not in known:
            raise ConfigError(f"{path}: {key!r} is not a setting. See the table of settings in README.md.")
    return values


def _texts(environ: Mapping[str, str], in_file: Mapping[str, Any]) -> dict[str, str]:
    """Each setting as text, under its name without the prefix."""
    texts = {}
    for setting in SETTINGS:
        name = setting.name.removeprefix(PREFIX)
        found = _text(environ.get(setting.name), in_file.get(name.lower()))
        if found is None and setting.is_secret:
            secret_file = _text(environ.get(setting.name + "_FILE"), in_file.get(name.lower() + "_file"))
            found = _secret_from(setting.name, secret_file) if secret_file else None
        texts[name] = setting.default if found is None else found.strip()
    return texts


def _text(from_environment: str | None, from_file: Any) -> str | None:
    if from_environment is not None and from_environment.strip():
        return from_environment
    if from_file is None:
        return None
    if isinstance(from_file, bool):
        return str(from_file).lower()
    return " ".join(map(str, from_file)) if isinstance(from_file, list) else str(from_file)


def _secret_from(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}_FILE: {path} cannot be read.") from error


def _number(values: Mapping[str, str], name: str, low: int, high: int) -> int:
    try:
        number = int(values[name])
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ConfigError(f"{PREFIX}{name}: {values[name]!r} is not a whole number from {low} to {high}.")
    return number


def _flag(values: Mapping[str, str], name: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    try:
        return words[values[name].lower()]
    except KeyError:
        raise ConfigError(f"{PREFIX}{name}: {values[name]!r} is neither true nor false.") from None


def _choice(values: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    if values[name].lower() not in choices:
        raise ConfigError(f"{PREFIX}{name}: {values[name]!r} is none of {', '.join(choices)}.")
    return values[name].lower()


def _privacy(values: Mapping[str, str]) -> str:
    mode = _choice(values, "PRIVACY", PRIVACY_MODES)
    if mode not in BUILT_PRIVACY_MODES:
        raise ConfigError(f"{PREFIX}PRIVACY: this release shows names only; {mode} is not built yet. Set named, or wait for it.")
    return mode


def _pairs(values: Mapping[str, str], name: str) -> list[tuple[str, str]]:
    pairs = []
    for number, word in enumerate(values[name].split(), start=1):
        site, equals, value = word.partition("=")
        if not equals or not value or not SITE_NAME.fullmatch(site):
            raise ConfigError(f"{PREFIX}{name}: entry {number} is not of the form site=value (a site name has letters, digits, . _ -).")
        pairs.append((site, value))
    return pairs


def _secret_pairs(values: Mapping[str, str], name: str) -> tuple[tuple[str, Secret], ...]:
    return tuple((site, Secret(value)) for site, value in _pairs(values, name))


def _web_url(name: str, text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        raise ConfigError(f"{PREFIX}{name}: {text!r} is not an address that starts with https:// or http://.")
    return text


def _optional_url(name: str, values: Mapping[str, str]) -> str:
    return _web_url(name, values[name]) if values[name] else ""


def _database_url(text: str) -> str:
    dialect = text.partition(":")[0].partition("+")[0]
    if dialect not in ("sqlite", "postgresql"):
        raise ConfigError(f"{PREFIX}DATABASE_URL: needs sqlite:///path or postgresql://user:password@host/database.")
    return text


def _forge_app_id(text: str) -> str:
    if text and not FORGE_APP_ID.fullmatch(text):
        raise ConfigError(f"{PREFIX}FORGE_APP_ID: {text!r} is not of the form ari:cloud:ecosystem::app/<uuid>.")
    return text


def _timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError):
        raise ConfigError(f"{PREFIX}TIMEZONE: {text!r} is not a timezone such as Europe/Berlin.") from None
    return text


def _status_days(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
    limits = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < limits[0] < limits[1]:
        raise ConfigError(f"{PREFIX}STATUS_DAYS: {text!r} is not two rising numbers of days such as 30/90.")
    return limits
