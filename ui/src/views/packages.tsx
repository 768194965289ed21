// VNF packages: what is onboarded, upload of one more, and a VNF from one.

import { type Package, type VnfInstance, list, pathOf, query, send } from "../api";
import { Action, ask } from "../parts/action";
import { Loaded, marker, MARKER, Pager, short, State, Table, View } from "../parts/basics";
import { useResource } from "../resource";
import { href, open, route } from "../router";
import { mayChange } from "../session";

const JSON_BODY = { "Content-Type": "application/json" };

export function Packages() {
  const position = route.value.query.get(MARKER) ?? undefined;
  const path = query("/vnfpkgm/v2/vnf_packages", { [MARKER]: position });
  const packages = useResource(path, (signal) => list<Package>(path, signal), ({ type }) => type === "vnf_package");
  const next = marker(packages.value?.next);
  return (
    <View title="Packages" actions={mayChange() ? <Action label="Upload" run={() => askUpload(packages.reload)} /> : null}>
      <Loaded resource={packages}>
        {({ items }) =>
          items.length === 0 ? (
            <p class="quiet">No package yet.</p>
          ) : (
            <Table caption="Packages" head={["Product", "Version", "State", "Use", "VNFD", ""]}>
              {items.map((item) => (
                <Row key={item.id} item={item} reload={packages.reload} />
              ))}
            </Table>
          )
        }
      </Loaded>
      <Pager
        first={position === undefined ? undefined : href(["packages"])}
        next={next === undefined ? undefined : href(["packages"], { [MARKER]: next })}
      />
    </View>
  );
}

function Row({ item, reload }: { item: Package; reload: () => void }) {
  const failure = (item as { onboardingFailureDetails?: { detail?: string } | null }).onboardingFailureDetails;
  return (
    <tr>
      <th scope="row">{item.vnfProductName ?? short(item.id)}</th>
      <td>{item.vnfSoftwareVersion}</td>
      <td>
        <State state={item.onboardingState} />
        {item.operationalState === "DISABLED" && item.onboardingState === "ONBOARDED" ? " disabled" : ""}
        {failure?.detail ? <p class="reason">{failure.detail}</p> : null}
        {item["gybe:warnings"]?.map((warning) => (
          <p class="warning" key={warning}>
            {warning}
          </p>
        ))}
      </td>
      <td>{item.usageState.replaceAll("_", " ").toLowerCase()}</td>
      <td>
        <code>{item.vnfdId}</code>
      </td>
      <td>
        {mayChange() && item.onboardingState === "ONBOARDED" ? (
          <Action label="New VNF" name={`New VNF of ${item.vnfProductName}`} run={() => askNew(item)} />
        ) : null}{" "}
        {mayChange() && item.usageState === "NOT_IN_USE" ? (
          <Action label="Delete" name={`Delete ${item.vnfProductName ?? item.id}`} run={() => askDelete(item, reload)} />
        ) : null}
      </td>
    </tr>
  );
}

function askNew(item: Package): void {
  ask({
    title: `New VNF of ${item.vnfProductName}`,
    label: "Create",
    danger: false,
    run: async (form) => {
      const body = JSON.stringify({ vnfdId: item.vnfdId, vnfInstanceName: String(form.get("name")) });
      const response = await send("POST", "/vnflcm/v2/vnf_instances", { headers: JSON_BODY, body });
      open(href(["vnfs", ((await response.json()) as VnfInstance).id]));
    },
    content: (
      <label>
        Name <input name="name" required />
      </label>
    ),
  });
}

function askUpload(reload: () => void): void {
  ask({
    title: "Upload a package",
    label: "Upload",
    danger: false,
    run: async (form) => {
      const created = await send("POST", "/vnfpkgm/v2/vnf_packages", { headers: JSON_BODY, body: "{}" });
      const path = pathOf(((await created.json()) as Package)._links.self.href);
      const headers = { "Content-Type": "application/zip" };
      await send("PUT", `${path}/package_content`, { headers, body: form.get("file") });
      reload();
    },
    content: (
      <label>
        CSAR <input name="file" type="file" accept=".zip,.csar" required />
      </label>
    ),
  });
}

/** A package must be disabled before it can be deleted. */
function askDelete(item: Package, reload: () => void): void {
  ask({
    title: `Delete ${item.vnfProductName ?? "the package"}?`,
    label: "Delete",
    danger: true,
    run: async () => {
      const path = pathOf(item._links.self.href);
      if (item.operationalState === "ENABLED") {
        const headers = { "Content-Type": "application/merge-patch+json" };
        await send("PATCH", path, { headers, body: JSON.stringify({ operationalState: "DISABLED" }) });
      }
      await send("DELETE", path);
      reload();
    },
    content: <p>No VNF uses it.</p>,
  });
}
