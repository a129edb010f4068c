//! The view on a terminal that is only remembered, at two sizes.
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Modifier;
use serde_json::{Value, json};
use tenure_wire::api::agent::Agent;
use tenure_wire::api::event::Piece;
use tenure_wire::api::execution::Execution;
use tenure_wire::client::StreamItem;

use super::feed::{News, Snapshot};
use super::input::Key;
use super::view::{Screen, draw};
use super::{Action, Do, Wish};

fn id(prefix: &str, number: u32) -> String {
    format!("{prefix}_0{number:025}")
}

fn agent(number: u32, name: &str, status: &str) -> Value {
    json!({
        "id": id("agt", number), "name": name, "status": status, "revision": 2, "runtime": "native", "model": "default",
        "labels": {}, "created_at": "2026-02-23T10:00:00Z", "updated_at": "2026-02-23T10:00:00Z",
        "next_run_at": if number == 1 { json!("2026-02-23T12:00:00Z") } else { Value::Null },
    })
}

fn execution(number: u32, agent: u32, status: &str) -> Value {
    json!({
        "id": id("exe", number), "agent": id("agt", agent), "agent_name": "x", "revision": 2, "status": status,
        "cancel_requested": false, "iteration": 2, "max_iterations": 10, "tool_calls": 3, "tokens_in": 1200,
        "tokens_out": 34, "cost_micro_usd": 12_345, "unpriced_model_calls": 0, "duration_ms": 5200,
        "started_at": "2026-02-23T10:00:00Z", "trigger": "schedule",
    })
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn snapshot(agents: Vec<Agent>, executions: Vec<Execution>) -> Snapshot {
    Snapshot { at: "2026-02-23T10:00:00Z".parse().unwrap(), agents, executions }
}

/// Three agents: one at work, one that waits in the queue, one that is paused.
fn office() -> Screen {
    let agents = [(1, "bookkeeper", "active"), (2, "devops", "active"), (3, "organizer", "paused")];
    let agents: [Agent; 3] = agents.map(|(number, name, status)| read(agent(number, name, status)));
    let executions: [Execution; 3] =
        [execution(1, 1, "running"), execution(2, 2, "queued"), execution(3, 1, "queued")].map(read);
    Screen::of(snapshot(agents.into(), executions.into()))
}

fn event(index: u64, rest: Value) -> StreamItem {
    let mut event = json!({"index": index, "at": "2026-02-23T10:00:00Z", "execution": id("exe", 1), "iteration": 1});
    event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    StreamItem::Event(Box::new(read(event)))
}

fn hear(screen: &mut Screen, item: StreamItem) {
    let number = screen.chosen().unwrap().number;
    screen.take(News::Heard { number, item: Box::new(item) });
}

fn at_work() -> Screen {
    let mut screen = office();
    hear(&mut screen, event(1, json!({"kind": "iteration.started", "worker": id("wrk", 1)})));
    let said =
        "I look for new invoices.\nThen I update the ledger, and flag anything over $10,000 for a person to see.";
    hear(
        &mut screen,
        event(
            2,
            json!({
                "kind": "model.answered", "turn": 1, "model": "local/qwen", "calls": [], "tokens_in": 1, "tokens_out": 1,
                "tokens_cached": 0, "took_ms": 1, "text": said,
            }),
        ),
    );
    hear(&mut screen, StreamItem::Piece(Piece::Text { text: "Now \u{1b}[2J\u{202e}it".into(), so_far: false }));
    screen
}

fn shown(screen: &mut Screen, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let rows = (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>());
    rows.map(|row| format!("{}\n", row.trim_end())).collect()
}

#[test]
fn the_view_is_whole_on_a_small_terminal_and_side_by_side_on_a_wide_one() {
    insta::assert_snapshot!("small", shown(&mut at_work(), 80, 24));
    insta::assert_snapshot!("wide", shown(&mut at_work(), 200, 60));
    insta::assert_snapshot!("narrow", shown(&mut at_work(), 60, 24));
    // Too small for anything, and still no failure.
    shown(&mut at_work(), 10, 3);
    insta::assert_snapshot!("empty", shown(&mut Screen::of(snapshot(Vec::new(), Vec::new())), 80, 24));
}

#[test]
fn what_an_agent_says_bears_its_mark_on_each_row_and_no_letter_that_acts() {
    let text = shown(&mut at_work(), 80, 24);
    assert!(text.contains(r"│ Now \u{1b}[2J\u{202e}it"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
}

#[test]
fn the_chosen_row_is_told_by_a_mark_and_by_reverse_and_never_by_a_colour_alone() {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let mut screen = at_work();
    terminal.draw(|frame| draw(frame, &mut screen)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = (0..24).find(|y| buffer[(1, *y)].symbol() == ">").unwrap();
    assert!(buffer[(4, row)].modifier.contains(Modifier::REVERSED));
    assert!(!buffer[(4, row + 1)].modifier.contains(Modifier::REVERSED), "the control");
}

#[test]
fn a_key_acts_on_the_chosen_one_and_a_kill_is_asked_for_twice() {
    let mut screen = at_work();
    let action =
        |number, name: &str, what| Some(Wish::Do(Action { agent: id("agt", number), name: name.into(), what }));
    assert_eq!(screen.press(Key::Letter('p')), action(1, "bookkeeper", Do::Pause));
    assert_eq!(screen.press(Key::Down), None);
    assert_eq!(screen.press(Key::Letter('k')), None);
    assert_eq!(screen.press(Key::Letter('n')), None, "that was no yes");
    assert_eq!(screen.press(Key::Letter('k')), None);
    let kill = Do::Supervise(tenure_wire::api::agent::Act::Kill);
    assert_eq!(screen.press(Key::Letter('y')), action(2, "devops", kill));
    screen.press(Key::Letter('n'));
    for letter in "tidy upq".chars() {
        assert_eq!(screen.press(Key::Letter(letter)), None);
    }
    screen.press(Key::Backspace);
    insta::assert_snapshot!("instruction", shown(&mut screen, 80, 24));
    assert_eq!(screen.press(Key::Enter), action(2, "devops", Do::Run("tidy up".into())));
    assert_eq!(screen.press(Key::Letter('q')), Some(Wish::Leave));
}

#[test]
fn news_of_another_choice_is_not_shown_as_this_ones_and_a_kill_is_not_meant_for_who_comes_next() {
    let mut screen = at_work();
    let old = screen.chosen().unwrap().number;
    screen.press(Key::Down);
    screen.begin_transcript();
    let late = event(3, json!({"kind": "iteration.completed"}));
    screen.take(News::Heard { number: old, item: Box::new(late) });
    assert!(!shown(&mut screen, 80, 24).contains("Completed"));
    screen.press(Key::Letter('k'));
    let left: [Agent; 1] = [read(agent(1, "bookkeeper", "active"))];
    screen.take(News::Agents(snapshot(left.into(), Vec::new())));
    assert_eq!(screen.press(Key::Letter('y')), None, "who was to be killed is gone");
    assert_eq!(screen.chosen().unwrap().agent, id("agt", 1));
    screen.take(News::Lost("no daemon answers".into()));
    assert!(shown(&mut screen, 80, 24).contains("not current: no daemon answers"));
}

#[test]
fn at_sixty_columns_no_hint_of_the_footer_and_no_word_of_a_note_is_cut() {
    let mut screen = at_work();
    for (key, hints) in [
        (
            Key::Escape,
            &["up/down choose", "enter read", "p pause", "r resume", "k kill", "n run", "l log", "q leave"][..],
        ),
        (Key::Enter, &["up/down scroll", "end newest", "esc back", "q leave"]),
        (Key::Letter('l'), &["up/down choose", "esc back", "q leave"]),
    ] {
        screen.press(key);
        let text = shown(&mut screen, 60, 24);
        for hint in hints {
            assert!(text.contains(hint), "`{hint}` is not in\n{text}");
        }
    }
    let why = "the daemon cannot do that now because a word that is long stands at the border of the row";
    screen.take(News::Failed(why.to_string()));
    let text = shown(&mut screen, 60, 24);
    let note = text.lines().find(|line| line.contains("the daemon cannot")).unwrap_or_else(|| panic!("{text}"));
    let words = note.trim_matches(['"', ' ', '…']).split_whitespace();
    assert!(note.contains('…') && words.into_iter().all(|word| why.split(' ').any(|known| known == word)), "{note}");
}
