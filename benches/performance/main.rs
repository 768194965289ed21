//! Gybe's benchmarks, in one program. `scripts/bench` starts what they need and runs them; `scripts/soak` runs the soak
//! test.
//!
//! The arguments name the sections to run; `table` prints the stored results as Markdown (the tables in
//! docs/performance.md). Each section states what is real and what is fake.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't run has nothing to say")]

mod api;
mod authentication;
mod bare;
mod conductor;
mod fake_driver;
mod filters;
mod lifecycle;
mod load;
mod many;
mod memory;
mod namespaces;
mod notifications;
mod operations;
mod process;
mod report;
mod soak;
#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, unused_macros, clippy::expect_used, reason = "the tests' support has more than this needs")]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use report::Report;
use tokio::runtime::Builder;

/// The sections without an argument, in this order.
const SECTIONS: [&str; 9] =
    ["lifecycle", "operations", "many", "api", "authentication", "filters", "conductor", "notifications", "memory"];
/// The sections of the table.
const SHOWN: [&str; 11] = [
    "lifecycle",
    "operations",
    "many",
    "api",
    "authentication",
    "filters",
    "conductor",
    "notifications",
    "memory",
    "soak",
    "soak-postgres",
];
/// The default duration of the soak test.
const SOAK: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    // cargo adds an argument.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [conductor::WORKER, url] => several_threads(conductor::work(url)),
        ["table"] => println!("{}", Report::open().markdown(&SHOWN)),
        ["soak" | "soak-postgres", ..] => return soak(&arguments),
        [] => SECTIONS.into_iter().for_each(section),
        _ => arguments.into_iter().for_each(section),
    }
    ExitCode::SUCCESS
}

fn section(name: &str) {
    println!("\n{name}");
    let section = match name {
        "lifecycle" => several_threads(lifecycle::measure()),
        "operations" => several_threads(operations::measure()),
        "many" => several_threads(many::measure()),
        // One thread for the load generator: it shares the cores with the server.
        "api" => one_thread(api::measure()),
        "authentication" => one_thread(authentication::measure()),
        "filters" => one_thread(filters::measure()),
        "memory" => one_thread(memory::measure()),
        "conductor" => one_thread(conductor::measure()),
        "notifications" => several_threads(notifications::measure()),
        other => panic!("no section is called {other}: there are {}", SECTIONS.join(", ")),
    };
    Report::open().keep(section);
}

fn soak(arguments: &[&str]) -> ExitCode {
    let length = arguments.get(1).map_or(SOAK, |seconds| Duration::from_secs(seconds.parse().unwrap()));
    let (section, good) = several_threads(soak::measure(length, arguments[0] == "soak-postgres"));
    Report::open().keep(section);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one_thread<T>(section: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(section)
}

fn several_threads<T>(section: impl Future<Output = T>) -> T {
    Builder::new_multi_thread().enable_all().build().unwrap().block_on(section)
}
