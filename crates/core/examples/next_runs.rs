//! The times of schedules for `cargo xtask schedules`, which holds them against another program's. Each line in is a zone, two
//! moments in seconds of 1970, how many times at most, and an expression; each line out the times after the first moment and
//! up to the second, or `refused`. Must never judge: it says what core says.
use std::io::{BufRead, Write};
use tenure_core::cron::Timetable;
use tenure_core::time::Time;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut parts = line.splitn(5, ' ');
        let mut part = || parts.next().ok_or("a line has five parts");
        let (zone, after, until, most) = (part()?, part()?, part()?, part()?.parse::<usize>()?);
        let moment = |text: &str| text.parse::<i64>().map(|seconds| Time::from_millis(seconds * 1000));
        let (after, until, expression) = (moment(after)?, moment(until)?, part()?);
        match Timetable::of(expression, zone) {
            Err(_) => writeln!(out, "refused")?,
            Ok(timetable) => {
                let times = std::iter::successors(timetable.next(after), |time| timetable.next(*time));
                let times = times.take_while(|time| *time <= until).take(most);
                let times: Vec<String> = times.map(|time| (time.millis() / 1000).to_string()).collect();
                writeln!(out, "{}", times.join(" "))?;
            }
        }
    }
    Ok(())
}
