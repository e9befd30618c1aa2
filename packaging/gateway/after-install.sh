#!/bin/sh
# Runs after the package is installed or upgraded. dpkg says "configure" and which
# version was there before, rpm how many versions there are now.
set -eu

first=no
case "$1" in
configure) [ -n "${2:-}" ] || first=yes ;;
1) first=yes ;;
esac

systemd-sysusers /usr/lib/sysusers.d/pf9.conf
systemd-tmpfiles --create /usr/lib/tmpfiles.d/pf9.conf /usr/lib/tmpfiles.d/pf9-gateway.conf || :
if [ "$first" = yes ]; then
	systemctl --no-reload preset pf9-gateway.service pf9-gateway-firstboot.service pf9-gateway-console.service || :
fi

[ -d /run/systemd/system ] || exit 0 # an image is made, or a container
systemctl daemon-reload || :
# What firstboot does is for a boot to do.
systemctl try-restart pf9-gateway.service pf9-gateway-console.service || :
# A Debian starts what it installs; what an rpm has waits for its administrator.
if [ "$1" = configure ] && systemctl --quiet is-enabled pf9-gateway.service; then
	deb-systemd-invoke start pf9-gateway.service || :
fi
