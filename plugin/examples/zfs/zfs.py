#!/usr/bin/python3 -I
"""Tells openpf9 of the host's ZFS pools and datasets and their capacity.

It runs `zpool list` and `zfs list`, which need no privilege. Try it by hand:
`./zfs.py` lists once and prints; `./zfs.py --help` says more.
"""
import json, os, queue, socket, stat, subprocess, sys, threading

NAME, VERSION = "zfs", "0.1.0"

# The protocol, the same in any plugin: copy it as it is, down to the next line
# that begins with "# ".

TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


class Agent:
    """The agent at the other end of file descriptor 0, by docs/plugin-protocol.md.

    One thread reads, one writes and one lists, so that a ping is answered and
    the end is seen whatever the others wait for.
    """

    MAX_LINE, BATCH_BYTES, BATCH_ITEMS = 4 << 20, 128 << 10, 1000

    def __init__(self, kinds, defaults):
        self.socket = socket.socket(fileno=os.dup(0))
        self.outbox = queue.Queue(100)  # full: listing waits, pongs are dropped
        self.news = threading.Condition()  # guards the fields below
        self.welcome = None
        self.seq = self.acked = 0
        self.whole = True  # send everything next, not just what changed
        self.look = False  # list now
        keys = {k: {"type": TYPES[type(v)], "default": v} for k, v in defaults.items()}
        self.say(hello={
            "protocols": [1], "name": NAME, "version": VERSION, "sdk": "python", "kinds": kinds,
            "config_schema": {"type": "object", "properties": keys, "additionalProperties": False}})
        for work in (self.read, self.write):
            threading.Thread(target=self.until_the_end, args=(work,), daemon=True).start()

    def until_the_end(self, work):
        try:
            work()
        except Exception as e:
            print(f"leaving: {e}", file=sys.stderr, flush=True)
        finally:
            os._exit(0)  # the agent has gone, said stop, or does not speak the protocol

    def write(self):
        while True:
            self.socket.sendall(self.outbox.get())
            self.outbox.task_done()

    def read(self):
        lines = self.socket.makefile("rb")
        while 0 < len(line := lines.readline(self.MAX_LINE + 1)) <= self.MAX_LINE:
            frame = json.loads(line) if line.strip() else {}
            if "stop" in frame:
                return
            if "ping" in frame:
                self.say(wait=False, pong=frame["ping"])
            with self.news:
                self.welcome = frame.get("welcome", self.welcome)
                self.acked = frame.get("ack", {}).get("seq", self.acked)
                self.whole |= "resync" in frame
                self.look |= "resync" in frame or "refresh" in frame
                self.news.notify_all()

    def say(self, wait=True, **message):
        try:
            self.outbox.put(json.dumps(message).encode() + b"\n", block=wait)
        except queue.Full:
            pass

    def configuration(self, defaults):
        """Waits for the welcome; returns the defaults with what it sets."""
        with self.news:
            self.news.wait_for(lambda: self.welcome is not None)
        try:
            return configured(defaults, self.welcome.get("config") or {})
        except ValueError as e:
            self.fail(str(e))

    def fail(self, text):
        self.say(status={"level": "failed", "code": "config", "text": text})
        self.outbox.join()
        print(text, file=sys.stderr, flush=True)
        os._exit(78)

    def serve(self, listing):
        """Lists and sends what changed, forever."""
        told, health = {}, {"level": "ok"}
        while True:
            try:
                found, now = {(r["kind"], r["id"]): r for r in listing()}, {"level": "ok"}
                told = self.tell(found, told)
            except Exception as e:  # what was told stays in force
                now = {"level": "degraded", "code": getattr(e, "code", "list"), "text": str(e)[:1000]}
            if now != health:
                self.say(status=now)
                health = now
            with self.news:
                self.news.wait_for(lambda: self.look, (self.welcome.get("interval_ms") or 60000) / 1000)
                self.look = False

    def tell(self, found, told):
        with self.news:
            whole, self.whole = self.whole, False
        told = {} if whole else told
        changes = [("upserts", r) for key, r in found.items() if told.get(key) != r]
        changes += [("deletes", {"kind": k, "id": i}) for k, i in told if (k, i) not in found]
        batches = self.batches(changes, whole)
        for n, batch in enumerate(batches):
            delta = {}
            for what, item in batch:
                delta.setdefault(what, []).append(item)
            if whole and n == 0:
                delta["begin"] = True
            if whole and n == len(batches) - 1:
                delta.update(end=True, count=len(found))
            with self.news:
                self.news.wait_for(lambda: self.seq - self.acked < (self.welcome.get("window") or 8))
                self.seq += 1
            self.say(delta={"seq": self.seq, **delta})
        return found

    def batches(self, changes, even_if_empty):
        batches, size = [[]] if changes or even_if_empty else [], 0
        for change in changes:
            size += len(json.dumps(change))
            if batches[-1] and (size > self.BATCH_BYTES or len(batches[-1]) == self.BATCH_ITEMS):
                batches.append([])
                size = len(json.dumps(change))
            batches[-1].append(change)
        return batches


def configured(defaults, given):
    """Returns the defaults with what is given. A ValueError names the key that is wrong."""
    if not isinstance(given, dict):
        raise ValueError("config: want an object")
    for key, value in given.items():
        if key not in defaults:
            raise ValueError(f'config: unknown key "{key}"; known are: {", ".join(sorted(defaults))}')
        want = type(defaults[key])
        if type(value) is not want and (want, type(value)) != (float, int):
            raise ValueError(f"config.{key}: want {TYPES[want]}, not {json.dumps(value)}")
    return {**defaults, **given}


def load(name):
    """Returns the configuration in a file; - is standard input."""
    with open(0 if name == "-" else name) as f:
        try:
            return json.load(f)
        except ValueError as e:
            raise ValueError(f"config: {name} is no JSON: {e}") from None


def by_hand(defaults, listing):
    """Serves somebody who tries the plugin without an agent."""
    import argparse  # not for the agent's plugin, which is to be small
    p = argparse.ArgumentParser(
        prog=NAME, description="A discovery plugin of openpf9. The agent starts it with a socket as standard input; "
        "by hand it lists once and prints what the agent would see, a JSON object a line.",
        epilog="The configuration is by default " + json.dumps(defaults).replace("%", "%%"))
    p.add_argument("--config", metavar="FILE", help="read the configuration, a JSON object, from FILE; - is standard input")
    p.add_argument("--version", action="version", version=f"{NAME} {VERSION}")
    options = p.parse_args()
    try:
        config = configured(defaults, load(options.config) if options.config else {})
    except (OSError, ValueError) as e:
        print(f"{NAME}: {e}", file=sys.stderr)
        sys.exit(78)
    try:
        for resource in listing(config):
            print(json.dumps(resource))
    except Exception as e:
        sys.exit(f"{NAME}: {e}")


def run(kinds, defaults, listing):
    """The whole main function. listing(config) returns all resources, or raises:
    what was listed last stays in force then."""
    if len(sys.argv) > 1 or not stat.S_ISSOCK(os.fstat(0).st_mode):
        return by_hand(defaults, listing)
    agent = Agent(kinds, defaults)
    config = agent.configuration(defaults)
    agent.serve(lambda: listing(config))


# What follows is this plugin's own.

POOL, DATASET = "org.openpf9.zfs_pool", "org.openpf9.zfs_dataset"
DEFAULTS = {"zpool": "zpool", "zfs": "zfs", "datasets": True, "timeout_seconds": 20}
BYTES = {"type": "integer", "minimum": 0}
KINDS = [{
    "name": POOL, "version": 1,
    "columns": [{"name": n, "path": p} for n, p in (
        ("SIZE", "size_bytes"), ("USED", "allocated_bytes"), ("FREE", "free_bytes"))],
    "schema": {
        "type": "object", "required": ["state", "size_bytes", "allocated_bytes", "free_bytes"],
        "properties": {
            "state": {"type": "string", "description": "online, degraded, faulted, offline, removed, unavail or suspended"},
            "size_bytes": BYTES, "allocated_bytes": BYTES, "free_bytes": BYTES}},
}, {
    "name": DATASET, "version": 1,
    "columns": [{"name": n, "path": p} for n, p in (
        ("TYPE", "type"), ("USED", "used_bytes"), ("AVAILABLE", "available_bytes"), ("MOUNT", "mount"))],
    "schema": {
        "type": "object", "required": ["type", "used_bytes", "available_bytes", "referenced_bytes"],
        "properties": {
            "type": {"type": "string", "enum": ["filesystem", "volume"]},
            "used_bytes": BYTES, "available_bytes": BYTES, "referenced_bytes": BYTES,
            "mount": {"type": "string", "description": "where a filesystem is mounted"}}},
}]


class Unavailable(Exception):
    code = "zfs-unavailable"


def table(config, command, *args):
    """The rows that a command prints, split at tabs."""
    try:
        done = subprocess.run([config[command], *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=config["timeout_seconds"], check=False)
    except FileNotFoundError:
        raise Unavailable(f"there is no {config[command]}: install ZFS, or take this plugin away") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command} list does not answer within {config['timeout_seconds']} s") from None
    if done.returncode != 0:
        text = done.stderr.decode(errors="replace").strip()
        raise Unavailable(f"{command} list: {text or 'exit status %d' % done.returncode}")
    return [line.split("\t", 7) for line in done.stdout.decode(errors="replace").splitlines()]


def coarse(text):
    """A number of bytes, cut to its first 8 bits: a pool in use changes with each
    second, and a list should change with each half percent only."""
    n = int(text) if text.isdigit() else 0
    shift = max(0, n.bit_length() - 8)
    return n >> shift << shift


def pools(config):
    for name, guid, size, allocated, free, health in table(
            config, "zpool", "list", "-Hp", "-o", "name,guid,size,allocated,free,health"):
        yield {"kind": POOL, "id": guid, "name": name, "spec": {
            "state": health.lower(), "size_bytes": int(size) if size.isdigit() else 0,
            "allocated_bytes": coarse(allocated), "free_bytes": coarse(free)}}


def datasets(config, pool_ids):
    for name, guid, kind, used, available, referenced, mounted, mountpoint in table(
            config, "zfs", "list", "-Hp", "-t", "filesystem,volume",
            "-o", "name,guid,type,used,available,referenced,mounted,mountpoint"):
        pool = pool_ids.get(name.split("/")[0])
        if not pool:
            continue  # imported since the pools were listed; the next list has both
        spec = {"type": kind, "used_bytes": coarse(used), "available_bytes": coarse(available),
                "referenced_bytes": coarse(referenced)}
        if mounted == "yes":
            spec["mount"] = mountpoint
        # A GUID is a dataset's own within its pool; a copied pool has the same ones.
        yield {"kind": DATASET, "id": f"{pool}/{guid}", "name": name, "parent": {"kind": POOL, "id": pool}, "spec": spec}


def listing(config):
    found = list(pools(config))
    if config["datasets"]:
        found += datasets(config, {p["name"]: p["id"] for p in found})
    return found


if __name__ == "__main__":
    run(KINDS, DEFAULTS, listing)
