package storage

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Filesystems lists mounted file systems, each once. The zero value works. It
// is a [plugin.Source] and a [plugin.Watcher].
//
// Where a mount cannot be asked, because its server is dead, because the
// agent's sandbox hides it or because its path is closed to the agent, it is
// listed as unresponsive and its sizes are unknown, not zero.
type Filesystems struct {
	// Root is prefixed to every path; empty means "/". Capacity is asked for at
	// the mount points themselves, so with another root it is unknown.
	Root string
	// Network also lists file systems of other machines, such as NFS. They are
	// off by default because a dead server blocks a thread for each of them.
	Network bool
	// Timeout is how long one file system may take to answer; 0 means 2 s.
	Timeout time.Duration

	flights flights[capacity] // by device number

	// statfs replaces the system call; for tests.
	statfs func(path string) (capacity, error)
}

// Kinds are the kinds that Filesystems emits.
func (*Filesystems) Kinds() []string { return []string{inventory.KindFilesystem} }

// List emits every file system.
func (f *Filesystems) List(ctx context.Context, emit func(plugin.Resource)) error {
	b, err := os.ReadFile(under(f.Root, "/proc/self/mountinfo"))
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	mounts, err := parseMountinfo(b)
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	all := group(mounts, f.Network)
	specs := make([]inventory.Filesystem, len(all))
	var wg sync.WaitGroup
	for i, g := range all {
		specs[i] = g.spec()
		wg.Go(func() { f.measure(ctx, g, &specs[i]) })
	}
	wg.Wait() // measure is bounded by Timeout
	if ctx.Err() != nil {
		return ctx.Err()
	}
	used := make(map[string]int)
	ids := make([]string, len(all))
	for i, g := range all {
		ids[i] = clip("dev/" + g.mounts[0].Source)
		if uuid := f.uuid(g.mounts[0]); uuid != "" {
			ids[i] = clip("uuid/" + uuid)
		}
		used[ids[i]]++
	}
	for i, g := range all {
		if used[ids[i]] > 1 { // a cloned file system, or two exports of one name
			ids[i] = clip(ids[i] + "/" + specs[i].Mounts[0])
		}
		emit(plugin.Resource{
			Key:  plugin.Key{Kind: inventory.KindFilesystem, ID: ids[i]},
			Name: clip(g.mounts[0].Point),
			Spec: specs[i],
		})
	}
	return nil
}

// uuid returns the file system's own id from the udev database, or nothing.
func (f *Filesystems) uuid(m mount) string {
	dev := m.dev()
	if m.Major == 0 { // btrfs: look at the device that it was mounted from
		if dev = blockDev(f.Root, m.Source); dev == "" {
			return ""
		}
	}
	return readUdev(f.Root, dev)["ID_FS_UUID"]
}

// clip keeps ids and names within the 255 bytes that they may have.
func clip(s string) string {
	if len(s) > 255 {
		return s[:255]
	}
	return s
}

// measure fills in the capacity.
func (f *Filesystems) measure(ctx context.Context, g filesystem, to *inventory.Filesystem) {
	if g.visible == "" || f.Root != "" && f.statfs == nil {
		to.Unresponsive = true
		return
	}
	c, err := f.ask(ctx, g.mounts[0].dev(), g.visible)
	if err != nil {
		to.Unresponsive = true
		return
	}
	to.TotalBytes, to.UsedBytes, to.AvailableBytes = c.total, c.used, c.available
	to.TotalInodes, to.FreeInodes = c.inodes, c.freeInodes
}

// filesystem is one file system with all its mounts that matter, the oldest
// first.
type filesystem struct {
	mounts  []mount
	visible string // a mount point that leads to it; empty: none
	network bool
}

func (g filesystem) spec() inventory.Filesystem {
	m := g.mounts[0]
	out := inventory.Filesystem{
		Source:   m.Source,
		Type:     m.Type,
		Network:  g.network,
		ReadOnly: option(m.SuperOptions, "ro"), // a sandbox makes mounts read-only, not file systems
	}
	for _, m := range g.mounts {
		out.Mounts = append(out.Mounts, m.Point)
	}
	slices.Sort(out.Mounts)
	out.Mounts = slices.Compact(out.Mounts)
	return out
}

// group puts mounts of one device together: a bind mount is no second file
// system. Mounts of a folder of it are left out where its root is mounted too:
// containers and the agent's own sandbox make them by the dozen.
func group(mounts []mount, network bool) []filesystem {
	tree := newMountTree(mounts)
	byDev := make(map[string]*filesystem)
	var order []string
	for _, m := range mounts {
		class := classify(m)
		if class == pseudo || class == remote && !network {
			continue
		}
		key := m.dev()
		g, ok := byDev[key]
		if !ok {
			g = &filesystem{network: class == remote}
			byDev[key] = g
			order = append(order, key)
		}
		g.mounts = append(g.mounts, m)
		if g.visible == "" && !tree.hides(m) {
			g.visible = m.Point
		}
	}
	out := make([]filesystem, 0, len(order))
	for _, key := range order {
		g := byDev[key]
		whole := slices.DeleteFunc(slices.Clone(g.mounts), func(m mount) bool { return m.Root != "/" })
		if len(whole) != 0 {
			g.mounts = whole
		}
		out = append(out, *g)
	}
	slices.SortStableFunc(out, func(a, b filesystem) int { return cmp.Compare(a.mounts[0].Point, b.mounts[0].Point) })
	return out
}

type class int

const (
	pseudo class = iota
	local
	remote
)

// classify goes by the device number: 0 as major means that no block device is
// behind it. The exceptions are few.
func classify(m mount) class {
	switch m.Type {
	case "squashfs", "erofs", "cramfs": // images, always full
		return pseudo
	case "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "virtiofs", "glusterfs", "lustre", "afs", "beegfs", "gpfs", "pvfs2",
		"fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone", "fuse.mfs", "fuse.juicefs":
		return remote
	case "btrfs", "zfs", "bcachefs": // they span devices, so the kernel makes a number up
		return local
	}
	if m.Major == 0 {
		return pseudo
	}
	return local
}
