# Drives nova's VMwareVCDriver, unchanged, through the broker. Each line that it
# writes is the result of one step; it waits for a line before each next one.
import types
import uuid

from nova_stand import step

from oslo_vmware.objects import datastore
from oslo_vmware import vim_util as vutil

from nova.virt.vmwareapi import driver as vmware
from nova.virt.vmwareapi import ds_util, vim_util, vm_util

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

# A new machine, from the specifications that nova writes itself: the machine on
# a port group, a disk, the marks that it sets after that.
factory = session.vim.client.factory
vim = session.vim
index = vim.service_content.searchIndex


def find(path):
    return session._call_method(vim, "FindByInventoryPath", index, inventoryPath=path)


group = session._call_method(
    vutil, "get_object_properties_dict", find("/DC0/network/DC0_DVPG0"), ["config.key", "config.distributedVirtualSwitch"])
switch = session._call_method(vutil, "get_object_property", group["config.distributedVirtualSwitch"], "uuid")
new = types.SimpleNamespace(uuid=str(uuid.uuid4()), name="made", vcpus=2, memory_mb=64, node=node)
machines["made"] = new.uuid
card = {
    "network_name": "DC0_DVPG0", "mac_address": "fa:16:3e:00:00:01", "vif_model": "vmxnet3", "iface_id": str(uuid.uuid4()),
    "network_ref": {"type": "DistributedVirtualPortgroup", "dvpg": group["config.key"], "dvsw": switch},
}
extra = vm_util.ExtraSpecs(hw_version="vmx-13", hw_video_ram=4096)
spec = vm_util.get_vm_create_spec(factory, new, "LocalDS_0", [card], extra, "otherGuest", None, "name:made")
pool = vm_util.get_res_pool_ref(session, driver._cluster_ref)
made = vm_util.create_vm(session, new, find("/DC0/vm"), spec, pool)
step("create", made._type)
dc = find("/DC0")
directory = datastore.DatastorePath("LocalDS_0", "disks")
ds_util.mkdir(session, directory, dc)
disk = str(directory.join("new.vmdk"))
vm_util.create_virtual_disk(session, dc, "lsiLogic", "thin", disk, 1024)
driver._vmops._volumeops.attach_disk_to_vm(made, new, "lsiLogic", "thin", disk, 1024)
vm_util.reconfigure_vm(session, made, vm_util.get_machine_id_change_spec(factory, "net:1"))
vm_util.reconfigure_vm(session, made, vm_util.get_vnc_config_spec(factory, 5901))
step("disks", sum(d.__class__.__name__ == "VirtualDisk" for d in vm_util.get_hardware_devices(session, made)))
driver.power_on(None, new, None)
step("made is on", driver.get_info(new).state)
step("instances with the mark", driver.list_instances() == [new.uuid])
driver.destroy(None, instance("made"), None)
step("made is gone", vm_util.search_vm_ref_by_identifier(session, new.uuid))

gone = instance("DC0_C0_RP0_VM1")
driver.destroy(None, gone, None)
step("destroy", vm_util.search_vm_ref_by_identifier(session, gone.uuid))
driver.cleanup_host("")
step("cleanup", "done")
