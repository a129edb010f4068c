//! The main job, end to end on the built program: deploy an agent and watch it work.
mod journal;
mod local;
mod scripted;
