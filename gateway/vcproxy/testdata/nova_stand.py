# What the programs that drive nova's driver have in common: the settings, which
# are in a nova.conf, and the parts that are not the driver's.
import os
import sys
import tempfile

import nova.conf

CONF = nova.conf.CONF
DIR = sys.argv[4]
CONF([], project="nova", default_config_files=[os.path.join(DIR, "nova.conf")])

from oslo_messaging import transport  # noqa: E402

from nova import objects, rpc  # noqa: E402 the driver reads its settings when it is imported

objects.register_all()
CONF.register_opts(transport._transport_opts)  # the queue is not used here
CONF.set_override("transport_url", "fake://")
rpc.init(CONF)
CONF.set_override("lock_path", tempfile.mkdtemp(dir=DIR), "oslo_concurrency")


def step(name, value):
    """Says what a step's result is, and waits until that was read."""
    print("%s: %s" % (name, value), flush=True)
    sys.stdin.readline()
