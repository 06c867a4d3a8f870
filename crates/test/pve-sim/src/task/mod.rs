//! Tasks: what a POST starts and answers with a UPID for.
//!
//! A task is a process of its own (`pve-sim worker`), which the one that starts it names by the child's process id and start time
//! ([`upid`]), records as active ([`index`]), and hands its job over standard input ([`spawn`]). Its standard output is the task
//! log; the log's last line is its result ([`log`]). So a worker can be killed, and the server too, and anybody can still tell
//! what became of a task: a process that is gone without a last line ended with `unexpected status`.

pub(crate) mod index;
pub(crate) mod log;
pub(crate) mod process;
pub(crate) mod spawn;
pub(crate) mod upid;
pub(crate) mod worker;

pub(crate) use upid::Upid;
