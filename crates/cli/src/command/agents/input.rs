//! Keys as the view knows them, read by a thread of their own: a terminal's read blocks.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc::{Receiver, channel};

/// The thread looks this often whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);
const KEYS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    Letter(char),
    /// Ctrl-C.
    Interrupt,
    /// The window has another size.
    Resized,
}

pub(super) struct Keys {
    keys: Receiver<Key>,
    wanted: Arc<AtomicBool>,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
    }
}

impl Keys {
    pub(super) fn read() -> Keys {
        let (sender, keys) = channel(KEYS_MAX);
        let wanted = Arc::new(AtomicBool::new(true));
        let is_wanted = Arc::clone(&wanted);
        std::thread::spawn(move || {
            while is_wanted.load(Ordering::Relaxed) {
                match event::poll(LOOK) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    Err(_) => return,
                }
                let Ok(event) = event::read() else { return };
                if key(&event).is_some_and(|key| sender.blocking_send(key).is_err()) {
                    return;
                }
            }
        });
        Keys { keys, wanted }
    }

    /// None once the terminal is gone.
    pub(super) async fn next(&mut self) -> Option<Key> {
        self.keys.recv().await
    }
}

fn key(event: &Event) -> Option<Key> {
    let key = match event {
        Event::Resize(..) => return Some(Key::Resized),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => Some(Key::Interrupt),
        KeyCode::Char(letter) if !control => Some(Key::Letter(letter)),
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::PageUp => Some(Key::PageUp),
        KeyCode::PageDown => Some(Key::PageDown),
        KeyCode::Home => Some(Key::Home),
        KeyCode::End => Some(Key::End),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Escape),
        KeyCode::Backspace => Some(Key::Backspace),
        _ => None,
    }
}
