"""A Keystone for tests, on SQLite, with everything in one folder, which can be copied.

    identity.py prepare DIR                       creates the folder: schema, keys, roles, projects, users
    identity.py serve DIR [PORT [TOKEN_SECONDS]]  serves it on loopback; prints the URL when it accepts connections

One process does all of `prepare`: the imports alone take seconds.
"""

import os
import pathlib
import sys
import uuid

# The project of each, and whether it is enabled.
PROJECTS = {"tenanta": True, "tenantb": True, "closed": False, "service": True}
# Name (also the password), project and role of each user besides `admin`, who has the role admin in the project admin.
USERS = [
    ("member-a", "tenanta", "member"),
    ("reader-a", "tenanta", "reader"),
    ("member-b", "tenantb", "member"),
    ("gybe", "service", "service"),
]
DOMAIN = "default"


def configuration(folder, token_seconds):
    """Writes the configuration file of the folder and returns its path."""
    template = pathlib.Path(__file__).with_name("keystone.conf").read_text()
    path = folder / "keystone.conf"
    path.write_text(template.replace("@DIR@", str(folder)).replace("@TOKEN_SECONDS@", token_seconds))
    return path


def prepare(folder):
    folder.mkdir(mode=0o700)
    path = configuration(folder, "3600")

    from keystone.server import configure

    configure(config_files=[str(path)])

    from keystone.common import fernet_utils
    from keystone.common.sql import upgrades

    upgrades.offline_sync_database_to_version()
    for group, name in (("fernet_tokens", "fernet"), ("credential", "credential")):
        keys = fernet_utils.FernetUtils(str(folder / name), 3, group)
        keys.create_key_directory()
        keys.initialize_key_repository()

    from keystone.cmd.bootstrap import Bootstrapper

    keystone = Bootstrapper()
    keystone.admin_username = keystone.admin_password = keystone.project_name = keystone.admin_role_name = "admin"
    keystone.bootstrap()
    seed()


def seed():
    """Makes the projects, the users and the service type of VNF managers, whose endpoints the tests add."""
    from keystone.common.provider_api import ProviderAPIs as providers

    roles = {role["name"]: role["id"] for role in providers.role_api.list_roles()}
    projects = {name: uuid.uuid4().hex for name in PROJECTS}
    for name, id in projects.items():
        providers.resource_api.create_project(id, {"id": id, "name": name, "domain_id": DOMAIN, "enabled": True})
    for name, project, role in USERS:
        user = {"name": name, "password": name, "domain_id": DOMAIN, "enabled": True}
        user = providers.identity_api.create_user(user)
        providers.assignment_api.add_role_to_user_and_project(user["id"], projects[project], roles[role])
        if role == "service":
            # So that it may see which projects there are.
            providers.assignment_api.create_system_grant_for_user(user["id"], roles["reader"])
    for name in (name for name, enabled in PROJECTS.items() if not enabled):
        providers.resource_api.update_project(projects[name], {"enabled": False})
    service = {"id": uuid.uuid4().hex, "name": "gybe", "type": "nfv-orchestration", "enabled": True}
    providers.catalog_api.create_service(service["id"], service)


def serve(folder, port="0", token_seconds="3600"):
    path = configuration(folder, token_seconds)
    os.environ["OS_KEYSTONE_CONFIG_DIR"] = str(folder)
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(path)

    import waitress
    from keystone.wsgi.api import application

    try:
        # The tests use all cores, and clients do not wait for ever.
        os.nice(-10)
    except PermissionError:
        pass
    warm_up(application)
    server = waitress.create_server(application, host="127.0.0.1", port=int(port), threads=4)
    print(f"http://127.0.0.1:{server.effective_port}/v3", flush=True)
    server.run()


def warm_up(application):
    """Makes Keystone load what it loads at its first requests: on a busy machine that takes longer than its clients wait."""
    from werkzeug.test import Client

    client = Client(application)
    user = {"name": "admin", "domain": {"id": DOMAIN}, "password": "admin"}
    scope = {"project": {"name": "admin", "domain": {"id": DOMAIN}}}
    identity = {"methods": ["password"], "password": {"user": user}}
    made = client.post("/v3/auth/tokens", json={"auth": {"identity": identity, "scope": scope}})
    assert made.status_code == 201, made.text
    token = made.headers["X-Subject-Token"]
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    # A token of a few seconds may have expired by now.
    for path in ("/v3/auth/tokens", "/v3/projects/" + made.json["token"]["project"]["id"]):
        client.get(path, headers=headers)


def main():
    command, folder, *rest = sys.argv[1:]
    # Keystone reads the arguments of the process, too.
    sys.argv[1:] = []
    {"prepare": prepare, "serve": serve}[command](pathlib.Path(folder).resolve(), *rest)


main()
