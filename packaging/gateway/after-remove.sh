#!/bin/sh
# Runs after the package, or its old version, is gone. dpkg's purge and rpm's
# removal, which has no second step, take away what the gateway has written too:
# its identity, its vault, and what firstboot made of the network. The running
# network stays as it is.
set -eu

reload() {
	[ ! -d /run/systemd/system ] || systemctl daemon-reload || :
}
case "$1" in
purge | 0) ;;
*)
	reload
	exit 0
	;;
esac

rm -rf /var/lib/pf9/gateway /var/lib/pf9/appliance /run/pf9-gateway \
	/etc/pf9/gateway.conf.d /etc/pf9/gateway /etc/pf9/certs /etc/pf9/host_id.conf /etc/pf9/comms_proxy_cfg.json
rm -f /etc/systemd/system/multi-user.target.wants/pf9-gateway*.service
rm -f /etc/systemd/network/10-pf9.network /etc/systemd/timesyncd.conf.d/10-pf9.conf
for file in /etc/hostname /etc/resolv.conf; do # as they were before firstboot
	[ -e "$file.pf9-saved" ] || continue
	if [ -s "$file.pf9-saved" ]; then
		cat "$file.pf9-saved" >"$file"
	else
		rm -f "$file"
	fi
	rm -f "$file.pf9-saved"
done
reload
for dir in /etc/systemd/timesyncd.conf.d /etc/pf9/hostagent.conf.d /etc/pf9 /var/lib/pf9 /run/pf9-hostagent/plugins /run/pf9-hostagent; do
	rmdir "$dir" 2>/dev/null || : # not empty, or not there
done
