#!/bin/sh
# Installs what the tests need beside Go, where it is missing. Does nothing twice.
set -eu

have() {
	for c in libvirtd qemu-system-x86_64 virsh ovsdb-server ovs-vsctl ip gcc python3 xorriso; do
		command -v "$c" >/dev/null 2>&1 || [ -x "/usr/sbin/$c" ] || [ -x "/usr/libexec/$c" ] || return 1
	done
}

have && exit 0
if [ "$(id -u)" -ne 0 ]; then
	echo "packaging/deps.sh: the tests need libvirtd, QEMU, Open vSwitch's tools and Python: run it once as root" >&2
	exit 1
fi
if command -v apt-get >/dev/null 2>&1; then
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
		libvirt-daemon libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients \
		qemu-system-x86 openvswitch-switch openvswitch-common iproute2 gcc libc6-dev python3 xorriso
elif command -v dnf >/dev/null 2>&1; then
	dnf install -y libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-driver-storage \
		libvirt-daemon-driver-network libvirt-client qemu-kvm openvswitch iproute gcc python3 xorriso
else
	echo "packaging/deps.sh: neither apt-get nor dnf here: install libvirtd, QEMU, Open vSwitch's tools, gcc and Python by hand" >&2
	exit 1
fi
