// All VNFs: those that need a decision first, then those with a running operation, then all, with filters and pages of the server.

import { type OpOcc, type Page, type Vim, type VnfInstance, condition, get, list, query } from "../api";
import { Loaded, marker, MARKER, Pager, short, State, Table, View } from "../parts/basics";
import { Ago } from "../parts/time";
import { useResource } from "../resource";
import { href, open, route } from "../router";

const FILTERS = ["name", "namespace", "vim", "state"] as const;
type Filters = Partial<Record<(typeof FILTERS)[number], string>>;

/** An operation, with the VNF that it works on. */
interface Work {
  op: OpOcc;
  vnf?: VnfInstance | undefined;
}

interface Works {
  works: Work[];
  /** Whether there are more than these. */
  more: boolean;
}

export function Fleet() {
  return (
    <View title="VNFs">
      <Decisions />
      <Running />
      <All />
    </View>
  );
}

const isOperation = ({ type }: { type: string }): boolean => type === "vnf_lcm_op_occ";

function Decisions() {
  const filter = condition("eq", "operationState", "FAILED_TEMP");
  const stopped = useResource("decisions", (signal) => works(filter, signal), isOperation);
  return (
    <section aria-labelledby="decisions">
      <h2 id="decisions">
        Need a decision{" "}
        {stopped.value === undefined ? null : <span class="count">{count(stopped.value)}</span>}
      </h2>
      <Loaded resource={stopped}>
        {({ works }) =>
          works.length === 0 ? (
            <p class="quiet">No operation waits for a decision.</p>
          ) : (
            <ul class="cards">
              {works.map((work) => (
                <li key={work.op.id} class="card bad">
                  <WorkHead {...work} />
                  <p class="reason">{work.op.error?.detail}</p>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </section>
  );
}

function Running() {
  const filter = condition("in", "operationState", "STARTING", "PROCESSING", "ROLLING_BACK");
  const concerns = ({ type }: { type: string }): boolean => type === "vnf_lcm_op_occ" || type === "step";
  const running = useResource("running", (signal) => works(filter, signal), concerns);
  return (
    <section aria-labelledby="running">
      <h2 id="running">
        Running {running.value === undefined ? null : <span class="count">{count(running.value)}</span>}
      </h2>
      <Loaded resource={running}>
        {({ works }) =>
          works.length === 0 ? (
            <p class="quiet">No operation runs.</p>
          ) : (
            <ul class="cards">
              {works.map((work) => (
                <li key={work.op.id} class="card busy">
                  <WorkHead {...work} />
                  <Reasons op={work.op} />
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </section>
  );
}

function WorkHead({ op, vnf }: Work) {
  return (
    <p>
      <a href={href(["vnfs", op.vnfInstanceId])}>{vnf?.vnfInstanceName || short(op.vnfInstanceId)}</a>
      {": "}
      <a href={href(["operations", op.id])}>{op.operation.replaceAll("_", " ").toLowerCase()}</a>{" "}
      <State state={op.operationState} /> <Ago time={op.stateEnteredTime} />
    </p>
  );
}

function Reasons({ op }: { op: OpOcc }) {
  const progress = op["gybe:progress"];
  if (progress === undefined) return null;
  return (
    <>
      <p>
        <progress max={progress.of} value={progress.step} aria-label={`step ${progress.step} of ${progress.of}`} />{" "}
        {progress.label}
      </p>
      {progress.reasons?.map((reason) => (
        <p class="reason" key={reason}>
          {reason}
        </p>
      ))}
    </>
  );
}

function count({ works, more }: Works): string {
  return more ? `${works.length}+` : String(works.length);
}

/** Cards that are shown: nobody reads more at a time. */
const MOST_CARDS = 50;

/** The operations that the filter selects, with their VNFs. The list is short of details, so that it may be long. */
async function works(filter: string, signal: AbortSignal): Promise<Works> {
  const path = "/vnflcm/v2/vnf_lcm_op_occs";
  const page = await list<OpOcc>(query(path, { filter }), signal);
  const shown = page.items.slice(0, MOST_CARDS);
  if (shown.length === 0) return { works: [], more: false };
  const ids = condition("in", "id", ...shown.map((op) => op.id));
  const detailed = await list<OpOcc>(query(path, { filter: ids, all_fields: "true" }), signal);
  const vnfs = await named(detailed.items, signal);
  return {
    works: detailed.items.map((op) => ({ op, vnf: vnfs.get(op.vnfInstanceId) })),
    more: page.items.length > shown.length || page.next !== undefined,
  };
}

async function named(ops: OpOcc[], signal: AbortSignal): Promise<Map<string, VnfInstance>> {
  const ids = [...new Set(ops.map((op) => op.vnfInstanceId))];
  const filter = condition("in", "id", ...ids);
  const page = await list<VnfInstance>(query("/vnflcm/v2/vnf_instances", { filter }), signal);
  return new Map(page.items.map((vnf) => [vnf.id, vnf]));
}

function All() {
  const given = route.value.query;
  const filters: Filters = Object.fromEntries(FILTERS.map((name) => [name, given.get(name) ?? ""]));
  const position = given.get(MARKER) ?? undefined;
  const path = query(LIST, { filter: filterOf(filters), fields: FIELDS, [MARKER]: position });
  const concerns = ({ type }: { type: string }): boolean => type === "vnf_instance";
  const vnfs = useResource(path, (signal) => list<VnfInstance>(path, signal), concerns);
  return (
    <section aria-labelledby="all">
      <h2 id="all">All</h2>
      <Filter filters={filters} />
      <Loaded resource={vnfs}>{(page) => <Vnfs page={page} filters={filters} isFirst={position === undefined} />}</Loaded>
    </section>
  );
}

/** Edition 2.6.1 has VIM connections as an array, so that a filter needs no key. */
const LIST = "/vnflcm/v1/vnf_instances";
const FIELDS = "vnfInstanceName,vnfProductName,vnfSoftwareVersion,instantiationState,metadata,instantiatedVnfInfo/vnfState";

function filterOf({ name, namespace, vim, state }: Filters): string | undefined {
  const conditions = [
    name && condition("cont", "vnfInstanceName", name),
    namespace && condition("eq", "metadata/namespace", namespace),
    vim && condition("eq", "vimConnectionInfo/vimId", vim),
    state && condition("eq", "instantiationState", state),
  ];
  return conditions.filter(Boolean).join(";") || undefined;
}

function Filter({ filters }: { filters: Filters }) {
  const vims = useResource("vims", (signal) => get<{ vims: Vim[] }>("/v1.0/vims", signal), ({ type }) => type === "vim");
  const submit = (event: Event): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    open(href([], Object.fromEntries(FILTERS.map((name) => [name, String(form.get(name) ?? "").trim()]))));
  };
  return (
    <form class="filter" role="search" aria-label="VNFs" onSubmit={submit} key={JSON.stringify(filters)}>
      <label>
        Name contains <input name="name" defaultValue={filters.name ?? ""} />
      </label>
      <label>
        Namespace <input name="namespace" defaultValue={filters.namespace ?? ""} />
      </label>
      <label>
        VIM{" "}
        <select name="vim">
          <option value="">all</option>
          {vims.value?.vims.map((vim) => (
            <option key={vim.id} value={vim.id} selected={vim.id === filters.vim}>
              {vim.name}
            </option>
          ))}
        </select>
      </label>
      <label>
        State{" "}
        <select name="state">
          <option value="">all</option>
          {["INSTANTIATED", "NOT_INSTANTIATED"].map((state) => (
            <option key={state} value={state} selected={state === filters.state}>
              {state.replace("_", " ").toLowerCase()}
            </option>
          ))}
        </select>
      </label>
      <button type="submit">Filter</button>
      <a href={href([])}>Clear</a>
    </form>
  );
}

function Vnfs({ page, filters, isFirst }: { page: Page<VnfInstance>; filters: Filters; isFirst: boolean }) {
  if (page.items.length === 0) return <p class="quiet">No VNF here.</p>;
  const next = marker(page.next);
  return (
    <>
      <Table caption="VNFs" head={["Name", "State", "Namespace", "Product", "Version"]}>
        {page.items.map((vnf) => (
          <tr key={vnf.id}>
            <th scope="row">
              <a href={href(["vnfs", vnf.id])}>{vnf.vnfInstanceName || short(vnf.id)}</a>
            </th>
            <td>
              <State state={vnf.instantiatedVnfInfo?.vnfState ?? vnf.instantiationState} />
            </td>
            <td>{String((vnf.metadata as Record<string, unknown> | undefined)?.["namespace"] ?? "")}</td>
            <td>{vnf.vnfProductName}</td>
            <td>{vnf.vnfSoftwareVersion}</td>
          </tr>
        ))}
      </Table>
      <Pager
        first={isFirst ? undefined : href([], filters)}
        next={next === undefined ? undefined : href([], { ...filters, [MARKER]: next })}
      />
    </>
  );
}
