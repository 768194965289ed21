//! `gybe events`: shows what changes on a server until it is interrupted, and goes on where it was after a lost connection.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::time::sleep;

use crate::cli::contexts::ServerOptions;
use crate::cli::events::Event;
use crate::cli::output::{print_more, text_at};
use crate::cli::server::Server;
use crate::cli::{CliError, Exit, find};

/// The pause before the stream is opened again after it ended.
const PAUSE: Duration = Duration::from_secs(1);

/// `gybe events`.
#[derive(Args)]
pub struct Follow {
    /// Only what concerns this VNF (id or name)
    #[arg(long, value_name = "NAME")]
    vnf: Option<String>,
    /// Only this operation and its steps (id, or name of a VNF for its last operation)
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// Begin after the event with this number. Default: begin now
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Events of all projects; for admins
    #[arg(long)]
    all_projects: bool,
    #[command(flatten)]
    at: ServerOptions,
    /// Output
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: StreamFormat,
}

/// How events are printed, one per line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StreamFormat {
    /// Columns for people
    Table,
    /// JSON, as the server sends it
    Json,
}

/// Which events are shown.
struct Filter {
    vnf: Option<String>,
    op: Option<String>,
}

impl Filter {
    fn has(&self, event: &Value) -> bool {
        let is = |pointer, wanted: &Option<String>| wanted.as_ref().is_none_or(|id| text_at(event, pointer) == *id);
        // A step has the id of its operation.
        is("/vnfInstanceId", &self.vnf) && is("/id", &self.op)
    }
}

impl Follow {
    /// Shows events until the command is interrupted.
    ///
    /// # Errors
    /// The server refuses the stream or does not answer, or there is no such VNF or operation.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let server = self.at.connect()?;
        let filter = Filter {
            vnf: match &self.vnf {
                Some(name) => Some(find::vnf(&server, name).await?),
                None => None,
            },
            op: match &self.op {
                Some(name) => Some(find::operation(&server, name).await?),
                None => None,
            },
        };
        self.follow(&server, &filter).await
    }

    async fn follow(&self, server: &Server, filter: &Filter) -> Result<Exit, CliError> {
        let path = if self.all_projects { "/events/v1?all_projects=true" } else { "/events/v1" };
        let (mut last, mut was_open) = (self.after.map(|id| id.to_string()), false);
        loop {
            match server.stream(path, last.as_deref()).await {
                Ok(mut events) => {
                    was_open = true;
                    while let Some(event) = events.next().await {
                        if !self.show(&event, filter)? {
                            return Ok(Exit::Done);
                        }
                        last = event.id.or(last);
                    }
                }
                // The server is started again, or the network is away.
                Err(error) if was_open && error.exit == Exit::Unreachable => eprintln!("gybe: {error}; trying again"),
                Err(error) => return Err(error),
            }
            sleep(PAUSE).await;
        }
    }

    /// Returns whether somebody still reads.
    fn show(&self, event: &Event, filter: &Filter) -> Result<bool, CliError> {
        if event.is_reset() {
            eprintln!("gybe: events were missed: what was listed before may have changed");
            return Ok(true);
        }
        let Ok(data) = serde_json::from_str::<Value>(&event.data) else { return Ok(true) };
        if !filter.has(&data) {
            return Ok(true);
        }
        match self.output {
            StreamFormat::Json => print_more(&format!("{data}\n")),
            StreamFormat::Table => print_more(&line(&data)),
        }
    }
}

/// Time, type, change, state, id, and of a step what it does. Control characters, which names of others might have, are left out.
fn line(event: &Value) -> String {
    let at = |pointer| text_at(event, pointer);
    let cells = [
        format!("{:<30}", at("/time")),
        format!("{:<14}", at("/type")),
        format!("{:<7}", at("/change")),
        format!("{:<12}", at("/state")),
        at("/id"),
        at("/label"),
        at("/error"),
    ];
    let line = cells.join("  ");
    line.trim_end().chars().filter(|letter| !letter.is_control()).chain(['\n']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line_and_filters_know_what_it_belongs_to() {
        let step = json!({
            "type": "step", "id": "o", "opOccId": "o", "vnfInstanceId": "v", "change": "updated", "state": "WAITING",
            "time": "2026-01-02T03:04:05Z", "label": "wait\u{1b} until ready",
        });
        let expected = "2026-01-02T03:04:05Z            step            updated  WAITING       o  wait until ready\n";
        assert_eq!(line(&step), expected);
        let has = |vnf: Option<&str>, op: Option<&str>| {
            Filter { vnf: vnf.map(str::to_owned), op: op.map(str::to_owned) }.has(&step)
        };
        assert!(has(None, None) && has(Some("v"), None) && has(Some("v"), Some("o")));
        assert!(!has(Some("w"), None) && !has(None, Some("p")));
    }
}
