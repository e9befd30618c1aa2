# Drives nova's VMwareVCDriver, unchanged, through the broker. Each line that it
# writes is the result of one step; it waits for a line before each next one.
import sys
import types

import nova.conf

CONF = nova.conf.CONF
CONF([], project="nova", default_config_files=[])
for name, value in {
    "host_ip": sys.argv[1], "host_port": int(sys.argv[2]), "ca_file": sys.argv[3], "insecure": False,
    "host_username": "nova", "host_password": "dummy", "cluster_name": "DC0_C0",
    "datastore_regex": "LocalDS_0", "task_poll_interval": 0.1, "api_retry_count": 2,
}.items():
    CONF.set_override(name, value, "vmware")

from oslo_messaging import transport  # noqa: E402

from nova import objects, rpc  # noqa: E402 the driver reads its settings when it is imported
from nova.virt.vmwareapi import driver as vmware  # noqa: E402
from nova.virt.vmwareapi import vim_util, vm_util  # noqa: E402

objects.register_all()
CONF.register_opts(transport._transport_opts)  # the queue is not used here
CONF.set_override("transport_url", "fake://")
rpc.init(CONF)


def step(name, value):
    print("%s: %s" % (name, value), flush=True)
    sys.stdin.readline()


driver = vmware.VMwareVCDriver(None)
node = driver.get_available_nodes()[0]
step("driver", node.split(".")[0].split("-")[0])
resources = driver.get_available_resource(node)
step("resources", "%d vcpus, %d GB" % (resources["vcpus"], resources["local_gb"]))
step("instances", driver.list_instances())

session = driver._session
found = session._call_method(vim_util, "get_objects", "VirtualMachine", ["name", "config.instanceUuid"])
machines = {}
for o in found.objects:
    p = {p.name: p.val for p in o.propSet}
    machines[p["name"]] = p["config.instanceUuid"]


def instance(name):
    return types.SimpleNamespace(
        uuid=machines[name], name=name, node=node, task_state=None, system_metadata={}, metadata={},
        flavor=None, image_ref=None, vm_state=None)


one = instance("DC0_C0_RP0_VM0")
driver.power_off(one)
step("power off", driver.get_info(one).state)
driver.power_on(None, one, None)
step("power on", driver.get_info(one).state)
driver.reboot(None, one, None, "HARD")
step("reboot", driver.get_info(one).state)
driver.suspend(None, one)
step("suspend", driver.get_info(one).state)
driver.resume(None, one, None)
step("resume", driver.get_info(one).state)
gone = instance("DC0_C0_RP0_VM1")
driver.destroy(None, gone, None)
step("destroy", vm_util.search_vm_ref_by_identifier(session, gone.uuid))
driver.cleanup_host("")
step("cleanup", "done")
