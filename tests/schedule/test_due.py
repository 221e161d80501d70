from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakecat.config import Schedule
from lakecat.errors import ConfigError
from lakecat.schedule import Due, due, instants, newest_instant, next_instant


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def every(cron: str, zone: str, after: str, until: str) -> list[str]:
    found = instants(Schedule(cron=cron, timezone=zone), utc(after), utc(until))
    return [instant.strftime("%Y-%m-%d %H:%M") for instant in found]


class TestInstants:
    def test_utc_daily_excludes_its_start_and_includes_its_end(self) -> None:
        assert every("0 6 * * *", "UTC", "2026-01-01 06:00", "2026-01-03 06:00") == [
            "2026-01-02 06:00",
            "2026-01-03 06:00",
        ]

    def test_zone_shifts_with_summer_time(self) -> None:
        # 06:00 in Berlin is 05:00 UTC until 2026-03-29, then 04:00 UTC.
        assert every("0 6 * * *", "Europe/Berlin", "2026-03-28 00:00", "2026-03-30 00:00") == [
            "2026-03-28 05:00",
            "2026-03-29 04:00",
        ]

    def test_spring_gap_runs_at_its_end_once(self) -> None:
        # 2026-03-29 in Berlin 02:00 becomes 03:00 at 01:00 UTC; 02:30 does not exist.
        assert every("30 2 * * *", "Europe/Berlin", "2026-03-28 00:00", "2026-03-31 00:00") == [
            "2026-03-28 01:30",
            "2026-03-29 01:00",
            "2026-03-30 00:30",
        ]

    def test_two_times_in_the_spring_gap_are_one_instant(self) -> None:
        assert every("15,45 2 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 12:00") == ["2026-03-29 01:00"]

    def test_autumn_fold_runs_the_first_time_only(self) -> None:
        # 2026-10-25 in Berlin 03:00 becomes 02:00 at 01:00 UTC; 02:30 is 00:30 UTC, then again 01:30 UTC.
        assert every("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", "2026-10-26 12:00") == [
            "2026-10-25 00:30",
            "2026-10-26 01:30",
        ]

    def test_starting_inside_the_fold_does_not_repeat_the_first(self) -> None:
        # 01:10 UTC is 02:10 for the second time; that day's 02:30 was already at 00:30 UTC.
        assert every("30 2 * * *", "Europe/Berlin", "2026-10-25 01:10", "2026-10-25 12:00") == []

    def test_hourly_goes_by_real_time_through_gap_and_fold(self) -> None:
        spring = every("0 * * * *", "America/New_York", "2026-03-08 05:30", "2026-03-08 09:00")
        assert spring == [f"2026-03-08 {hour:02}:00" for hour in (6, 7, 8, 9)]
        autumn = every("0 * * * *", "America/New_York", "2026-11-01 04:30", "2026-11-01 08:00")
        assert autumn == [f"2026-11-01 {hour:02}:00" for hour in (5, 6, 7, 8)]

    def test_new_york_gap_and_fold(self) -> None:
        # Gap 2026-03-08 02:00-03:00 (07:00 UTC), fold 2026-11-01 01:00-02:00 (05:00 and 06:00 UTC).
        assert every("30 2 * * *", "America/New_York", "2026-03-08 00:00", "2026-03-08 23:00") == ["2026-03-08 07:00"]
        assert every("30 1 * * *", "America/New_York", "2026-11-01 00:00", "2026-11-01 23:00") == ["2026-11-01 05:30"]

    def test_leap_day(self) -> None:
        assert every("0 0 29 2 *", "UTC", "2023-01-01 00:00", "2033-01-01 00:00") == [
            "2024-02-29 00:00",
            "2028-02-29 00:00",
            "2032-02-29 00:00",
        ]

    def test_weekday_names(self) -> None:
        # 2026-11-23 is a Monday.
        assert every("0 9 * * MON", "UTC", "2026-11-20 00:00", "2026-12-01 00:00") == [
            "2026-11-23 09:00",
            "2026-11-30 09:00",
        ]

    def test_a_zone_that_lost_a_whole_day(self) -> None:
        # Samoa had no 2011-12-30: after 2011-12-29 23:59 (UTC-10) came 2011-12-31 00:00 (UTC+14).
        found = every("0 12 * * *", "Pacific/Apia", "2011-12-29 00:00", "2012-01-01 00:00")
        assert found == ["2011-12-29 22:00", "2011-12-30 10:00", "2011-12-30 22:00", "2011-12-31 22:00"]

    def test_mistakes_are_config_errors(self) -> None:
        with pytest.raises(ConfigError):
            next_instant(Schedule.model_construct(cron="61 * * * *", timezone="UTC"), utc("2026-01-01"))
        with pytest.raises(ConfigError):
            next_instant(Schedule.model_construct(cron="* * * * *", timezone="Mars/Phobos"), utc("2026-01-01"))


class TestDue:
    daily = Schedule(cron="0 6 * * *")

    def test_not_before_its_time_and_from_its_time_on(self) -> None:
        started = {"a": utc("2026-01-01 06:00:05")}
        assert due({"a": self.daily}, started, utc("2026-01-02 05:59:59")) == ()
        assert due({"a": self.daily}, started, utc("2026-01-02 06:00:00")) == (Due("a", utc("2026-01-02 06:00")),)

    def test_missed_runs_are_caught_up_once(self) -> None:
        now = utc("2026-01-20 10:00")
        assert due({"a": self.daily}, {"a": utc("2026-01-01 06:00:05")}, now) == (Due("a", utc("2026-01-20 06:00")),)
        assert due({"a": self.daily}, {"a": now}, now + timedelta(hours=1)) == ()

    def test_never_started_is_due(self) -> None:
        assert [entry.job for entry in due({"a": self.daily}, {}, utc("2026-01-01 00:00"))] == ["a"]

    def test_only_those_due_by_name(self) -> None:
        jobs = {"b": self.daily, "a": Schedule(cron="*/5 * * * *"), "c": Schedule(cron="0 0 1 1 *")}
        started = dict.fromkeys(jobs, utc("2026-06-01 05:58"))
        assert [entry.job for entry in due(jobs, started, utc("2026-06-01 06:01"))] == ["a", "b"]

    def test_started_by_hand_shortly_before_still_runs_at_its_time(self) -> None:
        started = {"a": utc("2026-01-02 05:59")}
        assert len(due({"a": self.daily}, started, utc("2026-01-02 06:01"))) == 1


def test_polled_every_minute_over_both_changes_of_a_year_each_day_runs_once() -> None:
    """A one-line cron that polls: what matters is that the job runs exactly once on each local day."""
    zone = ZoneInfo("Europe/Berlin")
    schedule = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    for first in ("2026-03-28 00:00", "2026-10-24 00:00"):
        now, last, runs = utc(first), {"a": utc(first)}, []
        while now < utc(first) + timedelta(days=3):
            if due({"a": schedule}, last, now):
                runs.append(now.astimezone(zone).date())
                last = {"a": now}
            now += timedelta(minutes=5)
        assert len(runs) == len(set(runs)) == 3


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
)
CRONS = st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 */6 * * *", "15 1,2,3 * * *", "0 0 1 * *", "59 23 * * SUN"])


@settings(max_examples=60, deadline=None)
@given(CRONS, ZONES, st.datetimes(datetime(2010, 1, 1), datetime(2035, 1, 1)))  # noqa: DTZ001 - hypothesis wants them naive
def test_newest_and_next_agree_and_never_step_back(cron: str, zone: str, moment: datetime) -> None:
    schedule, now = Schedule(cron=cron, timezone=zone), moment.replace(tzinfo=UTC)
    following = list(islice(instants(schedule, now), 5))
    assert following == sorted(set(following))
    assert all(instant > now for instant in following)
    newest = newest_instant(schedule, now)
    assert newest is not None
    assert newest <= now
    assert next_instant(schedule, newest) == following[0]
