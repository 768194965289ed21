"""Runs commands of the OpenStack client.

Each line of standard input is a JSON array of arguments of `openstack`. For each, a line of standard output has its output
and its exit status. Each command runs in a process of its own, as in a shell; only the imports are shared.
"""

import json
import os
import sys
import tempfile
import traceback

from openstackclient import shell
import tackerclient.osc.utils  # noqa: F401
import tackerclient.v1_0.client  # noqa: F401


def run(arguments, out, err):
    sys.argv[0] = "openstack"
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    try:
        status = shell.main(arguments)
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


for line in sys.stdin:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            run(json.loads(line), out, err)
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        answer = {"status": os.waitstatus_to_exitcode(status), "out": out.read().decode(), "err": err.read().decode()}
        print(json.dumps(answer), flush=True)
