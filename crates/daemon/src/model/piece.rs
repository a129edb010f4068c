//! Text on its way to watchers while a model is still talking: plain data, without promise.
//!
//! A sink never makes the model wait. When its reader is slow, text is held back and goes out in one larger piece
//! later; what has not gone out when the answer is whole is in the answer anyway.

use std::sync::Mutex;
use tokio::sync::mpsc;

/// Bytes that a sink holds for a slow reader before it gives up on showing them.
const HELD_BYTES_MAX: usize = 256 * 1024;

pub struct PieceSink {
    reader: Option<mpsc::Sender<String>>,
    held: Mutex<String>,
}

impl PieceSink {
    /// Pieces go to `reader`, whose capacity is the bound.
    pub fn new(reader: mpsc::Sender<String>) -> Self {
        PieceSink { reader: Some(reader), held: Mutex::new(String::new()) }
    }

    /// Nobody watches.
    pub fn none() -> Self {
        PieceSink { reader: None, held: Mutex::new(String::new()) }
    }

    pub fn push(&self, text: &str) {
        let Some(reader) = &self.reader else { return };
        if text.is_empty() {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if held.len() + text.len() <= HELD_BYTES_MAX {
            held.push_str(text);
        }
        if let Ok(place) = reader.try_reserve() {
            place.send(std::mem::take(&mut held));
        }
    }

    /// Tries once more to hand over what is held. Called when the answer is whole.
    pub fn flush(&self) {
        let Some(reader) = &self.reader else { return };
        let mut held = self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !held.is_empty()
            && let Ok(place) = reader.try_reserve()
        {
            place.send(std::mem::take(&mut held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_gets_the_text_later_in_one_piece_and_holds_nobody_up() {
        let (sender, mut reader) = mpsc::channel(1);
        let sink = PieceSink::new(sender);
        for word in ["a", "b", "c"] {
            sink.push(word);
        }
        assert_eq!(reader.try_recv().unwrap(), "a");
        sink.flush();
        assert_eq!(reader.try_recv().unwrap(), "bc");
    }
}
