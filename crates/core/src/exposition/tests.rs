use super::*;
use crate::families::Merge;

fn read_all(body: &str, families: &[&str]) -> Exposition {
    read(body.as_bytes(), &Selection::new(families.iter().copied())).unwrap()
}

fn scalar(body: &str) -> Result<Option<f64>, Problem> {
    let exposition = read_all(body, &["g"]);
    let scalar = exposition.family(0).unwrap().scalar()?;
    Ok(scalar.map(|scalar| scalar.total))
}

fn histogram(body: &str) -> Result<Option<(f64, f64)>, Problem> {
    let exposition = read_all(body, &["h"]);
    let total = exposition.family(0).unwrap().histogram()?;
    Ok(total.map(|total| (total.sum, total.count)))
}

#[test]
fn a_value_that_cannot_be_believed_is_an_error_and_never_zero() {
    for (value, problem) in [
        ("NaN", Problem::NotFinite),
        ("+Inf", Problem::NotFinite),
        ("1e400", Problem::NotFinite),
        ("-1", Problem::Negative),
        ("1e13", Problem::TooLarge),
        ("abc", Problem::Malformed),
        ("0x10", Problem::Malformed),
        ("1_000", Problem::Malformed),
        ("", Problem::Malformed),
        ("1 now", Problem::Malformed),
        ("1 2 3", Problem::Malformed),
    ] {
        assert_eq!(
            scalar(&format!("g{{a=\"1\"}} 2\ng{{a=\"2\"}} {value}\n")),
            Err(problem),
            "{value:?}"
        );
    }
    assert_eq!(scalar("g -0\n"), Ok(Some(0.0)));
}

#[test]
fn broken_labels_make_the_family_unknown() {
    for line in [
        "g{a=\"x\" 1",
        "g{a=x} 1",
        "g{=\"x\"} 1",
        "g{a=\"x",
        "g{a=\"x\\",
        "g{a} 1",
        "g{a=\"x\"",
        "g}",
        "g{a=\"x\";b=\"y\"} 1",
    ] {
        let expected = if line == "g}" { Ok(None) } else { Err(Problem::Malformed) };
        assert_eq!(scalar(line), expected, "{line:?}");
    }
}

#[test]
fn limits_on_labels_hold_at_their_edge() {
    let labels = |count: usize| (0..count).map(|index| format!("l{index}=\"\",")).collect::<String>();
    assert_eq!(scalar(&format!("g{{{}}} 1", labels(64))), Ok(Some(1.0)));
    assert_eq!(scalar(&format!("g{{{}}} 1", labels(65))), Err(Problem::Malformed));
    assert_eq!(scalar(&format!("g{{a=\"{}\"}} 1", "v".repeat(1024))), Ok(Some(1.0)));
    assert_eq!(scalar(&format!("g{{a=\"{}\"}} 1", "v".repeat(1025))), Err(Problem::Malformed));
    assert_eq!(scalar(&format!("g{{{}=\"\"}} 1", "n".repeat(256))), Ok(Some(1.0)));
    assert_eq!(scalar(&format!("g{{{}=\"\"}} 1", "n".repeat(257))), Err(Problem::Malformed));
}

#[test]
fn limits_on_the_body_hold_at_their_edge() {
    let selection = Selection::new(["g"]);
    let line = |length: usize| format!("# {}\n", "x".repeat(length - 2));
    assert!(read(line(MAX_LINE).as_bytes(), &selection).is_ok());
    assert_eq!(
        read(line(MAX_LINE + 1).as_bytes(), &selection),
        Err(ReadError::LineTooLong { number: 1 })
    );
    assert!(read("x 1\n".repeat(MAX_SAMPLES).as_bytes(), &selection).is_ok());
    assert_eq!(
        read("x 1\n".repeat(MAX_SAMPLES + 1).as_bytes(), &selection),
        Err(ReadError::TooManySamples)
    );
}

#[test]
fn too_many_series_of_one_name_have_no_total() {
    let body = |count: usize| (0..count).map(|index| format!("g{{i=\"{index}\"}} 1\n")).collect::<String>();
    assert_eq!(scalar(&body(MAX_SERIES)), Ok(Some(4096.0)));
    assert_eq!(scalar(&body(MAX_SERIES + 1)), Err(Problem::TooManySeries));
}

#[test]
fn a_prefix_is_not_a_match() {
    let body = "gg 1\ng_by_reason{reason=\"x\"} 3\ng_bucket{le=\"1\"} 7\n";
    let exposition = read_all(body, &["g"]);
    assert!(!exposition.has_wanted());
    assert_eq!((exposition.samples, exposition.rejected), (3, 0));
}

#[test]
fn engines_add_up_and_ratios_are_averaged() {
    let body = "g{engine=\"0\"} 0.5\ng{engine=\"1\"} 0.25\n";
    let scalar = read_all(body, &["g"]).family(0).unwrap().scalar().unwrap().unwrap();
    assert_eq!(scalar, Scalar { total: 0.75, series: 2 });
    assert_eq!(scalar.merged(Merge::Sum).to_bits(), 0.75_f64.to_bits());
    assert_eq!(scalar.merged(Merge::Mean).to_bits(), 0.375_f64.to_bits());
}

#[test]
fn the_same_series_twice_counts_once() {
    let exposition = read_all("g{a=\"x\"} 3\ng{a=\"x\"} 4\n", &["g"]);
    assert_eq!(exposition.duplicates, 1);
    assert_eq!(scalar("g{a=\"x\"} 3\ng{a=\"x\"} 4\n"), Ok(Some(3.0)));
}

#[test]
fn a_histogram_needs_both_of_its_totals_for_the_same_series() {
    assert_eq!(histogram("h_sum 3\nh_count 2\n"), Ok(Some((3.0, 2.0))));
    assert_eq!(histogram("h_bucket{le=\"1\"} 2\n"), Ok(None));
    assert_eq!(histogram("h_sum 3\n"), Err(Problem::Unpaired));
    assert_eq!(
        histogram("h_sum{e=\"0\"} 3\nh_count{e=\"0\"} 2\nh_count{e=\"1\"} 2\n"),
        Err(Problem::Unpaired)
    );
    assert_eq!(histogram("h_sum NaN\nh_count 2\n"), Err(Problem::NotFinite));
}

#[test]
fn one_sample_can_belong_to_two_wanted_families() {
    let exposition = read_all("# TYPE h histogram\nh_sum 3\nh_count 2\n", &["h", "h_count", "vllm:x"]);
    assert_eq!(
        exposition.family(0).unwrap().histogram().unwrap().unwrap().count.to_bits(),
        2_f64.to_bits()
    );
    assert_eq!(exposition.family(1).unwrap().scalar().unwrap().unwrap().series, 1);
    assert_eq!(exposition.family(0).unwrap().declared, Some(DeclaredType::Histogram));
    assert!(!exposition.family(2).unwrap().is_present());
}

#[test]
fn the_first_declared_type_is_reported() {
    for (line, declared) in [
        ("# TYPE g gauge", Some(DeclaredType::Gauge)),
        ("#  TYPE\tg  counter ", Some(DeclaredType::Counter)),
        ("# TYPE g summary\n# TYPE g gauge", Some(DeclaredType::Summary)),
        ("# TYPE g stateset", Some(DeclaredType::Other)),
        ("# TYPE gg gauge", None),
        ("# HELP g gauge", None),
        ("# TYPE g", None),
    ] {
        assert_eq!(read_all(line, &["g"]).family(0).unwrap().declared, declared, "{line:?}");
    }
}

#[test]
fn a_body_without_a_last_newline_may_be_cut_short() {
    assert!(!read_all("g 1", &["g"]).terminated);
    assert!(read_all("g 1\n", &["g"]).terminated);
    assert!(read_all("", &["g"]).terminated);
}

#[test]
fn nearest_name_finds_misspellings_and_nothing_far_off() {
    let body = b"# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting 1\nprocess_cpu_seconds_total 3\n\
        vllm:request_queue_time_seconds_bucket{le=\"1\"} 2\nup 1\n";
    let nearest = |wanted| nearest_name(body, wanted);
    assert_eq!(
        nearest("vllm:num_request_waiting").as_deref(),
        Some("vllm:num_requests_waiting")
    );
    assert_eq!(
        nearest("vllm:request_queue_seconds").as_deref(),
        Some("vllm:request_queue_time_seconds")
    );
    assert_eq!(nearest("zzzzzzzzzz"), None);
    assert_eq!(nearest_name(b"", "g"), None);
    assert_eq!(nearest_name(b"<html>\n\"x\" 1\n", "html"), None);
}

proptest::proptest! {
    #[test]
    fn no_input_panics(body in proptest::collection::vec(proptest::sample::select(b"g_h# {}\"\\=,1.eN\n\r\t\xff".to_vec()), 0..200)) {
        let exposition = read(&body, &Selection::new(["g", "h"])).unwrap();
        proptest::prop_assert!(exposition.samples + exposition.rejected <= body.len() + 1);
        let _name = nearest_name(&body, "gg");
    }

    #[test]
    fn whatever_a_label_holds_the_value_is_read(label in ".{0,80}", value in 0_u32..1_000_000) {
        let escaped = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        proptest::prop_assert_eq!(scalar(&format!("g{{model_name=\"{escaped}\"}} {value}\n")), Ok(Some(f64::from(value))));
    }
}
