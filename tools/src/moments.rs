//! Times as people write them: `2024-01-31T12:00:00.000`, `P1DT2H`.

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970 of `YYYY-MM-DDTHH:mm:ss.SSS[Z|±hh[[:]mm]]`; without a zone it is UTC. As in
/// Java every part is there and within its bounds, and the last counts milliseconds however long it is.
pub(crate) fn date_time(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut parts = date.splitn(3, '-').map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (time, zone_ms) = match time.find(['Z', '+', '-']) {
        Some(at) => (&time[..at], zone(&time[at..])?),
        None => (time, 0),
    };
    let mut parts = time.splitn(3, ':');
    let (hours, minutes) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let (seconds, millis) = parts.next()?.split_once('.')?;
    let (seconds, millis) = (digits(seconds)?, digits(millis)?);
    if !(1..=12).contains(&month) || !(1..10_000).contains(&year) {
        return None;
    }
    let next = match month {
        12 => (year + 1, 1),
        _ => (year, month + 1),
    };
    let first = days_since_1970(year, month, 1);
    let length = days_since_1970(next.0, next.1, 1) - first;
    let legal = (1..=length).contains(&day) && hours < 24 && minutes < 60 && seconds < 60;
    (legal && millis < 1000).then(|| {
        (first + day - 1) * DAY_MS + ((hours * 60 + minutes) * 60 + seconds) * 1000 + millis
            - zone_ms
    })
}

/// A number without a sign.
fn digits(text: &str) -> Option<i64> {
    let all = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}

fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = match &text[1..] {
        hours if hours.len() == 2 => (hours, "0"),
        both if both.len() == 4 => both.split_at_checked(2)?,
        both if both.len() == 5 => both.split_once(':')?,
        _ => return None,
    };
    let minutes = digits(hours)? * 60 + digits(minutes).filter(|minutes| *minutes < 60)?;
    Some(sign * minutes * 60_000)
}

/// The civil calendar, counted in eras of 400 years.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day counted from 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// `Sat Nov 21 02:16:15 UTC 2026`: how Java prints a date, in UTC.
pub(crate) fn java_date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, seconds) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS) / 1000);
    let (year, month, day) = civil(days);
    let weekday = DAYS[days.rem_euclid(7).unsigned_abs() as usize];
    let month = MONTHS[(month - 1).clamp(0, 11).unsigned_abs() as usize];
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{weekday} {month} {day:02} {hours:02}:{minutes:02}:{:02} UTC {year}",
        seconds % 60
    )
}

/// `2024-01-31 12:00:00:000`, in UTC: how the perf tools print a moment.
pub(crate) fn perf_stamp(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}:{millis:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Milliseconds of an ISO duration: `PnDTnHnMnS`.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let rest = text.strip_prefix('P')?;
    let (days, time) = rest.split_once('T').unwrap_or((rest, ""));
    let mut total = 0f64;
    if !days.is_empty() {
        total += days.strip_suffix('D')?.parse::<f64>().ok()? * DAY_MS as f64;
    }
    let mut number = String::new();
    for letter in time.chars() {
        let unit = match letter {
            'H' => 3_600_000.0,
            'M' => 60_000.0,
            'S' => 1000.0,
            other => {
                number.push(other);
                continue;
            }
        };
        total += number.parse::<f64>().ok()? * unit;
        number.clear();
    }
    number.is_empty().then_some(sign * total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_spans_are_read() {
        assert_eq!(date_time("1970-01-02T00:00:00.000"), Some(DAY_MS));
        assert_eq!(
            date_time("2023-11-14T22:13:20.123Z"),
            Some(1_700_000_000_123)
        );
        assert_eq!(
            date_time("2023-11-14T23:13:20.123+01:00"),
            Some(1_700_000_000_123)
        );
        assert_eq!(
            date_time("2024-02-29T00:00:00.5+0100"),
            date_time("2024-02-28T23:00:00.005")
        );
        for wrong in [
            "yesterday",
            "2020-01-01T00:00:00",
            "2023-02-29T00:00:00.000",
            "2020-13-01T00:00:00.000",
            "2020-01-01T24:00:00.000",
            "2020-01-01T00:00:00.000:x",
            "2020-01-01T00:00:00.000+1",
            "2020-01-01T00:00:00.000+ß9",
            "2020-01-01T-1:00:00.000",
        ] {
            assert_eq!(date_time(wrong), None, "{wrong}");
        }
        assert_eq!(perf_stamp(1_700_000_000_123), "2023-11-14 22:13:20:123");
        assert_eq!(java_date(1_700_000_000_123), "Tue Nov 14 22:13:20 UTC 2023");
        assert_eq!(duration_ms("P1DT2H3M4.5S"), Some(DAY_MS + 7_384_500));
        assert_eq!(duration_ms("PT10M"), Some(600_000));
        assert_eq!(duration_ms("10M"), None);
    }
}
