//! What a family is called and what it means, as a document says it.

use std::collections::BTreeSet;
use std::fmt;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// One family: the name of its series, its type, what it means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Described {
    /// With prefix, unit and `_total`; of a histogram without `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// `counter`, `gauge`, `histogram`, `info` or `unknown`.
    pub kind: &'static str,
    /// Without a final period.
    pub help: String,
}

impl Described {
    pub(super) fn new(name: &str, help: &str, unit: Option<&Unit>, kind: MetricType) -> Self {
        let unit = unit.map(|unit| format!("_{}", unit.as_str())).unwrap_or_default();
        let (kind, suffix) = match kind {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Histogram => ("histogram", ""),
            MetricType::Info => ("info", "_info"),
            MetricType::Unknown => ("unknown", ""),
        };
        Self {
            name: format!("{name}{unit}{suffix}"),
            kind,
            help: help.to_owned(),
        }
    }

    pub(super) fn prefixed(&self, prefix: &str) -> Self {
        Self {
            name: format!("{prefix}_{}", self.name),
            ..self.clone()
        }
    }

    /// The families of a page in the OpenMetrics text format.
    pub(super) fn on_page(page: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let mut help = ("", "");
        for line in page.lines() {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some("HELP"), Some(name), Some(text)) => help = (name, text),
                (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                    let help = if help.0 == name { help.1.trim_end_matches('.') } else { "" };
                    let kind = match kind {
                        "counter" => MetricType::Counter,
                        "gauge" => MetricType::Gauge,
                        "histogram" => MetricType::Histogram,
                        "info" => MetricType::Info,
                        _ => MetricType::Unknown,
                    };
                    found.push(Self::new(name, help, None, kind));
                }
                _ => {}
            }
        }
        found
    }
}

impl fmt::Display for Described {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` | {} | {}", self.name, self.kind, self.help)
    }
}

/// What `families` and the tables of `document` say differently of metrics whose names begin with `prefix`: one sentence each,
/// none when they agree. A row is `| name | type | labels | meaning |`, its labels are not looked at.
#[must_use]
pub fn differences(families: &[Described], document: &str, prefix: &str) -> Vec<String> {
    let ours = format!("`{prefix}_");
    let rows = document.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let (name, kind, _labels) = (cells.next()?, cells.next()?, cells.next()?);
        let help = cells.collect::<Vec<_>>().join(" | ");
        name.starts_with(&ours).then(|| format!("{name} | {kind} | {help}"))
    });
    let documented: BTreeSet<String> = rows.collect();
    let registered: BTreeSet<String> = families.iter().map(ToString::to_string).collect();
    let missing = registered.difference(&documented).map(|row| format!("not documented: {row}"));
    let extra = documented.difference(&registered).map(|row| format!("not registered: {row}"));
    missing.chain(extra).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_that_differs_in_name_type_or_meaning_is_told_both_ways() {
        let family = Described::new("sales", "Sales", None, MetricType::Counter).prefixed("shop");
        let families = [family];
        let right =
            "| metric | type |\n|---|---|\n| `shop_sales_total` | counter | `till` | Sales |\n| `other_x` | gauge |  | X |\n";
        assert_eq!(differences(&families, right, "shop"), [""; 0]);
        for wrong in [
            right.replace("sales_total", "sold_total"),
            right.replace("counter", "gauge"),
            right.replace("Sales", "sales"),
        ] {
            assert_eq!(differences(&families, &wrong, "shop").len(), 2, "{wrong}");
        }
        assert_eq!(differences(&families, "", "shop").len(), 1);
        assert_eq!(differences(&[], right, "shop").len(), 1);
    }
}
