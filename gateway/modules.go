package gateway

import (
	"time"

	"github.com/openpf9/openpf9/agent/host"
	"github.com/openpf9/openpf9/internal/discovery"
	"github.com/openpf9/openpf9/internal/wire"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// modules is the list of discovery modules, and all there is to registering
// one: a name, what it lists, the source, and how often to list it anyway.
func modules(_ Config, id wire.HostID) []discovery.Module {
	return []discovery.Module{
		{Name: "host", Kinds: []string{inventory.KindHost}, Source: &host.Node{ID: string(id)}, Interval: 5 * time.Minute},
	}
}
