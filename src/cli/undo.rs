//! `gybe vnf undo`: brings a VNF back to what it was before its last change, by an operation of its own.
//!
//! [`Undo::of`] decides what that operation is, from the history. Undone twice, a change is made again.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::find::{self, VNFLCM};
use crate::cli::output::{print, text_at};
use crate::cli::plan::Task;
use crate::cli::tasks::TaskOptions;
use crate::cli::wait::finish;
use crate::cli::{CliError, Exit};

/// `gybe vnf undo`.
#[derive(Args)]
pub struct UndoLast {
    #[command(flatten)]
    task: TaskOptions,
}

impl UndoLast {
    /// # Errors
    /// There is nothing that can be undone; as the server answers.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let TaskOptions { name, plan, wait, at } = &self.task;
        let server = at.connect()?;
        let id = find::vnf(&server, name).await?;
        match Undo::of(&find::operations(&server, &id).await?)? {
            Undo::Task(task) => task.run(&server, &id, plan, *wait).await,
            Undo::Rollback(op) if plan.preview || plan.plan.is_some() => {
                let text =
                    format!("the operation {op} stopped, and its rollback has no preview; see: gybe op get {op}");
                Err(CliError::new(Exit::Refused, text))
            }
            Undo::Rollback(op) => {
                server.post(&format!("{VNFLCM}/vnf_lcm_op_occs/{op}/rollback"), &json!({})).await?;
                print(&format!("{op} is rolled back\n"))?;
                finish(&server, &op, *wait, "ROLLED_BACK").await
            }
        }
    }
}

/// How the last change of a VNF is undone.
enum Undo {
    /// Roll back this op occurrence.
    Rollback(String),
    Task(Task),
}

impl Undo {
    /// Decides from the operations of a VNF, oldest first. A HEAL changes nothing that the VNF is to be, and what was rolled back has
    /// changed nothing.
    ///
    /// # Errors
    /// There is nothing to undo, or nobody can undo it.
    fn of(history: &[Value]) -> Result<Self, CliError> {
        let state = |op: &Value| text_at(op, "/operationState");
        let is_change = |op: &&Value| {
            state(op) != "ROLLED_BACK" && !(text_at(op, "/operation") == "HEAL" && state(op) == "COMPLETED")
        };
        let Some(last) = history.iter().rfind(is_change) else {
            return Err(CliError::new(
                Exit::NotFound,
                "the VNF has no change that could be undone; see: gybe vnf history",
            ));
        };
        let id = text_at(last, "/id");
        match state(last).as_str() {
            "COMPLETED" => completed(last, history).map(Self::Task),
            "FAILED_TEMP" if last.pointer("/_links/rollback").is_some() => Ok(Self::Rollback(id)),
            "FAILED_TEMP" => {
                Err(cannot(last, &format!("it can't be rolled back; gybe op retry {id}, or gybe op fail {id}")))
            }
            "FAILED" => Err(cannot(
                last,
                "it was given up half-way; gybe vnf diff shows what it left, gybe vnf sync repairs it",
            )),
            state => Err(cannot(last, &format!("it is {state}; gybe op cancel {id}, or gybe op watch {id}"))),
        }
    }
}

fn cannot(op: &Value, why: &str) -> CliError {
    let (operation, id) = (text_at(op, "/operation"), text_at(op, "/id"));
    CliError::new(Exit::Refused, format!("the last change, {operation} ({id}), can't be undone: {why}"))
}

/// The task that undoes a change that is COMPLETED.
fn completed(op: &Value, history: &[Value]) -> Result<Task, CliError> {
    let param = |name: &str| op.pointer(&format!("/operationParams/{name}")).cloned().unwrap_or_default();
    match text_at(op, "/operation").as_str() {
        "SCALE" => {
            let direction = if param("type") == "SCALE_OUT" { "SCALE_IN" } else { "SCALE_OUT" };
            let steps = Some(param("numberOfSteps")).filter(|steps| !steps.is_null()).unwrap_or_else(|| json!(1));
            Ok(Task::new("scale", json!({ "type": direction, "aspectId": param("aspectId"), "numberOfSteps": steps })))
        }
        "SCALE_TO_LEVEL" => match op.pointer("/gybe:levels/before") {
            Some(levels) => Ok(Task::new("scale_to_level", json!({ "scaleInfo": levels }))),
            None => Err(cannot(op, "it left all levels as they were")),
        },
        "OPERATE" => match state_before(op, history) {
            before if param("changeStateTo") == before => Err(cannot(op, &format!("the VNF was {before} before"))),
            before => Ok(Task::new("operate", json!({ "changeStateTo": before }))),
        },
        "CHANGE_VNFPKG" => match op.pointer("/gybe:package/before/vnfdId") {
            Some(vnfd) => Ok(Task::new("change_vnfpkg", json!({ "vnfdId": vnfd }))),
            None => Err(cannot(op, "the VNF had the same package before")),
        },
        "INSTANTIATE" => Err(cannot(op, "before it, there were no objects; to remove them: gybe vnf terminate")),
        "TERMINATE" => Err(cannot(op, "the objects are gone; make new ones: gybe run")),
        _ => Err(cannot(op, "the values before are not recorded; set them again with PATCH")),
    }
}

/// The state before an OPERATE: that of the one before, or STARTED as instantiated.
fn state_before(op: &Value, history: &[Value]) -> String {
    let before = history.iter().take_while(|one| one.get("id") != op.get("id"));
    let mut state = "STARTED".to_owned();
    for one in before.filter(|one| text_at(one, "/operationState") == "COMPLETED") {
        match text_at(one, "/operation").as_str() {
            "INSTANTIATE" => "STARTED".clone_into(&mut state),
            "OPERATE" => state = text_at(one, "/operationParams/changeStateTo"),
            _ => {}
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(operation: &str, state: &str, params: Value) -> Value {
        json!({ "id": operation, "operation": operation, "operationState": state, "operationParams": params })
    }

    fn done(operation: &str, params: Value) -> Value {
        op(operation, "COMPLETED", params)
    }

    /// The task or the error.
    fn undo(history: &[Value]) -> String {
        match Undo::of(history) {
            Ok(Undo::Task(task)) => format!("{} {}", task.name, Value::Object(task.body)),
            Ok(Undo::Rollback(id)) => format!("rollback {id}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_last_change_has_its_opposite() {
        let out = done("SCALE", json!({ "type": "SCALE_OUT", "aspectId": "web", "numberOfSteps": 2 }));
        let back = r#"scale {"aspectId":"web","numberOfSteps":2,"type":"SCALE_IN"}"#;
        assert_eq!(undo(std::slice::from_ref(&out)), back);
        let nothing = [out, done("HEAL", json!({})), op("CHANGE_VNFPKG", "ROLLED_BACK", json!({}))];
        assert_eq!(undo(&nothing), back);

        let mut change = done("CHANGE_VNFPKG", json!({ "vnfdId": "new" }));
        change["gybe:package"] = json!({ "before": { "vnfdId": "old" } });
        assert_eq!(undo(&[change]), r#"change_vnfpkg {"vnfdId":"old"}"#);
        let mut level = done("SCALE_TO_LEVEL", json!({ "instantiationLevelId": "large" }));
        level["gybe:levels"] = json!({ "before": [{ "aspectId": "web", "scaleLevel": 1 }] });
        assert_eq!(undo(&[level]), r#"scale_to_level {"scaleInfo":[{"aspectId":"web","scaleLevel":1}]}"#);

        let operate = |id: &str, to: &str| {
            let mut one = done("OPERATE", json!({ "changeStateTo": to }));
            one["id"] = id.into();
            one
        };
        let history = [done("INSTANTIATE", json!({})), operate("a", "STOPPED"), operate("b", "STARTED")];
        assert_eq!(undo(&history), r#"operate {"changeStateTo":"STOPPED"}"#);
        assert!(undo(&[operate("a", "STARTED")]).ends_with("can't be undone: the VNF was STARTED before"));
    }

    #[test]
    fn what_cannot_be_undone_says_why_and_what_to_do() {
        let mut stopped = op("SCALE", "FAILED_TEMP", json!({}));
        assert!(undo(std::slice::from_ref(&stopped)).contains("gybe op retry SCALE"));
        stopped["_links"] = json!({ "rollback": {} });
        assert_eq!(undo(&[stopped]), "rollback SCALE");
        for (op, says) in [
            (op("SCALE", "PROCESSING", json!({})), "it is PROCESSING; gybe op cancel SCALE"),
            (op("SCALE", "FAILED", json!({})), "gybe vnf sync repairs it"),
            (op("HEAL", "FAILED_TEMP", json!({})), "gybe op fail HEAL"),
            (done("INSTANTIATE", json!({})), "gybe vnf terminate"),
            (done("TERMINATE", json!({})), "gybe run"),
            (done("MODIFY_INFO", json!({})), "set them again with PATCH"),
        ] {
            let said = undo(std::slice::from_ref(&op));
            assert!(said.contains(says), "{said}");
        }
        assert!(undo(&[]).contains("no change that could be undone"));
    }
}
