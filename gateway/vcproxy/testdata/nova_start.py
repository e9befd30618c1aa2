# Starts nova's VMwareVCDriver, unchanged, and does what nova-compute does each
# minute, for as long as it is wanted. Each line that it writes is the result of
# one step; it waits for a line before each next one.
from nova_stand import step

from nova.virt.vmwareapi import driver as vmware

driver = vmware.VMwareVCDriver(None)
driver.init_host("gateway")
node = driver.get_available_nodes()[0]
step("started", node.split(".")[0].split("-")[0])
for turn in range(3):
    step("turn %d" % turn, "%d vcpus, %s" % (driver.get_available_resource(node)["vcpus"], driver.list_instances()))
driver.cleanup_host("gateway")
step("cleanup", "done")
