// The dashboard: who is logged in, which view is open, and whether changes arrive live.

import { render } from "preact";
import { useEffect } from "preact/hooks";
import { connection, follow } from "./live";
import { Action, Dialog } from "./parts/action";
import { Fault } from "./parts/basics";
import { href, route } from "./router";
import { failure, logOut, resume, session } from "./session";
import "./style.css";
import { Audit } from "./views/audit";
import { Fleet } from "./views/fleet";
import { Login } from "./views/login";
import { Notifications } from "./views/notifications";
import { Operation } from "./views/operation";
import { Packages } from "./views/packages";
import { Vims } from "./views/vims";
import { Vnf } from "./views/vnf";

const MENU: [string, string][] = [
  ["", "VNFs"],
  ["packages", "Packages"],
  ["vims", "VIMs"],
  ["notifications", "Notifications"],
  ["audit", "Audit"],
];

function App() {
  useEffect(() => void resume(), []);
  if (failure.value !== undefined) {
    return (
      <main>
        <Fault error={failure.value} />
        <Action label="Try again" run={resume} />
      </main>
    );
  }
  if (session.value === undefined) return <main aria-busy="true" />;
  return session.value === null ? <Login /> : <Dashboard />;
}

function Dashboard() {
  useEffect(() => {
    const stop = new AbortController();
    void follow(stop.signal);
    return () => stop.abort();
  }, []);
  return (
    <>
      <Top />
      <main id="main">
        <Open />
      </main>
      <Dialog />
    </>
  );
}

function Top() {
  const current = route.value.path[0] ?? "";
  const own = ["vnfs", "operations"].includes(current) ? "" : current;
  const skip = (event: Event): void => {
    event.preventDefault();
    document.querySelector<HTMLElement>("main h1")?.focus();
  };
  return (
    <header class="top">
      <a class="skip" href="#main" onClick={skip}>
        Skip to the content
      </a>
      <a class="brand" href={href([])}>
        Gybe
      </a>
      <nav aria-label="Views">
        {MENU.map(([path, name]) => (
          <a key={path} href={href(path === "" ? [] : [path])} aria-current={path === own ? "page" : undefined}>
            {name}
          </a>
        ))}
      </nav>
      <Connection />
      <Who />
    </header>
  );
}

function Connection() {
  const texts = { connecting: "connecting", live: "live", polling: "not live: read every 5 s" };
  return (
    <span class={`connection ${connection.value}`} role="status">
      {texts[connection.value]}
    </span>
  );
}

function Who() {
  const who = session.value;
  if (!who || who.authMethod === "none") return null;
  return (
    <span class="who">
      <span title={`role ${who.role ?? "none"}, by ${who.authMethod}`}>
        {who.subject} · {who.projectId}
      </span>{" "}
      <Action label="Log out" run={logOut} />
    </span>
  );
}

function Open() {
  const [view, id] = route.value.path;
  if (view === "vnfs" && id !== undefined) return <Vnf key={id} id={id} />;
  if (view === "operations" && id !== undefined) return <Operation key={id} id={id} />;
  if (view === "packages") return <Packages />;
  if (view === "vims") return <Vims />;
  if (view === "notifications") return <Notifications />;
  if (view === "audit") return <Audit />;
  return <Fleet />;
}

render(<App />, document.body);
