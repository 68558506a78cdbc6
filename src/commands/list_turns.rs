//! `list-turns`: lists the recorded turns of one or all workspaces. It writes nothing.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{self, TurnListFormat};
use crate::context::Context;
use crate::error::Result;
use crate::records::record::Record;
use crate::render;
use crate::sessions::selector::SessionSelector;
use crate::time::age;
use crate::turn::selector::{RecordedTurn, SessionFilter, Turns};
use crate::ui::json::to_line;
use crate::ui::table::Column;

pub(super) fn run(context: &Context, options: &cli::ListTurns) -> Result<()> {
    let subject = SessionSelector::of(&options.session)?;
    let is_selected = subject.name.is_some() || subject.id.is_some();
    let (mut turns, unreadable, filter, workspace) = if options.all_workspaces {
        let (turns, unreadable) = Turns::of_all_workspaces(context)?;
        (turns, unreadable, SessionFilter::new(&subject, Vec::new()), None)
    } else {
        let found = Turns::of_workspace(context, &options.place)?;
        let (turns, unreadable) = found.all();
        let filter = found.filter(context, &subject);
        (turns, unreadable, filter, Some(found.workspace.text().to_owned()))
    };
    if let Some((first, others)) = unreadable.split_first() {
        let others = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
        context.ui.warn_always(&format!("{first}{others}")); // even with --quiet, because the list is incomplete
    }
    turns.retain(|turn| {
        let record = &turn.record;
        (options.state.is_empty() || options.state.contains(&record.state)) && (!is_selected || filter.matches(record))
    });
    let totals = Totals::of(&turns);
    turns.truncate(options.limit);
    match options.format {
        TurnListFormat::Json => {
            let turns = turns.into_iter().map(|turn| turn.record).collect();
            context.ui.print(&(to_line(&TurnList { workspace_dir: workspace, turns, totals }) + "\n"))
        }
        TurnListFormat::Table => {
            print_table(context, &turns, is_selected || !options.state.is_empty(), options.all_workspaces)
        }
    }
}

#[derive(Serialize)]
struct TurnList {
    /// `None` for all workspaces.
    workspace_dir: Option<String>,
    turns: Vec<Record>,
    totals: Totals,
}

/// The sums over turns. `None` if no turn has the number.
#[derive(Default, Serialize)]
struct Totals {
    turns: usize,
    duration_seconds: Option<f64>,
    input_tokens: Option<u64>,
    cached_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cost_usd: Option<f64>,
}

impl Totals {
    fn of(turns: &[RecordedTurn]) -> Self {
        let count = |number: fn(&Record) -> Option<u64>| {
            turns.iter().filter_map(|turn| number(&turn.record)).reduce(u64::saturating_add)
        };
        // without the digits that come from binary fractions
        let amount = |number: fn(&Record) -> Option<f64>, digits: f64| {
            let sum = turns.iter().filter_map(|turn| number(&turn.record)).reduce(|one, other| one + other);
            sum.map(|sum| (sum * digits).round() / digits)
        };
        Self {
            turns: turns.len(),
            duration_seconds: amount(|record| record.duration_seconds, 1e3),
            input_tokens: count(|record| record.input_tokens),
            cached_input_tokens: count(|record| record.cached_input_tokens),
            output_tokens: count(|record| record.output_tokens),
            cost_usd: amount(|record| record.cost_usd, 1e12),
        }
    }
}

/// Prints the turns as a table that fits the terminal.
///
/// `is_selected` is whether options have selected some of the recorded turns.
fn print_table(context: &Context, turns: &[RecordedTurn], is_selected: bool, all_workspaces: bool) -> Result<()> {
    if turns.is_empty() {
        let such = if is_selected { "such " } else { "" };
        let which = if all_workspaces { "any" } else { "this" };
        context.ui.note(&format!("no {such}turns are recorded in {which} workspace"));
        return Ok(());
    }
    let mut columns = vec![
        Column::new("ID"),
        Column::new("SESSION").with_min_width(10).optional(5),
        Column::new("STATE"),
        Column::new("AGE").optional(4),
        Column::new("TIME").optional(3),
        Column::new("TOKENS").optional(2),
        Column::new("COST").optional(1),
        Column::new("PROMPT").with_min_width(12).optional(6),
    ];
    if all_workspaces {
        columns.push(Column::new("WORKSPACE").with_min_width(12).keeping_end());
    }
    let now = Timestamp::now();
    for RecordedTurn { id, record, .. } in turns {
        let tokens = record.input_tokens.zip(record.output_tokens);
        let cells = [
            Some(id.clone()),
            record.alias.clone().or_else(|| record.session_id.clone()),
            Some(record.state.name().to_owned()),
            record.started().map(|started| age(started, now)),
            record.elapsed(now).map(short_duration),
            tokens.map(|(input, output)| short_number(input.saturating_add(output))),
            record.cost_usd.map(render::cost),
            record.prompt.clone(),
            record.workspace_dir.clone(),
        ];
        columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell.as_deref()));
    }
    context.ui.print_table(columns)
}

/// Formats a duration in at most two units, such as `3m05s`.
fn short_duration(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Formats `12345` as `12.3k`.
fn short_number(number: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
    match UNITS.into_iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) => format!("{}.{}{unit}", number / size, number % size / (size / 10)),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_numbers_are_short() {
        for (seconds, want) in [(0.04, "0.0s"), (9.26, "9.3s"), (59.9, "59s"), (185.0, "3m05s"), (7260.0, "2h01m")] {
            assert_eq!(short_duration(Duration::from_secs_f64(seconds)), want);
        }
        for (number, want) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (12_345, "12.3k"),
            (1_999_999, "1.9M"),
            (u64::MAX, "18446744073.7G"),
        ] {
            assert_eq!(short_number(number), want);
        }
    }
}
