package libvirt

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"sync"

	rpc "github.com/digitalocean/go-libvirt"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// Storage is the source of storage.pool and storage.volume: libvirt's pools,
// and the volumes of those that run. It is to be polled. It does not make
// libvirt look at a pool again, so that a file which somebody put into a
// directory pool appears when libvirt itself has seen it.
//
// A pool whose server hangs blocks each call for it in the daemon, which has
// few threads for all its clients. Storage therefore has a session of its own
// and leaves the call that hangs alone; until that is answered List waits for
// its turn, and fails when its context ends.
type Storage struct {
	conn *Conn

	mu    sync.Mutex // guards the fields below; not held over a call
	lists uint64
	known map[string]volume // by key, as of the last complete list
}

// A volume is what is kept of one: asking for it makes libvirt open the file.
type volume struct {
	session *session
	spec    inventory.Volume
}

// List implements plugin.Source. A known volume is read again on one list in
// refreshLists.
func (st *Storage) List(ctx context.Context, emit func(plugin.Resource)) error {
	s, err := st.conn.session(ctx, roleStorage)
	if err != nil {
		return err
	}
	pools, err := listPools(ctx, s, 0)
	if hasCode(err, rpc.ErrNoSupport) {
		return nil // a driver without storage
	}
	if err != nil {
		return err
	}
	slices.SortFunc(pools, func(a, b rpc.StoragePool) int { return cmp.Compare(a.Name, b.Name) })
	var sets [3]map[rpc.UUID]bool
	for i, flag := range []rpc.ConnectListAllStoragePoolsFlags{
		rpc.ConnectListStoragePoolsActive, rpc.ConnectListStoragePoolsPersistent, rpc.ConnectListStoragePoolsAutostart,
	} {
		some, err := listPools(ctx, s, flag)
		if err != nil {
			return err
		}
		sets[i] = make(map[rpc.UUID]bool)
		for _, p := range some {
			sets[i][p.UUID] = true
		}
	}
	v := st.visit(s)
	for _, p := range pools {
		r, err := readPool(ctx, s, p)
		if hasCode(err, rpc.ErrNoStoragePool) {
			continue // gone since the list was made
		}
		if err != nil {
			return err
		}
		r.Persistent, r.Autostart = sets[1][p.UUID], sets[2][p.UUID]
		key := plugin.Key{Kind: inventory.KindPool, ID: uuidText(p.UUID)}
		emit(plugin.Resource{Key: key, Name: clip(p.Name, maxID), Spec: r})
		if !sets[0][p.UUID] {
			continue
		}
		if err := v.volumes(ctx, p, key, emit); err != nil {
			return err
		}
	}
	st.mu.Lock()
	st.known = v.seen
	st.mu.Unlock()
	return nil
}

// A visit is one list of all volumes.
type visit struct {
	session *session
	turn    uint64
	known   map[string]volume // read only
	seen    map[string]volume
}

func (st *Storage) visit(s *session) *visit {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.lists++
	return &visit{session: s, turn: st.lists % refreshLists, known: st.known, seen: make(map[string]volume)}
}

func (v *visit) volumes(ctx context.Context, p rpc.StoragePool, parent plugin.Key, emit func(plugin.Resource)) error {
	vols, err := ask(ctx, v.session, "list the volumes of pool "+p.Name, func() ([]rpc.StorageVol, error) {
		vols, _, err := v.session.lib.StoragePoolListAllVolumes(p, 1, 0)
		return vols, err
	})
	if hasCode(err, rpc.ErrNoStoragePool) || hasCode(err, rpc.ErrOperationInvalid) {
		return nil // gone or stopped since the list was made
	}
	if err != nil {
		return err
	}
	for _, vol := range vols {
		if _, twice := v.seen[vol.Key]; twice {
			continue // two pools over one directory: the first by name has it
		}
		known, ok := v.known[vol.Key]
		if !ok || known.session != v.session || known.spec.Pool != p.Name || uint64(len(v.seen))%refreshLists == v.turn {
			known.spec, err = readVolume(ctx, v.session, vol)
			if hasCode(err, rpc.ErrNoStorageVol) {
				continue
			}
			if err != nil {
				return err
			}
			known.session = v.session
		}
		v.seen[vol.Key] = known
		emit(plugin.Resource{
			Key:    plugin.Key{Kind: inventory.KindVolume, ID: fitID(vol.Key)},
			Name:   clip(vol.Name, maxID),
			Parent: parent,
			Spec:   known.spec,
		})
	}
	return nil
}

func listPools(ctx context.Context, s *session, flags rpc.ConnectListAllStoragePoolsFlags) ([]rpc.StoragePool, error) {
	return ask(ctx, s, "list storage pools", func() ([]rpc.StoragePool, error) {
		pools, _, err := s.lib.ConnectListAllStoragePools(1, flags)
		return pools, err
	})
}

// poolStates are libvirt's by number.
var poolStates = []string{"inactive", "building", "running", "degraded", "inaccessible"}

func readPool(ctx context.Context, s *session, p rpc.StoragePool) (inventory.Pool, error) {
	text, err := ask(ctx, s, "read the definition of pool "+p.Name, func() (string, error) {
		return s.lib.StoragePoolGetXMLDesc(p, 0)
	})
	if err != nil {
		return inventory.Pool{}, err
	}
	pool, err := parsePool([]byte(text))
	if err != nil {
		return inventory.Pool{}, fmt.Errorf("definition of pool %s: %w", p.Name, err)
	}
	return ask(ctx, s, "read the state of pool "+p.Name, func() (inventory.Pool, error) {
		state, capacity, allocation, available, err := s.lib.StoragePoolGetInfo(p)
		pool.CapacityBytes, pool.AllocationBytes, pool.AvailableBytes = capacity, allocation, available
		pool.State = "unknown"
		if int(state) < len(poolStates) {
			pool.State = poolStates[state]
		}
		return pool, err
	})
}

func readVolume(ctx context.Context, s *session, v rpc.StorageVol) (inventory.Volume, error) {
	text, err := ask(ctx, s, "read the definition of volume "+v.Name, func() (string, error) {
		return s.lib.StorageVolGetXMLDesc(v, 0)
	})
	if err != nil {
		return inventory.Volume{}, err
	}
	vol, err := parseVolume([]byte(text))
	if err != nil {
		return inventory.Volume{}, fmt.Errorf("definition of volume %s: %w", v.Name, err)
	}
	vol.Pool = v.Pool
	return vol, nil
}

// The parts of the XML of pools and volumes that are shown,
// https://libvirt.org/formatstorage.html.
type storageXML struct {
	XMLName    xml.Name
	Type       string  `xml:"type,attr"`
	Capacity   sizeXML `xml:"capacity"`
	Allocation sizeXML `xml:"allocation"`
	Target     struct {
		Path   string `xml:"path"`
		Format struct {
			Type string `xml:"type,attr"`
		} `xml:"format"`
	} `xml:"target"`
}

// parsePool reads a pool's XML. State and sizes are asked for apart.
func parsePool(text []byte) (inventory.Pool, error) {
	x, err := parseStorage(text, "pool")
	return inventory.Pool{Type: x.Type, Path: x.Target.Path}, err
}

// parseVolume reads a volume's XML, which does not name the pool.
func parseVolume(text []byte) (inventory.Volume, error) {
	x, err := parseStorage(text, "volume")
	return inventory.Volume{
		Type:            first(x.Type, "file"),
		Path:            x.Target.Path,
		Format:          x.Target.Format.Type,
		CapacityBytes:   x.Capacity.bytes(),
		AllocationBytes: x.Allocation.bytes(),
	}, err
}

func parseStorage(text []byte, root string) (storageXML, error) {
	var x storageXML
	if err := xml.Unmarshal(text, &x); err != nil {
		return storageXML{}, fmt.Errorf("parse %s XML: %w", root, err)
	}
	if x.XMLName.Local != root {
		return storageXML{}, fmt.Errorf("parse %s XML: found <%s>", root, x.XMLName.Local)
	}
	return x, nil
}
