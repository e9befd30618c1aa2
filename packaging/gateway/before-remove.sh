#!/bin/sh
# Runs before the package is removed, or its old version by an upgrade: dpkg says
# which, and rpm how many versions stay. What an administrator enabled comes back
# with a package that was not purged.
case "$1" in
remove | deconfigure | 0) ;;
*) exit 0 ;;
esac
units='pf9-gateway-console.service pf9-gateway-firstboot.service pf9-gateway.service'
# shellcheck disable=SC2086 # several units
[ ! -d /run/systemd/system ] || systemctl stop $units || :
# shellcheck disable=SC2086
[ "$1" != 0 ] || systemctl --no-reload disable $units || :
