// Who changed what, or was refused, when and from where.

import { type AuditRecord, condition, list, query } from "../api";
import { Loaded, marker, MARKER, Pager, Table, View } from "../parts/basics";
import { Moment } from "../parts/time";
import { useResource } from "../resource";
import { href, open, route } from "../router";

const DAY = 24 * 60 * 60 * 1000;
const PERIODS: [string, string][] = [
  ["1", "the last day"],
  ["7", "the last week"],
  ["31", "the last month"],
];

export function Audit() {
  const given = route.value.query;
  const [days, subject, position] = [given.get("days") ?? "1", given.get("subject") ?? "", given.get(MARKER)];
  // To the hour, so that the pages of a list have the same filter.
  const since = new Date(Math.floor((Date.now() - Number(days) * DAY) / 3_600_000) * 3_600_000).toISOString();
  const conditions = [condition("gte", "time", since), ...(subject === "" ? [] : [condition("eq", "subject", subject)])];
  const path = query("/audit/v1/records", { filter: conditions.join(";"), [MARKER]: position ?? undefined });
  const records = useResource(path, (signal) => list<AuditRecord>(path, signal), () => false);
  const next = marker(records.value?.next);
  return (
    <View title="Audit">
      <Filter days={days} subject={subject} />
      <Loaded resource={records}>
        {({ items }) =>
          items.length === 0 ? (
            <p class="quiet">No record in this time.</p>
          ) : (
            <Table caption="Audit records" head={["Time", "Who", "Request", "Status", "From"]}>
              {items.map((record) => (
                <tr key={record.id}>
                  <td>
                    <Moment time={record.time} />
                  </td>
                  <td>{record.subject ?? "nobody known"}</td>
                  <td>
                    {record.httpMethod} {record.path}
                  </td>
                  <td>{record.status}</td>
                  <td>{record.peer}</td>
                </tr>
              ))}
            </Table>
          )
        }
      </Loaded>
      <Pager
        first={position === null ? undefined : href(["audit"], { days, subject })}
        next={next === undefined ? undefined : href(["audit"], { days, subject, [MARKER]: next })}
      />
    </View>
  );
}

function Filter({ days, subject }: { days: string; subject: string }) {
  const submit = (event: Event): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    open(href(["audit"], { days: String(form.get("days")), subject: String(form.get("subject")).trim() }));
  };
  return (
    <form class="filter" role="search" aria-label="Audit records" onSubmit={submit}>
      <label>
        In{" "}
        <select name="days">
          {PERIODS.map(([value, name]) => (
            <option key={value} value={value} selected={value === days}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        Who <input name="subject" defaultValue={subject} />
      </label>
      <button type="submit">Filter</button>
    </form>
  );
}
