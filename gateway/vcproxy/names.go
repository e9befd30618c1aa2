package vcproxy

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// encoded is a character in another spelling, which vCenter or a host may read.
var encoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// straight says whether a path below a datastore can be read in one way only,
// which leads downward.
func straight(file string) bool {
	if strings.Contains(file, `\`) || strings.ContainsFunc(file, unicode.IsControl) || encoded.MatchString(file) {
		return false
	}
	for part := range strings.SplitSeq(file, "/") {
		if part == "" || part == "." || part == ".." || part != strings.TrimSpace(part) {
			return false
		}
	}
	return true
}

// splitPath takes a path such as "[datastore1] dir/disk.vmdk" apart. A path of the
// datastore itself, which govc ends with a dot, has no file.
func splitPath(text string) (datastore, file string, ok bool) {
	datastore, file, ok = strings.Cut(strings.TrimPrefix(text, "["), "]")
	if !ok || text[0] != '[' || datastore == "" || strings.ContainsAny(datastore, "[/") || strings.Contains(file, "]") || file != "" && file[0] != ' ' {
		return "", "", false
	}
	if file == " ." {
		return datastore, "", true
	}
	return datastore, strings.TrimSuffix(strings.TrimPrefix(file, " "), "/"), true
}

// reserved are directories, in lower case, that are vCenter's or
// the hosts': hidden ones, first class disks with their catalogue, dumps, libraries.
var reserved = regexp.MustCompile(`^(\.|fcd$|catalog$|vmkdump|contentlib-)`)

func isReserved(top string) bool { return reserved.MatchString(strings.ToLower(top)) }

// endings are of files that clients may write or put in other places: images, and
// directories and files of no kind. The files of a machine, such as its .vmx, are
// vCenter's to write: in them is what no rule here would let through.
var endings = []string{"", ".vmdk", ".iso"}

func ending(file string) string { return strings.ToLower(path.Ext(file)) }

// isExtent says whether a file holds what a guest has on its disk, or a name would
// make vCenter's next file be called like one. As a disk of its own it could say,
// in words of the guest, that it continues in any other file.
func isExtent(name string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimSuffix(name, path.Ext(name))), "-flat")
}

// isDisk says whether a file is a disk by its name.
func isDisk(file string) bool { return ending(file) == ".vmdk" && !isExtent(file) }

// notDisk says what is wrong with a name of a disk.
func notDisk(file string) string {
	return fmt.Sprintf("%.80q is no disk: its name must end in .vmdk, and not in -flat.vmdk", file)
}
