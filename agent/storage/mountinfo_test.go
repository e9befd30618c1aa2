package storage

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someMounts = `22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
23 22 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
30 22 8:3 / /home rw - xfs /dev/sda3 rw
31 22 8:2 /var/lib/x /srv/with\040space rw - ext4 /dev/sda2 rw,errors=remount-ro
40 22 0:40 / /mnt/nfs rw - nfs4 server:/export rw,addr=192.0.2.9
`

func TestMountinfoIsParsed(t *testing.T) {
	got, err := parseMountinfo([]byte(someMounts))
	if err != nil {
		t.Fatal(err)
	}
	want := mount{
		ID: 31, Parent: 22, Major: 8, Minor: 2, Root: "/var/lib/x", Point: "/srv/with space",
		Type: "ext4", Source: "/dev/sda2", Options: "rw", SuperOptions: "rw,errors=remount-ro",
	}
	if len(got) != 5 {
		t.Fatalf("%d mounts, want 5", len(got))
	}
	if diff := cmp.Diff(want, got[3]); diff != "" {
		t.Errorf("4th mount (-want +got):\n%s", diff)
	}
}

func TestHiddenMountsAreKnown(t *testing.T) {
	tests := []struct {
		name   string
		mounts string
		hidden []int
	}{
		{"plain", someMounts, nil},
		{"mounted over", someMounts + "50 30 0:50 / /home ro - tmpfs tmpfs ro\n", []int{30}},
		{
			"a folder above is mounted over",
			"22 1 8:2 / / rw - ext4 a rw\n30 22 8:3 / /home/a rw - xfs b rw\n31 30 8:4 / /home/a/deep rw - xfs c rw\n50 22 0:50 / /home ro - tmpfs d ro\n",
			[]int{30, 31},
		},
		{
			"mounted inside what was mounted over",
			"22 1 8:2 / / rw - ext4 a rw\n50 22 0:50 / /home ro - tmpfs d ro\n30 50 8:3 / /home/a rw - xfs b rw\n",
			nil,
		},
		{"names that only begin alike", "22 1 8:2 / / rw - ext4 a rw\n30 22 8:3 / /data rw - xfs b rw\n31 22 8:4 / /data2 rw - xfs c rw\n", nil},
		{"the root mounted over", "22 1 8:2 / / rw - ext4 a rw\n23 22 8:3 / / rw - ext4 b rw\n", []int{22}},
		{"a ring", "1 2 8:2 / /a rw - ext4 a rw\n2 1 8:3 / /b rw - ext4 b rw\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all, err := parseMountinfo([]byte(tt.mounts))
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, m := range all {
				if newMountTree(all).hides(m) {
					got = append(got, m.ID)
				}
			}
			if diff := cmp.Diff(tt.hidden, got); diff != "" {
				t.Errorf("hidden mounts (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseMountinfo(f *testing.F) {
	f.Add([]byte(someMounts))
	f.Add([]byte(`1 1 0:0 / /\1 - - a b c`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseMountinfo(b)
		if err != nil || len(all) > 50 {
			return
		}
		tree := newMountTree(all)
		for _, m := range all {
			tree.hides(m)
		}
		group(all, true)
	})
}

func FuzzParseUdev(f *testing.F) {
	f.Add([]byte("S:disk/by-id/x\nE:ID_MODEL_ENC=QEMU\\x20HARDDISK\\x20\nE:ID_FS_TYPE=ext4\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		for _, v := range parseUdev(b) {
			unhex(v)
		}
		isBlockUevent(b)
	})
}
