# Drives whole lives of instances with nova's VMwareVCDriver, unchanged, through
# the broker: from images that glance has to nothing left behind. Each line that
# it writes is the result of one step; it waits for a line before each next one.
import os
import uuid

from nova_stand import CONF, DIR, step

from nova import context, objects
from nova.network import model
from nova.virt.vmwareapi import driver as vmware
from nova.virt.vmwareapi import images, vm_util

CONF.set_override("flat_injected", True)


class Glance:
    """Is glance: it has the files that the test made, and takes snapshots."""

    def __init__(self):
        self.images = {}
        self.taken = {}

    def add(self, name, **properties):
        path = os.path.join(DIR, name)
        image = {
            "id": str(uuid.uuid4()), "name": name, "size": os.path.getsize(path), "status": "active",
            "container_format": "bare", "disk_format": properties.pop("disk_format", "vmdk"),
            "properties": properties, "locations": [], "path": path,
        }
        self.images[image["id"]] = image
        return image

    def get(self, context, image_id, include_locations=False):
        return self.images[image_id]

    def download(self, context, image_id):
        with open(self.images[image_id]["path"], "rb") as f:
            while chunk := f.read(65536):
                yield chunk

    def update(self, context, image_id, metadata, data=None):
        content = b""
        while chunk := data.read(65536):
            content += chunk
        self.taken[image_id] = (metadata, content)


class Neutron:
    """Is neutron, as far as the driver calls it itself."""

    def update_instance_vnic_index(self, context, instance, vif, index):
        pass


glance = images.IMAGE_API = Glance()
driver = vmware.VMwareVCDriver(None)
driver.init_host("gateway")
driver._vmops._network_api = Neutron()
session = driver._session
node = driver.get_available_nodes()[0]
admin = context.RequestContext("user", "project", is_admin=True, user_name="user", project_name="project")


def flavor(**changes):
    values = dict(name="small", memory_mb=64, vcpus=1, root_gb=0, ephemeral_gb=0, swap=0, extra_specs={})
    values.update(changes)
    return objects.Flavor(**values)


def instance(image, size):
    one = objects.Instance(
        id=1, uuid=str(uuid.uuid4()), display_name="web", project_id="project", user_id="user", node=node, host="gateway",
        image_ref=image["id"], flavor=size, vcpus=size.vcpus, memory_mb=size.memory_mb, system_metadata={}, metadata={},
        config_drive="", task_state=None, vm_state="building", os_type=None, key_data=None, key_name=None,
        info_cache=objects.InstanceInfoCache(network_info=card(1)))
    one.save = lambda *args, **kwargs: None  # there is no conductor
    return one


def card(number):
    subnet = model.Subnet(
        cidr="192.0.2.0/24", dns=[model.IP("192.0.2.1")], gateway=model.IP("192.0.2.1"), ips=[model.FixedIP("192.0.2.%d" % (9 + number))],
        version=4)
    network = model.Network(id=str(uuid.uuid4()), bridge="br-int", label="net", subnets=[subnet])
    return model.NetworkInfo([model.VIF(
        id=str(uuid.uuid4()), address="fa:16:3e:00:00:%02x" % number, network=network, type=model.VIF_TYPE_DVS,
        details={"dvs_port_group_name": "DC0_DVPG0"})])


def meta(image):
    return objects.ImageMeta.from_dict(
        {k: image[k] for k in ("id", "name", "size", "status", "container_format", "disk_format", "properties")})


spawned = []


def spawn(image, size, network=()):
    one = instance(image, size)
    spawned.append(one)
    driver.spawn(admin, one, meta(image), [], None, {}, model.NetworkInfo(network))
    return one


def devices(one, kind):
    ref = vm_util.get_vm_ref(session, one)
    return [d for d in vm_util.get_hardware_devices(session, ref) if d.__class__.__name__ == kind]


def disks(one):
    return ["%d KB%s" % (d.capacityInKB, " with a parent" if hasattr(d.backing, "parent") else "") for d in devices(one, "VirtualDisk")]


def no_state(**kwargs):
    """Is where nova keeps what it is doing."""


# From a sparse image, which is converted to a copy of its own for the instance.
sparse = glance.add("sparse.vmdk", hw_disk_type="sparse", img_linked_clone=False)
network = card(1)
web = spawn(sparse, flavor(root_gb=1, ephemeral_gb=1, swap=64), network)
step("sparse", driver.get_info(web).state)
step("sparse disks", disks(web))
step("listed", driver.list_instances() == [web.uuid])
step("diagnostics", driver.get_diagnostics(web)["vmware:powerState"])

# Its life: power, consoles, networks, a snapshot.
driver.power_off(web, timeout=1, retry_interval=1)
step("power off", driver.get_info(web).state)
driver.power_on(admin, web, network)
step("power on", driver.get_info(web).state)
driver.reboot(admin, web, network, "SOFT")
driver.reboot(admin, web, network, "HARD")
step("reboot", driver.get_info(web).state)
driver.suspend(admin, web)
step("suspend", driver.get_info(web).state)
driver.resume(admin, web, network)
step("resume", driver.get_info(web).state)
vnc = driver.get_vnc_console(admin, web)
step("vnc", "%s:%d" % (vnc.host, vnc.port))
mks = driver.get_mks_console(admin, web)
step("mks", "%s:%d" % (mks.host, mks.port))
more = card(2)[0]
driver.attach_interface(admin, web, meta(sparse), more)
step("cards", len(devices(web, "VirtualE1000")))
driver.detach_interface(admin, web, more)
step("cards after one went", len(devices(web, "VirtualE1000")))
taken = glance.add("sparse.vmdk")
driver.snapshot(admin, web, taken["id"], no_state)
properties, content = glance.taken[taken["id"]]
step("snapshot", "%s, %s" % (properties["properties"]["vmware_disktype"], content.split(b"\n")[0].decode()))

# It grows, and is rescued.
larger = flavor(name="large", root_gb=2, ephemeral_gb=1, swap=64, memory_mb=128)
driver.migrate_disk_and_power_off(admin, web, "gateway", larger, network)
web.flavor = larger
driver.finish_migration(admin, None, web, None, network, meta(sparse), True, {})
driver.confirm_migration(admin, None, web, network)
step("resize", disks(web))
driver.rescue(admin, web, network, meta(sparse), None, None)
step("rescue", len(devices(web, "VirtualDisk")))
driver.unrescue(admin, web)
step("unrescue", len(devices(web, "VirtualDisk")))

# It moves within the cluster, and takes a volume, which is another machine's disk.
destination = driver.check_can_live_migrate_destination(admin, web, None, None)
driver.check_can_live_migrate_source(admin, web, destination)
driver.live_migration(admin, web, "gateway", lambda *args: None, lambda *args: None, migrate_data=destination)
step("live migration", driver.get_info(web).state)
step("connector", sorted(driver.get_volume_connector(web)))

# From a stream-optimised image, which comes by a lease; the instance's disk is a
# child of the cached one.
stream = glance.add("stream.vmdk", hw_disk_type="streamOptimized")
api = spawn(stream, flavor())
step("stream", driver.get_info(api).state)
step("stream disks", disks(api))
volume = {"driver_volume_type": "vmdk", "data": {
    "volume": vm_util.get_vm_ref(session, api).value, "volume_id": api.uuid, "name": "volume", "profile_id": None}}
driver.attach_volume(admin, volume, web, "/dev/sdb")
step("volume", len(devices(web, "VirtualDisk")))
driver.detach_volume(admin, volume, web, "/dev/sdb", None)
step("volume gone", len(devices(web, "VirtualDisk")))

# From an image that is a disk byte by byte, and from one to boot from.
flat = glance.add("flat.vmdk", hw_disk_type="preallocated", img_linked_clone=False)
step("flat", disks(spawn(flat, flavor())))
iso = spawn(glance.add("boot.iso", disk_format="iso"), flavor(root_gb=1))
step("iso", [d.backing.fileName.split("/")[-1] == iso.image_ref + ".iso" for d in devices(iso, "VirtualCdrom") if "fileName" in d.backing])

# The end.
objects.BlockDeviceMappingList.bdms_by_instance_uuid = lambda *args, **kwargs: {}  # there is no database
driver.manage_image_cache(admin, [])
for one in spawned:
    driver.destroy(admin, one, None)
step("listed at the end", driver.list_instances())
driver.cleanup_host("gateway")
step("cleanup", "done")
