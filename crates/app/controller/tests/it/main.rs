//! The controller as a process, with real apps as processes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod boxed;
mod compose;
mod confirm;
mod freeze;
mod guest;
mod link;
mod page;
mod probe;
mod run;

/// Not a test: the app that the guests of these tests run. Their `bin/app` is a link to this very binary, called with
/// arguments that choose this function; without the variables that the engine sets it does nothing.
#[test]
#[ignore = "the app of the other tests"]
fn app_process() {
    let var = |name: &str| std::env::var(name).ok();
    if var("HEALTH_NONCE").is_some() {
        sample_app::run(&sample_app::Settings::from_vars(var).unwrap()).unwrap();
    }
}
