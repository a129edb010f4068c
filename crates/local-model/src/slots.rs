//! Which of the few kept token sequences a new prompt goes on from. Pure: the engine carries out what is chosen here.
//!
//! A slot is one conversation whose state the engine still holds. Slots share one pool of cells, so a prompt that begins
//! like a slot's sequence takes that beginning over at no cost, and never by spoiling a conversation that may go on.

use llama_cpp_2::token::LlamaToken;

/// Conversations kept at a time.
pub(crate) const SLOTS_MAX: usize = 4;

/// A slot may lose this many tokens at its end and be gone on from in place: an answer is often rendered again with
/// other tokens at its very end.
const TAIL_LOST_MAX: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// What the engine's memory holds for this sequence, from position 0.
    pub(crate) tokens: Vec<LlamaToken>,
    /// Turn of its last use; 0: never.
    pub(crate) used: u64,
}

/// How to begin a prompt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Go on in `slot` after its first `kept` tokens.
    Continue { slot: usize, kept: usize },
    /// Empty `slot`, then take the first `kept` tokens over from slot `source`.
    Fork { slot: usize, source: usize, kept: usize },
    /// Empty `slot` and begin at 0.
    Fresh { slot: usize },
}

impl Start {
    pub(crate) fn slot(&self) -> usize {
        match self {
            Self::Continue { slot, .. } | Self::Fork { slot, .. } | Self::Fresh { slot } => *slot,
        }
    }
}

pub(crate) fn common_prefix(a: &[LlamaToken], b: &[LlamaToken]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Chooses for `prompt`. At least one token of it is always left to compute, since the next token comes of that.
pub(crate) fn choose(slots: &[Slot], prompt: &[LlamaToken]) -> Start {
    let usable = prompt.len().saturating_sub(1);
    let kept_in = |slot: &Slot| common_prefix(&slot.tokens, prompt).min(usable);
    let best =
        (0..slots.len()).max_by_key(|i| (kept_in(&slots[*i]), slots[*i].used)).expect("invariant: there are slots");
    let kept = kept_in(&slots[best]);
    if kept > 0 && slots[best].tokens.len() - kept <= TAIL_LOST_MAX {
        return Start::Continue { slot: best, kept };
    }
    let oldest = (0..slots.len()).min_by_key(|i| slots[*i].used).expect("invariant: there are slots");
    if kept == 0 {
        Start::Fresh { slot: oldest }
    } else if oldest == best {
        Start::Continue { slot: best, kept }
    } else {
        Start::Fork { slot: oldest, source: best, kept }
    }
}

/// Slots to empty, least recently used first, so that `needed` more cells fit into `cells` beside what stays.
/// Shared beginnings are counted once a slot, so this errs on the safe side.
pub(crate) fn evicted(slots: &[Slot], chosen: usize, needed: usize, cells: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..slots.len()).filter(|i| *i != chosen && !slots[*i].tokens.is_empty()).collect();
    others.sort_by_key(|i| slots[*i].used);
    let mut held: usize = others.iter().map(|i| slots[*i].tokens.len()).sum();
    let mut out = Vec::new();
    for slot in others {
        if held + needed <= cells {
            break;
        }
        held -= slots[slot].tokens.len();
        out.push(slot);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<LlamaToken> {
        text.bytes().map(|b| LlamaToken(i32::from(b))).collect()
    }

    fn slots(held: &[(&str, u64)]) -> Vec<Slot> {
        held.iter().map(|(text, used)| Slot { tokens: tokens(text), used: *used }).collect()
    }

    #[test]
    fn a_conversation_goes_on_where_it_stopped() {
        let held = slots(&[("system A one", 1), ("system B", 2), ("", 0)]);
        assert_eq!(choose(&held, &tokens("system A one two")), Start::Continue { slot: 0, kept: 12 });
    }

    #[test]
    fn a_second_conversation_shares_the_beginning_and_spoils_nothing() {
        let long = format!("system A {}", "x".repeat(100));
        let held = slots(&[(&long, 3), ("", 0)]);
        assert_eq!(choose(&held, &tokens("system B")), Start::Fork { slot: 1, source: 0, kept: 7 });
    }

    #[test]
    fn two_interleaved_conversations_both_keep_their_state() {
        let mut held: Vec<Slot> = (0..SLOTS_MAX).map(|_| Slot::default()).collect();
        let mut said = [format!("system A{}", "a".repeat(60)), format!("system B{}", "b".repeat(60))];
        let mut cached = 0;
        for turn in 1..=20_u64 {
            let text = &mut said[usize::from(turn % 2 == 0)];
            text.push_str("more");
            let prompt = tokens(text);
            let start = choose(&held, &prompt);
            if let Start::Continue { kept, .. } = start {
                cached += kept;
            }
            held[start.slot()] = Slot { tokens: prompt, used: turn };
        }
        assert!(cached > 18 * 60, "only {cached} tokens were kept");
    }

    #[test]
    fn a_repeated_prompt_still_leaves_one_token_to_compute() {
        let held = slots(&[("abc", 1)]);
        assert_eq!(choose(&held, &tokens("abc")), Start::Continue { slot: 0, kept: 2 });
    }

    #[test]
    fn nothing_in_common_takes_the_oldest_slot() {
        let held = slots(&[("abc", 2), ("def", 1)]);
        assert_eq!(choose(&held, &tokens("xyz")), Start::Fresh { slot: 1 });
    }

    #[test]
    fn only_as_many_slots_are_emptied_as_the_pool_needs() {
        let held = slots(&[("aaaa", 3), ("bbbb", 1), ("cccc", 2)]);
        assert_eq!(evicted(&held, 0, 8, 16), Vec::<usize>::new());
        assert_eq!(evicted(&held, 0, 12, 16), vec![1]);
        assert_eq!(evicted(&held, 0, 16, 16), vec![1, 2]);
    }
}
