//! What is kept and shown of a program's output. Must never: grow with it.
use data_encoding::BASE64;
use std::collections::VecDeque;
use std::time::Instant;
use tenure_core::call::Holder;
use tenure_core::id::{CallId, LeaseId};
use tenure_wire::frame::FromWorker;
use tokio::sync::mpsc;

/// Bytes kept of each stream; of a longer one, its first and its last half of this.
pub(crate) const KEPT_BYTES: usize = 64 << 10;
const HALF: usize = KEPT_BYTES / 2;
/// Most bytes of text in one `Output` frame.
const SHOWN_BYTES: usize = 4 << 10;
/// What one call may show at once, and what is added to that each second.
const BURST_BYTES: u64 = 256 << 10;
const BYTES_PER_SECOND: u64 = 64 << 10;

/// The head and the tail of one stream.
#[derive(Debug, Default)]
pub(crate) struct HeadTailBuffer {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl HeadTailBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(HALF - self.head.len()));
        self.head.extend_from_slice(first);
        // Of one very long piece only its end can stay.
        let (skipped, rest) = rest.split_at(rest.len().saturating_sub(HALF));
        let over = (self.tail.len() + rest.len()).saturating_sub(HALF);
        self.tail.drain(..over.min(self.tail.len()));
        self.left_out += (skipped.len() + over) as u64;
        self.tail.extend(rest);
    }

    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// As text, or in base64 where it is none; and which of the two. Of a long one that is no text only the head is given.
    pub(crate) fn encoded(mut self) -> (String, &'static str) {
        let text = |bytes: &[u8]| !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok();
        let tail = self.tail.make_contiguous();
        let is_text = if self.left_out == 0 {
            self.head.extend_from_slice(tail);
            self.tail.clear();
            text(&self.head)
        } else {
            // A letter that a bound cut in two is no reason to take the rest for something else.
            let start = tail.iter().take(3).take_while(|byte| (**byte & 0xc0) == 0x80).count();
            let tail = &tail[start..tail.len() - unfinished(tail)];
            text(&self.head[..self.head.len() - unfinished(&self.head)]) && text(tail)
        };
        if is_text { (self.text(), "utf-8") } else { (BASE64.encode(&self.head), "base64") }
    }

    /// Bytes that are not UTF-8 show as U+FFFD; a gap is said where it is.
    pub(crate) fn text(mut self) -> String {
        let tail = self.tail.make_contiguous();
        if self.left_out == 0 {
            self.head.extend_from_slice(tail);
            return String::from_utf8_lossy(&self.head).into_owned();
        }
        let whole = self.head.len() - unfinished(&self.head);
        let start = tail.iter().take(3).take_while(|byte| (**byte & 0xc0) == 0x80).count();
        let left_out = self.left_out + (self.head.len() - whole + start) as u64;
        let (head, tail) = (String::from_utf8_lossy(&self.head[..whole]), String::from_utf8_lossy(&tail[start..]));
        format!("{head}\n[… {left_out} bytes left out …]\n{tail}")
    }
}

/// How many bytes at the end begin a UTF-8 letter that is not complete.
pub(crate) fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let letter = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if letter > back { back } else { 0 };
    }
    0
}

/// Shows the output of one running call to whoever watches. Plain data: what the link cannot take is dropped.
#[derive(Debug)]
pub(crate) struct Shown {
    frames: mpsc::Sender<FromWorker>,
    lease: LeaseId,
    call: CallId,
    holder: Holder,
    since: Instant,
    spent: u64,
    carried: [Vec<u8>; 2],
}

impl Shown {
    pub(crate) fn new(frames: mpsc::Sender<FromWorker>, (lease, call): (LeaseId, CallId), holder: Holder) -> Shown {
        Shown { frames, lease, call, holder, since: Instant::now(), spent: 0, carried: [Vec::new(), Vec::new()] }
    }

    pub(crate) fn push(&mut self, stderr: bool, bytes: &[u8]) {
        let budget = BURST_BYTES + BYTES_PER_SECOND.saturating_mul(self.since.elapsed().as_secs());
        if self.spent >= budget {
            return;
        }
        let carried = &mut self.carried[usize::from(stderr)];
        carried.extend_from_slice(bytes);
        let mut rest = carried.as_slice();
        while !rest.is_empty() {
            let piece = &rest[..rest.len().min(SHOWN_BYTES)];
            let piece = &piece[..piece.len() - unfinished(piece)];
            if piece.is_empty() {
                break;
            }
            rest = &rest[piece.len()..];
            self.spent += piece.len() as u64;
            let text = String::from_utf8_lossy(piece).into_owned();
            let (lease, call) = (self.lease, self.call);
            let frame = FromWorker::Output { lease, call, holder: self.holder, stderr, text };
            if self.spent > budget || self.frames.try_send(frame).is_err() {
                rest = &[];
            }
        }
        *carried = rest.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_up_to_the_bound_is_kept_whole_and_a_longer_one_says_what_it_lost() {
        let mut whole = HeadTailBuffer::default();
        whole.push(&vec![b'a'; KEPT_BYTES]);
        assert_eq!((whole.left_out(), whole.text().len()), (0, KEPT_BYTES));

        let mut long = HeadTailBuffer::default();
        for chunk in [vec![b'a'; HALF - 5], vec![b'b'; 10], vec![b'c'; 200_000], vec![b'd'; 7]] {
            long.push(&chunk);
        }
        let left_out = HALF + 5 + 200_007 - KEPT_BYTES;
        assert_eq!(long.left_out(), left_out as u64);
        let text = long.text();
        assert!(text.contains(&format!("[… {left_out} bytes left out …]")));
        assert!(text.starts_with("aaa") && text.ends_with("cddddddd") && text.len() < KEPT_BYTES + 64);
    }

    #[test]
    fn what_is_no_text_is_given_in_base64_and_whole_where_it_is_short() {
        let encoded = |bytes: &[u8]| {
            let mut kept = HeadTailBuffer::default();
            kept.push(bytes);
            let left_out = kept.left_out();
            (kept.encoded(), left_out)
        };
        assert_eq!(encoded(b"text"), (("text".to_owned(), "utf-8"), 0));
        assert_eq!(encoded(b"a\0b"), (("YQBi".to_owned(), "base64"), 0));
        let binary = vec![0xff; HALF + 9];
        assert_eq!(encoded(&binary), ((BASE64.encode(&binary), "base64"), 0));
        let ((long, kind), left_out) = encoded(&vec![0xff; KEPT_BYTES + 9]);
        assert_eq!((long, kind, left_out), (BASE64.encode(&vec![0xff; HALF]), "base64", 9));
        let ((long, kind), _) = encoded("€".repeat(KEPT_BYTES).as_bytes());
        assert!(kind == "utf-8" && long.starts_with('€') && long.ends_with('€') && !long.contains('\u{fffd}'));
    }

    #[test]
    fn a_cut_inside_a_letter_leaves_no_broken_letter() {
        let mut kept = HeadTailBuffer::default();
        kept.push(&"€".repeat(100_000).into_bytes());
        assert!(!kept.text().contains('\u{fffd}'));
        assert_eq!(unfinished("a€".as_bytes()), 0);
        assert_eq!(unfinished(&"a€".as_bytes()[..3]), 2);
        assert_eq!(unfinished(b"\xff"), 0);
    }
}
