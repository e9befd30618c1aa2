# Drives oslo.vmware, unchanged, through the broker. Each line that it writes is
# the result of one step; it waits for a line before each next one.
import sys

from oslo_vmware import api, exceptions, rw_handles, vim_util
from oslo_vmware.objects import datastore

host, port, cacert = sys.argv[1:4]


def step(name, value):
    print("%s: %s" % (name, value), flush=True)
    sys.stdin.readline()


session = api.VMwareAPISession(
    host, "nova", "dummy", 3, 0.1, port=int(port), cacert=cacert, insecure=False)
step("login", session.vim.service_content.about.apiType)


def machines():
    found = session.invoke_api(vim_util, "get_objects", session.vim, "VirtualMachine", 100, ["name"])
    return {o.propSet[0].val: o.obj for o in found.objects}


vms = machines()
step("machines", sorted(vms))
step("machines after the session was killed", sorted(machines()))

vm = vms["DC0_C0_RP0_VM0"]
task = session.invoke_api(session.vim, "PowerOffVM_Task", vm)
step("power off", session.wait_for_task(task).state)
state = session.invoke_api(vim_util, "get_object_property", session.vim, vm, "runtime.powerState")
step("state", state)
task = session.invoke_api(session.vim, "PowerOnVM_Task", vm)
step("power on after the session was killed", session.wait_for_task(task).state)

content = b"an image " * 100000
place = datastore.DatastoreURL("https", "%s:%s" % (host, port), "images/image.iso", "DC0", "LocalDS_0")
ticket = place.get_transfer_ticket(session, "PUT")
upload = rw_handles.FileWriteHandle(
    host, int(port), "DC0", "LocalDS_0", ticket, "images/image.iso", len(content), cacerts=cacert)
upload.write(content)
upload.close()
place = datastore.DatastoreURL("https", "%s:%s" % (host, port), "images/image.iso", "DC0", "LocalDS_1")
try:
    place.get_transfer_ticket(session, "PUT")
    step("upload", "let through")
except exceptions.NoPermissionException:
    step("upload", "done, and not elsewhere")

hosts = session.invoke_api(vim_util, "get_objects", session.vim, "HostSystem", 100, ["name"])
try:
    session.invoke_api(session.vim, "EnterMaintenanceMode_Task", hosts.objects[0].obj, timeout=0)
    step("maintenance", "let through")
except exceptions.NoPermissionException as e:
    step("maintenance", "NoPermission, %s" % ("EnterMaintenanceMode_Task" in str(e)))
try:
    session.invoke_api(session.vim, "PowerOffVM_Task", vms["DC0_H0_VM0"])
    step("outside", "let through")
except exceptions.NoPermissionException as e:
    step("outside", "NoPermission, %s" % ("outside of what is delegated" in str(e)))
session.logout()
step("logout", "done")
