//! The figures of all rounds, and their medians.

use std::fmt;

use super::rows::{Row, Unit};
use crate::{Error, load::Measured};

/// What is compared with.
const BASE: &str = "bare";

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// In the order in which they came.
    columns: Vec<String>,
    cells: Vec<Cell>,
    failures: Vec<String>,
}

/// One target's rounds over one kind of work.
#[derive(Debug)]
struct Cell {
    line: String,
    kind: Kind,
    column: String,
    /// One a round, those that are not known left out.
    values: Vec<f64>,
}

/// What a line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Microseconds of processor time, as a ratio.
    Processor,
    /// Resident MiB, as a ratio.
    Memory,
    /// Milliseconds, as they are.
    Latency,
    /// A second, as they are.
    Throughput,
}

// === impl Table ===

impl Table {
    pub(super) fn add(&mut self, row: &Row, column: &str, measured: Measured) {
        if measured.failures > 0 {
            let first = measured.first_failure.as_deref().unwrap_or_default();
            let failure = format!("{}, {column}: {} requests failed: {first}", row.name, measured.failures);
            self.failures.push(failure);
        }
        if !self.columns.iter().any(|known| known == column) {
            self.columns.push(column.to_owned());
        }
        let count = if row.unit == Unit::Event { measured.events } else { measured.requests };
        self.push(row.name.to_owned(), Kind::Processor, column, measured.micros_each(count));
        if row.shows_memory {
            let mib = measured.usage.map(|usage| usage.resident as f64 / f64::from(1 << 20));
            self.push(format!("{}: resident memory", row.name), Kind::Memory, column, mib);
        }
        let throughput = (row.load.rate.is_none()).then(|| count as f64 / measured.time.as_secs_f64());
        self.push(row.name.to_owned(), Kind::Throughput, column, throughput);
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            let latency = measured.latency(part).map(|latency| latency.as_secs_f64() * 1e3);
            self.push(format!("{}: {name}", row.name), Kind::Latency, column, latency);
        }
    }

    /// All that failed.
    pub(super) fn failures(&self) -> Result<(), Error> {
        if self.failures.is_empty() { Ok(()) } else { Err(self.failures.join("\n").into()) }
    }

    fn push(&mut self, line: String, kind: Kind, column: &str, value: Option<f64>) {
        let Some(value) = value else { return };
        let known = self.cells.iter_mut().find(|cell| cell.is(&line, kind, column));
        match known {
            Some(cell) => cell.values.push(value),
            None => self.cells.push(Cell { line, kind, column: column.to_owned(), values: vec![value] }),
        }
    }

    fn values(&self, line: &str, kind: Kind, column: &str) -> &[f64] {
        self.cells.iter().find(|cell| cell.is(line, kind, column)).map_or(&[], |cell| &cell.values)
    }

    /// The lines of these kinds, in the order in which they came.
    fn lines(&self, kinds: &[Kind]) -> Vec<(&str, Kind)> {
        let mut lines = Vec::new();
        for cell in self.cells.iter().filter(|cell| kinds.contains(&cell.kind)) {
            if !lines.contains(&(cell.line.as_str(), cell.kind)) {
                lines.push((cell.line.as_str(), cell.kind));
            }
        }
        lines
    }

    fn print(&self, f: &mut fmt::Formatter<'_>, title: &str, kinds: &[Kind]) -> fmt::Result {
        let lines = self.lines(kinds);
        if lines.is_empty() {
            return Ok(());
        }
        writeln!(f, "| {title} | {} |", self.columns.join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(self.columns.len()))?;
        for (line, kind) in lines {
            write!(f, "| {line} |")?;
            let base = self.values(line, kind, BASE);
            for column in &self.columns {
                let values = self.values(line, kind, column);
                write!(f, " {} |", show(kind, values, base, column == BASE))?;
            }
            writeln!(f)?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, "cost relative to the bare proxy: median (range)", &[Kind::Processor, Kind::Memory])?;
        self.print(f, "latency, ms", &[Kind::Latency])?;
        self.print(f, "a second, closed loop", &[Kind::Throughput])
    }
}

// === impl Cell ===

impl Cell {
    fn is(&self, line: &str, kind: Kind, column: &str) -> bool {
        self.line == line && self.kind == kind && self.column == column
    }
}

fn show(kind: Kind, values: &[f64], base: &[f64], is_base: bool) -> String {
    let Some(middle) = median(values) else { return "–".into() };
    match kind {
        Kind::Latency => format!("{middle:.2}"),
        Kind::Throughput => format!("{middle:.0}"),
        Kind::Processor if is_base => format!("{middle:.1} us"),
        Kind::Memory if is_base => format!("{middle:.1} MiB"),
        Kind::Processor | Kind::Memory => {
            // Round by round: what else the machine does changes slowly.
            let ratios: Vec<f64> = values.iter().zip(base).map(|(value, base)| value / base).collect();
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = ratios.iter().copied().fold(0.0, f64::max);
            median(&ratios).map_or("–".into(), |ratio| format!("{ratio:.2} ({least:.2}–{most:.2})"))
        }
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied()?;
    Some(if values.len().is_multiple_of(2) { (values[middle - 1] + upper) / 2.0 } else { upper })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_rounds() {
        assert_eq!(
            show(Kind::Processor, &[20.0, 44.0, 30.0], &[10.0, 11.0, 12.0], false),
            "2.50 (2.00–4.00)"
        );
        assert_eq!(show(Kind::Processor, &[10.0, 12.0], &[10.0, 12.0], true), "11.0 us");
        assert_eq!(show(Kind::Processor, &[], &[10.0], false), "–");
    }
}
