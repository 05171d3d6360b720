//! Draws a [`Look`] on the whole terminal, and leaves the terminal as it was.

use std::io;

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use rustix::termios::tcgetwinsize;

use super::super::output::thousands;
use super::super::shown::visible;
use super::Look;
use crate::client::ConnectionInfo;

/// Below this width, the columns that are less important are left out.
const NARROW: u16 = 70;
/// A table needs so many lines: its heading and a row.
const LEAST: u16 = 2;
/// The most columns for the channel of a subject.
const WIDEST_CHANNEL: usize = 32;

/// The terminal. It is as before when this is dropped, also by a panic.
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminal: ratatui::try_init()? })
    }

    /// Draws a look, if the terminal is not [gone](Self::is_gone).
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub fn draw(&mut self, look: &Look, is_paused: bool) -> io::Result<()> {
        let drawn = self.terminal.draw(|frame| draw(frame, look, is_paused)).map(drop);
        if self.is_gone() { Ok(()) } else { drawn }
    }

    /// Whether the terminal was closed. Below `nohup`, no SIGHUP tells it.
    pub fn is_gone(&self) -> bool {
        tcgetwinsize(io::stdout()).is_err()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn draw(frame: &mut Frame<'_>, look: &Look, is_paused: bool) {
    let nodes = look.nodes.as_deref().unwrap_or_default();
    let channels = look.channels.len().clamp(1, 12) as u16;
    let slow = look.slow_consumers.as_deref().unwrap_or_default();
    let height = |rows: usize| if rows == 0 { 0 } else { rows.min(6) as u16 + 2 };
    let mut left = frame.area().height.saturating_sub(2);
    // The first ones get their lines first. What gets only its heading is left out.
    let mut take = |wanted: u16| {
        let given = if wanted.min(left) < LEAST { 0 } else { wanted.min(left) };
        left -= given;
        given
    };
    let channels = take(channels + 2);
    let lists = take(3);
    let (behind, below) = (take(height(slow.len())), take(height(nodes.len())));
    let lists = lists + left;
    let lengths = [1, channels, lists, behind, below, 1].map(Constraint::Length);
    let [head, middle, lists, behind, below, foot] = Layout::vertical(lengths).areas(frame.area());
    // A line of air.
    let lists = Rect { height: if lists.height > LEAST { lists.height - 1 } else { lists.height }, ..lists };
    let is_narrow = frame.area().width < NARROW;
    frame.render_widget(title(look), head);
    channels_table(frame, middle, look, is_narrow);
    if is_narrow {
        subjects_table(frame, lists, look);
    } else {
        let [left, right] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).spacing(2).areas(lists);
        subjects_table(frame, left, look);
        sources_table(frame, right, look);
    }
    slow_table(frame, behind, slow, is_narrow);
    nodes_table(frame, below, look, is_narrow);
    let keys =
        if is_paused { "paused: p goes on, q leaves" } else { "q leaves, p pauses; rates are per second over 10 s" };
    frame.render_widget(Line::from(keys).dim(), foot);
}

fn title(look: &Look) -> Line<'_> {
    let rate = Span::from(format!("{} events/s", rate(look.rate))).bold();
    let mut line = vec![Span::from("tidings ").bold(), Span::from(&*look.url), Span::from("  "), rate];
    if let Some(trouble) = &look.trouble {
        line.push(Span::styled(format!("  {trouble}"), Style::new().fg(Color::Red)));
    }
    Line::from(line)
}

fn channels_table(frame: &mut Frame<'_>, area: Rect, look: &Look, is_narrow: bool) {
    let number = |number: Option<u64>| number.map(thousands).unwrap_or_default();
    let rows = look.channels.iter().map(|channel| {
        let mut cells = vec![cell(&channel.channel), right(rate(channel.rate)), right(number(channel.subscribers))];
        if !is_narrow {
            cells.extend([right(number(channel.retained)), cell(&channel.position)]);
        }
        Row::new(cells).style(quiet(channel.rate))
    });
    let (mut head, mut widths) = (
        vec!["CHANNEL", "PER S", "SUBSCRIBERS"],
        vec![Constraint::Fill(1), Constraint::Length(9), Constraint::Length(11)],
    );
    if !is_narrow {
        head.extend(["RETAINED", "POSITION"]);
        widths.extend([Constraint::Length(12), Constraint::Length(20)]);
    }
    table(frame, area, rows, &head, widths);
}

fn subjects_table(frame: &mut Frame<'_>, area: Rect, look: &Look) {
    let rows = look
        .subjects
        .iter()
        .map(|subject| Row::new([cell(&subject.subject), cell(&subject.channel), right(rate(subject.rate))]));
    // The names of channels are few and short: subjects get the rest.
    let head = ["SUBJECT", "CHANNEL", "PER S"];
    let widest = look.subjects.iter().map(|subject| subject.channel.chars().count()).max().unwrap_or_default();
    let channel = Constraint::Length(widest.clamp(head[1].len(), WIDEST_CHANNEL) as u16);
    table(frame, area, rows, &head, vec![Constraint::Fill(1), channel, Constraint::Length(9)]);
}

fn sources_table(frame: &mut Frame<'_>, area: Rect, look: &Look) {
    let rows = look.sources.iter().map(|source| Row::new([cell(&source.source), right(rate(source.rate))]));
    table(frame, area, rows, &["SOURCE", "PER S"], vec![Constraint::Fill(1), Constraint::Length(9)]);
}

fn slow_table(frame: &mut Frame<'_>, area: Rect, slow: &[ConnectionInfo], is_narrow: bool) {
    let rows = slow.iter().map(|connection| {
        let mut cells = vec![cell(&connection.address), right(thousands(connection.buffered_bytes))];
        if !is_narrow {
            let principal = connection.principal.as_deref().unwrap_or_default();
            cells.extend([right(thousands(connection.delivered)), cell(&connection.transport), cell(principal)]);
        }
        Row::new(cells).style(Style::new().fg(Color::Yellow))
    });
    let (mut head, mut widths) =
        (vec!["SLOW CONSUMER", "BYTES BEHIND"], vec![Constraint::Fill(1), Constraint::Length(12)]);
    if !is_narrow {
        head.extend(["DELIVERED", "TRANSPORT", "WHO"]);
        widths.extend([Constraint::Length(12), Constraint::Length(9), Constraint::Fill(1)]);
    }
    if !slow.is_empty() {
        table(frame, area, rows, &head, widths);
    }
}

fn nodes_table(frame: &mut Frame<'_>, area: Rect, look: &Look, is_narrow: bool) {
    let rows = look.nodes.iter().flatten().map(|node| {
        let style = match &*node.state {
            "up" => Style::new(),
            "draining" => Style::new().fg(Color::Yellow),
            _ => Style::new().fg(Color::Red),
        };
        let mut cells = vec![cell(&node.address), cell(&node.state), right(thousands(node.connections))];
        if !is_narrow {
            cells.push(cell(&node.version));
        }
        Row::new(cells).style(style)
    });
    let (mut head, mut widths) = (
        vec!["NODE", "STATE", "CONNECTIONS"],
        vec![Constraint::Fill(1), Constraint::Length(9), Constraint::Length(11)],
    );
    if !is_narrow {
        head.push("VERSION");
        widths.push(Constraint::Length(12));
    }
    table(frame, area, rows, &head, widths);
}

fn table<'a>(
    frame: &mut Frame<'_>,
    area: Rect,
    rows: impl Iterator<Item = Row<'a>>,
    head: &[&'static str],
    widths: Vec<Constraint>,
) {
    if area.height < LEAST {
        return;
    }
    let cells = head.iter().map(|name| match *name {
        "PER S" | "SUBSCRIBERS" | "RETAINED" | "CONNECTIONS" | "BYTES BEHIND" | "DELIVERED" => {
            right((*name).to_owned())
        }
        name => Cell::from(name),
    });
    let head = Row::new(cells).style(Style::new().dim());
    // Only what there is room for.
    let rows = rows.take(usize::from(area.height));
    frame.render_widget(Table::new(rows, widths).header(head).column_spacing(2), area);
}

/// A text that may be a stranger's.
fn cell(text: &str) -> Cell<'static> {
    Cell::from(visible(text))
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

/// A row without events is dimmed.
fn quiet(rate: f64) -> Style {
    if rate > 0.0 { Style::new() } else { Style::new().dim() }
}

/// A rate with three significant digits: 0.4, 12.3, 1,234.
fn rate(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}") } else { thousands(rate.round() as u64) }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::{Channel, Source, Subject};
    use super::*;

    fn drawn(width: u16, height: u16) -> String {
        let slow = serde_json::json!({
            "id": "0", "transport": "sse", "address": "192.0.2.7:4711", "principal": "wall", "namespace": "default",
            "since": "2026-11-21T10:00:00.000Z", "subscriptions": 1, "bufferedBytes": 700_000, "delivered": 98_765,
        });
        let slow: ConnectionInfo = serde_json::from_value(slow).unwrap();
        let node = serde_json::json!({
            "id": "n", "address": "192.0.2.1:7400", "version": "0.1.0", "started": "2026-11-21T10:00:00.000Z",
            "lastHeartbeat": "2026-11-21T10:00:00.000Z", "connections": 3, "state": "up",
        });
        let node = serde_json::from_value(node).unwrap();
        let look = Look {
            url: "http://127.0.0.1:7400".into(),
            rate: 1_234.4,
            channels: vec![
                Channel {
                    channel: "order-status".into(),
                    rate: 1_230.0,
                    retained: Some(10_000),
                    subscribers: Some(12),
                    position: "k3:10000".into(),
                },
                Channel {
                    channel: "data-update".into(),
                    rate: 0.0,
                    retained: None,
                    subscribers: None,
                    position: "k3:0".into(),
                },
            ],
            subjects: vec![Subject { channel: "inventory-change".into(), subject: "o-1\u{1b}[2J".into(), rate: 4.25 }],
            sources: vec![Source { source: "/shop".into(), rate: 99.96 }],
            slow_consumers: Some(vec![slow]),
            nodes: Some(vec![node]),
            trouble: Some("the daemon is away".into()),
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &look, false)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_heading_has_a_row_below_it_at_every_height() {
        const HEADINGS: [&str; 4] = ["CHANNEL ", "SUBJECT ", "SLOW CONSUMER", "NODE "];
        for height in 1..30 {
            let drawn = drawn(200, height);
            let mut lines: Vec<_> = drawn.lines().map(|line| line.trim_matches(['"', ' '])).collect();
            // The keys.
            lines.pop();
            let is_heading = |line: &str| HEADINGS.iter().any(|heading| line.starts_with(heading));
            for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_heading(line)) {
                let below = lines.get(at + 1).copied().unwrap_or_default();
                assert!(!below.is_empty() && !is_heading(below), "{line} at {height} lines:\n{drawn}");
            }
        }
        // What there is room for, from the top.
        assert!(drawn(200, 8).contains("SUBJECT ") && !drawn(200, 8).contains("NODE "), "{}", drawn(200, 8));
        assert!(drawn(200, 20).contains("NODE ") && drawn(200, 20).contains("SLOW CONSUMER"));
    }

    #[test]
    fn a_look_fits_wide_and_narrow_terminals() {
        let wide = drawn(100, 20);
        for text in [
            "1,234 events/s  the daemon is away",
            "order-status",
            "10,000",
            "k3:10000",
            "/shop",
            "100",
            "o-1\u{fffd}[2J",
            " inventory-change ",
            "192.0.2.7:4711",
            "700,000",
            "wall",
            "4.2",
        ] {
            assert!(wide.contains(text), "{text:?} is not in\n{wide}");
        }
        let narrow = drawn(40, 12);
        assert!(narrow.contains("order-status") && !narrow.contains("10,000") && !narrow.contains("/shop"), "{narrow}");
        for size in [(1, 1), (10, 2), (39, 5), (200, 3)] {
            drawn(size.0, size.1);
        }
    }
}
