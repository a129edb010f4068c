//! Conversations: executions that go on from each other, one at a time.
use crate::office::Office;
use tenure_core::aggregate::{Event, Refusal};
use tenure_core::execution::{self, Chained, Execution};
use tenure_core::id::ExecutionId;

fn said(office: &mut Office, conversation: Option<ExecutionId>) -> Result<Vec<Event>, Refusal> {
    office.execution = office.world.execution_id();
    let say = office.say(conversation);
    office.apply(say)
}

fn answer(office: &mut Office) {
    office.must(execution::Command::Cancel { why: "it is answered by this".into() });
}

fn place(office: &Office) -> Option<Chained> {
    office.state().and_then(|execution: &Execution| execution.conversation)
}

#[test]
fn each_turn_goes_on_from_the_last_and_waits_until_that_is_answered() {
    let mut office = Office::new(0);
    said(&mut office, None).expect("a new conversation");
    let first = office.execution;
    assert_eq!(place(&office), Some(Chained { id: first, turn: 1 }));
    let busy = Err(Refusal::Execution(execution::Refusal::ConversationBusy { execution: first }));
    assert_eq!(said(&mut office, Some(first)), busy);
    office.execution = first;
    answer(&mut office);
    for turn in 2..5 {
        said(&mut office, Some(first)).expect("the last was answered");
        assert_eq!(place(&office), Some(Chained { id: first, turn }));
        answer(&mut office);
    }
    said(&mut office, None).expect("another conversation");
    assert_eq!(place(&office), Some(Chained { id: office.execution, turn: 1 }));
}

#[test]
fn nobody_goes_on_with_a_conversation_of_another_agent_or_with_none() {
    let mut office = Office::new(0);
    said(&mut office, None).expect("a new conversation");
    let conversation = office.execution;
    answer(&mut office);
    let unknown = Err(Refusal::Execution(execution::Refusal::ConversationUnknown {}));
    let mine = std::mem::replace(&mut office.agent, office.world.agent_id());
    office.deploy("other", 0, "2").expect("a new agent");
    assert_eq!(said(&mut office, Some(conversation)), unknown);
    office.agent = mine;
    office.execution = office.world.execution_id();
    let start = office.start();
    office.must(start);
    let plain = office.execution;
    answer(&mut office);
    assert_eq!(said(&mut office, Some(plain)), unknown, "a plain execution is no conversation");
    said(&mut office, Some(conversation)).expect("the control: its own agent");
}
