// Subscriptions, and what could not be delivered to them: it can be sent again.

import { type Subscription, type Undelivered, get, list, post } from "../api";
import { Action } from "../parts/action";
import { Loaded, Raw, short, State, View } from "../parts/basics";
import { useResource } from "../resource";
import { mayChange } from "../session";

const APIS = [
  ["VNF lifecycle", "/vnflcm/v2/subscriptions"],
  ["Packages", "/vnfpkgm/v2/subscriptions"],
] as const;

export function Notifications() {
  return (
    <View title="Notifications">
      {APIS.map(([name, path]) => (
        <Subscriptions key={path} name={name} path={path} />
      ))}
    </View>
  );
}

function Subscriptions({ name, path }: { name: string; path: string }) {
  const subscriptions = useResource(path, (signal) => list<Subscription>(path, signal), () => false);
  return (
    <section aria-label={name}>
      <h2>{name}</h2>
      <Loaded resource={subscriptions}>
        {({ items, next }) => (
          <>
            {items.length === 0 ? <p class="quiet">No subscription.</p> : null}
            <ul class="cards">
              {items.map((item) => (
                <One key={item.id} item={item} path={`${path}/${item.id}/notifications`} />
              ))}
            </ul>
            {next === undefined ? null : <p class="quiet">There are more; the API lists them all.</p>}
          </>
        )}
      </Loaded>
    </section>
  );
}

function One({ item, path }: { item: Subscription; path: string }) {
  const undelivered = useResource(path, (signal) => get<Undelivered[]>(path, signal), () => false);
  const resend = async (): Promise<void> => {
    await post(`${path}/resend`);
    undelivered.reload();
  };
  return (
    <li class="card">
      <p>
        <strong>{item.callbackUri}</strong> <code>{short(item.id)}</code>
      </p>
      <Loaded resource={undelivered}>
        {(all) =>
          all.length === 0 ? (
            <p class="quiet">All is delivered.</p>
          ) : (
            <>
              <p>
                {all.length} not delivered{" "}
                {mayChange() ? <Action label="Send again" name={`Send again to ${item.callbackUri}`} run={resend} /> : null}
              </p>
              <ul>
                {all.slice(0, 20).map(({ deliveryState, reason, notification }, index) => (
                  <li key={index}>
                    <State state={deliveryState} /> {reason}
                    <Raw title="Notification" value={notification} />
                  </li>
                ))}
              </ul>
            </>
          )
        }
      </Loaded>
    </li>
  );
}
