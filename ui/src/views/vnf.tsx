// A VNF: what it can do now, its aspects, what it consists of in the cluster, what drifted, and its operations.

import { useState } from "preact/hooks";
import { type Drift, type OpOcc, type Package, type Vim, type VnfInstance } from "../api";
import { condition, get, list, pathOf, post, preview, query, send } from "../api";
import { Action, ask, type Question } from "../parts/action";
import { Loaded, Raw, short, State, Table, View } from "../parts/basics";
import { Ago, Moment } from "../parts/time";
import { useResource } from "../resource";
import { href, open, operationOf } from "../router";
import { mayChange } from "../session";

export function Vnf({ id }: { id: string }) {
  const path = `/vnflcm/v2/vnf_instances/${encodeURIComponent(id)}`;
  const vnf = useResource(id, (signal) => get<VnfInstance>(path, signal), (event) => event.id === id || event.vnfInstanceId === id);
  return (
    <View title={vnf.value?.vnfInstanceName || `VNF ${short(id)}`}>
      <Loaded resource={vnf}>
        {(value) => (
          <>
            <Summary vnf={value} />
            {mayChange() ? <Tasks vnf={value} /> : null}
            <Aspects vnf={value} />
            <Parts vnf={value} />
            <DriftOf path={path} vnf={value} />
            <Operations id={id} />
            <Raw title="Everything, as JSON" value={value} />
          </>
        )}
      </Loaded>
    </View>
  );
}

function namespaceOf(vnf: VnfInstance): string {
  return String((vnf.metadata as Record<string, unknown> | undefined)?.["namespace"] ?? "");
}

function Summary({ vnf }: { vnf: VnfInstance }) {
  const facts: [string, unknown][] = [
    ["Namespace", namespaceOf(vnf)],
    ["Product", `${vnf.vnfProductName} ${vnf.vnfSoftwareVersion}`],
    ["Provider", vnf.vnfProvider],
    ["VNFD", vnf.vnfdId],
    ["VIM", Object.values(vnf.vimConnectionInfo ?? {}).map((vim) => vim.vimId ?? "inline").join(", ")],
    ["Flavour", vnf.instantiatedVnfInfo?.flavourId],
  ];
  return (
    <>
      <dl class="facts">
        <div>
          <dt>State</dt>
          <dd>
            <State state={vnf.instantiatedVnfInfo?.vnfState ?? vnf.instantiationState} />
          </dd>
        </div>
        {facts
          .filter(([, value]) => value)
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{String(value)}</dd>
            </div>
          ))}
      </dl>
      {vnf["gybe:warnings"]?.map((warning) => (
        <p class="warning" key={warning}>
          {warning}
        </p>
      ))}
    </>
  );
}

/** Begins a task and opens its operation. */
async function begin(link: { href: string }, body: unknown): Promise<void> {
  const location = await post(pathOf(link.href), body);
  if (location !== undefined) open(operationOf(location));
}

/** How a task with this body is begun, with or without a plan that was looked at before, and how such a plan is had. */
function task(link: { href: string }, body: (form: FormData) => object): Pick<Question, "run" | "preview"> {
  return {
    run: (form, plan) => begin(link, plan === undefined ? body(form) : { ...body(form), "gybe:planId": plan.planId }),
    preview: (form) => preview(pathOf(link.href), body(form)),
  };
}

/** The tasks that the VNF allows now, as its links say. */
function Tasks({ vnf }: { vnf: VnfInstance }) {
  const { instantiate, heal, operate, terminate, changeCurrentVnfPkg } = vnf._links;
  const isStarted = vnf.instantiatedVnfInfo?.vnfState === "STARTED";
  const isDeletable = vnf.instantiationState === "NOT_INSTANTIATED";
  return (
    <div class="actions" role="group" aria-label="What to do">
      {instantiate ? <Action label="Instantiate" run={() => askInstantiate(instantiate)} /> : null}
      {heal ? <Action label="Heal" run={() => askHeal(heal)} /> : null}
      {operate ? <Action label={isStarted ? "Stop" : "Start"} run={() => askOperate(operate, isStarted)} /> : null}
      {changeCurrentVnfPkg ? <Action label="Change package" run={() => askChange(changeCurrentVnfPkg, vnf)} /> : null}
      {terminate ? <Action label="Terminate" run={() => askTerminate(terminate)} /> : null}
      {isDeletable ? <Action label="Delete" run={() => askDelete(vnf)} /> : null}
    </div>
  );
}

async function askInstantiate(link: { href: string }): Promise<void> {
  const { vims } = await get<{ vims: Vim[] }>("/v1.0/vims");
  ask({
    title: "Instantiate",
    label: "Instantiate",
    danger: false,
    ...task(link, (form) => {
      const [namespace, vim] = [String(form.get("namespace")).trim(), String(form.get("vim"))];
      return {
        flavourId: String(form.get("flavour")).trim(),
        ...(namespace === "" ? {} : { additionalParams: { namespace } }),
        ...(vim === "" ? {} : { vimConnectionInfo: { vim: { vimId: vim, vimType: "kubernetes" } } }),
      };
    }),
    content: (
      <>
        <label>
          Flavour <input name="flavour" required />
        </label>
        <label>
          Namespace <input name="namespace" placeholder="as the package says" />
        </label>
        <label>
          VIM{" "}
          <select name="vim">
            <option value="">the default one</option>
            {vims.map((vim) => (
              <option key={vim.id} value={vim.id}>
                {vim.name}
              </option>
            ))}
          </select>
        </label>
      </>
    ),
  });
}

function askHeal(link: { href: string }, vnfc?: string): void {
  ask({
    title: vnfc === undefined ? "Heal the whole VNF?" : `Heal ${vnfc}?`,
    label: "Heal",
    danger: true,
    ...task(link, (form) => ({
      cause: String(form.get("cause")),
      ...(vnfc === undefined ? {} : { vnfcInstanceId: [vnfc] }),
    })),
    content: (
      <>
        <p>Gybe applies the intent of all objects again and replaces {vnfc === undefined ? "all pods" : "this pod"}.</p>
        <label>
          Cause, for the record <input name="cause" />
        </label>
      </>
    ),
  });
}

function askOperate(link: { href: string }, isStarted: boolean): Promise<void> | void {
  if (!isStarted) return begin(link, { changeStateTo: "STARTED" });
  ask({
    title: "Stop the VNF?",
    label: "Stop",
    danger: true,
    ...task(link, (form) => ({ changeStateTo: "STOPPED", stopType: form.get("type") })),
    content: (
      <label>
        Its pods{" "}
        <select name="type">
          <option value="GRACEFUL">may end (graceful)</option>
          <option value="FORCEFUL">are killed at once (forceful)</option>
        </select>
      </label>
    ),
  });
}

async function askChange(link: { href: string }, vnf: VnfInstance): Promise<void> {
  const filter = condition("eq", "onboardingState", "ONBOARDED");
  const { items } = await list<Package>(query("/vnfpkgm/v2/vnf_packages", { filter }));
  ask({
    title: "Change the package",
    label: "Change",
    danger: true,
    ...task(link, (form) => ({ vnfdId: String(form.get("vnfd")) })),
    content: (
      <label>
        New package{" "}
        <select name="vnfd" required>
          {items
            .filter((item) => item.vnfdId !== vnf.vnfdId)
            .map((item) => (
              <option key={item.id} value={item.vnfdId ?? ""}>
                {item.vnfProductName} {item.vnfSoftwareVersion} ({item.vnfdVersion})
              </option>
            ))}
        </select>
      </label>
    ),
  });
}

function askTerminate(link: { href: string }): void {
  ask({
    title: "Terminate the VNF?",
    label: "Terminate",
    danger: true,
    ...task(link, (form) => ({ terminationType: form.get("type") })),
    content: (
      <>
        <p>Gybe deletes all objects of this VNF.</p>
        <label>
          Its pods{" "}
          <select name="type">
            <option value="GRACEFUL">may end (graceful)</option>
            <option value="FORCEFUL">are killed at once (forceful)</option>
          </select>
        </label>
      </>
    ),
  });
}

function askDelete(vnf: VnfInstance): void {
  ask({
    title: "Delete the VNF instance?",
    label: "Delete",
    danger: true,
    run: async () => {
      await send("DELETE", pathOf(vnf._links.self.href));
      open(href([]));
    },
    content: <p>It is not instantiated: nothing in a cluster changes.</p>,
  });
}

/** Asks for the number of steps, at most `most` if that is known. */
function askScale(link: { href: string }, aspectId: string, type: "SCALE_IN" | "SCALE_OUT", most?: number): void {
  ask({
    title: type === "SCALE_IN" ? `Scale ${aspectId} in` : `Scale ${aspectId} out`,
    label: "Scale",
    danger: type === "SCALE_IN",
    ...task(link, (form) => ({ type, aspectId, numberOfSteps: Number(form.get("steps")) })),
    content: (
      <label>
        Steps <input name="steps" type="number" min="1" max={most} value="1" required />
      </label>
    ),
  });
}

/** Each aspect with its level, and a stepper where the VNF can be scaled. */
function Aspects({ vnf }: { vnf: VnfInstance }) {
  const levels = vnf.instantiatedVnfInfo?.scaleStatus ?? [];
  if (levels.length === 0) return null;
  const most = new Map(vnf.instantiatedVnfInfo?.maxScaleLevels?.map((level) => [level.aspectId, level.scaleLevel]));
  const link = mayChange() ? vnf._links.scale : undefined;
  const room = (aspectId: string, level: number): number | undefined => {
    const highest = most.get(aspectId);
    return highest === undefined ? undefined : Math.max(highest - level, 0);
  };
  return (
    <section aria-labelledby="aspects">
      <h2 id="aspects">Aspects</h2>
      <ul class="aspects">
        {levels.map(({ aspectId, scaleLevel }) => (
          <li key={aspectId} class="card">
            <strong>{aspectId}</strong>{" "}
            {link ? (
              <Action
                label="−"
                name={`Scale ${aspectId} in`}
                disabled={scaleLevel === 0}
                run={() => askScale(link, aspectId, "SCALE_IN", scaleLevel)}
              />
            ) : null}{" "}
            <span>
              level {scaleLevel}
              {most.has(aspectId) ? ` of ${most.get(aspectId)}` : ""}
            </span>{" "}
            {link ? (
              <Action
                label="+"
                name={`Scale ${aspectId} out`}
                disabled={room(aspectId, scaleLevel) === 0}
                run={() => askScale(link, aspectId, "SCALE_OUT", room(aspectId, scaleLevel))}
              />
            ) : null}
          </li>
        ))}
      </ul>
    </section>
  );
}

interface Pod {
  id: string;
  name: string;
  vdu: string;
  /** The workload that it descends from. */
  workload: string;
}

function podsOf(vnf: VnfInstance): Pod[] {
  const vnfcs = vnf.instantiatedVnfInfo?.vnfcResourceInfo ?? [];
  return vnfcs.map((vnfc) => ({
    id: vnfc.id,
    name: vnfc.computeResource.resourceId,
    vdu: vnfc.vduId,
    workload: `${vnfc.computeResource.vimLevelResourceType} ${(vnfc.metadata as { workload?: string } | undefined)?.workload ?? ""}`,
  }));
}

/** What the VNF consists of in its namespace: a tree of VDUs, workloads and pods, or a list of pods. */
function Parts({ vnf }: { vnf: VnfInstance }) {
  const [asTree, setAsTree] = useState(true);
  const pods = podsOf(vnf);
  if (pods.length === 0) return null;
  const heal = mayChange() ? vnf._links.heal : undefined;
  return (
    <section aria-labelledby="parts">
      <h2 id="parts">
        Pods <span class="count">{pods.length}</span>
      </h2>
      <div class="choice" role="group" aria-label="Show as">
        <button type="button" aria-pressed={asTree} onClick={() => setAsTree(true)}>
          Tree
        </button>
        <button type="button" aria-pressed={!asTree} onClick={() => setAsTree(false)}>
          List
        </button>
      </div>
      {asTree ? <Tree vnf={vnf} pods={pods} heal={heal} /> : <PodTable pods={pods} heal={heal} />}
    </section>
  );
}

type HealLink = { href: string } | null | undefined;

function grouped(pods: Pod[], by: (pod: Pod) => string): [string, Pod[]][] {
  const groups = new Map<string, Pod[]>();
  for (const pod of pods) groups.set(by(pod), [...(groups.get(by(pod)) ?? []), pod]);
  return [...groups];
}

function Tree({ vnf, pods, heal }: { vnf: VnfInstance; pods: Pod[]; heal: HealLink }) {
  return (
    <ul class="tree">
      <li>
        <span class="node">{vnf.vnfInstanceName || short(vnf.id)}</span> in namespace {namespaceOf(vnf)}
        <ul>
          {grouped(pods, (pod) => pod.vdu).map(([vdu, own]) => (
            <li key={vdu}>
              <details open>
                <summary>
                  <span class="node">{vdu}</span> VDU
                </summary>
                <ul>
                  {grouped(own, (pod) => pod.workload).map(([workload, its]) => (
                    <li key={workload}>
                      <details open={its.length <= 20}>
                        <summary>
                          <span class="node">{workload}</span> {its.length} {its.length === 1 ? "pod" : "pods"}
                        </summary>
                        <ul>
                          {its.map((pod) => (
                            <li key={pod.id}>
                              <span class="node">{pod.name}</span> <HealPod heal={heal} pod={pod} />
                            </li>
                          ))}
                        </ul>
                      </details>
                    </li>
                  ))}
                </ul>
              </details>
            </li>
          ))}
        </ul>
      </li>
    </ul>
  );
}

function HealPod({ heal, pod }: { heal: HealLink; pod: Pod }) {
  return heal ? <Action label="Heal" name={`Heal ${pod.name}`} run={() => askHeal(heal, pod.id)} /> : null;
}

function PodTable({ pods, heal }: { pods: Pod[]; heal: HealLink }) {
  const [words, setWords] = useState("");
  const shown = pods.filter((pod) => Object.values(pod).some((value) => String(value).includes(words)));
  return (
    <>
      <label>
        Contains <input value={words} onInput={(event) => setWords(event.currentTarget.value)} />
      </label>
      <Table caption="Pods" head={["Pod", "VDU", "Workload", "Heal"]}>
        {shown.map((pod) => (
          <tr key={pod.id}>
            <th scope="row">{pod.name}</th>
            <td>{pod.vdu}</td>
            <td>{pod.workload}</td>
            <td>
              <HealPod heal={heal} pod={pod} />
            </td>
          </tr>
        ))}
      </Table>
    </>
  );
}

/** What differs from the intent in the cluster. It is asked for, because the cluster answers for each object. */
function DriftOf({ path, vnf }: { path: string; vnf: VnfInstance }) {
  const [drift, setDrift] = useState<Drift>();
  if (vnf.instantiationState !== "INSTANTIATED") return null;
  return (
    <section aria-labelledby="drift">
      <h2 id="drift">Drift</h2>
      <Action label="Compare with the cluster" run={async () => setDrift(await get<Drift>(`${path}/drift`))} />
      <div aria-live="polite">{drift === undefined ? null : <Differences drift={drift} />}</div>
    </section>
  );
}

function Differences({ drift }: { drift: Drift }) {
  const number = drift.objects.length;
  if (drift.inSync) return <p>{number === 1 ? "The object is" : `All ${number} objects are`} as intended.</p>;
  const drifted = drift.objects.filter((object) => object.state !== "IN_SYNC");
  return (
    <ul class="cards">
      {drifted.map((object) => (
        <li key={`${object.kind}/${object.name}`} class="card bad">
          <p>
            <State state={object.state} /> {object.kind} {object.name}
          </p>
          {object.detail ? <p class="reason">{object.detail}</p> : null}
          {object.differences?.map((difference) => (
            <p key={difference.path}>
              <code>{difference.path}</code>: intended <code>{JSON.stringify(difference.intended)}</code>, is{" "}
              <code>{JSON.stringify(difference.actual)}</code>
              {difference.manager ? `, by ${difference.manager}` : ""}{" "}
              {difference.time ? <Ago time={difference.time} /> : null}
            </p>
          ))}
        </li>
      ))}
    </ul>
  );
}

/** Pages of operations that are read: the list begins with the oldest. */
const MOST_PAGES = 5;

function Operations({ id }: { id: string }) {
  const load = async (signal: AbortSignal): Promise<OpOcc[]> => {
    let next: string | undefined = query("/vnflcm/v2/vnf_lcm_op_occs", { filter: condition("eq", "vnfInstanceId", id) });
    const all: OpOcc[] = [];
    for (let page = 0; page < MOST_PAGES && next !== undefined; page += 1) {
      const read: { items: OpOcc[]; next?: string } = await list<OpOcc>(next, signal);
      all.push(...read.items);
      next = read.next;
    }
    return all.reverse();
  };
  const concerns = (event: { type: string; vnfInstanceId?: string }): boolean =>
    event.type === "vnf_lcm_op_occ" && event.vnfInstanceId === id;
  const operations = useResource(`operations of ${id}`, load, concerns);
  return (
    <section aria-labelledby="operations">
      <h2 id="operations">Operations</h2>
      <Loaded resource={operations}>
        {(all) =>
          all.length === 0 ? (
            <p class="quiet">None yet.</p>
          ) : (
            <Table caption="Operations" head={["Operation", "State", "Began"]}>
              {all.map((op) => (
                <tr key={op.id}>
                  <th scope="row">
                    <a href={href(["operations", op.id])}>{op.operation.replaceAll("_", " ").toLowerCase()}</a>
                  </th>
                  <td>
                    <State state={op.operationState} />
                  </td>
                  <td>
                    <Moment time={op.startTime} />
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Loaded>
    </section>
  );
}
