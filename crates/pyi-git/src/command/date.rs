//! Dates as git writes them, and those forms of them that mean the same whatever the time is now.

/// Names of days, from Thursday: 1970 began with one.
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A form of `--date`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum DateForm {
    #[default]
    Normal,
    Short,
    Iso,
    IsoStrict,
    Rfc,
    Unix,
    Raw,
}

impl DateForm {
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"default" => DateForm::Normal,
            b"short" => DateForm::Short,
            b"iso" | b"iso8601" => DateForm::Iso,
            b"iso-strict" | b"iso8601-strict" => DateForm::IsoStrict,
            b"rfc" | b"rfc2822" => DateForm::Rfc,
            b"unix" => DateForm::Unix,
            b"raw" => DateForm::Raw,
            _ => return None,
        })
    }
}

/// Year, month (0 to 11) and day of a day since 1970-01-01, by the Gregorian calendar.
pub(crate) fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 2 } else { month - 10 };
    (
        year + era * 400 + i64::from(month < 2),
        usize::try_from(month).unwrap_or(0),
        day,
    )
}

/// The inverse of [`civil`].
pub(crate) fn days(year: i64, month: usize, day: i64) -> i64 {
    let month = i64::try_from(month).unwrap_or(0) + 1;
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date in a form.
pub(crate) fn format_date(seconds: i64, offset_minutes: i32, form: DateForm) -> String {
    let (sign, minutes) = (if offset_minutes < 0 { '-' } else { '+' }, offset_minutes.abs());
    let (zone_hours, zone_minutes) = (minutes / 60, minutes % 60);
    let zone = || {
        let mut zone = String::with_capacity(5);
        zone.push(sign);
        push_two(&mut zone, zone_hours.into());
        push_two(&mut zone, zone_minutes.into());
        zone
    };
    let local = seconds.saturating_add(i64::from(offset_minutes) * 60);
    let (day, rest) = (local.div_euclid(86_400), local.rem_euclid(86_400));
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let (year, month, date) = civil(day);
    let weekday = DAYS[usize::try_from(day.rem_euclid(7)).unwrap_or(0) % 7];
    let month_name = MONTHS[month % 12];
    let month = month + 1;
    match form {
        DateForm::Normal => {
            // Every line of a long log has one.
            let mut text = String::with_capacity(32);
            for part in [weekday, " ", month_name, " ", &date.to_string()] {
                text.push_str(part);
            }
            for (before, number) in [(' ', hour), (':', minute), (':', second)] {
                text.push(before);
                push_two(&mut text, number);
            }
            for part in [" ", &year.to_string(), " ", &zone()] {
                text.push_str(part);
            }
            text
        }
        DateForm::Short => format!("{year:04}-{month:02}-{date:02}"),
        DateForm::Iso => format!(
            "{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02} {}",
            zone()
        ),
        DateForm::IsoStrict => {
            let zone = match minutes {
                0 => "Z".to_owned(),
                _ => format!("{sign}{zone_hours:02}:{zone_minutes:02}"),
            };
            format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}{zone}")
        }
        DateForm::Rfc => {
            format!(
                "{weekday}, {date} {month_name} {year} {hour:02}:{minute:02}:{second:02} {}",
                zone()
            )
        }
        DateForm::Unix => seconds.to_string(),
        DateForm::Raw => format!("{seconds} {}", zone()),
    }
}

/// A number of two digits; of more, if it has more.
fn push_two(text: &mut String, number: i64) {
    match u8::try_from(number) {
        Ok(number @ 0..=99) => text.extend([char::from(b'0' + number / 10), char::from(b'0' + number % 10)]),
        _ => text.push_str(&number.to_string()),
    }
}

/// Seconds and offset of `@<seconds> <zone>`, `<seconds> <zone>`, ISO 8601 and RFC 2822; a date without a zone is one of UTC.
pub(crate) fn parse_date(text: &[u8]) -> Option<(i64, i32)> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if let Some(first) = words.first()
        && words.len() <= 2
        && (first.starts_with('@') || (first.len() >= 9 && first.bytes().all(|byte| byte.is_ascii_digit())))
    {
        let seconds = first.trim_start_matches('@').parse().ok()?;
        return Some((seconds, words.get(1).map_or(Some(0), |zone| parse_zone(zone))?));
    }
    // RFC 2822 and git's own form: the day's name is not needed.
    let words: Vec<&str> = words
        .into_iter()
        .map(|word| word.trim_end_matches(','))
        .filter(|word| !DAYS.contains(word))
        .collect();
    if let Some(month) = words.iter().position(|word| MONTHS.contains(word)) {
        let number = MONTHS.iter().position(|name| words.get(month) == Some(name))?;
        let (date, year, time, zone) = match (month, words.len()) {
            (1, 4..=5) => (words[0], words[2], words[3], words.get(4)),
            (0, 4..=5) => (words[1], words[3], words[2], words.get(4)),
            _ => return None,
        };
        let seconds = days(year.parse().ok()?, number, date.parse().ok()?) * 86_400 + parse_time(time)?;
        let zone = zone.map_or(Some(0), |zone| parse_zone(zone))?;
        return Some((seconds - i64::from(zone) * 60, zone));
    }
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let month: usize = month.parse().ok().filter(|month| (1..=12).contains(month))?;
    let rest = rest.strip_prefix(['T', ' '])?.trim();
    let (time, zone) = rest.split_at_checked(8)?;
    let zone = match zone.trim() {
        "" | "Z" => 0,
        zone => parse_zone(&zone.replace(':', ""))?,
    };
    let seconds = days(year.parse().ok()?, month - 1, day.parse().ok()?) * 86_400 + parse_time(time)?;
    Some((seconds - i64::from(zone) * 60, zone))
}

fn parse_time(text: &str) -> Option<i64> {
    let parts: Vec<i64> = text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match parts[..] {
        [hour, minute, second] if hour < 24 && minute < 60 && second < 60 => Some(hour * 3600 + minute * 60 + second),
        _ => None,
    }
}

fn parse_zone(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, text.get(1..)?),
        b'-' => (-1, text.get(1..)?),
        _ => return None,
    };
    if digits.len() != 4 {
        return None;
    }
    let number: i32 = digits.parse().ok()?;
    Some(sign * (number / 100 * 60 + number % 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_to_and_fro() {
        for seconds in [-1_000_000_007, -1, 0, 951_782_400, 1_700_000_000, 4_102_444_800] {
            for offset in [0, 330, -480] {
                for form in [DateForm::Normal, DateForm::Iso, DateForm::IsoStrict, DateForm::Rfc] {
                    let text = format_date(seconds, offset, form);
                    let back = parse_date(text.as_bytes());
                    assert_eq!(back, Some((seconds, offset)), "{text}");
                }
            }
        }
        let text = format_date(1_700_000_000, 60, DateForm::Normal);
        assert_eq!(text, "Tue Nov 14 23:13:20 2023 +0100");
        assert_eq!(parse_date(b"@5 -0100"), Some((5, -60)));
        assert_eq!(parse_date(b"yesterday"), None);
    }
}
