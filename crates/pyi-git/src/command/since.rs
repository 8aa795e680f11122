//! Times by which commits are chosen: `--since`, `--until`.

use super::date::{civil, days, parse_date};
use super::{Call, Run, unavailable};

const DAY: i64 = 86_400;
const UNITS: [(&str, i64); 5] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3600),
    ("day", DAY),
    ("week", 7 * DAY),
];

impl Call<'_> {
    /// The second that a time means. Of what git understands: times that are written out, days (at this time of the day), and `2 weeks ago`.
    pub(crate) fn point_in_time(&mut self, text: &[u8]) -> Run<i64> {
        let doubt = || unavailable(format!("the time {:?}", String::from_utf8_lossy(text)));
        let Ok(text) = std::str::from_utf8(text) else {
            return doubt();
        };
        let now = self.site.now();
        if let Some(seconds) = ago(text, now) {
            return Ok(seconds);
        }
        let zone = self.site.zone_minutes(now);
        if let Some(day) = day(text) {
            let local = now + i64::from(zone) * 60;
            let seconds = day * DAY + local.rem_euclid(DAY) - i64::from(zone) * 60;
            // In summer it is another time of the day.
            return match self.site.zone_minutes(seconds) == zone {
                true => Ok(seconds),
                false => doubt(),
            };
        }
        // As if it were one of UTC; nothing behind the time of the day.
        let Some((seconds, 0)) = parse_date(text.as_bytes()).filter(|_| text.len() == 19 && text.contains(':')) else {
            return doubt();
        };
        let zone = self.site.zone_minutes(seconds);
        let is_fixed = [seconds - DAY, seconds + DAY]
            .into_iter()
            .all(|near| self.site.zone_minutes(near) == zone);
        match is_fixed {
            true => Ok(seconds - i64::from(zone) * 60),
            false => doubt(),
        }
    }
}

/// `yesterday`, `3 days ago`, `3.days.ago`, `3 days`.
fn ago(text: &str, now: i64) -> Option<i64> {
    if text == "yesterday" {
        return Some(now - DAY);
    }
    let mut words = text.split([' ', '.']);
    let (count, unit) = (words.next()?, words.next()?);
    if !matches!((words.next(), words.next()), (None | Some("ago"), None)) {
        return None;
    }
    if !(1..=4).contains(&count.len()) || count.starts_with('0') || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let unit = unit.strip_suffix('s').unwrap_or(unit);
    let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    Some(now - count.parse::<i64>().ok()? * seconds)
}

/// The day `2024-04-17`, counted from 1970-01-01.
fn day(text: &str) -> Option<i64> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return None };
    let is_number = |part: &str, len| part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(year, 4) || !is_number(month, 2) || !is_number(day, 2) {
        return None;
    }
    let (year, month, day): (i64, usize, i64) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    if !(1971..2100).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let found = days(year, month - 1, day);
    (civil(found) == (year, month - 1, day)).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_back() {
        assert_eq!(ago("2 weeks ago", 10_000_000), Some(10_000_000 - 1_209_600));
        assert_eq!(ago("1.day.ago", 100_000), Some(13_600));
        assert_eq!(ago("3 hours", 20_000), Some(9_200));
        assert_eq!(ago("yesterday", 86_400), Some(0));
        for other in [
            "2 weeks ago at noon",
            "two weeks ago",
            "02 days",
            "1 month ago",
            "12345 seconds",
            "ago",
        ] {
            assert_eq!(ago(other, 0), None, "{other}");
        }
    }

    #[test]
    fn days_are_days_of_the_calendar() {
        assert_eq!(day("2000-03-01"), Some(11_017));
        assert_eq!(day("2024-02-29"), Some(19_782));
        for other in [
            "2023-02-29",
            "2024-4-17",
            "2024-04-31",
            "1970-01-01",
            "2024-04",
            "2024-04-17 10",
        ] {
            assert_eq!(day(other), None, "{other}");
        }
    }
}
