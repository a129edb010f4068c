//! Groups of an agent's events, as patterns: a part that heeds only its own names the others by their group. Must never hold a
//! wildcard.

/// Events of messages, but for the two that bring what a message says.
macro_rules! message_events_without_body {
    () => {
        Event::MessageFannedOut { .. }
            | Event::MessagesReceived { .. }
            | Event::MessagesDead { .. }
            | Event::MessagesExpired { .. }
            | Event::MessageUnanswered { .. }
            | Event::MessageResent { .. }
            | Event::MessageDropped { .. }
            | Event::MessageRefused { .. }
            | Event::Subscribed { .. }
            | Event::Unsubscribed { .. }
    };
}

/// Events of stored values.
macro_rules! state_events {
    () => {
        Event::StateSet(_)
            | Event::StateDeleted(_)
            | Event::StateExpired(_)
            | Event::StateDropped(_)
            | Event::StateRestored(_)
            | Event::StateSessionOver(_)
            | Event::StateQuotaSet { .. }
            | Event::StateSweepDue { .. }
    };
}

/// Events of an agent's own life, but for its end.
macro_rules! life_events {
    () => {
        Event::Created(_)
            | Event::Revised(_)
            | Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Woken { .. }
            | Event::WakeSkipped { .. }
            | Event::WakeHeld { .. }
            | Event::BudgetSet { .. }
            | Event::BudgetNear(_)
            | Event::Killed(_)
            | Event::Quarantined { .. }
            | Event::Recovered { .. }
            | Event::Revoked(_)
            | Event::Deleted { .. }
            | Event::Homed { .. }
            | Event::HomeRemoved { .. }
            | Event::KeyCreated { .. }
            | Event::KeyRetired { .. }
            | Event::KeyRevoked { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::InstanceStarted { .. }
            | Event::InstanceEnded { .. }
            | Event::FilePut(_)
            | Event::FilePutEnded { .. }
            | Event::ExecutionStarted { .. }
            | Event::ExecutionEnded { .. }
            | Event::RetentionDue { .. }
            | Event::Refused(_)
    };
}

macro_rules! message_events {
    () => {
        Event::MessageSent { .. } | Event::MessageQueued { .. } | message_events_without_body!()
    };
}
