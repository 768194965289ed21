"""The parts of scripts/neighbours, scripts/projects, scripts/streams and scripts/watches: clusters, a proxy before an API server, a client of Gybe, variants of samples."""
import asyncio, copy, http.client, json, os, pathlib, resource, shutil, ssl, subprocess, threading, time, uuid
from urllib.parse import urlsplit

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("GYBE_BINARY", ROOT / "target/release/gybe")


class Proxy:
    """Before an API server, with a certificate of its own. `mode`: `forward`, `drip` (an answer of a byte a
    second), `silent`, `away` (connections are closed). `lists` counts lists, `watching` has the open watches."""

    def __init__(self, folder, server, loop):
        self.server, self.loop, self.mode = urlsplit(server), loop, "forward"
        self.writers, self.watching, self.lists = set(), set(), 0
        self.certificate, key = folder / "proxy.crt", folder / "proxy.key"
        if not self.certificate.exists():
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                 "/CN=proxy", "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1", "-out", self.certificate, "-keyout", key],
                check=True, capture_output=True,
            )
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.certificate, key)
        listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.tls), loop).result()
        self.url = "https://127.0.0.1:%d" % listening.sockets[0].getsockname()[1]

    def set(self, mode):
        """Treats requests so from now on, and closes what is open unless it becomes silent."""
        self.mode = mode
        if mode != "silent":
            for writer in list(self.writers):
                self.loop.call_soon_threadsafe(writer.transport.abort)

    async def serve(self, reader, writer):
        self.writers.add(writer)
        try:
            if self.mode == "forward":
                await self.forward(reader, writer)
            while self.mode == "drip":
                await reader.readuntil(b"\r\n\r\n")
                for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n" + b" " * 100000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
            while self.mode == "silent":
                await asyncio.sleep(1)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self.writers.discard(writer)
            self.watching.discard(writer)
            writer.close()

    def note(self, request, writer):
        self.watching.discard(writer)
        if b"watch=true" in request:
            self.watching.add(writer)
        elif b"limit=" in request:
            self.lists += 1

    async def forward(self, reader, writer):
        upstream = ssl.create_default_context()
        upstream.check_hostname, upstream.verify_mode = False, ssl.CERT_NONE
        there, to_there = await asyncio.open_connection(self.server.hostname, self.server.port, ssl=upstream)

        async def copy(source, target):
            while data := await source.read(65536):
                while self.mode == "silent":
                    await asyncio.sleep(1)
                if source is reader and data.startswith(b"GET "):
                    self.note(data.partition(b"\r\n")[0], writer)
                target.write(data)
                await target.drain()

        tasks = [asyncio.ensure_future(copy(reader, to_there)), asyncio.ensure_future(copy(there, writer))]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        to_there.close()


class Cluster:
    """A cluster that tests/cluster/up started; `temporary`: it ends with the script."""

    def __init__(self, folder, temporary):
        self.folder, self.temporary = folder, temporary
        config = json.loads(self.kubectl("config", "view", "--raw", "-o", "json"))["clusters"][0]["cluster"]
        self.server = config["server"]
        self.ca = self.run("base64", "-d", given=config["certificate-authority-data"])
        self.account = "neighbours-" + uuid.uuid4().hex[:8]
        self.kubectl("create", "serviceaccount", self.account, "-n", "default")
        self.kubectl("create", "clusterrolebinding", self.account, "--clusterrole=cluster-admin", f"--serviceaccount=default:{self.account}")
        self.token = self.kubectl("create", "token", self.account, "-n", "default", "--duration=24h").strip()

    def kubectl(self, *arguments):
        return self.run(self.folder / "kubectl", "--kubeconfig", self.folder / "admin.kubeconfig", *arguments)

    def run(self, *command, given=None):
        return subprocess.run(command, check=True, capture_output=True, text=True, input=given).stdout

    def vim(self, name, url=None, ca=None):
        credential = {"bearer_token": self.token, "ssl_ca_cert": ca or self.ca}
        return {"vim": {"type": "kubernetes", "name": name, "auth_url": url or self.server, "auth_cred": credential}}


class Gybe:
    """The process, and a client of its API with a connection per thread. `token`: what the client sends, if anything."""

    token = None

    def __init__(self, folder, *arguments):
        # Each watch has a connection of its own.
        resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
        command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--database-url", f"sqlite://{folder}/gybe.db", "--data-dir", folder / "data", *arguments]
        key = {"GYBE_KEY": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=open(folder / "log", "w"), text=True, env=os.environ | key)
        url = next(word for word in self.process.stdout.readline().split() if word.startswith("http://"))
        self.address, self.local, self.namespaces = urlsplit(url).netloc, threading.local(), []

    def of(self, token):
        """A client of the same process that sends this token."""
        client = copy.copy(self)
        client.token, client.local = token, threading.local()
        return client

    def stop(self, *clusters):
        """Ends the process, and deletes its namespaces in the clusters that stay."""
        self.process.kill()
        self.process.wait()
        for cluster in clusters if self.namespaces else ():
            if not cluster.temporary:
                cluster.kubectl("delete", "namespace", "--ignore-not-found", "--wait=false", *self.namespaces)

    def call(self, method, path, body=None, kind="application/json"):
        if not hasattr(self.local, "connection"):
            self.local.connection, self.local.used = http.client.HTTPConnection(self.address, timeout=600), time.monotonic()
        if time.monotonic() - self.local.used > 10:
            self.local.connection.close()  # Gybe may have closed it as idle; the next request opens it again
        self.local.used = time.monotonic()
        content = body if isinstance(body, bytes) or body is None else json.dumps(body)
        headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        self.local.connection.request(method, path, content, headers)
        answer = self.local.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        location = answer.headers.get("Location")
        return json.loads(text) if text else location and urlsplit(location).path

    def onboard(self, package):
        href = "/vnfpkgm/v1/vnf_packages/" + self.call("POST", "/vnfpkgm/v1/vnf_packages", {})["id"]
        self.call("PUT", href + "/package_content", package.read_bytes(), "application/zip")
        while (shown := self.call("GET", href))["onboardingState"] == "PROCESSING":
            time.sleep(0.05)
        return shown["vnfdId"]

    def instance(self, vnfd):
        return "/vnflcm/v2/vnf_instances/" + self.call("POST", "/vnflcm/v2/vnf_instances", {"vnfdId": vnfd})["id"]

    def instantiate(self, instance, vim):
        namespace = "loadtest-" + uuid.uuid4().hex[:12]
        self.namespaces.append(namespace)
        body = {"flavourId": "simple", "additionalParams": {"namespace": namespace, "createNamespace": True}}
        if vim:
            body["vimConnectionInfo"] = {"vim1": {"vimId": vim, "vimType": "kubernetes"}}
        return self.call("POST", instance + "/instantiate", body)

    def ended(self, op, patience=300):
        begun = time.monotonic()
        while (shown := self.call("GET", op))["operationState"] in ("STARTING", "PROCESSING"):
            if time.monotonic() - begun > patience:
                raise RuntimeError(f"{op} has not ended after {patience} s")
            time.sleep(0.01)
        if shown["operationState"] != "COMPLETED":
            raise RuntimeError(json.dumps(shown, indent=1))

    def memory(self, name):
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) * 1024 / 1e6


class Clusters:
    """The clusters in directories; those without one are started, and stopped at the end."""

    def __init__(self, folder, *places):
        self.started, self.clusters = [], []
        for number, place in enumerate(places):
            if place is None:
                place = folder / f"cluster{number}"
                self.started.append(place)
                subprocess.run([ROOT / "tests/cluster/up", place], check=True)
            self.clusters.append(Cluster(place, place in self.started))

    def __enter__(self):
        return self.clusters

    def __exit__(self, *_):
        for place in self.started:
            subprocess.run([ROOT / "tests/cluster/down", place])


def event_loop():
    """An event loop in a thread of its own, for proxies."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


def package(folder, sample, name, edit):
    """A variant of a sample, with a VNFD id of its own and `edit`ed manifests."""
    target = folder / name
    shutil.copytree(ROOT / "samples" / sample, target)
    for file in (target / "Definitions").glob("*top*"):
        lines = [f"        descriptor_id: {uuid.uuid4()}" if "descriptor_id: " in line and "get_input" not in line and "string" not in line
                 else line for line in file.read_text().splitlines()]
        file.write_text("\n".join(lines) + "\n")
    for file in (target / "Files/kubernetes").glob("*.yaml"):
        file.write_text(edit(file.read_text()))
    subprocess.run([ROOT / "samples/pack", "--rehash", target], check=True, capture_output=True)
    return pathlib.Path(subprocess.run([ROOT / "samples/pack", target, folder], check=True, capture_output=True, text=True).stdout.strip())
