package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// LVM lists volume groups from LVM's own metadata, without forking its tools.
// The zero value works. It is a [plugin.Source].
//
// Metadata is read from the physical volumes themselves; of those that cannot
// be read, from the copy that LVM keeps under /etc/lvm/backup. Both belong to
// root by default. List returns [ErrAbsent] where there is no physical volume,
// and an error that wraps [fs.ErrPermission] where there is one whose group
// neither way can be learnt: a list without it would look like its removal.
type LVM struct {
	// Root is prefixed to /sys, /proc, /run, /dev and /etc; empty means "/".
	Root string
	// Timeout is how long one device may take to answer; 0 means 2 s.
	Timeout time.Duration

	flights flights[lvmLabel] // by kernel name
}

// Kinds are the kinds that LVM emits.
func (*LVM) Kinds() []string { return []string{inventory.KindVolumeGroup} }

// List emits every volume group.
func (l *LVM) List(ctx context.Context, emit func(plugin.Resource)) error {
	s, err := l.scan(ctx)
	if err != nil {
		return fmt.Errorf("list volume groups: %w", err)
	}
	if len(s.volumes) == 0 && len(s.active) == 0 {
		return fmt.Errorf("LVM: %w", l.nothing(s))
	}
	groups, err := l.groups(s)
	if err != nil {
		return fmt.Errorf("list volume groups: %w", err)
	}
	for _, g := range groups {
		emit(plugin.Resource{
			Key:  plugin.Key{Kind: inventory.KindVolumeGroup, ID: clip(g.uuid)},
			Name: clip(g.name),
			Spec: s.spec(g),
		})
	}
	return ctx.Err()
}

// nothing is the error for a host on which nothing of LVM was seen. Without
// udev's word, devices that cannot be opened prove nothing if LVM's own folder
// is closed too.
func (l *LVM) nothing(s lvmScan) error {
	if s.blind == nil {
		return ErrAbsent
	}
	if _, err := readBackups(under(l.Root, "/etc/lvm/backup")); errors.Is(err, fs.ErrPermission) {
		return remedy(s.blind, err)
	}
	return ErrAbsent
}

// lvmScan is what the devices say.
type lvmScan struct {
	volumes map[string]lvmVolume // by UUID without dashes
	active  map[string]bool      // group's and logical volume's UUIDs without dashes, in one
	blind   error                // why a device of which udev says nothing could not be opened
}

// lvmVolume is a physical volume that was seen.
type lvmVolume struct {
	name  string            // kernel name of its device
	path  string            // of its device
	udev  map[string]string // nil where udev has not looked
	label lvmLabel
	err   error // why the label could not be read; then only udev vouches for it
}

// scan looks at all block devices that are neither mounted nor divided. Where
// udev has looked before, only those that it found to be physical volumes are
// opened, a few at a time: each may hang.
func (l *LVM) scan(ctx context.Context) (lvmScan, error) {
	s := lvmScan{volumes: make(map[string]lvmVolume), active: make(map[string]bool)}
	candidates, err := s.candidates(l.Root)
	if err != nil {
		return s, err
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range candidates {
		slots <- struct{}{} // freed within Timeout
		wg.Go(func() {
			defer func() { <-slots }()
			l.open(ctx, &candidates[i])
		})
	}
	wg.Wait()
	for _, v := range candidates {
		if v.err != nil && v.udev == nil && errors.Is(v.err, fs.ErrPermission) {
			s.blind = v.err
		}
		if v.label.uuid != "" { // else it is none, or nobody says that it is one
			s.add(v)
		}
	}
	return s, ctx.Err()
}

// candidates returns the devices that may be physical volumes, and notes which
// logical volumes are active.
func (s *lvmScan) candidates(root string) ([]lvmVolume, error) {
	names, err := blockNames(root)
	if err != nil {
		return nil, err
	}
	mounts, err := readMountPoints(root)
	if err != nil {
		return nil, err
	}
	divided := make(map[string]bool) // disks with partitions
	for _, name := range names {
		divided[newBlock(root, name).parent()] = true
	}
	var all []lvmVolume
	for _, name := range names {
		b := newBlock(root, name)
		if uuid, ok := strings.CutPrefix(b.read("dm", "uuid"), "LVM-"); ok && len(uuid) >= 64 {
			s.active[uuid[:64]] = true
		}
		kind := deviceType(b)
		if kind == "" || kind == "rom" || b.number("size") == 0 || divided[name] || len(mounts.of(b)) != 0 {
			continue
		}
		v := lvmVolume{name: name, path: b.path(), udev: readUdev(root, b.dev())}
		if t := v.udev["ID_FS_TYPE"]; t == "" || t == "LVM2_member" {
			all = append(all, v)
		}
	}
	return all, nil
}

// open fills in the label, or what udev knows of it.
func (l *LVM) open(ctx context.Context, v *lvmVolume) {
	v.label, v.err = l.flights.do(ctx, v.name, cmp.Or(l.Timeout, 2*time.Second), func() (lvmLabel, error) {
		return openLabel(under(l.Root, "/dev/"+strings.ReplaceAll(v.name, "!", "/")))
	})
	if v.err != nil && v.udev["ID_FS_TYPE"] == "LVM2_member" {
		v.label.uuid = bare(v.udev["ID_FS_UUID"])
	}
}

// add keeps one of several devices that show the same volume, such as the paths
// of a multipath disk: a readable one, and the mapped one of those.
func (s *lvmScan) add(v lvmVolume) {
	old, ok := s.volumes[v.label.uuid]
	better := old.err != nil && v.err == nil || (old.err == nil) == (v.err == nil) && strings.HasPrefix(v.path, "/dev/mapper/")
	if !ok || better {
		s.volumes[v.label.uuid] = v
	}
}

func openLabel(path string) (lvmLabel, error) {
	f, err := os.Open(path)
	if err != nil {
		return lvmLabel{}, err
	}
	defer f.Close()
	return readLabel(f)
}

// groups returns the groups of all volumes seen, by name. A group that no
// volume tells of comes from the backup; one in the backup alone, whose volumes
// are gone, is none.
func (l *LVM) groups(s lvmScan) ([]volumeGroup, error) {
	found := make(map[string]volumeGroup)
	covered := make(map[string]bool) // physical volumes whose group is known
	take := func(g volumeGroup) {
		if old, ok := found[g.uuid]; !ok || g.seqno > old.seqno {
			found[g.uuid] = g
		}
		for _, pv := range g.pvs {
			covered[bare(pv.uuid)] = true
		}
	}
	for id, v := range s.volumes {
		if v.err != nil {
			continue
		}
		if v.label.text == "" {
			// An orphan, or one that leaves the text to the others of its group.
			covered[id] = true
			continue
		}
		g, err := parseVolumeGroup(v.label.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.path, err)
		}
		take(g)
	}
	if why := s.unknown(covered, found); why != nil {
		backups, err := readBackups(under(l.Root, "/etc/lvm/backup"))
		for _, g := range backups {
			_, known := found[g.uuid]
			if !known && s.present(g) {
				take(g)
			}
		}
		if still := s.unknown(covered, found); still != nil {
			return nil, remedy(still, err)
		}
	}
	out := make([]volumeGroup, 0, len(found))
	for _, g := range found {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b volumeGroup) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

// remedy turns the reasons why a group stays unknown into advice.
func remedy(device, backup error) error {
	err := fmt.Errorf("%w; /etc/lvm/backup: %w", device, cmp.Or(backup, errNoGroup))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (let the agent's user read /etc/lvm/backup and its files)", permission{err})
	}
	return err
}

// permission marks an error as one that a right would cure. It hides that a
// file was missing: a device node that the sandbox hides is not an absent LVM.
type permission struct{ error }

func (permission) Is(target error) bool { return target == fs.ErrPermission }

// unknown returns why the metadata is not yet complete: a volume whose group is
// not known, or an active logical volume of a group that is not.
func (s lvmScan) unknown(covered map[string]bool, found map[string]volumeGroup) error {
	var errs error
	for _, id := range sortedKeys(s.volumes) {
		if v := s.volumes[id]; v.err != nil && !covered[id] {
			errs = errors.Join(errs, fmt.Errorf("physical volume %s: %w", v.path, v.err))
		}
	}
	if errs != nil {
		return errs
	}
	known := make(map[string]bool)
	for _, g := range found {
		known[bare(g.uuid)] = true
	}
	for id := range s.active {
		if !known[id[:32]] {
			return fmt.Errorf("a logical volume is active and its physical volumes are hidden: %w", fs.ErrPermission)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// present says that the group has a volume or an active logical volume here.
func (s lvmScan) present(g volumeGroup) bool {
	for _, pv := range g.pvs {
		if _, ok := s.volumes[bare(pv.uuid)]; ok {
			return true
		}
	}
	for id := range s.active {
		if id[:32] == bare(g.uuid) {
			return true
		}
	}
	return false
}

// spec adds to the metadata what is so on this host now.
func (s lvmScan) spec(g volumeGroup) inventory.VolumeGroup {
	out := g.spec
	out.LogicalVolumes = slices.Clone(out.LogicalVolumes)
	for i, lv := range out.LogicalVolumes {
		out.LogicalVolumes[i].Active = s.active[bare(g.uuid)+bare(lv.UUID)]
	}
	for _, pv := range g.pvs {
		path := pv.hint
		if v, ok := s.volumes[bare(pv.uuid)]; ok {
			path = v.path
		}
		out.PhysicalVolumes = append(out.PhysicalVolumes, path)
	}
	slices.Sort(out.PhysicalVolumes)
	return out
}

// maxBackup bounds a backup file, in bytes.
const maxBackup = maxMetadata

// readBackups parses all files of the folder. LVM names each after its group;
// what else lies there, such as an editor's copy, does not count.
func readBackups(dir string) ([]volumeGroup, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []volumeGroup
	var errs error
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err != nil || info.Size() > maxBackup {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		g, err := parseVolumeGroup(string(b))
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", e.Name(), err))
			continue
		}
		if g.name == e.Name() {
			all = append(all, g)
		}
	}
	return all, errs
}
