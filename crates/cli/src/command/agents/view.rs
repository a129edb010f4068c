//! The live view: what it knows, what a key does to it, and how it is drawn. Pure but for the frame that it draws on. Colours
//! are the terminal's own, so that it is right on dark and on light. Must never: show what an agent says as a line of ours, or
//! a letter that acts.
use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout as Split, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Block, Paragraph, Row as TableRow, Table, TableState, Wrap};
use tenure_core::id::AgentId;
use tenure_wire::api::agent::{Act, AgentFile};
use tenure_wire::api::event::{Piece, What};
use tenure_wire::api::execution::Execution;
use tenure_wire::api::moment::Moment;
use tenure_wire::client::StreamItem;

use super::feed::{Chosen, News, Snapshot};
use super::input::Key;
use super::{Action, Do, LINES_MAX, Line, Spoken, Wish};
use crate::args::Format;
use crate::command::agent::tasks_table;
use crate::render::Output;
use crate::render::formatter::{Formatter, Line as Formatted};
use crate::render::margin::Voice;
use crate::render::status_ink;
use crate::render::table::Layout;
use crate::screen::{Ink, one_line, plain};

/// From so many columns on, list and transcript stand side by side.
const WIDE: u16 = 140;
const INSTRUCTION_LETTERS_MAX: usize = 4000;

/// What the keys go to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Focus {
    Agents,
    /// The transcript, to be scrolled.
    Transcript,
    /// What the chosen one did.
    Tasks,
    /// An instruction that is being typed.
    Instruction(String),
    Kill,
}

pub(super) struct Screen {
    lines: Vec<Line>,
    chosen: Option<AgentId>,
    focus: Focus,
    file: Option<Box<AgentFile>>,
    tasks: Vec<Execution>,
    transcript: VecDeque<Spoken>,
    /// What the model is saying, which its turn brings whole.
    saying: String,
    formatter: Formatter,
    /// Rows from the end of the transcript.
    scrolled: usize,
    number: u64,
    /// When the agents were looked at last.
    now: Moment,
    /// Said until the next key.
    note: Option<(Ink, String)>,
    lost: Option<String>,
}

impl Screen {
    pub(super) fn of(first: Snapshot) -> Screen {
        let first_at = first.at;
        let lines = first.into_lines();
        Screen {
            chosen: lines.first().map(|line| line.agent.id),
            lines,
            focus: Focus::Agents,
            file: None,
            tasks: Vec::new(),
            transcript: VecDeque::new(),
            saying: String::new(),
            formatter: Formatter::default(),
            scrolled: 0,
            number: 0,
            now: first_at,
            note: None,
            lost: None,
        }
    }

    fn line(&self) -> Option<&Line> {
        self.lines.iter().find(|line| Some(line.agent.id) == self.chosen)
    }

    fn place(&self) -> Option<usize> {
        self.lines.iter().position(|line| Some(line.agent.id) == self.chosen)
    }

    pub(super) fn chosen(&self) -> Option<Chosen> {
        let line = self.line()?;
        let execution = line.execution.as_ref().map(|execution| execution.id.to_string());
        Some(Chosen { agent: line.agent.id.to_string(), execution, number: self.number })
    }

    pub(super) fn begin_transcript(&mut self) {
        self.number += 1;
        self.clear_transcript();
        if self.file.as_ref().is_some_and(|file| Some(file.agent.id) != self.chosen) {
            (self.file, self.tasks) = (None, Vec::new());
        }
    }

    fn clear_transcript(&mut self) {
        (self.transcript, self.saying, self.formatter) = (VecDeque::new(), String::new(), Formatter::default());
        self.scrolled = 0;
    }

    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Agents(snapshot) => {
                let place = self.place().unwrap_or(0);
                self.now = snapshot.at;
                (self.lines, self.lost) = (snapshot.into_lines(), None);
                if self.line().is_none() {
                    let next = self.lines.get(place).or(self.lines.last());
                    self.chosen = next.map(|line| line.agent.id);
                    self.focus = Focus::Agents;
                }
            }
            News::Lost(why) => self.lost = Some(why),
            News::Page { number, file, tasks } if number == self.number => {
                self.clear_transcript();
                (self.file, self.tasks) = (Some(file), tasks);
            }
            News::Heard { number, item } if number == self.number => self.hear(&item),
            News::Page { .. } | News::Heard { .. } => {}
            News::Done(what) => self.note = Some((Ink::Good, what)),
            News::Failed(why) => self.note = Some((Ink::Bad, why)),
        }
    }

    fn hear(&mut self, item: &StreamItem) {
        match item {
            StreamItem::Event(event) => {
                if !matches!(event.what, What::CallCalled { .. }) {
                    self.saying.clear();
                }
                for line in self.formatter.lines(event) {
                    self.transcript.push_back(match line {
                        Formatted::Ours(line) => Spoken::Ours(line),
                        Formatted::Said(voice, text) => Spoken::Said(voice, text),
                    });
                }
                while self.transcript.len() > LINES_MAX {
                    self.transcript.pop_front();
                }
            }
            StreamItem::Piece(Piece::Text { text, so_far }) => {
                if *so_far {
                    self.saying.clear();
                }
                self.saying.push_str(text);
            }
            StreamItem::Piece(Piece::Output { .. } | Piece::Gap {}) | StreamItem::Broken | StreamItem::Rejoined => {}
        }
    }

    pub(super) fn press(&mut self, key: Key) -> Option<Wish> {
        if key != Key::Resized {
            self.note = None;
        }
        match std::mem::replace(&mut self.focus, Focus::Agents) {
            _ if key == Key::Interrupt => Some(Wish::Leave),
            Focus::Instruction(text) => self.type_instruction(text, key),
            Focus::Kill => match key {
                Key::Letter('y') => self.action(Do::Supervise(Act::Kill)),
                Key::Resized => {
                    self.focus = Focus::Kill;
                    None
                }
                _ => None,
            },
            focus @ (Focus::Agents | Focus::Transcript | Focus::Tasks) => {
                self.focus = focus;
                self.command(key)
            }
        }
    }

    fn type_instruction(&mut self, mut text: String, key: Key) -> Option<Wish> {
        match key {
            Key::Enter if !text.trim().is_empty() => return self.action(Do::Run(text)),
            Key::Enter | Key::Escape => return None,
            Key::Letter(letter) if text.chars().count() < INSTRUCTION_LETTERS_MAX => text.push(letter),
            Key::Backspace => {
                text.pop();
            }
            _ => {}
        }
        self.focus = Focus::Instruction(text);
        None
    }

    fn command(&mut self, key: Key) -> Option<Wish> {
        match (key, &self.focus) {
            (Key::Letter('q'), _) => return Some(Wish::Leave),
            (Key::Escape, _) => self.focus = Focus::Agents,
            (Key::Letter('p'), _) => return self.action(Do::Pause),
            (Key::Letter('r'), _) => return self.action(Do::Supervise(Act::Resume)),
            (Key::Letter('k'), _) if self.line().is_some() => self.focus = Focus::Kill,
            (Key::Letter('n'), _) if self.line().is_some() => self.focus = Focus::Instruction(String::new()),
            (Key::Letter('l'), Focus::Tasks) => self.focus = Focus::Agents,
            (Key::Letter('l'), _) => self.focus = Focus::Tasks,
            (Key::Enter, Focus::Agents) => self.focus = Focus::Transcript,
            (Key::Up | Key::PageUp, Focus::Transcript) => {
                self.scrolled = self.scrolled.saturating_add(if key == Key::Up { 1 } else { 10 });
            }
            (Key::Down | Key::PageDown, Focus::Transcript) => {
                self.scrolled = self.scrolled.saturating_sub(if key == Key::Down { 1 } else { 10 });
            }
            (Key::End, Focus::Transcript) => self.scrolled = 0,
            (Key::Up | Key::Down | Key::PageUp | Key::PageDown | Key::Home | Key::End, _) => self.choose(key),
            _ => {}
        }
        None
    }

    fn choose(&mut self, key: Key) {
        let (place, last) = (self.place().unwrap_or(0), self.lines.len().saturating_sub(1));
        let next = match key {
            Key::Up => place.saturating_sub(1),
            Key::PageUp => place.saturating_sub(10),
            Key::Down => place + 1,
            Key::PageDown => place + 10,
            Key::Home => 0,
            _ => last,
        };
        self.chosen = self.lines.get(next.min(last)).map(|line| line.agent.id);
    }

    fn action(&self, what: Do) -> Option<Wish> {
        let agent = &self.line()?.agent;
        Some(Wish::Do(Action { agent: agent.id.to_string(), name: one_line(&agent.name), what }))
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let keys = key_rows(&screen.focus, frame.area().width);
    let foot_rows = 1 + u16::try_from(keys.len()).unwrap_or(1);
    let [head, body, foot] =
        Split::vertical([Constraint::Length(1), Constraint::Min(3), Constraint::Length(foot_rows)]).areas(frame.area());
    let [list, detail] = if body.width >= WIDE {
        Split::horizontal([Constraint::Length(76), Constraint::Min(40)]).areas(body)
    } else {
        Split::vertical([Constraint::Percentage(45), Constraint::Min(3)]).areas(body)
    };
    draw_head(frame, head, screen);
    draw_list(frame, list, screen);
    match screen.focus {
        Focus::Tasks => draw_tasks(frame, detail, screen),
        Focus::Agents | Focus::Transcript | Focus::Instruction(_) | Focus::Kill => draw_detail(frame, detail, screen),
    }
    draw_foot(frame, foot, screen, keys);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let active = screen.lines.iter().filter(|line| line.execution.is_some()).count();
    let mut spans = vec![
        Span::styled("tenure agents", Modifier::BOLD),
        Span::raw(format!("  {} agents, {active} at work", screen.lines.len())),
    ];
    if let Some(why) = &screen.lost {
        spans.push(Span::styled(format!("  not current: {}", one_line(why)), style(Ink::Bad)));
    }
    frame.render_widget(Row::from(spans), area);
}

/// Columns below which tokens and cost are left out, so that no name is cut for them.
const ALL_COLUMNS: u16 = 70;

fn draw_list(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let is_wide = area.width >= ALL_COLUMNS;
    let columns = [
        ("NAME", Constraint::Fill(2), true),
        ("STATUS", Constraint::Length(10), true),
        ("STEP", Constraint::Fill(2), true),
        ("TOKENS", Constraint::Length(8), is_wide),
        ("COST", Constraint::Length(8), is_wide),
        ("NEXT", Constraint::Length(5), true),
        ("MAIL", Constraint::Length(5), true),
    ];
    let rows = screen.lines.iter().map(|line| {
        let word = line.agent.status.as_str();
        let cells = [
            Span::raw(one_line(&line.agent.name)),
            Span::styled(word, style(status_ink(word))),
            Span::raw(one_line(&line.step())),
            Span::raw(line.tokens()),
            Span::raw(line.cost()),
            Span::raw(line.next_run(screen.now)),
            Span::raw(line.messages()),
        ];
        TableRow::new(cells.into_iter().zip(columns).filter(|(_, (.., is_shown))| *is_shown).map(|(cell, _)| cell))
    });
    let shown = || columns.into_iter().filter(|(.., is_shown)| *is_shown);
    let widths = shown().map(|(_, width, _)| width);
    let titles = TableRow::new(shown().map(|(title, ..)| title)).style(Modifier::BOLD);
    let table = Table::new(rows, widths).header(titles).highlight_symbol("> ").row_highlight_style(Modifier::REVERSED);
    let mut state = TableState::default().with_selected(screen.place());
    frame.render_stateful_widget(table.block(block("Agents", screen.focus == Focus::Agents)), area, &mut state);
    if screen.lines.is_empty() {
        let inner =
            Rect { x: area.x + 2, y: area.y + 2, width: area.width.saturating_sub(4), height: 2 }.intersection(area);
        let hint = "none yet: `tenure agent create NAME --purpose \"…\"` makes one";
        frame.render_widget(Paragraph::new(hint).wrap(Wrap { trim: true }), inner);
    }
}

fn draw_detail(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen) {
    let title = screen.line().map(|line| one_line(&line.agent.name)).unwrap_or_default();
    let block = block(&title, screen.focus == Focus::Transcript);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let facts = facts(screen, usize::from(inner.width));
    let [above, below] =
        Split::vertical([Constraint::Length(u16::try_from(facts.len()).unwrap_or(4)), Constraint::Min(1)]).areas(inner);
    frame.render_widget(Paragraph::new(facts), above);
    let (width, height) = (usize::from(below.width), usize::from(below.height));
    let mut rows: Vec<Row<'static>> = Vec::new();
    let saying = (!screen.saying.is_empty()).then(|| Spoken::Said(Voice::Model, screen.saying.clone()));
    // From the end, until there are as many as can be seen.
    for spoken in saying.iter().chain(screen.transcript.iter().rev()) {
        let mut more = wrapped(spoken, width);
        more.append(&mut rows);
        rows = more;
        if rows.len() >= height + screen.scrolled {
            break;
        }
    }
    if rows.is_empty() {
        rows.push(Row::styled("it has not run yet: n sets it to work", style(Ink::Dim)));
    }
    screen.scrolled = screen.scrolled.min(rows.len().saturating_sub(height));
    let end = rows.len() - screen.scrolled;
    let begin = end.saturating_sub(height);
    frame.render_widget(Paragraph::new(rows[begin..end].to_vec()), below);
}

fn facts(screen: &Screen, width: usize) -> Vec<Row<'static>> {
    let Some(line) = screen.line() else { return Vec::new() };
    let (agent, word) = (&line.agent, line.agent.status.as_str());
    let mut spans = vec![
        Span::styled(word, style(status_ink(word))),
        Span::raw(format!(", revision {}, {}", agent.revision, one_line(&agent.model))),
    ];
    if let Some(held) = &agent.supervised {
        let note = held.note.as_deref().map(|note| format!(": {}", one_line(note))).unwrap_or_default();
        let until = held.until.map(|until| format!(", until {until}")).unwrap_or_default();
        spans.push(Span::raw(format!(", by {}{note}{until}", held.by)));
    }
    let mut rows = vec![Row::from(spans)];
    let purpose = screen.file.as_ref().and_then(|file| file.purpose.as_deref());
    rows.extend(purpose.map(|purpose| Row::raw(within(&one_line(purpose), width))));
    rows
}

/// Each row of what was said begins with the mark of who speaks; a long one breaks between words, where it has any.
fn wrapped(spoken: &Spoken, width: usize) -> Vec<Row<'static>> {
    let (mark, text, style) = match spoken {
        Spoken::Ours(line) => ("", one_line(line), Style::new()),
        Spoken::Said(voice, text) => (voice.mark(), plain(text.trim_end()).replace('\t', "    "), style(Ink::Dim)),
    };
    let room = width.saturating_sub(mark.chars().count()).max(1);
    let columns = |text: &str| Span::raw(text.to_string()).width();
    let mut rows = Vec::new();
    for line in text.lines() {
        let (mut row, mut used) = (String::new(), 0);
        for letter in line.chars() {
            let wide = columns(letter.encode_utf8(&mut [0; 4]));
            if used + wide > room {
                let rest = row.rfind(' ').map(|space| row.split_off(space + 1)).unwrap_or_default();
                rows.push(Row::styled(format!("{mark}{}", row.trim_end()), style));
                (used, row) = (columns(&rest), rest);
            }
            row.push(letter);
            used += wide;
        }
        rows.push(Row::styled(format!("{mark}{row}"), style));
    }
    rows
}

fn draw_tasks(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let title = screen.line().map(|line| format!("{}: tasks", one_line(&line.agent.name))).unwrap_or_default();
    let block = block(&title, true);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let layout = Layout { width: Some(inner.width), headers: true, details: false };
    let mut rows = vec![Row::default()];
    for (ink, text) in
        tasks_table(&screen.tasks, Output { format: Format::Table, terminal: true, verbose: false }).lay_out(layout)
    {
        for (number, part) in text.split('\n').enumerate() {
            if number > 0 {
                rows.push(Row::default());
            }
            if let Some(row) = rows.last_mut().filter(|_| !part.is_empty()) {
                row.push_span(Span::styled(part.to_string(), style(ink)));
            }
        }
    }
    frame.render_widget(Paragraph::new(rows), inner);
}

/// What the keys do, in as many rows as it takes without cutting a hint.
fn key_rows(focus: &Focus, width: u16) -> Vec<String> {
    let keys = match focus {
        Focus::Agents => "up/down choose  enter read  p pause  r resume  k kill  n run  l log  q leave",
        Focus::Transcript => "up/down scroll  end newest  esc back  p pause  r resume  k kill  n run  q leave",
        Focus::Tasks => "up/down choose  esc back  p pause  r resume  k kill  n run  q leave",
        Focus::Instruction(_) => "enter starts it  esc leaves it",
        Focus::Kill => "y kills what runs of it  any other key leaves it",
    };
    let mut rows: Vec<String> = Vec::new();
    for hint in keys.split("  ") {
        match rows.last_mut() {
            Some(row) if row.len() + 2 + hint.len() <= usize::from(width) => row.push_str(&format!("  {hint}")),
            Some(_) | None => rows.push(hint.to_string()),
        }
    }
    rows
}

/// One row of it; what has no room is left out word by word, and `…` says so.
fn within(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_string();
    }
    let mut row = String::new();
    for word in text.split_inclusive(' ') {
        if Span::raw(format!("{row}{}", word.trim_end())).width() + 2 > width {
            break;
        }
        row.push_str(word);
    }
    format!("{}…", row)
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, screen: &Screen, keys: Vec<String>) {
    let name = screen.line().map(|line| one_line(&line.agent.name)).unwrap_or_default();
    let said = match (&screen.focus, &screen.note) {
        (Focus::Instruction(text), _) => {
            let room = usize::from(area.width).saturating_sub(name.chars().count() + 10);
            let letters: Vec<char> = text.chars().collect();
            let shown: String = letters[letters.len().saturating_sub(room)..].iter().collect();
            Row::from(vec![
                Span::styled(format!("run {name}: "), Modifier::BOLD),
                Span::raw(format!("{}_", one_line(&shown))),
            ])
        }
        (Focus::Kill, _) => Row::styled(format!("Kill what runs of {name}?"), Modifier::BOLD),
        (_, Some((ink, note))) => Row::styled(within(&one_line(note), usize::from(area.width)), style(*ink)),
        (_, None) => Row::default(),
    };
    let keys = keys.into_iter().map(|row| Row::styled(row, style(Ink::Dim)));
    frame.render_widget(Paragraph::new(std::iter::once(said).chain(keys).collect::<Vec<_>>()), area);
}

fn block(title: &str, chosen: bool) -> Block<'static> {
    let block = Block::bordered().title(format!(" {title} "));
    if chosen { block.border_style(Modifier::BOLD) } else { block.border_style(Modifier::DIM) }
}

fn style(ink: Ink) -> Style {
    match ink {
        Ink::Plain => Style::new(),
        Ink::Dim => Style::new().add_modifier(Modifier::DIM),
        Ink::Good => Style::new().fg(Color::Green),
        Ink::Wait => Style::new().fg(Color::Yellow),
        Ink::Bad | Ink::Error => Style::new().fg(Color::Red),
        Ink::Next => Style::new().fg(Color::Cyan),
    }
}
