//! Texts for Prometheus.

use super::*;

fn row(proxy: Option<&str>, region: &str, class: i32, requests: u64) -> Exposed {
    let mut latencies = Latencies::default();
    (0..requests).for_each(|_| latencies.add(Duration::from_millis(20)));
    Exposed {
        proxy: proxy.map(str::to_owned),
        region: region.to_owned(),
        class,
        requests,
        request_bytes: requests,
        response_bytes: requests * 10,
        micros: requests * 20_000,
        latencies,
    }
}

#[test]
fn counts_stand_by_proxy_region_and_class_and_what_is_gone_does_not_stand_there() {
    let apart = [Ranked { id: "px_1".into(), name: "a\"b\\c\nd".into() }];
    let regions = HashMap::from([("rg_1".to_owned(), "eu".to_owned())]);
    let rows = vec![
        row(Some("px_1"), "rg_1", 2, 3),
        row(Some("px_1"), "rg_1", 5, 1),
        row(Some("px_1"), "rg_1", 777, 1),
        row(None, "rg_1", 4, 2),
        row(Some("px_1"), "rg_gone", 2, 9),
        row(Some("px_gone"), "rg_1", 2, 9),
    ];
    let text = text(1_700_000_000_000_000, &by_name(&apart, &regions, rows));
    let of = r#"proxy="a\"b\\c\nd",region="eu""#;
    for line in [
        "requestrocket_proxy_counted_since_timestamp_seconds 1700000000".to_owned(),
        format!("requestrocket_proxy_requests_total{{{of},status_class=\"2xx\"}} 3"),
        format!("requestrocket_proxy_requests_total{{{of},status_class=\"none\"}} 1"),
        "requestrocket_proxy_requests_total{proxy=\"(others)\",region=\"eu\",status_class=\"4xx\"} 2"
            .to_owned(),
        format!("requestrocket_proxy_errors_total{{{of}}} 1"),
        "requestrocket_proxy_errors_total{proxy=\"(others)\",region=\"eu\"} 0".to_owned(),
        format!("requestrocket_proxy_response_bytes_total{{{of}}} 50"),
        format!("requestrocket_proxy_duration_seconds_bucket{{{of},le=\"0.01\"}} 0"),
        format!("requestrocket_proxy_duration_seconds_bucket{{{of},le=\"0.025\"}} 5"),
        format!("requestrocket_proxy_duration_seconds_bucket{{{of},le=\"+Inf\"}} 5"),
        format!("requestrocket_proxy_duration_seconds_sum{{{of}}} 0.100000"),
        format!("requestrocket_proxy_duration_seconds_count{{{of}}} 5"),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("gone") && !text.contains(" 9"), "{text}");
}

#[test]
fn counts_begin_anew_with_the_month_alone() {
    let micros = |text: &str| text.parse::<DateTime<Utc>>().expect("a time").timestamp_micros();
    for (now, this, before, today) in [
        ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("2026-01-31T23:59:59Z", "2026-01-01T00:00:00Z", "2025-12-01T00:00:00Z", "2026-01-31T00:00:00Z"),
    ] {
        let Beginnings { this: begun, before: previous, today: day } = Beginnings::of(micros(now));
        assert_eq!((begun, previous, day), (micros(this), micros(before), micros(today)), "{now}");
    }
    // No clock is this wrong, and no time panics.
    for now in [i64::MIN, 0, i64::MAX] {
        Beginnings::of(now);
    }
}
