//! What programs of an agent's do, of an execution's events: the model calls that they make by their jail's listener.
use super::What;
use tenure_core::execution::Event;

pub(super) fn proxy_what(event: &Event) -> What {
    if let Event::ProxyCalled(called) = event {
        return What::ProxyCalled {
            call: called.call,
            attempt: called.attempt,
            wire: called.wire.clone(),
            asked: called.asked.clone(),
            model: called.model.clone(),
        };
    }
    if let Event::ProxyAnswered(answered) = event {
        let usage = answered.usage;
        return What::ProxyAnswered {
            call: answered.call,
            model: answered.model.clone(),
            tokens_in: usage.input,
            tokens_out: usage.output,
            tokens_cached: usage.cached,
            cost_micro_usd: usage.micro_usd,
            took_ms: usage.took_ms,
            tokens_estimated: usage.estimated,
            cassette: answered.cassette,
        };
    }
    if let Event::ProxyFailed(failed) = event {
        return What::ProxyFailed {
            call: failed.call,
            failure: failed.failure.clone(),
            sentence: failed.sentence.clone(),
            charged_micro_usd: failed.charged_micro_usd,
            tokens_in: failed.usage.map(|usage| usage.input),
            tokens_out: failed.usage.map(|usage| usage.output),
        };
    }
    if let Event::ProxyLost(lost) = event {
        return What::ProxyLost { call: lost.call, charged_micro_usd: lost.charged_micro_usd };
    }
    unreachable!("invariant: only the four events of a program's model call come here")
}
