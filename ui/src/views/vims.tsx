// The VIMs: whether they answer, and when their credentials expire.

import { type Vim, get } from "../api";
import { Loaded, marker, MARKER, Pager, State, Table, View } from "../parts/basics";
import { Moment } from "../parts/time";
import { useResource } from "../resource";
import { href, route } from "../router";

interface Vims {
  vims: Vim[];
  /** As Tacker's clients read it. */
  vims_links?: { rel?: string; href?: string }[] | null;
}

export function Vims() {
  const position = route.value.query.get(MARKER);
  const path = `/v1.0/vims${position === null ? "" : `?${MARKER}=${encodeURIComponent(position)}`}`;
  const vims = useResource(path, (signal) => get<Vims>(path, signal), ({ type }) => type === "vim");
  const next = marker(vims.value?.vims_links?.find((link) => link.rel === "next")?.href);
  return (
    <View title="VIMs">
      <Loaded resource={vims}>
        {({ vims }) =>
          vims.length === 0 ? (
            <p class="quiet">No VIM is registered.</p>
          ) : (
            <Table caption="VIMs" head={["Name", "State", "Address", "Namespaces", "Credential expires", "Id"]}>
              {vims.map((vim) => (
                <tr key={vim.id}>
                  <th scope="row">
                    {vim.name}
                    {vim.is_default ? <span class="quiet"> default</span> : null}
                    {vim.shared_namespaces ? <span class="quiet"> shared with you</span> : null}
                  </th>
                  <td>
                    <State state={vim.status ?? ""} />
                  </td>
                  <td>{vim.auth_url}</td>
                  <td>{(vim.shared_namespaces ?? vim.policy?.allowed_namespaces)?.join(", ") ?? "all"}</td>
                  <td>{vim.credential_expires_at ? <Moment time={vim.credential_expires_at} /> : "not known"}</td>
                  <td>
                    <code>{vim.id}</code>
                  </td>
                </tr>
              ))}
            </Table>
          )
        }
      </Loaded>
      <Pager
        first={position === null ? undefined : href(["vims"])}
        next={next === undefined ? undefined : href(["vims"], { [MARKER]: next })}
      />
    </View>
  );
}
