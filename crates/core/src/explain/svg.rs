//! An explanation as a picture: per trigger each metric against its thresholds, and the replicas, over time. It stands alone:
//! no script, no font, nothing is loaded.

use std::fmt::{self, Write};

use super::chart::{Chart, Lane};
use super::text::{clock, short};
use super::{Explanation, TriggerStory};

const COLUMNS: usize = 240;
const LEFT: f64 = 70.0;
const WIDTH: f64 = 720.0;
const LANE: f64 = 120.0;
const GAP: f64 = 34.0;

/// The picture, an XML document.
pub fn picture(explanation: &Explanation) -> String {
    let mut picture = Picture {
        body: String::new(),
        y: 30.0,
    };
    let title = format!("{}/{}", explanation.namespace, explanation.name);
    picture.label(10.0, 18.0, "title", &title);
    for story in &explanation.triggers {
        picture.story(story);
    }
    if explanation.triggers.iter().all(|story| story.timeline.is_empty()) {
        picture.y += GAP;
        let y = picture.y;
        picture.label(10.0, y, "", "nothing was recorded yet");
    }
    let (width, height) = (LEFT + WIDTH + 20.0, picture.y + 20.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{}\" font-family=\"sans-serif\" font-size=\"11\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
        Escaped(&title),
        picture.body
    )
}

struct Picture {
    body: String,
    /// Where the next lane begins.
    y: f64,
}

impl Picture {
    fn story(&mut self, story: &TriggerStory) {
        let Some(chart) = Chart::of(story, COLUMNS) else { return };
        for lane in &chart.lanes {
            self.lane(lane);
        }
        self.counts(&chart);
        self.y += 14.0;
        let y = self.y;
        self.label(LEFT, y, "", &clock(chart.begin));
        self.label(LEFT + WIDTH - 46.0, y, "", &clock(chart.end));
    }

    fn lane(&mut self, lane: &Lane<'_>) {
        let threshold = lane.threshold;
        let per = if threshold.shared { " per replica" } else { "" };
        let legend = if lane.columns.contains(&None) {
            " (grey: not known)"
        } else {
            ""
        };
        let top = self.begin(&format!("{}{per}{legend}", threshold.metric));
        let place = |value: f64| top + LANE * (1.0 - (value / lane.top).clamp(0.0, 1.0));
        for (column, value) in lane.columns.iter().enumerate() {
            let Some((low, high)) = *value else {
                self.bar(column, top, place(0.0), "#e2e8f0");
                continue;
            };
            self.bar(column, place(high.unwrap_or(lane.top)), place(0.0), "#cfe3f7");
            self.bar(column, place(low), place(0.0), "#2b6cb0");
        }
        let limits = [
            Some(("up", threshold.up, "#c53030")),
            threshold.down.map(|down| ("down", down, "#2f855a")),
        ];
        for (word, value, colour) in limits.into_iter().flatten() {
            let y = place(value);
            self.write(format_args!(
                "<line class=\"{word}\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" \
                 stroke-dasharray=\"4 3\"/>\n",
                LEFT + WIDTH
            ));
            self.label(4.0, y + 4.0, "", &format!("{word} {}", short(value)));
        }
    }

    fn counts(&mut self, chart: &Chart<'_>) {
        let top = self.begin("replicas: ordered (filled), wanted (line)");
        let most = f64::from(chart.most_replicas.max(1));
        let place = |count: u32| top + LANE * (1.0 - f64::from(count) / most);
        for (column, value) in chart.counts.iter().enumerate() {
            let Some((spec, desired)) = *value else { continue };
            self.bar(column, place(spec), place(0), "#a0aec0");
            if let Some(desired) = desired {
                let y = place(desired);
                self.bar(column, y - 1.0, y + 1.0, "#6b46c1");
            }
        }
        self.label(4.0, top + 8.0, "", &chart.most_replicas.to_string());
    }

    /// Opens a lane and returns where its top is.
    fn begin(&mut self, title: &str) -> f64 {
        let top = self.y + GAP;
        self.label(LEFT, top - 6.0, "lane", title);
        self.write(format_args!(
            "<rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{WIDTH}\" height=\"{LANE}\" fill=\"none\" stroke=\"#cbd5e0\"/>\n"
        ));
        self.y = top + LANE;
        top
    }

    fn bar(&mut self, column: usize, top: f64, bottom: f64, colour: &str) {
        #[expect(clippy::cast_precision_loss, reason = "at most COLUMNS")]
        let (column, columns) = (column as f64, COLUMNS as f64);
        let (x, width) = (LEFT + WIDTH * column / columns, WIDTH / columns);
        let height = (bottom - top).max(0.0);
        self.write(format_args!(
            "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\n"
        ));
    }

    fn label(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.write(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
            Escaped(text)
        ));
    }

    fn write(&mut self, what: fmt::Arguments<'_>) {
        let written = self.body.write_fmt(what);
        debug_assert!(written.is_ok(), "a String takes everything");
    }
}

/// Text that is no markup. XML has no way to write most control characters.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => formatter.write_char('\u{fffd}')?,
                char => formatter.write_char(char)?,
            }
        }
        Ok(())
    }
}
