//! A judge that wants people asked about the programs of some agents; else it is the floor and the tools.
use tenure_core::actor::Actor;
use tenure_core::call::HolderKind;
use tenure_core::judge::{Ask, Digest, FloorAndTools, Judge, Judgement, Verdict, Wants};

#[derive(Debug, Clone, Copy, Default)]
pub struct Careful;

impl Judge for Careful {
    fn judge(&self, ask: &Ask<'_>) -> Judgement {
        let judgement = FloorAndTools.judge(ask);
        // Sessions seldom hold a jail as it is.
        let every = match ask.context.caller {
            HolderKind::Execution => 2,
            HolderKind::Session => 5,
        };
        let asks = match ask.actor {
            Actor::Agent(agent) => agent.to_string().bytes().map(u32::from).sum::<u32>().is_multiple_of(every),
            Actor::Owner { .. }
            | Actor::Key(_)
            | Actor::Link(_)
            | Actor::Worker(_)
            | Actor::Daemon
            | Actor::Validator => false,
        };
        if judgement.verdict == Verdict::Autonomous && asks && ask.capability == "process.run" {
            return Judgement::new(Verdict::ApprovalRequired, "careful:programs");
        }
        judgement
    }

    fn wants(&self, _: Option<Digest>, _: &str, _: &str) -> Wants {
        Wants::default()
    }
}
