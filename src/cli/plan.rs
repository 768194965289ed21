//! Begins tasks of a VNF: at once, as a preview that shows the plan, or with the plan of a preview.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::find::VNFLCM;
use crate::cli::output::{OutputOptions, difference, rows, table, text_at};
use crate::cli::package::Prepared;
use crate::cli::run::onboard;
use crate::cli::server::Server;
use crate::cli::wait::{WaitOptions, finish};
use crate::cli::{CliError, Exit};

/// The options of previews.
#[derive(Args, Clone, Debug)]
pub struct PlanOptions {
    /// Change nothing: show what would become of each object. The plan is kept for 15 minutes. The exit code is 1 if a check shows that
    /// the operation would stop
    #[arg(long, conflicts_with = "plan")]
    pub preview: bool,
    /// Run exactly this plan of --preview. The exit code is 8 if it can't be run any more
    #[arg(long, value_name = "ID")]
    pub plan: Option<String>,
    /// Output of --preview
    #[command(flatten)]
    pub output: OutputOptions,
}

impl PlanOptions {
    /// Onboards the package of a task, unless the server has it.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn onboard(&self, server: &Server, prepared: &Prepared) -> Result<(), CliError> {
        let (id, is_new) = onboard(server, prepared).await?;
        if is_new { self.output.note(&format!("package {id} onboarded\n")) } else { Ok(()) }
    }
}

/// A task of a VNF instance.
pub struct Task {
    /// The last part of the path.
    pub name: &'static str,
    pub body: Map<String, Value>,
}

impl Task {
    /// `members` is the body, an object.
    pub fn new(name: &'static str, members: Value) -> Self {
        let body = if let Value::Object(members) = members { members } else { Map::new() };
        Self { name, body }
    }

    /// Previews the task of the VNF instance `vnf`, or begins it and waits for its end if that is asked for.
    ///
    /// # Errors
    /// As the server answers; the operation did not do what was asked.
    pub async fn run(
        self,
        server: &Server,
        vnf: &str,
        plan: &PlanOptions,
        wait: WaitOptions,
    ) -> Result<Exit, CliError> {
        if plan.preview {
            return self.preview(server, vnf, plan.output).await;
        }
        let op = self.begin(server, vnf, plan.plan.as_deref()).await?;
        finish(server, &op, wait, "COMPLETED").await
    }

    /// Begins the task and returns the id of its op occurrence.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn begin(mut self, server: &Server, vnf: &str, plan: Option<&str>) -> Result<String, CliError> {
        if let Some(plan) = plan {
            self.body.insert("gybe:planId".to_owned(), plan.into());
        }
        let answer = server.post(&format!("{}/{}", path(vnf), self.name), &Value::Object(self.body)).await?;
        let op = answer.location_id().map(str::to_owned);
        op.ok_or_else(|| CliError::new(Exit::Unreachable, "the answer has no Location: is this a server of Gybe?"))
    }

    /// Shows what the task would do.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn preview(self, server: &Server, vnf: &str, output: OutputOptions) -> Result<Exit, CliError> {
        let path = format!("{}/{}/preview", path(vnf), self.name);
        let preview = server.post(&path, &Value::Object(self.body)).await?.body;
        output.show(&preview, text)?;
        let stops = elements(&preview, "preflight").any(|check| text_at(check, "/verdict") == "failed");
        Ok(if stops { Exit::Failed } else { Exit::Done })
    }
}

/// The path of a VNF instance.
pub fn path(id: &str) -> String {
    format!("{VNFLCM}/vnf_instances/{id}")
}

fn elements<'a>(value: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    value.get(member).and_then(Value::as_array).into_iter().flatten()
}

/// A preview for people: what changes, in which order, and what was checked.
fn text(preview: &Value) -> String {
    let changed: Value =
        elements(preview, "objects").filter(|object| text_at(object, "/action") != "unchanged").cloned().collect();
    let unchanged = elements(preview, "objects").count() - elements(&json!({ "all": changed }), "all").count();
    let mut text = table(&["ACTION", "KIND", "NAME", "NOTE"], &rows(&changed, &["/action", "/kind", "/name", "/note"]));
    if unchanged > 0 {
        text += &format!("unchanged: {unchanged} objects\n");
    }
    for object in changed.as_array().into_iter().flatten() {
        let mut head = format!("\n{} {}\n", text_at(object, "/kind"), text_at(object, "/name"));
        for one in elements(object, "differences") {
            text += &std::mem::take(&mut head);
            text += &difference(&text_at(one, "/path"), one.get("from"), one.get("to"));
        }
        let more = text_at(object, "/moreDifferences");
        if !more.is_empty() {
            text += &format!("  and {more} more: see -o json\n");
        }
    }
    let steps: Vec<Vec<String>> = (1..)
        .zip(elements(preview, "steps"))
        .map(|(number, step): (usize, &Value)| vec![number.to_string(), text_at(step, "/label")])
        .collect();
    text += &format!("\n{}", table(&["STEP", "DOES"], &steps));
    let checks = rows(&elements(preview, "preflight").cloned().collect(), &["/verdict", "/check", "/detail"]);
    if !checks.is_empty() {
        text += &format!("\n{}", table(&["VERDICT", "CHECK", "FOUND"], &checks));
    }
    for warning in elements(preview, "warnings") {
        text += &format!("\nwarning: {}\n", warning.as_str().unwrap_or_default());
    }
    let at = |pointer| text_at(preview, pointer);
    text + &format!(
        "\nNothing is changed. To run exactly this plan until {}: the same command with --plan {} instead of --preview\n",
        at("/expiresAt"),
        at("/planId")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_shows_what_changes_and_how_to_run_it() {
        let object = |action: &str, name: &str| json!({ "action": action, "kind": "ConfigMap", "name": name });
        let mut changed = object("change", "b");
        changed["differences"] = json!([{ "path": "/data/x", "from": "1", "to": null }]);
        let preview = json!({
            "planId": "p", "expiresAt": "t", "operation": "HEAL", "objects": [object("unchanged", "a"), changed],
            "steps": [{ "name": "Apply", "label": "apply 1 object" }],
            "preflight": [{ "check": "rights", "verdict": "ok", "detail": "all" }], "warnings": [],
        });
        let expected = "ACTION  KIND       NAME  NOTE\nchange  ConfigMap  b\nunchanged: 1 objects\n\nConfigMap b\n  /data/x\n  - \"1\"\n  + null\n\n\
                        STEP  DOES\n1     apply 1 object\n\nVERDICT  CHECK   FOUND\nok       rights  all\n\n\
                        Nothing is changed. To run exactly this plan until t: the same command with --plan p instead of --preview\n";
        assert_eq!(text(&preview), expected);
    }
}
