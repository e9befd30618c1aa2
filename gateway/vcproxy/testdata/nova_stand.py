# What the programs that drive nova's driver have in common: its settings, as
# nova.conf would have them, and its parts that are not the driver (the queue).
import sys
import tempfile

import nova.conf

CONF = nova.conf.CONF
CONF([], project="nova", default_config_files=[])
HOST, PORT, CA = sys.argv[1], int(sys.argv[2]), sys.argv[3]
SETTINGS = {
    "host_ip": HOST, "host_port": PORT, "ca_file": CA, "insecure": False,
    "host_username": "nova", "host_password": "dummy", "cluster_name": "DC0_C0",
    "datastore_regex": "LocalDS_0", "task_poll_interval": 0.01, "api_retry_count": 2,
}
for name, value in SETTINGS.items():
    CONF.set_override(name, value, "vmware")

from oslo_messaging import transport  # noqa: E402

from nova import objects, rpc  # noqa: E402 the driver reads its settings when it is imported

objects.register_all()
CONF.register_opts(transport._transport_opts)  # the queue is not used here
CONF.set_override("transport_url", "fake://")
rpc.init(CONF)
CONF.set_override("lock_path", tempfile.mkdtemp(), "oslo_concurrency")


def step(name, value):
    """Says what a step's result is, and waits until that was read."""
    print("%s: %s" % (name, value), flush=True)
    sys.stdin.readline()
