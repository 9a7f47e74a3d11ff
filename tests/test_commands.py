"""The command line: what scripts can rely on, and that whatever goes wrong is one sentence and an exit code."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from uar.__main__ import main
from uar.activity import Activity, ActivityType, ActorKind, Source, identity
from uar.app_tokens import AppTokens
from uar.capture.worker import WorkerError
from uar.config import Settings
from uar.store.database import Engine, open_store, read_transaction, write_transaction
from uar.store.directory import Group, Person, save_groups, save_members, save_people
from uar.store.reads import find_site, people, quarantined
from uar.store.retention import prune
from uar.store.writes import Quarantined, record_activities, record_quarantined

ROOT = Path(__file__).parent.parent
TODAY = "2026-03-31"
Run = Callable[..., Result]

# (person, local time in Berlin, type, space): the days around the clock change of 29 March 2026.
ACTS = (
    ("mira", "2026-03-28T23:59:59", ActivityType.VIEW, "ENG"),
    ("mira", "2026-03-29T00:00:00", ActivityType.VIEW, "ENG"),
    ("mira", "2026-03-29T09:00:00", ActivityType.CREATE, "HR"),
    ("omar", "2026-03-30T12:00:00", ActivityType.VIEW, "HR"),
    ("bot", "2026-03-27T12:00:00", ActivityType.UPDATE, "ENG"),
)


@pytest.fixture
def run(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the store, in an empty folder and an empty environment."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str, **environ: str) -> Result:
        settings = {"UAR_DATABASE_URL": store_url, "UAR_DATA_DIR": str(tmp_path / "data"), "UAR_TIMEZONE": "Europe/Berlin"}
        return CliRunner(env=settings | environ).invoke(main, list(words), prog_name="python -m uar")

    return command


@pytest.fixture
def site(store: Engine) -> Engine:
    """A store with one site, two people and an app."""
    record(store, "wiki")
    return store


def record(store: Engine, site: str) -> None:
    acts = []
    for number, (account, local, kind, space) in enumerate(ACTS):
        at = int(datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp() * 1000)
        actor = ActorKind.APP if account == "bot" else ActorKind.PERSON
        acts.append(
            Activity(site, Source.IMPORT, kind.key, kind, account, at, at, True, identity(site, number), actor, account.title(), space)
        )
    with write_transaction(store) as connection:
        record_activities(connection, acts)


def printed(result: Result) -> str:
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def refused(result: Result, exit_code: int, sentence: str) -> None:
    """The command failed with this exit code, one line that holds the sentence, and no output."""
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.rstrip().endswith(".")


@pytest.mark.usefixtures("site")
def test_the_calendar_has_every_day_of_the_range_with_its_types(run: Run) -> None:
    report = json.loads(printed(run("report", "calendar", "--from", "2026-03-28", "--to", "2026-03-31", "--today", TODAY)))
    assert [report[key] for key in ("zone", "from", "to")] == ["Europe/Berlin", "2026-03-28", "2026-03-31"]
    assert [(day["day"], day["events"], day["people"]) for day in report["days"]] == [
        ("2026-03-28", 1, 1),
        ("2026-03-29", 2, 1),
        ("2026-03-30", 1, 1),
        ("2026-03-31", 0, 0),
    ]
    assert report["days"][1]["types"] == {kind.key: int(kind in (ActivityType.VIEW, ActivityType.CREATE)) for kind in ActivityType}


@pytest.mark.usefixtures("site")
def test_another_zone_cuts_other_days(run: Run) -> None:
    words = ("report", "calendar", "--zone", "Asia/Kathmandu", "--from", "2026-03-28", "--to", "2026-03-30", "--today", TODAY)
    assert [day["events"] for day in json.loads(printed(run(*words)))["days"]] == [0, 3, 1]


@pytest.mark.usefixtures("site")
def test_the_default_range_is_the_last_twelve_months(run: Run) -> None:
    report = json.loads(printed(run("report", "calendar", "--today", TODAY)))
    assert (report["from"], report["to"], len(report["days"])) == ("2025-04-01", TODAY, 365)


@pytest.mark.usefixtures("site")
def test_the_kpis_have_the_promised_names(run: Run) -> None:
    assert json.loads(printed(run("report", "kpis", "--today", TODAY))) == {
        "active_days": 3,
        "days": 5,
        "longest_streak": 3,
        "longest_from": "2026-03-28",
        "longest_to": "2026-03-30",
        "current_streak": 3,
        "today_open": True,
    }


@pytest.mark.usefixtures("site")
def test_on_working_days_a_quiet_weekend_breaks_nothing(run: Run) -> None:
    words = ("report", "kpis", "--today", "2026-04-06", "--type", "view", "--person", "omar")
    assert json.loads(printed(run(*words, "--from", "2026-03-30")))["current_streak"] == 0
    friday = ("report", "kpis", "--today", "2026-03-30", "--person", "bot")
    assert json.loads(printed(run(*friday)))["current_streak"] == 0
    assert json.loads(printed(run(*friday, "--working-days")))["current_streak"] == 1


@pytest.mark.usefixtures("site")
def test_the_breakdown_has_all_ten_types_in_order(run: Run) -> None:
    rows = json.loads(printed(run("report", "breakdown", "--today", TODAY)))
    assert [row["type"] for row in rows] == [kind.key for kind in ActivityType]
    assert rows[0] == {"type": "view", "events": 3, "share": 0.75, "people": 2}
    assert rows[1] == {"type": "create", "events": 1, "share": 0.25, "people": 1}
    assert rows[2] == {"type": "update", "events": 0, "share": 0.0, "people": 0}


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("filters", "events"),
    [
        ((), 4),
        (("--type", "view"), 3),
        (("--type", "view", "--type", "CREATE"), 4),
        (("--space", "HR"), 2),
        (("--space", "hr", "--type", "create"), 1),
        (("--space", "HR", "--space", "ENG"), 4),
        (("--person", "omar"), 1),
        (("--person", "Mira"), 3),
        (("--person", "bot"), 1),
        (("--site", "wiki"), 4),
    ],
)
def test_filters_narrow_what_is_counted(filters: tuple[str, ...], events: int, run: Run) -> None:
    rows = json.loads(printed(run("report", "breakdown", "--today", TODAY, *filters)))
    assert sum(row["events"] for row in rows) == events


def test_a_group_narrows_to_its_members(site: Engine, run: Run) -> None:
    with write_transaction(site) as connection:
        site_id = find_site(connection, "wiki")
        assert site_id is not None
        ids = dict(zip(people(connection, site_id)["account_id"], people(connection, site_id)["id"], strict=True))
        save_members(connection, save_groups(connection, site_id, [Group("1", "Team A")])["1"], [int(ids["omar"])])
    rows = json.loads(printed(run("report", "breakdown", "--today", TODAY, "--group", "team a")))
    assert sum(row["events"] for row in rows) == 1
    rows = json.loads(printed(run("report", "breakdown", "--today", TODAY, "--group", "Team A", "--person", "mira")))
    assert sum(row["events"] for row in rows) == 0


def test_users_are_everybody_with_the_last_active_first(site: Engine, run: Run) -> None:
    with write_transaction(site) as connection:
        site_id = find_site(connection, "wiki")
        assert site_id is not None
        mira = int(people(connection, site_id).set_index("account_id")["id"]["mira"])
        save_members(connection, save_groups(connection, site_id, [Group("1", "Team A")])["1"], [mira])
    words = ("report", "users", "--from", "2026-03-01", "--to", TODAY, "--today", TODAY)
    content = run(*words, "--format", "csv").stdout_bytes
    assert content.endswith(b"\r\n")
    assert not content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    names = ("account_id", "status", "groups", "last_active_at", "last_event_type", "active_days", "longest_streak", "events_total", "view")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("omar", "Active", "", "2026-03-30T12:00:00+02:00", "view", "1", "1", "1", "1"),
        ("mira", "Active", "Team A", "2026-03-29T09:00:00+02:00", "create", "2", "2", "3", "2"),
        ("bot", "App", "", "2026-03-27T12:00:00+01:00", "update", "1", "1", "1", "0"),
    ]
    found = json.loads(printed(run(*words)))
    assert [row["account_id"] for row in found] == ["omar", "mira", "bot"]
    assert (found[0]["email"], found[1]["events_total"], found[1]["report_timezone"]) == (None, 3, "Europe/Berlin")


@pytest.mark.usefixtures("site")
def test_users_can_be_one_group_or_one_person(run: Run) -> None:
    assert [row["account_id"] for row in json.loads(printed(run("report", "users", "--today", TODAY, "--person", "Mira")))] == ["mira"]
    bot = json.loads(printed(run("report", "users", "--today", TODAY, "--person", "bot")))
    assert [(row["status"], row["events_total"]) for row in bot] == [("App", 1)]


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("name", ["calendar", "kpis", "breakdown"])
def test_csv_and_json_say_the_same(name: str, run: Run) -> None:
    words = ("report", name, "--from", "2026-03-28", "--to", TODAY, "--today", TODAY)
    found = json.loads(printed(run(*words)))
    rows = list(csv.DictReader(io.StringIO(printed(run(*words, "--format", "csv")))))
    if name == "calendar":
        assert [(row["day"], int(row["events"]), int(row["view"])) for row in rows] == [
            (day["day"], day["events"], day["types"]["view"]) for day in found["days"]
        ]
    else:
        expected = found if isinstance(found, list) else [found]
        assert [{key: json.dumps(value).strip('"') for key, value in row.items()} for row in expected] == rows


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        (("--zone", "Berlin"), "--zone: 'Berlin' is not a timezone"),
        (("--zone", "../../etc/passwd"), "is not a timezone"),
        (("--type", "views"), "--type: 'views' is none of view, create,"),
        (("--space", "ENGX"), "--space: the site has no space 'ENGX'"),
        (("--person", "nobody"), "--person: the site has nobody"),
        (("--group", "nogroup"), "--group: the site has no group 'nogroup'"),
        (("--site", "wikix"), "--site: the store holds no site 'wikix'"),
        (("--from", "2026-02-30"), "--from: '2026-02-30' is not a day"),
        (("--to", "yesterday"), "--to: 'yesterday' is not a day"),
        (("--today", "31.3.2026"), "--today: '31.3.2026' is not a day"),
        (("--from", "2026-03-02", "--to", "2026-03-01"), "--from: 2026-03-02 is after 2026-03-01"),
        (
            (
                "--from",
                "0001-01-01",
            ),
            "the days must lie between 2004-01-01 and",
        ),
    ],
)
def test_what_is_unknown_ends_as_one_sentence(filters: tuple[str, ...], sentence: str, run: Run) -> None:
    refused(run("report", "calendar", *filters), 2, sentence)


def test_several_sites_need_a_choice(site: Engine, run: Run) -> None:
    record(site, "acme")
    refused(run("report", "kpis", "--today", TODAY), 2, "--site: there are several, choose one of ")
    assert json.loads(printed(run("report", "kpis", "--today", TODAY, "--site", "acme")))["active_days"] == 3


def test_two_people_of_one_name_need_an_account_id(store: Engine, run: Run) -> None:
    at = int(datetime(2026, 3, 30, tzinfo=UTC).timestamp() * 1000)
    acts = [
        Activity("wiki", Source.IMPORT, "view", ActivityType.VIEW, account, at, at, True, identity(account), display_name="Same Name")
        for account in ("a", "b")
    ]
    with write_transaction(store) as connection:
        record_activities(connection, acts)
    refused(run("report", "kpis", "--person", "same name"), 2, "--person: 'same name' is the name of 2 people; give an account id")


def test_a_report_on_an_empty_store_says_what_to_do(run: Run) -> None:
    refused(run("report", "kpis"), 1, "The store holds no site yet: connect Confluence (docs/connect.md) or load the sample site")


def test_a_wrong_setting_is_named_and_ends_with_2(run: Run) -> None:
    for command in (("migrate",), ("report", "kpis"), ("doctor",), ("worker",), ("up",)):
        refused(run(*command, UAR_WORKER_PORT="many"), 2, "UAR_WORKER_PORT: 'many' is not a whole number")


@pytest.mark.parametrize("store_url", ["postgresql://127.0.0.1:1/none"], ids=["nowhere"])
def test_a_store_that_cannot_be_reached_is_one_sentence(run: Run) -> None:
    refused(run("report", "kpis"), 1, "The store cannot be used now")
    refused(run("migrate"), 1, "The store cannot be used now")


def test_migrate_makes_the_tables_and_again_does_no_harm(blank_store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        result = CliRunner(env={"UAR_DATABASE_URL": blank_store_url}).invoke(main, ["migrate"])
        assert printed(result) == "The store is up to date.\n"
    record(open_store(blank_store_url), "wiki")


def test_an_import_counts_and_names_each_bad_line(run: Run, tmp_path: Path) -> None:
    good = "wiki,2026-03-29T09:30:00+02:00,page_updated,mira\nwiki,1774770000000,view,omar\n"
    (tmp_path / "good.csv").write_text(f"site,occurred_at,event,account_id\n{good}")
    (tmp_path / "bad.csv").write_text(f"site,occurred_at,event,account_id\n{good}wiki,tomorrow,view,mira\n")
    assert printed(run("import", "good.csv")) == "2 activities added, 0 were there already, 0 events are no activity, 0 bad lines.\n"
    result = run("import", "bad.csv")
    assert result.exit_code == 1
    assert result.stdout == "0 activities added, 2 were there already, 0 events are no activity, 1 bad lines.\n"
    assert result.stderr.startswith("bad.csv, line 4: ")
    assert json.loads(printed(run("report", "kpis", "--today", TODAY)))["active_days"] == 1


def test_an_import_says_what_the_next_pruning_will_remove(run: Run, tmp_path: Path) -> None:
    lines = ["wiki,2004-06-01T12:00:00Z,view,mira", "wiki,2004-06-02T12:00:00Z,view,mira", "wiki,2026-03-29T12:00:00Z,view,mira"]
    (tmp_path / "old.csv").write_text("\n".join(["site,occurred_at,event,account_id", *lines]))
    assert printed(run("import", "old.csv", UAR_RETENTION_MONTHS="1200")).count("\n") == 1
    sentences = printed(run("import", "old.csv", UAR_RETENTION_MONTHS="120")).splitlines()
    assert sentences[0].startswith("0 activities added, 3 were there already")
    assert sentences[1].startswith("2 of the activities are older than ")
    assert sentences[1].endswith(
        " (120 months) and will be pruned: to keep them, set UAR_RETENTION_MONTHS higher and import the file again."
    )
    assert printed(run("prune", "--dry-run", UAR_RETENTION_MONTHS="120")).startswith("2 activities")


def test_pruned_days_are_like_those_before_recording(site: Engine, run: Run) -> None:
    words = ("report", "kpis", "--from", "2026-03-01", "--to", TODAY, "--today", TODAY)
    before = json.loads(printed(run(*words)))
    assert (before["active_days"], before["days"]) == (3, 5)
    prune(site, at("2026-03-29T00:00:00+00:00"))
    after = json.loads(printed(run(*words)))
    assert (after["active_days"], after["days"]) == (1, 2)  # of the 29th, which began an hour before in Berlin, a part is gone
    days = json.loads(printed(run("report", "calendar", *words[2:])))["days"]
    assert [(day["day"], day["events"]) for day in days if day["events"]] == [("2026-03-29", 1), ("2026-03-30", 1)]


def test_whose_activities_are_pruned_is_inactive_and_was_seen(site: Engine, run: Run) -> None:
    with write_transaction(site) as connection:
        found = find_site(connection, "wiki")
        assert found is not None
        save_people(connection, found, [Person("zoe", "Zoe")], at("2026-03-27T12:00:00+00:00"))
    words = ("report", "users", "--today", "2026-07-15", "--from", "2026-07-01", "--to", "2026-07-15")
    before, _, after = users(run(*words)), prune(site, at("2026-07-10T00:00:00+00:00")), users(run(*words))
    assert after == before
    assert [(row["account_id"], row["status"], row["events_total"]) for row in after] == [
        ("omar", "Inactive", 0),
        ("mira", "Inactive", 0),
        ("bot", "App", 0),
        ("zoe", "Never seen", 0),
    ]


def users(result: Result) -> list[dict[str, object]]:
    """All that `report users` says of people, without the time of the report."""
    return [{name: value for name, value in row.items() if name != "generated_at_utc"} for row in json.loads(printed(result))]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def test_replay_reads_the_quarantine_again(store: Engine, run: Run) -> None:
    body = b'{"timestamp":1774770000000,"event":"page_created","userKey":"ff80","page":{"id":1}}'
    kept = [
        Quarantined(Source.DATACENTER, "wiki", "page_created", "id-1", 1774770000000, "an older release", body),
        Quarantined(Source.DATACENTER, "wiki", "page_exploded", "id-2", 1774770000000, "unknown", b'{"event":"page_exploded"}'),
    ]
    with write_transaction(store) as connection:
        record_quarantined(connection, kept)
    assert printed(run("replay")) == "1 deliveries can be read now (1 activities added), 1 stay in quarantine.\n"
    with read_transaction(store) as connection:
        assert [row.event_name for row in quarantined(connection, 10)] == ["page_exploded"]


def test_prune_counts_first_and_then_removes(site: Engine, run: Run) -> None:
    """The activities are of March 2026; of the clock of this machine only that it is later is known."""
    since = datetime.now(UTC).year * 12 + datetime.now(UTC).month - (2026 * 12 + 3)
    assert since > 1, "this machine's clock is wrong"
    dry = printed(run("prune", "--dry-run", UAR_RETENTION_MONTHS="1"))
    assert dry.startswith("5 activities are older than ")
    assert dry.endswith(" (1 months); none was removed.\n")
    assert printed(run("prune", UAR_RETENTION_MONTHS="1200")).startswith("0 activities older than ")
    assert printed(run("prune", UAR_RETENTION_MONTHS="1")).startswith("5 activities older than ")
    assert printed(run("prune", UAR_RETENTION_MONTHS="1")).endswith(" were removed.\n")
    with read_transaction(site) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM activities").scalar_one() == 0
        assert connection.exec_driver_sql("SELECT count(last_active_at) FROM people").scalar_one() == 3


def test_the_worker_hands_what_deliveries_bring_to_the_directory_and_ends_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[object] = []

    class Thread:
        def __init__(self, settings: Settings, **given: object) -> None:
            seen.extend(given.values())

        def start(self) -> None:
            seen.append("start")

        def stop(self) -> None:
            seen.append("stop")

    def serve(settings: Settings, app_tokens: AppTokens) -> None:
        seen.append(app_tokens)
        raise WorkerError("The port is taken.")

    monkeypatch.setattr("uar.confluence.schedule.DirectoryThread", Thread)
    monkeypatch.setattr("uar.retention.RetentionThread", Thread)
    monkeypatch.setattr("uar.capture.worker.serve", serve)
    refused(CliRunner().invoke(main, ["worker"]), 1, "The port is taken.")
    tokens = seen[0]
    assert isinstance(tokens, AppTokens)
    assert seen == [tokens, "start", "start", tokens, "stop", "stop"]


def test_the_doctor_reports_each_check_and_fails_on_a_failure(run: Run) -> None:
    result = run("doctor")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert all(line[:6] in ("OK    ", "WARN  ", "FAIL  ") for line in lines)
    assert any("The store" in line and "has the tables of this release" in line for line in lines)
    assert any("no source is on" in line for line in lines)
    assert run("doctor", UAR_DATABASE_URL="postgresql://127.0.0.1:1/none").exit_code == 1


def test_the_demo_is_a_site_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uar.demo.MONTHS", 1)
    assert printed(run("demo", "--today", TODAY)).startswith("Site 'sample': ")
    kpis = json.loads(printed(run("report", "kpis", "--today", TODAY)))
    assert kpis["active_days"] == (date.fromisoformat(TODAY) - date(2026, 2, 1) + timedelta(days=1)).days
    assert ": 0 activities added" in printed(run("demo", "--today", TODAY))


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = "import sys, uar.__main__; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for heavy in ("sqlalchemy", "pandas", "numpy", "streamlit", "plotly", "uvicorn", "requests", "jwt"):
        assert f"'{heavy}'" not in loaded
    assert "'click'" in loaded
