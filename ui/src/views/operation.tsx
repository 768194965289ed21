// An operation, live: what it does and did, step by step, why it waits or stopped, and what can be done about it.

import { type OpOcc, type Step, type StepObject, get, pathOf, post } from "../api";
import { Action, ask } from "../parts/action";
import { Loaded, Raw, short, State, Table, View } from "../parts/basics";
import { Ago, Moment, Took } from "../parts/time";
import { useResource } from "../resource";
import { href } from "../router";
import { mayChange } from "../session";

interface Shown {
  op: OpOcc;
  steps: Step[];
}

export function Operation({ id }: { id: string }) {
  const path = `/vnflcm/v2/vnf_lcm_op_occs/${encodeURIComponent(id)}`;
  const load = async (signal: AbortSignal): Promise<Shown> => {
    const [op, steps] = await Promise.all([
      get<OpOcc>(path, signal),
      get<{ steps: Step[] }>(`${path}/steps`, signal),
    ]);
    return { op, steps: steps.steps };
  };
  const shown = useResource(id, load, (event) => event.id === id || event.opOccId === id);
  const operation = shown.value?.op.operation.replaceAll("_", " ").toLowerCase() ?? "Operation";
  return (
    <View title={operation.charAt(0).toUpperCase() + operation.slice(1)}>
      <Loaded resource={shown}>{(value) => <Content {...value} reload={shown.reload} />}</Loaded>
    </View>
  );
}

function Content({ op, steps, reload }: Shown & { reload: () => void }) {
  return (
    <>
      <Summary op={op} />
      <Actions op={op} reload={reload} />
      <Now op={op} />
      {op.error ? <Stopped error={op.error} /> : null}
      <section aria-labelledby="steps">
        <h2 id="steps">Steps</h2>
        <Timeline steps={steps} />
      </section>
      <More op={op} />
    </>
  );
}

function Summary({ op }: { op: OpOcc }) {
  return (
    <dl class="facts">
      <div>
        <dt>State</dt>
        <dd>
          <span role="status" id="state">
            <State state={op.operationState} />
          </span>
        </dd>
      </div>
      <div>
        <dt>VNF</dt>
        <dd>
          <a href={href(["vnfs", op.vnfInstanceId])}>{short(op.vnfInstanceId)}</a>
        </dd>
      </div>
      <div>
        <dt>Began</dt>
        <dd>
          <Moment time={op.startTime} />
        </dd>
      </div>
      <div>
        <dt>In this state</dt>
        <dd>
          since <Ago time={op.stateEnteredTime} />
        </dd>
      </div>
      {op.isCancelPending ? (
        <div>
          <dt>Cancel</dt>
          <dd>asked for ({op.cancelMode?.toLowerCase()})</dd>
        </div>
      ) : null}
    </dl>
  );
}

interface Task {
  name: "retry" | "rollback" | "fail" | "cancel";
  label: string;
  /** What to know before. Without it, nobody is asked. */
  warning?: string;
}

const TASKS: Task[] = [
  { name: "retry", label: "Retry" },
  { name: "rollback", label: "Roll back", warning: "Gybe undoes what the operation has done so far." },
  {
    name: "fail",
    label: "Fail",
    warning: "Gybe gives the operation up and undoes nothing. Neither a retry nor a rollback is possible afterwards.",
  },
  {
    name: "cancel",
    label: "Cancel",
    warning: "Gybe stops the operation where it is. You decide afterwards whether to retry it or to roll it back.",
  },
];

/** The tasks that the operation allows now, as its links say. */
function Actions({ op, reload }: { op: OpOcc; reload: () => void }) {
  const possible = TASKS.filter((task) => op._links[task.name]);
  if (possible.length === 0 || !mayChange()) return null;
  return (
    <div class="actions" role="group" aria-label="What to do">
      {possible.map((task) => (
        <Action key={task.name} label={task.label} run={() => begin(op, task, reload)} />
      ))}
    </div>
  );
}

async function begin(op: OpOcc, task: Task, reload: () => void): Promise<void> {
  const link = op._links[task.name];
  if (!link) return;
  const run = async (form?: FormData): Promise<void> => {
    await post(pathOf(link.href), task.name === "cancel" ? { cancelMode: form?.get("mode") } : {});
    reload();
  };
  if (task.warning === undefined) return run();
  ask({
    title: `${task.label} ${op.operation.replaceAll("_", " ").toLowerCase()}?`,
    label: task.label,
    danger: true,
    run,
    content: (
      <>
        <p>{task.warning}</p>
        {task.name === "cancel" ? (
          <label>
            Mode{" "}
            <select name="mode">
              <option value="GRACEFUL">graceful: wait for requests under way</option>
              <option value="FORCEFUL">forceful: do not wait</option>
            </select>
          </label>
        ) : null}
      </>
    ),
  });
}

/** What a running operation does now, and why it waits. */
function Now({ op }: { op: OpOcc }) {
  const progress = op["gybe:progress"];
  if (progress === undefined) return null;
  const { step, of, label, objects, since, reasons } = progress;
  return (
    <section class="card busy" aria-live="polite" aria-label="Progress">
      <p>
        <progress max={of} value={step} aria-label={`step ${step} of ${of}`} /> Step {step} of {of}: {label}
        {objects === undefined ? null : ` (${objects.ready} of ${objects.total} ready)`}, since <Ago time={since} />
      </p>
      {reasons?.map((reason) => (
        <p class="reason" key={reason}>
          {reason}
        </p>
      ))}
    </section>
  );
}

/** Evidence from the cluster, as `error.evidence` has it. */
interface Evidence {
  objects?: { kind: string; name: string; conditions?: Record<string, unknown>[] }[];
  events?: Record<string, unknown>[];
  logs?: Record<string, unknown>[];
  notes?: string[];
}

function Stopped({ error }: { error: NonNullable<OpOcc["error"]> }) {
  const evidence = (error as { evidence?: Evidence }).evidence;
  return (
    <section class="card bad" aria-labelledby="stopped">
      <h2 id="stopped">{error.title ?? "Why it stopped"}</h2>
      <p class="reason">{error.detail}</p>
      {error.help ? (
        <p>
          <a href={pathOf(error.help)}>What this means</a>
        </p>
      ) : null}
      {evidence === undefined ? null : <EvidenceOf {...evidence} />}
    </section>
  );
}

function EvidenceOf({ objects, events, logs, notes }: Evidence) {
  return (
    <details>
      <summary>Evidence from the cluster</summary>
      {objects?.map((object) => (
        <div key={`${object.kind}/${object.name}`}>
          <h3>
            {object.kind} {object.name}
          </h3>
          <Facts rows={object.conditions ?? []} />
        </div>
      ))}
      {events?.length ? (
        <>
          <h3>Events</h3>
          <Facts rows={events} />
        </>
      ) : null}
      {logs?.length ? (
        <>
          <h3>Logs</h3>
          {logs.map((log, index) => (
            <pre tabIndex={0} key={index}>
              {text(log)}
            </pre>
          ))}
        </>
      ) : null}
      {notes?.map((note) => (
        <p class="quiet" key={note}>
          {note}
        </p>
      ))}
    </details>
  );
}

function Facts({ rows }: { rows: Record<string, unknown>[] }) {
  return (
    <ul>
      {rows.map((row, index) => (
        <li key={index}>
          {Object.values(row)
            .filter((value) => value !== null && value !== "")
            .map(text)
            .join(" · ")}
        </li>
      ))}
    </ul>
  );
}

function text(value: unknown): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return value.map(text).join("\n");
  if (typeof value === "object" && value !== null) return Object.values(value).map(text).join("\n");
  return String(value);
}

/** All attempts of all steps, in order. */
function Timeline({ steps }: { steps: Step[] }) {
  if (steps.length === 0) return <p class="quiet">No step has begun.</p>;
  return (
    <ol class="timeline">
      {steps.map((step) => (
        <li key={`${step.direction} ${step.sequence} ${step.attempt}`} class={step.state.toLowerCase()}>
          <p>
            <State state={step.state} /> <strong>{step.label || step.name}</strong>{" "}
            {step.direction === "backward" ? <span class="quiet">on the way back</span> : null}{" "}
            {step.attempt > 1 ? <span class="quiet">attempt {step.attempt}</span> : null}{" "}
            <Took from={step.beganAt} to={step.endedAt} />
          </p>
          {step.error === undefined ? null : <p class="reason">{step.error}</p>}
          {step.objects?.length ? <Objects objects={step.objects} open={step.state !== "COMPLETED"} /> : null}
          {step.conductor === undefined ? null : <p class="quiet">by {short(step.conductor)}</p>}
        </li>
      ))}
    </ol>
  );
}

function Objects({ objects, open }: { objects: StepObject[]; open: boolean }) {
  return (
    <details open={open}>
      <summary>
        {objects.length} {objects.length === 1 ? "object" : "objects"}
      </summary>
      <ul class="objects">
        {objects.map((object) => (
          <li key={`${object.kind}/${object.namespace}/${object.name}`}>
            <State state={object.state} /> {object.kind} {object.name}
            {object.total === undefined ? null : ` ${object.ready ?? 0} of ${object.total} ready`}
            {object.reason === undefined ? null : <span class="reason"> {object.reason}</span>}
            {object.since === undefined || object.reason === undefined ? null : (
              <>
                {" "}
                <Ago time={object.since} />
              </>
            )}
          </li>
        ))}
      </ul>
    </details>
  );
}

function More({ op }: { op: OpOcc }) {
  const changed = op.resourceChanges?.affectedVnfcs ?? [];
  return (
    <section aria-labelledby="more">
      <h2 id="more">More</h2>
      {op["gybe:warnings"]?.map((warning) => (
        <p class="warning" key={warning}>
          {warning}
        </p>
      ))}
      {changed.length === 0 ? null : (
        <Table caption="Changed VNFCs" head={["VNFC", "VDU", "Change"]}>
          {changed.map((vnfc) => (
            <tr key={vnfc.id}>
              <th scope="row">{vnfc.id}</th>
              <td>{vnfc.vduId}</td>
              <td>{vnfc.changeType.toLowerCase()}</td>
            </tr>
          ))}
        </Table>
      )}
      <Raw title="What was asked for" value={op.operationParams} />
      <Raw title="Everything, as JSON" value={op} />
    </section>
  );
}
