"""Holds the times of our schedules against PyPI's cronsim, which means what Debian's cron(8) means.

usage: schedules.py PROGRAM COUNT    PROGRAM is the build's example next_runs

Zones come from PyPI's tzdata alone. Where an expression follows real time, cronsim goes from hour to hour and from midnight to
midnight, which is not real time where a zone jumps by half an hour or over midnight, and where midnight is repeated it never
ends: what differs there is held against every single minute instead, and counted.
"""

import importlib.metadata
import random
import signal
import subprocess
import sys
import zoneinfo
from datetime import datetime, timezone

from cronsim import CronSim, CronSimError

zoneinfo.reset_tzpath(to=[])

SEED = 8
MOST = 60
# Of the processor, for one expression.
SECONDS_MAX = 0.5
UTC = timezone.utc
HOUR = 3600
ZONES = [
    "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "Antarctica/Troll", "America/New_York",
    "Europe/Berlin", "Europe/London", "America/Sao_Paulo", "Asia/Tehran", "Africa/Cairo", "America/St_Johns",
    "Pacific/Chatham", "America/Santiago", "Asia/Gaza",
]
FIELDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
DAYS = "SUN MON TUE WED THU FRI SAT".split()
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()


def transitions(zone, first=2005, last=2030):
    """The moments, in seconds, at which the zone's offset changes."""
    offset = lambda at: datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    found, at, end = [], int(datetime(first, 1, 1, tzinfo=UTC).timestamp()), datetime(last, 1, 1, tzinfo=UTC).timestamp()
    while at < end:
        low, high = at, at + 24 * HOUR
        if offset(low) != offset(high):
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offset(at) else (low, middle)
            found.append(high)
        at += 24 * HOUR
    return found


def item(rng, field, near):
    low, high = FIELDS[field]
    kind = rng.random()
    one = lambda: near if near is not None and rng.random() < 0.4 else rng.randint(low, high)
    if kind < 0.6:
        number = one()
        if field == 3 and rng.random() < 0.3:
            return MONTHS[number - 1]
        if field == 4 and rng.random() < 0.3:
            return DAYS[number % 7]
        return str(number)
    start, end = sorted((one(), one()))
    # A step through a range of one number goes on to the field's end there; cron(8) has the one number.
    return f"{start}-{end}" if kind < 0.8 or start == end else f"{start}-{end}/{rng.randint(1, 5)}"


def field(rng, number, near, star):
    kind = rng.random()
    if kind < star:
        return "*"
    if kind < star + 0.12:
        return f"*/{rng.randint(1, min(FIELDS[number][1], 20))}"
    return ",".join(item(rng, number, near) for _ in range(rng.choice([1, 1, 1, 2, 3])))


def has_month(text, month):
    return month in CronSim(f"0 0 1 {text} *", datetime(2000, 1, 1)).months


def expression(rng, local):
    minute = field(rng, 0, rng.choice([0, 30, local.minute]), 0.2)
    hour = field(rng, 1, min(23, max(0, local.hour + rng.randint(-2, 2))), 0.2)
    day = field(rng, 2, local.day, 0.6)
    # Another month has no time near, and is long in coming.
    month = field(rng, 3, local.month, 0.75)
    if not has_month(month, local.month):
        month = f"{month},{local.month}"
    weekday = field(rng, 4, (local.weekday() + 1) % 7, 0.6)
    return f"{minute} {hour} {day} {month} {weekday}"


class Endless(Exception):
    pass


def give_up(*_):
    raise Endless


def theirs(text, zone, after, until):
    """None where it does not end."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_MAX)
    try:
        return taken(text, zone, after, until)
    except Endless:
        return None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def taken(text, zone, after, until):
    times = []
    for time in CronSim(text, datetime.fromtimestamp(after, UTC).astimezone(zone)):
        at = int(time.timestamp())
        if at > until or len(times) == MOST:
            break
        if not times or at != times[-1]:
            times.append(at)
    return times


def minutes(text, zone, after, until):
    """Every minute at which a wall clock in the zone shows what the expression names."""
    cron, times = CronSim(text, datetime(2000, 1, 1)), []
    for at in range(after - after % 60 + 60, until + 1, 60):
        local = datetime.fromtimestamp(at, UTC).astimezone(zone)
        named = local.minute in cron.minutes and local.hour in cron.hours and local.month in cron.months
        if named and cron.match_day(local.date()):
            times.append(at)
            if len(times) == MOST:
                break
    return times


def main(program, count):
    rng = random.Random(SEED)
    changes = [(name, at) for name in ZONES for at in transitions(zoneinfo.ZoneInfo(name))]
    cases = []
    for _ in range(count):
        name = rng.choice(ZONES)
        at = rng.choice([at for zone, at in changes if zone == name])
        local = datetime.fromtimestamp(at - 1, UTC).astimezone(zoneinfo.ZoneInfo(name))
        after = at - rng.randint(6 * HOUR, 50 * HOUR)
        until = at + rng.randint(6 * HOUR, 50 * HOUR)
        cases.append((name, after, until, expression(rng, local)))
    lines = "".join(f"{name} {after} {until} {MOST} {text}\n" for name, after, until, text in cases)
    ours = subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(ours) == count, f"{len(ours)} answers to {count} lines"
    signal.signal(signal.SIGVTALRM, give_up)
    fixed = real = refused = times = beside = 0
    wrong = []
    for case, answer in zip(cases, ours):
        name, after, until, text = case
        zone = zoneinfo.ZoneInfo(name)
        try:
            expected = theirs(text, zone, after, until)
        except CronSimError:
            refused += 1
            if answer != "refused":
                wrong.append((case, answer, "refused"))
            continue
        given = None if answer == "refused" else [int(time) for time in answer.split()]
        follows = any(part.startswith("*") for part in text.split()[:2])
        fixed, real = fixed + (not follows), real + follows
        times += len(expected or [])
        if given != expected and follows and given == minutes(text, zone, after, until):
            beside += 1
        elif given != expected:
            wrong.append((case, given, expected))
    for case, given, expected in wrong[:10]:
        print(f"{case}\n  ours   {given}\n  theirs {expected}", file=sys.stderr)
    data = importlib.metadata.version("tzdata")
    print(
        f"{count} expressions around {len(changes)} changes of {len(ZONES)} zones (tzdata {data}): {fixed} fixed, "
        f"{real} of real time, {refused} refused by both, {times} times, {len(wrong)} differ; "
        f"in {beside} of real time cronsim leaves it, and ours is each of its minutes"
    )
    return 1 if wrong or times < count or beside > count // 20 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
