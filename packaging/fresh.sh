#!/bin/bash
# Shows that the README's two commands are all it takes: makes a clean Debian in
# a temporary directory, clones the repository's HEAD into it, and runs them
# there, as root in containers of systemd-nspawn. Of this machine it uses the Go
# tool chain, the network and the certificates it trusts. Ten minutes or more; needs root, mmdebstrap, git.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
release=${1:-bookworm}
[ "$(id -u)" -eq 0 ] || { echo "packaging/fresh.sh: root is needed, for the containers" >&2; exit 1; }
for c in mmdebstrap systemd-nspawn git go; do
	command -v "$c" >/dev/null || { echo "packaging/fresh.sh: $c is missing (Debian: mmdebstrap systemd-container git)" >&2; exit 1; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/pf9-fresh-XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
echo "== a clean Debian $release"
mmdebstrap --quiet --variant=minbase --include=ca-certificates,git,make "$release" "$root"
cp -a "$(go env GOROOT)" "$root/usr/local/go"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" # the network may go through a proxy with its own authority
git clone --quiet --no-local "$top" "$root/root/openpf9"
cat >"$root/root/demo" <<'EOF'
#!/bin/bash
# Runs the demo until it follows changes, interrupts it, and looks for what it left.
set -m # so that it gets a process group, and the terminal's signal can be sent to it
make demo </dev/null >/root/demo.log 2>&1 &
for _ in $(seq 900); do
	grep -q 'Changes follow' /root/demo.log && break
	kill -0 $! 2>/dev/null || break
	sleep 1
done
sleep 3
kill -INT -- -$! 2>/dev/null || true
wait $! || true # go run and make call an interrupt an error
cat /root/demo.log
grep -q 'Changes follow' /root/demo.log || { echo "the demo did not come so far as to follow changes"; exit 1; }
if [ "${DEMO_LIBVIRT:-}" = user ]; then
	grep -q 'demo .*running' /root/demo.log || { echo "the emulated guest is not shown"; exit 1; }
fi
for _ in $(seq 10); do
	left=$(cat /proc/[0-9]*/comm | grep -E 'pf9|libvirt|qemu|virtlog'; ls -d /tmp/pf9-* 2>/dev/null)
	[ -z "$left" ] && exit 0
	sleep 1
done
echo "the demo left something behind: $left"
exit 1
EOF
chmod +x "$root/root/demo"
inside() {
	systemd-nspawn --quiet --register=no --keep-unit --as-pid2 --console=pipe --directory="$root" --chdir=/root/openpf9 \
		--setenv=PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		--setenv=HOME=/root --setenv="GOPROXY=$(go env GOPROXY)" "$@" </dev/null
}
echo "== make demo"
inside /root/demo
echo "== make check"
inside make check
echo "== make demo, with a private libvirtd"
inside --setenv=DEMO_LIBVIRT=user /root/demo
echo "ok: the README's two commands work on a clean Debian $release"
