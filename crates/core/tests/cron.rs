//! Times of expressions: the rule of Debian's cron(8) as tables that others state too, and what is refused.
use jiff::Timestamp;
use jiff::civil::DateTime;
use tenure_core::cron::{Cron, Timetable};
use tenure_core::time::Time;

fn moment(text: &str) -> Time {
    let stamp: Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Time::from_millis(stamp.as_millisecond())
}

/// The first times after a moment, in the zone's own wall clock with its offset.
fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let timetable = Timetable::of(cron, zone).unwrap_or_else(|fault| panic!("{cron} in {zone}: {fault:?}"));
    let tz = tenure_core::cron::zone(zone).expect("it is known");
    let shown = |time: &Time| {
        let stamp = Timestamp::from_millisecond(time.millis()).expect("it is in range");
        stamp.to_zoned(tz.clone()).strftime("%Y-%m-%d %a %H:%M %:z").to_string()
    };
    timetable.upcoming(moment(after), count).iter().map(shown).collect()
}

/// Sets of what matches, as crontab(5) and the tests of robfig/cron state them.
#[test]
fn an_expression_names_the_minutes_that_other_crons_say() {
    // In UTC: an expression, a time, and whether it is one of its.
    let cases = [
        ("0/15 * * * *", "", false),
        ("*/15 * * * *", "2012-07-09T15:00", true),
        ("*/15 * * * *", "2012-07-09T15:45", true),
        ("*/15 * * * *", "2012-07-09T15:40", false),
        ("5-59/15 * * * *", "2012-07-09T15:20", true),
        ("5-59/15 * * * *", "2012-07-09T15:05", true),
        ("5-59/15 * * * *", "2012-07-09T15:50", true),
        ("*/15 * * Jul *", "2012-07-15T15:15", true),
        ("*/15 * * Jun *", "2012-07-15T15:15", false),
        // robfig: a star in one of the two days, and both must fit.
        ("30 08 15 Jul *", "2012-07-15T08:30", true),
        ("30 08 15 Jun *", "2012-07-15T08:30", false),
        ("30 08 ? Jun *", "", false),
        ("* * */10 * Sun", "2012-07-15T00:00", false),
        ("* * 15 * *", "2012-07-15T00:00", true),
        ("* * */2 * Sun", "2012-07-15T00:00", true),
        ("* * * * Mon", "2012-07-15T00:00", false),
        ("* * * * Sun", "2012-07-15T00:00", true),
        ("* * * * 7", "2012-07-15T00:00", true),
        ("* * * * 5-7", "2012-07-15T00:00", true),
        ("* * * * mon-fri", "2012-07-16T00:00", true),
        // Both restricted: either is enough.
        ("* * 1,15 * Sun", "2012-07-15T00:00", true),
        ("* * 1,15 * Sun", "2012-06-15T00:00", true),
        ("* * 1,15 * Mon", "2012-07-15T00:00", true),
        ("* * 1,15 * Mon", "2012-07-09T00:00", true),
        ("* * 1,15 * Mon", "2012-07-10T00:00", false),
        // crontab(5): the first and fifteenth, and each Friday; the thirteenth where it is a Friday takes the star.
        ("30 4 1,15 * 5", "2024-09-13T04:30", true),
        ("30 4 13 * */5", "2024-09-13T04:30", true),
        ("30 4 13 * */5", "2024-10-13T04:30", true),
        ("30 4 13 * */5", "2024-11-13T04:30", false),
        ("@hourly", "2012-07-15T15:00", true),
        ("@hourly", "2012-07-15T15:01", false),
        ("@daily", "2012-07-15T00:00", true),
        ("@midnight", "2012-07-15T15:00", false),
        ("@weekly", "2012-07-15T00:00", true),
        ("@weekly", "2012-07-16T00:00", false),
        ("@monthly", "2012-07-01T00:00", true),
        ("@Yearly", "2012-01-01T00:00", true),
        ("0 0 29 2 *", "2096-02-29T00:00", true),
        ("23 0-23/2 * * *", "2012-07-15T14:23", true),
        ("23 0-23/2 * * *", "2012-07-15T15:23", false),
    ];
    for (cron, time, named) in cases {
        let Ok(timetable) = Timetable::of(cron, "UTC") else {
            assert!(time.is_empty(), "{cron} is one");
            continue;
        };
        let time: DateTime = time.parse().unwrap_or_else(|error| panic!("{cron} was to be refused: {error}"));
        let stamp = time.to_zoned(jiff::tz::TimeZone::UTC).expect("it is in range").timestamp();
        let time = Time::from_millis(stamp.as_millisecond());
        let next = timetable.next(Time::from_millis(time.millis() - 1));
        assert_eq!(next == Some(time), named, "{cron} at {time}");
    }
}

/// New York jumps from 2:00 to 3:00 on 11 March 2012 and back from 2:00 to 1:00 on 4 November; robfig, systemd and croner
/// state the same of these times.
#[test]
fn a_skipped_time_comes_right_after_the_jump_and_a_repeated_one_once() {
    let spring = "2012-03-11T00:00:00-05:00";
    assert_eq!(
        times("30 2 * * *", "America/New_York", spring, 2),
        ["2012-03-11 Sun 03:00 -04:00", "2012-03-12 Mon 02:30 -04:00"]
    );
    assert_eq!(
        times("0,30 2 11 3 *", "America/New_York", spring, 2),
        ["2012-03-11 Sun 03:00 -04:00", "2013-03-11 Mon 02:00 -04:00"]
    );
    assert_eq!(
        times("0 1-3 11 3 *", "America/New_York", spring, 3),
        ["2012-03-11 Sun 01:00 -05:00", "2012-03-11 Sun 03:00 -04:00", "2013-03-11 Mon 01:00 -04:00",]
    );
    let autumn = "2012-11-04T00:00:00-04:00";
    assert_eq!(
        times("30 1 * * *", "America/New_York", autumn, 2),
        ["2012-11-04 Sun 01:30 -04:00", "2012-11-05 Mon 01:30 -05:00"]
    );
    assert_eq!(
        times("0 1 * * *", "America/New_York", autumn, 2),
        ["2012-11-04 Sun 01:00 -04:00", "2012-11-05 Mon 01:00 -05:00"]
    );
    // From within the second pass on, it is over.
    assert_eq!(
        times("45 1 * * *", "America/New_York", "2012-11-04T01:30:00-05:00", 1),
        ["2012-11-05 Mon 01:45 -05:00"]
    );
}

#[test]
fn a_wildcard_in_minute_or_hour_follows_real_time() {
    let spring = "2012-03-11T01:15:00-05:00";
    assert_eq!(
        times("*/30 * * * *", "America/New_York", spring, 2),
        ["2012-03-11 Sun 01:30 -05:00", "2012-03-11 Sun 03:00 -04:00"]
    );
    assert_eq!(
        times("30 * * * *", "America/New_York", spring, 2),
        ["2012-03-11 Sun 01:30 -05:00", "2012-03-11 Sun 03:30 -04:00"]
    );
    assert_eq!(
        times("*/30 2 * * *", "America/New_York", spring, 1),
        ["2012-03-12 Mon 02:00 -04:00"],
        "two o'clock is not"
    );
    let autumn = "2012-11-04T00:45:00-04:00";
    assert_eq!(
        times("*/30 * * * *", "America/New_York", autumn, 5),
        [
            "2012-11-04 Sun 01:00 -04:00",
            "2012-11-04 Sun 01:30 -04:00",
            "2012-11-04 Sun 01:00 -05:00",
            "2012-11-04 Sun 01:30 -05:00",
            "2012-11-04 Sun 02:00 -05:00",
        ]
    );
}

#[test]
fn zones_with_odd_jumps_have_each_fixed_time_once_a_day_that_they_have() {
    // Half an hour.
    assert_eq!(
        times("15 2 * * *", "Australia/Lord_Howe", "2024-10-05T20:00:00+10:30", 2),
        ["2024-10-06 Sun 02:30 +11:00", "2024-10-07 Mon 02:15 +11:00"]
    );
    assert_eq!(
        times("*/10 2 * * *", "Australia/Lord_Howe", "2024-10-05T20:00:00+10:30", 2),
        ["2024-10-06 Sun 02:30 +11:00", "2024-10-06 Sun 02:40 +11:00"]
    );
    // A day that is not.
    assert_eq!(
        times("30 9 * * *", "Pacific/Apia", "2011-12-29T00:00:00-10:00", 3),
        ["2011-12-29 Thu 09:30 -10:00", "2011-12-31 Sat 00:00 +14:00", "2011-12-31 Sat 09:30 +14:00",]
    );
    // Two hours.
    assert_eq!(
        times("30 1 * * *", "Antarctica/Troll", "2024-03-30T12:00:00Z", 2),
        ["2024-03-31 Sun 03:00 +02:00", "2024-04-01 Mon 01:30 +02:00"]
    );
    // At midnight.
    assert_eq!(
        times("@daily", "Africa/Cairo", "2024-04-25T12:00:00+02:00", 2),
        ["2024-04-26 Fri 01:00 +03:00", "2024-04-27 Sat 00:00 +03:00"]
    );
}

#[test]
fn the_last_time_up_to_a_moment_is_found_however_long_ago_the_first_was() {
    for (cron, zone, first, now, last) in [
        ("* * * * *", "UTC", "2000-01-01T00:00:00Z", "2026-11-27T10:11:12Z", "2026-11-27T10:11:00Z"),
        ("0 0 29 2 *", "Europe/Berlin", "2000-02-28T23:00:00Z", "2026-11-27T10:11:12Z", "2024-02-28T23:00:00Z"),
        ("0 9 * * 1-5", "UTC", "2026-11-20T09:00:00Z", "2026-11-23T08:59:59Z", "2026-11-20T09:00:00Z"),
        ("0 9 * * 1-5", "UTC", "2026-11-20T09:00:00Z", "2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z"),
    ] {
        let timetable = Timetable::of(cron, zone).expect("it is one");
        assert_eq!(timetable.latest(moment(first), moment(now)), moment(last), "{cron}");
    }
}

#[test]
fn what_is_no_schedule_is_refused_with_its_field_its_place_and_what_would_be_right() {
    let wrong = [
        "",
        "* * * *",
        "* * * * * *",
        "every day",
        "@dayly",
        "@reboot",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "0 9 * * MOM",
        "0 9 * Jann *",
        "0 9 1,,2 * *",
        "0 9 1,2,x * *",
        "*/0 * * * *",
        "*/61 * * * *",
        "5/15 * * * *",
        "0 9 * * FRI-MON",
        "0 9 * * SAT-SUN",
        "0 9 ? * *",
        "0 9 L * *",
        "0 9 * * 5#3",
        "0 0 31 2 *",
        "0 0 31 4,6 *",
        "-1 * * * *",
        "1- * * * *",
        "+1 * * * *",
        "٣ * * * *",
    ];
    let said: Vec<String> = wrong
        .iter()
        .map(|text| {
            let fault = Cron::parse(text).expect_err(text);
            format!("{text}\n    {}; {}", fault.reason, fault.hint.unwrap_or_default())
        })
        .collect();
    insta::assert_snapshot!("refused_schedules", said.join("\n"));
    let zones = ["Europe/Berlim", "europe/berlin", "Mars; rm", "EST5EDT", "UTC"].map(|name| {
        tenure_core::cron::zone(name).map_or_else(
            |fault| format!("{name}: {}; {}", fault.reason, fault.hint.unwrap_or_default()),
            |_| format!("{name}: known"),
        )
    });
    insta::assert_snapshot!("refused_zones", zones.join("\n"));
}
