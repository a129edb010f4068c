//! Which payloads an event binds. A `match` without a wildcard: a new event does not compile before it is listed here.
use tenure_core::bound::Hash;
use tenure_core::fold::Event;
use tenure_core::{agent, execution, fleet, project};

pub(super) fn of(event: &Event, each: &mut dyn FnMut(Hash)) {
    match event {
        Event::Agent(event) => match event {
            agent::Event::Created(deployed) | agent::Event::Revised(deployed) => each(deployed.manifest.hash),
            agent::Event::Deleted {} | agent::Event::Archived {} | agent::Event::Refused(_) => {}
        },
        Event::Execution(event) => of_execution(event, each),
        Event::Project(event) => match event {
            project::Event::Founded { .. }
            | project::Event::DaemonStarted { .. }
            | project::Event::RestoreAccepted { .. }
            | project::Event::KeyCreated { .. }
            | project::Event::KeyRevoked { .. }
            | project::Event::Refused(_) => {}
        },
        Event::Worker(event) => match event {
            fleet::Event::Registered { .. }
            | fleet::Event::SessionOpened { .. }
            | fleet::Event::SessionLapsed { .. }
            | fleet::Event::SessionSwept { .. }
            | fleet::Event::Refused(_) => {}
        },
    }
}

fn of_execution(event: &execution::Event, each: &mut dyn FnMut(Hash)) {
    use execution::Event as E;
    match event {
        E::Started { input, .. } => each(input.hash),
        E::ModelAnswered { delta, output, calls, .. } => {
            each(delta.hash);
            output.iter().for_each(|output| each(output.hash));
            calls.iter().for_each(|call| each(call.arguments.hash));
        }
        E::CallCalled(called) => each(called.arguments),
        E::CallEnded(ended) => ended.result.iter().for_each(|result| each(result.hash)),
        E::Validated { reasons, .. } => each(reasons.hash),
        // Their outputs were bound by the turn that gave them.
        E::IterationClosing { .. }
        | E::IterationCompleted { .. }
        | E::IterationFailed { .. }
        | E::Ended { .. }
        | E::CancelRequested { .. }
        | E::IterationStarted { .. }
        | E::IterationBound { .. }
        | E::IterationUnbound { .. }
        | E::JailLost { .. }
        | E::NetworkRefused { .. }
        | E::ModelCalled { .. }
        | E::ModelFailed { .. }
        | E::ModelLost { .. }
        | E::CallBlocked { .. }
        | E::IterationReleased { .. }
        | E::Refused(_) => {}
    }
}
