//! Figures as they are reported: what was measured, the number, and the goal if there is one.

use std::fmt;

/// What a figure shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    None,
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Clone, Debug)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    goal: Goal,
}

/// The figures of one measurement.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    title: String,
    figures: Vec<Figure>,
}

impl Figures {
    pub(crate) fn of(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            figures: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: Goal) {
        self.figures.push(Figure {
            what: what.into(),
            value,
            unit,
            goal,
        });
    }

    pub(crate) fn all_reached(&self) -> bool {
        self.figures.iter().all(Figure::is_reached)
    }
}

impl Figure {
    fn is_reached(&self) -> bool {
        match self.goal {
            Goal::None => true,
            Goal::AtLeast(least) => self.value >= least,
            Goal::AtMost(most) => self.value <= most,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.title)?;
        for figure in &self.figures {
            let verdict = if figure.is_reached() { "reached" } else { "MISSED" };
            let goal = match figure.goal {
                Goal::None => String::new(),
                Goal::AtLeast(least) => format!("  (goal: at least {}: {verdict})", rounded(least)),
                Goal::AtMost(most) => format!("  (goal: at most {}: {verdict})", rounded(most)),
            };
            let value = rounded(figure.value);
            write!(formatter, "\n  {:<58} {value:>10} {}{goal}", figure.what, figure.unit)?;
        }
        Ok(())
    }
}

/// Three significant digits are more than a measurement on a shared machine has.
fn rounded(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
