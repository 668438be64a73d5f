//! The measurements as a table, as JSON and as a plot.

use std::path::Path;

use plotters::prelude::*;
use serde_json::{Value, json};

/// The aim of a measured value.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

/// One line: a measured value, or the ratio of two values of the same run.
pub(crate) struct Line {
    what: String,
    figure: f64,
    unit: &'static str,
    aim: Option<Aim>,
}

/// All lines, and the circumstances of the run.
pub(crate) struct Report {
    circumstances: Vec<(&'static str, String)>,
    lines: Vec<Line>,
    errors: u64,
}

impl Aim {
    fn met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(aim) => figure >= aim,
            Self::AtMost(aim) => figure <= aim,
        }
    }

    /// The factor by which the value is better than the aim.
    fn margin(self, figure: f64) -> f64 {
        match self {
            Self::AtLeast(aim) => figure / aim,
            Self::AtMost(aim) => aim / figure,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(aim) => format!("at least {}", number(aim, unit)),
            Self::AtMost(aim) => format!("at most {}", number(aim, unit)),
        }
    }
}

/// A value with its significant digits and unit.
fn number(figure: f64, unit: &str) -> String {
    match unit {
        "%" => format!("{:.0} %", figure * 100.0),
        "" => format!("{figure:.0}"),
        _ if figure >= 1000.0 => format!("{figure:.0} {unit}"),
        _ => format!("{figure:.2} {unit}"),
    }
}

impl Report {
    pub(crate) fn new(circumstances: Vec<(&'static str, String)>) -> Self {
        for (name, value) in &circumstances {
            println!("{name}: {value}");
        }
        Self { circumstances, lines: Vec::new(), errors: 0 }
    }

    /// Adds a value and prints it.
    pub(crate) fn say(&mut self, what: impl Into<String>, figure: f64, unit: &'static str) {
        self.add(Line { what: what.into(), figure, unit, aim: None });
    }

    /// Adds the number of wrong or missing answers, whose aim is 0.
    pub(crate) fn errors(&mut self, what: &str, errors: u64) {
        self.errors += errors;
        #[allow(clippy::cast_precision_loss, reason = "a count")]
        self.aim(what, errors as f64, "", Aim::AtMost(0.0));
    }

    /// Adds a value with an aim and prints it.
    pub(crate) fn aim(&mut self, what: impl Into<String>, figure: f64, unit: &'static str, aim: Aim) {
        self.add(Line { what: what.into(), figure, unit, aim: Some(aim) });
    }

    fn add(&mut self, line: Line) {
        println!("{}", row(&line));
        self.lines.push(line);
    }

    /// The table in the form of docs/PERFORMANCE.md.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from("| Measured | Figure | Aim | |\n|---|---:|---:|---|\n");
        for line in &self.lines {
            table += &row(line);
            table.push('\n');
        }
        table
    }

    /// Writes `performance.md`, `performance.json` and `performance.svg` into `folder`.
    pub(crate) fn write(&self, folder: &Path) {
        let circumstances: serde_json::Map<_, _> =
            self.circumstances.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect();
        let lines: Vec<Value> = self.lines.iter().map(as_json).collect();
        let all = json!({ "circumstances": circumstances, "figures": lines });
        std::fs::create_dir_all(folder).expect("a folder");
        let text = serde_json::to_string_pretty(&all).expect("JSON") + "\n";
        std::fs::write(folder.join("performance.json"), text).expect("a file");
        std::fs::write(folder.join("performance.md"), self.table()).expect("a file");
        self.plot(&folder.join("performance.svg")).expect("a plot");
    }

    /// A bar for each aim: the factor by which the value is better, up to five.
    fn plot(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        const MOST: f64 = 5.0;
        const ROW: u32 = 26;
        let bars: Vec<(&str, String, f64)> = self
            .lines
            .iter()
            // Right answers are no matter of degree.
            .filter(|line| !line.unit.is_empty())
            .filter_map(|line| {
                let margin = line.aim?.margin(line.figure);
                Some((line.what.as_str(), number(line.figure, line.unit), margin))
            })
            .collect();
        let rows = i32::try_from(bars.len())?;
        let area = SVGBackend::new(path, (1000, ROW * (u32::try_from(rows)? + 3))).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .caption("Times better than the aim (the line at 1)", ("sans-serif", 16))
            .x_label_area_size(24)
            .y_label_area_size(430)
            .build_cartesian_2d(0.0..MOST, (0..rows).into_segmented())?;
        let name = |place: &SegmentValue<i32>| match place {
            SegmentValue::CenterOf(n) => {
                let bar = usize::try_from(rows - 1 - n).ok().and_then(|n| bars.get(n));
                bar.map_or_else(String::new, |(what, figure, _)| format!("{what}: {figure}"))
            }
            _ => String::new(),
        };
        chart.configure_mesh().disable_y_mesh().y_labels(bars.len()).y_label_formatter(&name).draw()?;
        chart.draw_series(bars.iter().zip((0..rows).rev()).map(|((_, _, margin), n)| {
            let colour = if *margin >= 1.0 { RGBColor(46, 125, 90) } else { RGBColor(190, 60, 50) };
            let corners = [(0.0, SegmentValue::Exact(n)), (margin.min(MOST), SegmentValue::Exact(n + 1))];
            let mut bar = Rectangle::new(corners, colour.filled());
            bar.set_margin(4, 4, 0, 0);
            bar
        }))?;
        let line = [(1.0, SegmentValue::Exact(0)), (1.0, SegmentValue::Exact(rows))];
        chart.draw_series([PathElement::new(line, BLACK.stroke_width(2))])?;
        area.present()?;
        Ok(())
    }

    /// The number of missed aims.
    pub(crate) fn missed(&self) -> usize {
        self.lines.iter().filter(|line| line.aim.is_some_and(|aim| !aim.met(line.figure))).count()
    }

    /// The number of wrong or missing answers.
    pub(crate) fn wrong(&self) -> u64 {
        self.errors
    }
}

fn row(line: &Line) -> String {
    let Line { what, figure, unit, aim } = line;
    let (aim, met) = match aim {
        Some(aim) => (aim.text(unit), if aim.met(*figure) { "met" } else { "MISSED" }),
        None => (String::new(), ""),
    };
    format!("| {what} | {} | {aim} | {met} |", number(*figure, unit))
}

fn as_json(line: &Line) -> Value {
    let Line { what, figure, unit, aim } = line;
    let mut value = json!({ "what": what, "figure": figure, "unit": unit });
    if let Some(aim) = aim {
        value["aim"] = match aim {
            Aim::AtLeast(aim) => json!({ "at_least": aim }),
            Aim::AtMost(aim) => json!({ "at_most": aim }),
        };
        value["met"] = aim.met(*figure).into();
    }
    value
}
