//! Moments against a calendar that is counted day by day.

use super::*;

fn moment(seconds: u64) -> Moment {
    Moment::of(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        1 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[test]
fn each_day_of_eight_centuries_is_in_its_month() {
    let (mut day, mut years) = (0, 0);
    for year in 1970..2801 {
        for month in 0..12 {
            let (begin, end) = (day, day + days_of(year, month));
            for day in begin..end {
                assert_eq!(
                    month_of(day),
                    (year * 12 + month, (begin, end)),
                    "day {day}, {year}-{:02}",
                    month + 1
                );
            }
            day = end;
        }
        years += 1;
    }
    assert_eq!(years, 831);
}

#[test]
fn february_has_29_days_in_2000_and_2096_and_28_in_2100() {
    let february = |since: u64| moment(since).length(Window::Month) / DAY;
    // The first of February of each, in seconds.
    assert_eq!(february(949_363_200), 29);
    assert_eq!(february(3_978_892_800), 29);
    assert_eq!(february(4_105_123_200), 28);
    let last = moment(4_105_123_200 + 28 * DAY - 1);
    assert_eq!((last.left(Window::Month), last.left(Window::Day), last.left(Window::Minute)), (1, 1, 1));
    let march = moment(4_105_123_200 + 28 * DAY);
    assert_eq!(march.term(Window::Month).index(), last.term(Window::Month).index() + 1);
    assert_eq!(march.length(Window::Month), 31 * DAY);
}

#[test]
fn times_before_1970_and_after_the_last_year_are_moments_too() {
    let before = Moment::of(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
    assert_eq!(before, moment(0));
    assert_eq!(before.term(Window::Month).index(), 1970 * 12);
    let last = Moment::at(Duration::MAX, 0);
    assert_eq!(last.term(Window::Minute).index(), u32::MAX);
    assert!(Window::ALL.into_iter().all(|window| last.left(window) > 0));
}

#[test]
fn the_second_that_begins_a_minute_belongs_to_it() {
    let at = |seconds| moment(seconds).term(Window::Minute).index();
    assert_eq!((at(59), at(60), at(119), at(120)), (0, 1, 1, 2));
    assert_eq!(moment(60).left(Window::Minute), 60);
    assert_eq!(moment(119).left(Window::Minute), 1);
}

#[test]
fn a_term_after_a_clock_that_was_set_back_is_later_than_each_before() {
    let (early, late) = (Term::new(0, 5), Term::new(0, 6));
    let back = Term::new(1, 2);
    assert!(early < late && late < back && back < Term::NONE);
    assert_eq!((back.era(), back.index()), (1, 2));
    assert_eq!(Term::from_bits(back.bits()), back);
}

proptest::proptest! {
    #[test]
    fn windows_follow_one_another_and_hold_their_moment(seconds in 0..250_000_000_000_u64) {
        let at = moment(seconds);
        for window in Window::ALL {
            let (left, length) = (at.left(window), at.length(window));
            proptest::prop_assert!((1..=length).contains(&left), "{window:?} {left} {length}");
            let next = moment(seconds + left);
            proptest::prop_assert_eq!(next.term(window).index(), at.term(window).index() + 1);
            proptest::prop_assert_eq!(next.left(window), next.length(window));
            let last = moment(seconds + left - 1);
            proptest::prop_assert_eq!(last.term(window), at.term(window));
        }
    }
}
