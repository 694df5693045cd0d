"""What an operator may set, and how a mistake is told."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from queuewatch_schemas.config import (
    OWN_DIVERTS,
    WINDOWS,
    Calendar,
    Configuration,
    Definition,
    Diverts,
    KafkaSettings,
    Preset,
    QueueSettings,
    minutes_of,
)
from queuewatch_schemas.configuration_file import (
    ConfigurationError,
    configuration_path,
    describe_problems,
    load,
    override,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "queuewatch.toml"


def problems_of(table: dict[str, Any]) -> list[str]:
    """What is wrong with a configuration, in words."""
    with pytest.raises(ValidationError) as caught:
        Configuration.model_validate(table)
    return describe_problems(caught.value)


def problems_in(text: str | bytes, folder: Path) -> list[str]:
    """What is wrong with a file of that text, in words."""
    path = folder / "queuewatch.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)
    return caught.value.problems


# ---------------------------------------------------------------------------------------------------------- inheritance

_queue_fields = st.fixed_dictionaries(
    {},
    optional={
        "definitions": st.sampled_from([["default"], ["gold"], ["gold", "default"]]),
        "group": st.sampled_from(["", "Commerce"]),
        "site": st.sampled_from(["", "Rome"]),
        "time_zone": st.sampled_from(["Europe/Rome", "Asia/Singapore"]),
        "calendar": st.just("office"),
        "short_abandon_seconds": st.integers(0, 30),
        "maximum_wait_seconds": st.integers(1, 90_000),
        "overtaken_by": st.integers(0, 9),
        "maximum_talk_seconds": st.integers(1, 90_000),
        "maximum_wrap_seconds": st.integers(1, 90_000),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "longest_wait_seconds": st.integers(1, 900),
                "calls_waiting": st.integers(1, 90),
                "abandon_ratio": st.floats(0.01, 1),
                "window_minimum_calls": st.integers(0, 90),
            },
        ),
    },
)


@given(defaults=_queue_fields, own=_queue_fields)
def test_each_setting_comes_from_the_queue_else_from_the_defaults_else_from_the_model(
    defaults: dict[str, Any], own: dict[str, Any]
) -> None:
    """Inheritance goes field by field, and within the limits limit by limit."""
    configuration = Configuration.model_validate(
        {
            "definitions": {"gold": {"threshold_seconds": 10}},
            "calendars": {"office": {"weekly": {"mon": ["08:00-18:00"]}}},
            "business": {"time_zone": "Africa/Lagos"},
            "defaults": defaults,
            "queues": {"sales": own},
        }
    )
    resolved = configuration.queue("sales")
    model = QueueSettings()
    for field in ("group", "site", "short_abandon_seconds", "maximum_wait_seconds", "overtaken_by"):
        assert getattr(resolved, field) == own.get(field, defaults.get(field, getattr(model, field)))
    for field in ("maximum_talk_seconds", "maximum_wrap_seconds"):
        assert getattr(resolved, field) == own.get(field, defaults.get(field, getattr(model, field)))
    for limit in type(model.limits).model_fields:
        inherited = defaults.get("limits", {}).get(limit, getattr(model.limits, limit))
        assert getattr(resolved.limits, limit) == own.get("limits", {}).get(limit, inherited)
    assert [name for name, _ in resolved.definitions] == own.get(
        "definitions", defaults.get("definitions", ["default"])
    )
    assert resolved.time_zone == own.get("time_zone", defaults.get("time_zone", "Africa/Lagos"))
    if "calendar" in own or "calendar" in defaults:
        assert resolved.calendar is not None
        assert resolved.calendar.time_zone == resolved.time_zone
    else:
        assert resolved.calendar is None


def test_a_queue_that_is_not_named_has_the_defaults_and_its_own_name() -> None:
    """The settings of an unnamed queue differ from a named one without a table only in the name."""
    resolved = Configuration().queue("anything at all")
    assert (resolved.queue, resolved.name) == ("anything at all", "anything at all")
    assert resolved.definitions == (("default", Definition().resolved()),)
    assert resolved.maximum_wait_seconds == 4 * 3600


def test_equal_settings_resolve_to_equal_queues() -> None:
    """So a reload can tell which queues it changes."""
    table = {"queues": {"sales": {"site": "Rome"}}}
    assert Configuration.model_validate(table).queue("sales") == Configuration.model_validate(table).queue("sales")


def test_a_calendars_own_time_zone_goes_before_the_queues() -> None:
    """The hours of a service centre abroad stay in its own time."""
    configuration = Configuration.model_validate(
        {
            "calendars": {"far": {"time_zone": "Asia/Tokyo"}},
            "queues": {"sales": {"calendar": "far", "time_zone": "Europe/Rome"}},
        }
    )
    calendar = configuration.queue("sales").calendar
    assert calendar is not None
    assert calendar.time_zone == "Asia/Tokyo"


# ---------------------------------------------------------------------------------------------------------- definitions


@pytest.mark.parametrize("preset", list(Preset))
def test_a_resolved_definition_leaves_nothing_to_its_preset(preset: Preset) -> None:
    """Its diversions are written out; short abandons are dropped by none but ignore-short, after five seconds."""
    resolved = Definition(preset=preset).resolved()
    assert resolved.diverts is OWN_DIVERTS[preset]
    assert resolved.short_seconds == (5 if preset is Preset.IGNORE_SHORT else None)
    assert resolved.resolved() == resolved


def test_what_a_definition_says_itself_goes_before_its_preset() -> None:
    """Also a short time of 0, which is a time."""
    definition = Definition(preset=Preset.IGNORE_SHORT, short_seconds=0, diverts=Diverts.NONE)
    assert definition.resolved() == definition


def test_a_definition_named_default_is_always_there() -> None:
    """Though the file defines others only; and a file's own takes its place."""
    assert Configuration.model_validate({"definitions": {"gold": {}}}).definitions.keys() == {"default", "gold"}
    own = Configuration.model_validate({"definitions": {"default": {"threshold_seconds": 30}}})
    assert own.definitions["default"].threshold_seconds == 30


def test_the_thresholds_in_use_are_those_of_definitions_that_some_queue_has() -> None:
    """A definition that nothing uses costs no bucket."""
    configuration = Configuration.model_validate(
        {
            "definitions": {"gold": {"threshold_seconds": 12.5}, "unused": {"threshold_seconds": 99}},
            "queues": {"sales": {"definitions": ["gold"]}},
        }
    )
    assert configuration.thresholds == (12.5, 20.0)


# ------------------------------------------------------------------------------------------------------------ calendars


@given(st.integers(0, 1439), st.integers(1, 1440))
def test_a_range_is_read_as_minutes_and_only_forwards(start: int, end: int) -> None:
    """From the first to the last minute of a day; what ends before it starts is refused with the way out."""
    text = f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"
    if start < end:
        assert minutes_of(text) == (start, end)
    else:
        with pytest.raises(ValueError, match="two ranges"):
            minutes_of(text)


@pytest.mark.parametrize("text", ["", "8-18", "08:00", "8:00-18:00", "08:00-24:01", "24:00-24:00", "08:60-09:00"])
def test_what_is_no_range_of_hours_is_refused(text: str) -> None:
    """Two digits each, at the latest to 24:00."""
    with pytest.raises(ValueError, match="is no range of hours"):
        minutes_of(text)


def test_hours_follow_the_exceptions_then_the_week() -> None:
    """A day left out of the week is closed; an empty exception closes; ranges come sorted."""
    calendar = Calendar.model_validate(
        {
            "weekly": {"fri": ["14:00-17:00", "08:00-13:00"], "sat": ["22:00-24:00"]},
            "exceptions": {"2026-12-25": [], "2026-12-24": ["09:00-12:00"]},
        }
    )
    assert calendar.hours_on(date(2026, 12, 18)) == ((480, 780), (840, 1020))
    assert calendar.hours_on(date(2026, 12, 19)) == ((1320, 1440),)
    assert calendar.hours_on(date(2026, 12, 20)) == ()
    assert calendar.hours_on(date(2026, 12, 24)) == ((540, 720),)
    assert calendar.hours_on(date(2026, 12, 25)) == ()


def test_a_calendar_without_a_week_is_always_open() -> None:
    """But for its exceptions."""
    calendar = Calendar.model_validate({"exceptions": {"2026-12-25": []}})
    assert calendar.hours_on(date(2026, 12, 24)) == ((0, 1440),)
    assert calendar.hours_on(date(2026, 12, 25)) == ()


# ------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (
            {"definitions": {"gold": {"preset": "fo"}}},
            "definitions.gold.preset: 'fo' is none of ignore, negative, positive, answered-only, ignore-short,"
            " all-offered, removed, genesys, asterisk-2",
        ),
        (
            {"definitions": {"gold": {"tresholds": 3}}},
            "definitions.gold.tresholds: no such setting; did you mean threshold",
        ),
        ({"definitions": {"gold": {"target": 80}}}, "definitions.gold.target: 80 is above 1; write a share, as in 0.8"),
        ({"definitions": {"g\n": {}}}, 'definitions."g\\n": '),
        ({"queues": {"North sales": {"overtaken_by": -1}}}, 'queues."North sales".overtaken_by: -1 is below 0'),
        ({"queues": {" x": {}}}, "queues.\" x\": the queue's name ' x' has blanks at its ends"),
        ({"queues": {"x": {"definitions": []}}}, "queues.x.definitions: is empty"),
        ({"queues": {"x": {"definitions": ["a", "a"]}}}, "queues.x.definitions: 'a' is named twice"),
        (
            {"queues": {"x": {"definitions": ["defualt"]}}},
            "queues.x.definitions: there is no 'defualt' under [definitions];",
        ),
        (
            {"queues": {"x": {"calendar": "c"}}},
            "queues.x.calendar: there is no 'c' under [calendars]; add a table [calendars.c]",
        ),
        (
            {"queues": {"x": {"limits": {"calls_waitng": 2}}}},
            "queues.x.limits.calls_waitng: no such setting; did you mean calls_waiting?",
        ),
        ({"defaults": {"name": "X"}}, "defaults.name: a display name belongs to one queue"),
        (
            {"calendars": {"c": {"weekly": {"mon": ["22:00-06:00"]}}}},
            "calendars.c.weekly.mon: '22:00-06:00' ends before",
        ),
        (
            {"calendars": {"c": {"weekly": {"mon": ["08:00-12:00", "11:00-13:00"]}}}},
            "calendars.c.weekly.mon: '08:00-12:00' and '11:00-13:00' overlap",
        ),
        ({"calendars": {"c": {"weekly": {"Monday": []}}}}, "calendars.c.weekly.Monday: 'Monday' is none of mon, tue"),
        (
            {"calendars": {"c": {"exceptions": {"2026-02-30": []}}}},
            "calendars.c.exceptions.2026-02-30: '2026-02-30' is no day",
        ),
        (
            {"calendars": {"c": {"exceptions": {"20261225": []}}}},
            "calendars.c.exceptions.20261225: '20261225' is no day",
        ),
        (
            {"business": {"time_zone": "Europe/Roma"}},
            "business.time_zone: 'Europe/Roma' is no time zone of the IANA database",
        ),
        ({"business": {"time_zone": "../etc/passwd"}}, "business.time_zone: '../etc/passwd' is no time zone"),
        ({"business": {"interval_minutes": 20}}, "business.interval_minutes: 20 is none of 15, 30"),
        ({"business": {"windows": ["5m", "5m"]}}, "business.windows: '5m' is named twice"),
        ({"business": {"day_starts_at_hour": 24}}, "business.day_starts_at_hour: 24 is above 23"),
        ({"timing": {"grace_seconds": float("nan")}}, "timing.grace_seconds: nan is no finite number"),
        (
            {"timing": {"evicted_grace_seconds": 60}},
            "timing: evicted_grace_seconds must not be shorter than grace_seconds",
        ),
        ({"kafka": {"brokers": "kafka"}}, "kafka.brokers: 'kafka' is no broker's address; write host:port"),
        ({"kafka": {"brokers": "a:1, b:99999"}}, "kafka.brokers: 'b:99999' is no broker's address"),
        ({"kafka": {"security_protocol": "SASL_SSL"}}, "kafka: sasl_mechanism is missing; SASL_SSL needs it"),
        ({"kafka": {"sasl_username": "u"}}, "kafka: sasl_username is set, but security_protocol is PLAINTEXT"),
        ({"kafka": {"tls_ca_file": "ca.pem"}}, "kafka: tls_ca_file is set, but security_protocol is PLAINTEXT"),
        (
            {"kafka": {"security_protocol": "SSL", "tls_key_file": "k"}},
            "kafka: tls_certificate_file and tls_key_file belong together",
        ),
        ({"kafka": {"heartbeat_seconds": 11}}, "kafka: heartbeat_seconds (11) is more than a third of session_timeout"),
        (
            {"kafka": {"request_timeout_seconds": 31}},
            "kafka: request_timeout_seconds (31) is longer than session_timeout",
        ),
        ({"topics": {"events": "a", "agents": "a"}}, "topics: events and agents are both 'a'"),
        ({"topics": {"events": "a b"}}, "topics.events: 'a b' cannot be a topic's name"),
        ({"serve": {"metrics_port": 9465}}, "serve: metrics_port and wallboard_port are both 9465"),
        ({"serve": {"metrics_port": 70000}}, "serve.metrics_port: 70000 is above 65535"),
        ({"application": "a b"}, "application: 'a b' cannot be an application's name"),
        ({"queus": {}}, "queus: no such setting; did you mean queues?"),
    ],
)
def test_a_mistake_is_told_by_its_place_and_in_words(table: dict[str, Any], problem: str) -> None:
    """One mistake makes one problem, which begins as said."""
    (found,) = problems_of(table)
    assert found.startswith(problem), found


def test_a_name_in_a_file_is_no_number_and_a_number_no_name(tmp_path: Path) -> None:
    """TOML has types: what is in quotes is text, and 2.5 is no count."""
    text = (
        '[timing]\ngrace_seconds = "900"\nidle_days = 2.5\n'
        "[serve]\nhost = 1\nmetrics_port = true\n[queues]\nsales = 3\n"
    )
    assert problems_in(text, tmp_path) == [
        "timing.grace_seconds: '900' is no number",
        "timing.idle_days: 2.5 is no whole number",
        "serve.host: 1 is no text in quotes",
        "serve.metrics_port: true is no whole number",
        "queues.sales: 3 is no table of settings",
    ]


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """No file, no UTF-8, no TOML; the last with the line."""
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path)
    assert problems_in(b"# \xff", tmp_path) == ["is not UTF-8: byte 2 is no part of a character"]
    (problem,) = problems_in("[timing]\ngrace_seconds = \n", tmp_path)
    assert problem.startswith("is not TOML: ")
    assert "line 2" in problem


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*Configuration.model_fields, "x"]), inner)
        ),
        max_leaves=12,
    )
)
def test_whatever_the_file_holds_is_a_configuration_or_problems_in_words(value: Any) -> None:
    """Never another error, never an empty sentence, never pydantic's own wording for a value of ours."""
    try:
        Configuration.model_validate(value)
    except ValidationError as error:
        problems = describe_problems(error)
        assert problems
        assert all(
            problem.strip() and "Value error" not in problem and "Input should" not in problem for problem in problems
        )


# ---------------------------------------------------------------------------------------------------- files, overriding


def test_no_file_means_all_defaults() -> None:
    """So `worker` starts with nothing set."""
    assert load(None) == Configuration()


def test_a_path_in_the_file_starts_at_the_files_folder(tmp_path: Path) -> None:
    """An absolute one stays."""
    path = tmp_path / "queuewatch.toml"
    path.write_text(
        '\ufeff[kafka]\r\nsecurity_protocol = "SASL_SSL"\r\nsasl_mechanism = "PLAIN"\r\nsasl_username = "u"\r\n'
        'sasl_password_file = "secret"\r\ntls_ca_file = "/etc/ca.pem"\r\n',
        encoding="utf-8",
    )
    kafka = load(path).kafka
    assert (kafka.sasl_password_file, kafka.tls_ca_file) == (tmp_path / "secret", Path("/etc/ca.pem"))


def test_flags_go_before_the_environment_and_that_before_the_file() -> None:
    """An empty variable is as none, and what is not overridden stays."""
    configuration = Configuration.model_validate({"kafka": {"partitions": 8}, "serve": {"host": "::1"}})
    environment = {"QUEUEWATCH_BROKERS": "b:2", "QUEUEWATCH_METRICS_PORT": "3", "QUEUEWATCH_WALLBOARD_PORT": ""}
    found = override(configuration, brokers="a:1", environment=environment)
    assert (found.kafka.brokers, found.kafka.partitions) == ("a:1", 8)
    assert (found.serve.metrics_port, found.serve.wallboard_port, found.serve.host) == (3, 9465, "::1")
    assert override(configuration, environment={}) is configuration
    assert override(configuration, metrics_port=0, environment={}).serve.metrics_port == 0


@pytest.mark.parametrize(
    ("flags", "environment", "problem"),
    [
        ({"brokers": "x"}, {}, "--brokers: 'x' is no broker's address"),
        ({}, {"QUEUEWATCH_METRICS_PORT": "abc"}, "QUEUEWATCH_METRICS_PORT: 'abc' is no whole number"),
        ({"metrics_port": 9465}, {}, "--metrics-port: metrics_port and wallboard_port are both 9465"),
    ],
)
def test_a_flag_or_variable_that_cannot_be_used_is_named(
    flags: dict[str, Any], environment: dict[str, str], problem: str
) -> None:
    """By the name that was typed."""
    with pytest.raises(ConfigurationError) as caught:
        override(Configuration(), **flags, environment=environment)
    assert str(caught.value).startswith(problem)


def test_the_file_comes_from_the_flag_else_from_the_environment() -> None:
    """Else there is none."""
    assert configuration_path(Path("a"), {"QUEUEWATCH_CONFIG": "b"}) == Path("a")
    assert configuration_path(None, {"QUEUEWATCH_CONFIG": "b"}) == Path("b")
    assert configuration_path(None, {"QUEUEWATCH_CONFIG": ""}) is None


def test_the_own_source_follows_from_the_application() -> None:
    """No other source's evictions are believed."""
    assert Configuration(application="floor-2").own_source == "urn:queuewatch:floor-2"


# ---------------------------------------------------------------------------------------------------------- the example


def _settings(model: type[BaseModel] = Configuration) -> set[str]:
    """Every setting's name, the tables' own too."""
    names = set(model.model_fields)
    for field in model.model_fields.values():
        for part in re.findall(r"queuewatch_schemas\.config\.(\w+)", repr(field.annotation)):
            found = getattr(__import__("queuewatch_schemas.config", fromlist=[part]), part)
            if isinstance(found, type) and issubclass(found, BaseModel):
                names |= _settings(found)
    return names


def test_the_example_is_valid_and_names_three_queues() -> None:
    """As the first thing a new user edits."""
    configuration = load(EXAMPLE)
    assert list(configuration.queues) == ["sales", "support", "city hall"]
    assert configuration.queue("sales").limits.longest_wait_seconds == 60
    assert configuration.queue("sales").limits.calls_waiting == 20


def test_the_example_names_every_setting_there_is() -> None:
    """Set or commented out: nothing has to be looked up elsewhere."""
    text = EXAMPLE.read_text(encoding="utf-8")
    missing = {name for name in _settings() if not re.search(rf"(^|\W){name}\b( =|\]|\.)", text, re.MULTILINE)}
    assert not missing


def test_the_example_writes_out_the_defaults(tmp_path: Path) -> None:
    """All that stands above the line "An example" equals the defaults, so that a reader can trust it."""
    above, line, _ = EXAMPLE.read_text(encoding="utf-8").partition("An example:")
    assert line
    path = tmp_path / "defaults.toml"
    path.write_text(above, encoding="utf-8")
    assert load(path) == Configuration()


def test_every_setting_has_a_description_and_every_window_a_name() -> None:
    """The descriptions are in the JSON Schema, for editors."""
    for model in (Configuration, KafkaSettings, QueueSettings, Definition, Calendar):
        assert all(field.description for field in model.model_fields.values()), model
    assert len(set(WINDOWS)) == 7
