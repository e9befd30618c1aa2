package inventory_test

import (
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/openpf9/openpf9/plugin/inventory"
)

// specs are the structs of the core kinds.
var specs = map[string]any{
	inventory.KindHost: inventory.Host{}, inventory.KindVM: inventory.VM{}, inventory.KindLink: inventory.Link{},
	inventory.KindRoute: inventory.Route{}, inventory.KindOVSBridge: inventory.OVSBridge{}, inventory.KindNetwork: inventory.Network{},
	inventory.KindFilesystem: inventory.Filesystem{}, inventory.KindDevice: inventory.Device{}, inventory.KindVolumeGroup: inventory.VolumeGroup{},
	inventory.KindPool: inventory.Pool{}, inventory.KindVolume: inventory.Volume{}, inventory.KindExtension: inventory.Extension{},
	inventory.KindKind: inventory.Kind{}, inventory.KindPlugin: inventory.Plugin{},
}

func TestColumnsOfCoreKindsExist(t *testing.T) {
	core := inventory.Core()
	if len(core) != len(specs) {
		t.Errorf("%d core kinds, %d structs", len(core), len(specs))
	}
	for _, k := range core {
		if err := k.Validate(); err != nil {
			t.Error(err)
		}
		if !inventory.IsCore(k.Name) {
			t.Errorf("%s is not of the core", k.Name)
		}
		for _, c := range k.Columns {
			if !reaches(reflect.TypeOf(specs[k.Name]), strings.Split(c.Path, ".")) {
				t.Errorf("%s: no member at the path %s of column %s", k.Name, c.Path, c.Name)
			}
		}
	}
	if inventory.IsCore("com.acme.lun") {
		t.Error("com.acme.lun is of the core")
	}
}

// reaches follows a column's path through a type.
func reaches(t reflect.Type, path []string) bool {
	if len(path) == 0 {
		return t.Kind() != reflect.Struct && t.Kind() != reflect.Slice
	}
	switch t.Kind() {
	case reflect.Slice:
		_, err := strconv.Atoi(path[0])
		return err == nil && reaches(t.Elem(), path[1:])
	case reflect.Struct:
		for i := range t.NumField() {
			if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name == path[0] {
				return reaches(t.Field(i).Type, path[1:])
			}
		}
	}
	return false
}
