//! Tables: the median of each figure over the rounds, how far it strayed, and its ratio
//! to another of the same round.

use std::{collections::HashMap, fmt::Write as _};

/// What figures count.
#[derive(Clone, Copy)]
pub enum Unit {
    PerSecond,
    Milliseconds,
    Bytes,
    Plain,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Unit::PerSecond => format!("{}/s", thousands(figure)),
            Unit::Milliseconds => format!("{figure:.2} ms"),
            Unit::Bytes => format!("{} B", thousands(figure)),
            Unit::Plain if figure >= 100.0 => thousands(figure),
            Unit::Plain => format!("{figure:.3}"),
        }
    }
}

/// What a ratio should be.
#[derive(Clone, Copy)]
pub enum Target {
    None,
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    /// The target and whether it is met.
    pub fn show(self, ratio: f64) -> String {
        let (said, is_met) = match self {
            Target::None => return String::new(),
            Target::AtLeast(least) => (format!("≥ {least}"), ratio >= least),
            Target::AtMost(most) => (format!("≤ {most}"), ratio <= most),
        };
        format!("{said}{}", if is_met { "  met" } else { "  MISSED" })
    }
}

/// Figures by what they are of, one for each round.
#[derive(Default)]
pub struct Figures(HashMap<String, Vec<f64>>);

impl Figures {
    /// Notes the figure of one more round.
    pub fn note(&mut self, what: impl Into<String>, figure: f64) {
        self.0.entry(what.into()).or_default().push(figure);
    }

    /// The figures of all rounds so far.
    pub fn of(&self, what: &str) -> &[f64] {
        self.0
            .get(what)
            .unwrap_or_else(|| panic!("{what} was not measured"))
    }
}

/// One subject.
pub struct Table<'a> {
    figures: &'a Figures,
    title: String,
    rows: Vec<[String; 7]>,
}

impl<'a> Table<'a> {
    pub fn new(title: impl Into<String>, figures: &'a Figures) -> Table<'a> {
        let (title, rows) = (title.into(), Vec::new());
        Table {
            figures,
            title,
            rows,
        }
    }

    /// A row for what was measured.
    pub fn row(&mut self, what: &str, unit: Unit) {
        let (middle, spread) = middle(self.figures.of(what), |figure| unit.show(figure));
        let row = [what.to_owned(), middle, spread];
        self.push(row, Default::default());
    }

    /// The ratio of two rows, within each round.
    pub fn ratio(&mut self, what: &str, to: &str, target: Target) {
        let figures = self.figures.of(what).iter().zip(self.figures.of(to));
        let ratios: Vec<f64> = figures.map(|(figure, to)| figure / to).collect();
        let (ratio, spread) = middle(&ratios, |ratio| format!("{ratio:.2}"));
        let target = target.show(median(&ratios));
        let ratio = [ratio, spread, to.to_owned(), target];
        match self.rows.last_mut() {
            Some(row) if row[0] == what && row[3].is_empty() => row[3..].clone_from_slice(&ratio),
            _ => self.push(Default::default(), ratio),
        }
    }

    fn push(&mut self, row: [String; 3], ratio: [String; 4]) {
        let cells = row.into_iter().chain(ratio).collect::<Vec<_>>();
        self.rows.push(cells.try_into().expect("three and four"));
    }

    pub fn print(self) {
        let heads = ["", "median", "min–max", "ratio", "min–max", "to", "target"];
        let rows: Vec<_> = [heads.map(str::to_owned)]
            .into_iter()
            .chain(self.rows)
            .collect();
        println!("\n{}\n", self.title);
        print_aligned(&rows);
    }
}

/// Prints columns, the first and from the sixth on to the left, as they are words.
pub fn print_aligned<const N: usize>(rows: &[[String; N]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = if column == 0 { "  " } else { "   " };
            let _ = match column {
                0 | 5.. => write!(line, "{gap}{cell:<width$}"),
                _ => write!(line, "{gap}{cell:>width$}"),
            };
        }
        println!("{}", line.trim_end());
    }
}

/// The median, and from where to where, as text.
fn middle(figures: &[f64], show: impl Fn(f64) -> String) -> (String, String) {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let spread = match figures.len() {
        1 => String::new(),
        _ => format!("{}–{}", show(least), show(most)),
    };
    (show(median(figures)), spread)
}

/// The one in the middle, or between the two there.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[half],
        _ => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}

/// A whole number in groups of three digits.
pub fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
