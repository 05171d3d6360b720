//! Formats figures as tables, for a terminal and for Markdown.

use crate::results::{Results, SampleKey, Stat};
use crate::usage::{CPU, INSTRUCTIONS, USER};

/// Rows and columns of text.
#[derive(Debug)]
pub struct Table {
    pub title: String,
    head: Vec<String>,
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A column: its heading, its figure and how the figure is shown.
#[derive(Debug, Clone)]
pub struct Column {
    head: String,
    figure: &'static str,
    shows: Shows,
}

#[derive(Debug, Clone)]
enum Shows {
    /// The figure divided by the first, followed by the unit.
    Value(f64, &'static str),
    /// A whole number.
    Count,
    /// The ratio to the figure of another system in the same case.
    System(&'static str),
    /// The ratio to the floor's figure.
    Floor,
    /// The ratio to another figure of another system in the same case.
    Figure(&'static str, &'static str),
    /// The figure of another system in the same case, divided by the second, followed by the unit.
    Other(&'static str, f64, &'static str),
    /// The ratio to the figure of another case of the same system.
    Case(&'static str),
}

impl Column {
    fn new(head: &str, figure: &'static str, shows: Shows) -> Self {
        Self { head: head.into(), figure, shows }
    }

    /// A figure in nanoseconds, shown in microseconds.
    pub fn micros(head: &str, figure: &'static str) -> Self {
        Self::new(head, figure, Shows::Value(1e3, " µs"))
    }

    /// A figure in microseconds, shown in milliseconds.
    pub fn millis(head: &str, figure: &'static str) -> Self {
        Self::new(head, figure, Shows::Value(1e3, " ms"))
    }

    pub fn seconds(head: &str, figure: &'static str) -> Self {
        Self::new(head, figure, Shows::Value(1.0, " s"))
    }

    /// A figure in bytes, shown in KiB.
    pub fn kib(head: &str, figure: &'static str) -> Self {
        Self::new(head, figure, Shows::Value(1024.0, " KiB"))
    }

    /// A figure in bytes, shown in MiB.
    pub fn mib(head: &str, figure: &'static str) -> Self {
        Self::new(head, figure, Shows::Value(1048576.0, " MiB"))
    }

    pub fn count(head: &str, figure: &'static str) -> Self {
        Self::new(head, figure, Shows::Count)
    }

    pub fn against(head: &str, figure: &'static str, system: &'static str) -> Self {
        Self::new(head, figure, Shows::System(system))
    }

    pub fn against_floor(head: &str, figure: &'static str) -> Self {
        Self::new(head, figure, Shows::Floor)
    }

    pub fn against_case(head: &str, figure: &'static str, case: &'static str) -> Self {
        Self::new(head, figure, Shows::Case(case))
    }

    pub fn against_figure(head: &str, figure: &'static str, system: &'static str, other: &'static str) -> Self {
        Self::new(head, figure, Shows::Figure(system, other))
    }

    /// Shows the figure of another system instead.
    pub fn of(self, system: &'static str) -> Self {
        let shows = match self.shows {
            Shows::Value(unit, name) => Shows::Other(system, unit, name),
            _ => Shows::Other(system, 1.0, ""),
        };
        Self { shows, ..self }
    }

    fn cell(&self, results: &Results, row: SampleKey<'_>) -> String {
        let stat = match self.shows {
            Shows::Value(..) | Shows::Count => results.stat(row, self.figure),
            Shows::System(system) => results.ratio(row, SampleKey { system, ..row }, self.figure),
            Shows::Floor => results.against_floor(row, self.figure),
            Shows::Figure(system, other) => results.ratio_of(row, self.figure, SampleKey { system, ..row }, other),
            Shows::Other(system, ..) => results.stat(SampleKey { system, ..row }, self.figure),
            Shows::Case(case) => results.ratio(row, SampleKey { case, ..row }, self.figure),
        };
        let Some(stat) = stat else { return "–".into() };
        match self.shows {
            Shows::Value(unit, name) | Shows::Other(_, unit, name) => spread(stat, unit, name),
            Shows::Count => spread(stat, 1.0, ""),
            Shows::System(_) | Shows::Floor | Shows::Figure(..) | Shows::Case(_) => ratio(stat),
        }
    }
}

/// A ratio as tables show it.
pub fn ratio(stat: Stat) -> String {
    spread(stat, 1.0, " ×")
}

/// Median and, where there is one, spread.
pub fn spread(stat: Stat, unit: f64, name: &str) -> String {
    let [median, min, max] = [stat.median, stat.min, stat.max].map(|value| short(value / unit));
    if min == max { format!("{median}{name}") } else { format!("{median}{name} ({min}–{max})") }
}

/// A number with commas.
pub fn thousands(number: usize) -> String {
    match number / 1_000 {
        0 => number.to_string(),
        more => format!("{},{:03}", thousands(more), number % 1_000),
    }
}

/// Three digits, or all that stand before the point.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.2}M", value / 1e6),
        size if size >= 1e4 => format!("{:.0}k", value / 1e3),
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

impl Table {
    pub fn new(title: &str, first: &str, columns: &[Column]) -> Self {
        let head = std::iter::once(first.to_owned()).chain(columns.iter().map(|column| column.head.clone())).collect();
        Self { title: title.into(), head, columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds headings for rows that are added by [`Table::row`].
    pub fn heads(mut self, heads: &[&str]) -> Self {
        self.head.extend(heads.iter().map(|&head| head.to_owned()));
        self
    }

    /// Adds rows, each with its first cell and the samples that it shows.
    pub fn rows<'a>(mut self, results: &Results, rows: impl IntoIterator<Item = (String, SampleKey<'a>)>) -> Self {
        for (first, row) in rows {
            let mut cells: Vec<String> = self.columns.iter().map(|column| column.cell(results, row)).collect();
            if let (Some(why), Some(cell)) = (results.problem(row).or(results.absent(row)), cells.first_mut()) {
                *cell = if cell == "–" { why.to_owned() } else { format!("{cell}; {why}") };
            }
            self.rows.push(std::iter::once(first).chain(cells).collect());
        }
        self
    }

    /// Adds a row of text.
    pub fn row(mut self, cells: Vec<String>) -> Self {
        self.rows.push(cells);
        self
    }

    /// The table for a terminal.
    pub fn text(&self) -> String {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| all().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("  {}\n", cells.join("  ").trim_end())
        };
        format!("{}\n{}", self.title, all().map(line).collect::<String>())
    }

    pub fn markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let rule = format!("|---{}\n", "|---:".repeat(self.head.len() - 1) + "|");
        line(&self.head) + &rule + &self.rows.iter().map(line).collect::<String>()
    }
}

/// The cost of a delivery for each system, with its ratio to the floor's.
pub fn against_floor(results: &Results, scenario: &'static str, title: &str, further: &[Column]) -> Table {
    let mut columns = vec![Column::micros("CPU a delivery", CPU), Column::against_floor("of the floor's", CPU)];
    if results.machine.counts_instructions {
        columns.extend([
            Column::count("instructions a delivery", INSTRUCTIONS),
            Column::against_floor("of the floor's", INSTRUCTIONS),
            Column::count("in user space", USER),
        ]);
    }
    columns.extend_from_slice(further);
    Table::new(title, "system", &columns).rows(results, results.systems(scenario))
}
