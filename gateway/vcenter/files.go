package vcenter

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// Users returns the references of the VMs, in the chosen clusters or not, that
// have disks or files of their own in a directory of a datastore, which is the
// first one of a path there. Files that are in no directory count as in one of
// their name, with all that begins like it. Images of CD drives do not count.
func (s *Source) Users(datastore, top string) []string {
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()
	ds, _ := factOf[*datastoreFact](s.store.objects[datastore])
	if ds == nil || top == "" {
		return nil
	}
	// Directories of objects have a second name there, after the VM.
	named := ds.spec.Type == "vsan" || ds.spec.Type == "VVOL"
	var users []string
	for _, o := range s.store.objects {
		f, ok := o.fact.(*vmFact)
		if ok && (len(f.datastores) == 0 || slices.Contains(f.datastores, datastore)) && (f.uses(top) || named && strings.EqualFold(o.name, top)) {
			users = append(users, o.id)
		}
	}
	return users
}

// uses says whether a VM has files in a directory of one of its datastores. By
// which name it knows the datastore does not count, for that may be an old one.
func (f *vmFact) uses(top string) bool {
	if within(f.home, top) || within(f.snapshotsIn, top) {
		return true
	}
	return slices.ContainsFunc(f.spec().Disks, func(d inventory.Disk) bool {
		_, file, _ := strings.Cut(d.Source, "] ")
		return d.Device == "disk" && within(file, top)
	})
}

// spec is what is listed of the VM, or will be.
func (f *vmFact) spec() inventory.VM {
	if f.draft != nil {
		return *f.draft
	}
	vm, _ := f.shown.(inventory.VM)
	return vm
}

// numbered is the end of the names of disks with snapshots.
var numbered = regexp.MustCompile(`-[0-9]{6}$`)

// within says whether a path on a datastore begins with a directory. Some
// datastores take capitals and small letters for the same.
func within(file, top string) bool {
	first, _, inside := strings.Cut(file, "/")
	if inside || first == "" {
		return inside && strings.EqualFold(first, top)
	}
	stem := numbered.ReplaceAllString(strings.TrimSuffix(first, path.Ext(first)), "")
	rest := len(top) - len(stem)
	return rest >= 0 && strings.EqualFold(top[:len(stem)], stem) && (rest == 0 || strings.ContainsAny(top[len(stem):len(stem)+1], ".-_"))
}

// directory is the first directory of a path such as "[ds] dir/vm.vmx", in one copy
// for all the VM's own paths; of a file that is in none, its name.
func (f *vmFact) directory(text string) string {
	_, file, _ := strings.Cut(text, "] ")
	if i := strings.IndexByte(file, '/'); i >= 0 {
		file = file[:i+1]
	}
	for _, known := range []string{f.home, f.snapshotsIn} {
		if known == file {
			return known
		}
	}
	return strings.Clone(file)
}
