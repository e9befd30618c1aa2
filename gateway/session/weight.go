package session

import (
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// maxWeight is how many bytes of memory a byte of a reply may become at most. The
// rest of the API is heavier, up to 160 times, and is never asked for.
const maxWeight = 24

// Decodable is the [types.TypeFunc] of all that decodes what vCenter sends: it does
// not know the types of which a short reply would fill the memory.
func Decodable(name string) (reflect.Type, bool) {
	t, ok := types.TypeFunc()(name)
	if ok && weight(t) > maxWeight {
		return nil, false
	}
	return t, ok
}

// Weight returns how many bytes of memory a byte of an element can become at most
// that says to be of that type; zero: it is not decoded.
func Weight(name string) int {
	t, ok := Decodable(name)
	if !ok {
		return 0
	}
	return max(1, weight(t))
}

// weights has the weight of each type that was asked for, which never changes.
var weights sync.Map

// weight is that of an element which names the type, and of all that can be
// inside of it without a name of its own.
func weight(t reflect.Type) int {
	if w, ok := weights.Load(t); ok {
		return w.(int)
	}
	most := int(t.Size()) / len(`<a x:type=""/>`+t.Name())
	seen := map[reflect.Type]bool{t: true}
	for all := []reflect.Type{t}; len(all) > 0; all = all[1:] {
		if all[0].Kind() != reflect.Struct || all[0] == reflect.TypeFor[time.Time]() {
			continue
		}
		for f := range all[0].Fields() {
			inner, w := field(f)
			most = max(most, w)
			if !seen[inner] {
				seen[inner] = true
				all = append(all, inner)
			}
		}
	}
	weights.Store(t, most)
	return most
}

// field is the type of a field's elements, and the weight of one that is empty.
func field(f reflect.StructField) (inner reflect.Type, weight int) {
	inner, weight = f.Type, 0
	name, _, _ := strings.Cut(f.Tag.Get("xml"), ",")
	for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
		weight = int(inner.Size()) / len("</>"+name)
	}
	return inner, weight
}
