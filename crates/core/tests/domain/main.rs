//! The domain as its commands and events show it: transition tables and random histories.
mod budgets;
mod children;
mod conversations;
mod golden;
mod neighbours;
mod messages;
mod office;
mod replay;
mod reports;
mod schedules;
mod session_calls;
mod sessions;
mod shared_budgets;
mod staff;
mod state;
mod talk;
mod transitions;
