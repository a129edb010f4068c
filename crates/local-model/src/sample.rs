//! The next token: always the likeliest that the grammar allows, so that the same prompt gives the same answer.

use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;

/// Candidates put to the grammar at a time, growing until one is allowed. Asking for all of a vocabulary at every token
/// costs more than the model itself on one thread; nearly always the first is allowed.
const ASKED: [usize; 3] = [1, 64, usize::MAX];

/// The likeliest token of all.
pub(crate) fn likeliest(logits: &[f32]) -> Option<LlamaToken> {
    best(logits, 1).first().copied().map(token)
}

/// The likeliest that the grammar allows, which moves on with it; `None` when it allows nothing.
pub(crate) fn next(logits: &[f32], grammar: Option<&mut LlamaSampler>) -> Option<LlamaToken> {
    let Some(grammar) = grammar else { return likeliest(logits) };
    for asked in ASKED {
        let candidates = best(logits, asked);
        let data = candidates.iter().map(|id| LlamaTokenData::new(token(*id), logits[*id], 0.0)).collect();
        let mut array = LlamaTokenDataArray::new(data, false);
        array.apply_sampler(grammar);
        let allowed = array.data.iter().filter(|d| d.logit() > f32::NEG_INFINITY);
        if let Some(chosen) = allowed.max_by(|a, b| a.logit().total_cmp(&b.logit())) {
            let chosen = chosen.id();
            grammar.accept(chosen);
            return Some(chosen);
        }
    }
    None
}

/// Moves the grammar on by `token`, or says that it does not allow it. Asked first, always: the engine ends the whole program
/// when its grammar is moved by what it does not allow.
pub(crate) fn accept(grammar: &mut LlamaSampler, token: LlamaToken) -> bool {
    let mut array = LlamaTokenDataArray::new(vec![LlamaTokenData::new(token, 0.0, 0.0)], false);
    array.apply_sampler(grammar);
    let allowed = array.data.first().is_some_and(|data| data.logit() > f32::NEG_INFINITY);
    if allowed {
        grammar.accept(token);
    }
    allowed
}

/// Indices of the `wanted` highest logits, highest first unless all are wanted.
fn best(logits: &[f32], wanted: usize) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    if wanted == 1 {
        return ids.into_iter().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).into_iter().collect();
    }
    if wanted < ids.len() {
        ids.select_nth_unstable_by(wanted, |a, b| logits[*b].total_cmp(&logits[*a]));
        ids.truncate(wanted);
        ids.sort_unstable_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    }
    ids
}

fn token(index: usize) -> LlamaToken {
    LlamaToken(i32::try_from(index).expect("invariant: a vocabulary fits i32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_grammar_the_likeliest_token_is_next() {
        assert_eq!(next(&[0.1, 2.0, -1.0], None), Some(LlamaToken(1)));
        assert_eq!(next(&[], None), None);
    }

    #[test]
    fn the_likeliest_few_come_in_order() {
        assert_eq!(best(&[0.5, 3.0, 1.0, 2.0, -4.0], 3), [1, 3, 2]);
        assert_eq!(best(&[0.5, 3.0], 64).len(), 2);
    }
}
