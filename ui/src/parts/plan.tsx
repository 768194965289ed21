// What a task would do, before it is begun: its steps, what changes in each object, and whether the cluster would allow it. A plan
// that was looked at is run as it is, or refused if something has changed since.

import type { Plan } from "../api";
import { State, Table } from "./basics";

export function PlanOf({ plan }: { plan: Plan }) {
  const changed = plan.objects.filter((object) => object.action !== "unchanged");
  const doubts = plan.preflight.filter((one) => one.verdict !== "ok");
  return (
    <section aria-label="What it would do" aria-live="polite">
      {plan.warnings.map((warning) => (
        <p class="warning" key={warning}>
          {warning}
        </p>
      ))}
      <h3>Checks</h3>
      {doubts.length === 0 ? <p>All {plan.preflight.length} checks are fine.</p> : null}
      <ul>
        {doubts.map((one, index) => (
          <li key={index}>
            <State state={one.verdict} /> {one.check}: {one.detail}
          </li>
        ))}
      </ul>
      <h3>Steps</h3>
      <ol>
        {plan.steps.map((step, index) => (
          <li key={index}>{step.label || step.name}</li>
        ))}
      </ol>
      <Table caption="Objects" head={["Object", "What happens"]}>
        {changed.map((object) => (
          <tr key={`${object.kind}/${object.namespace}/${object.name}`}>
            <th scope="row">
              {object.kind} {object.name}
            </th>
            <td>
              <strong>{object.action}</strong> {object.note}
              {object.differences?.map((difference) => (
                <p key={difference.path}>
                  <code>{difference.path}</code>: <code>{JSON.stringify(difference.from)}</code> →{" "}
                  <code>{JSON.stringify(difference.to)}</code>
                </p>
              ))}
            </td>
          </tr>
        ))}
      </Table>
      <p class="quiet">{plan.objects.length - changed.length} objects stay as they are.</p>
    </section>
  );
}
