package libvirt

import (
	"context"
	"fmt"

	rpc "github.com/digitalocean/go-libvirt"
)

// The events that can change what a VM looks like. Resume after a suspension
// by the guest, migration and crash are life-cycle events. BlockJob2 and newer
// ones are not delivered by go-libvirt.
var eventIDs = []rpc.DomainEventID{
	rpc.DomainEventIDLifecycle, // first: without it there is no watching
	rpc.DomainEventIDReboot,
	rpc.DomainEventIDDeviceAdded,
	rpc.DomainEventIDDeviceRemoved,
	rpc.DomainEventIDMetadataChange,
	rpc.DomainEventIDBalloonChange,
	rpc.DomainEventIDBlockJob,
	rpc.DomainEventIDDiskChange,
	rpc.DomainEventIDTrayChange,
}

// subscribe makes s tell VMs of each domain that an event names. The streams
// are read until go-libvirt closes them, because it blocks on an unread one.
func (c *Conn) subscribe(ctx context.Context, s *session) error {
	streams, stop := context.WithCancel(context.Background())
	if !s.start(func() { <-s.down; stop() }) {
		stop()
		return s.err()
	}
	for i, id := range eventIDs {
		var events <-chan any
		err := s.call(ctx, "subscribe to events", func() (err error) {
			events, err = s.lib.SubscribeEvents(streams, id, nil)
			return err
		})
		if err != nil && (i == 0 || s.isDown()) {
			return err
		}
		if err != nil { // an old daemon; lists make up for it
			c.log.Debug("libvirt event not available", "event", int(id), "err", err)
			continue
		}
		s.start(func() {
			for e := range events {
				if d, ok := domainOf(e); ok {
					c.vms.touch(d.UUID)
				}
			}
			if !s.isDown() {
				s.cut(fmt.Errorf("libvirt event stream %d ended", id))
			}
		})
	}
	return nil
}

// domainOf returns the domain that an event is about.
func domainOf(event any) (rpc.Domain, bool) {
	switch e := event.(type) {
	case *rpc.DomainEventCallbackLifecycleMsg:
		return e.Msg.Dom, true
	case *rpc.DomainEventCallbackRebootMsg:
		return e.Msg.Dom, true
	case *rpc.DomainEventCallbackDeviceAddedMsg:
		return e.Dom, true
	case *rpc.DomainEventCallbackDeviceRemovedMsg:
		return e.Msg.Dom, true
	case *rpc.DomainEventCallbackMetadataChangeMsg:
		return e.Dom, true
	case *rpc.DomainEventCallbackBalloonChangeMsg:
		return e.Msg.Dom, true
	case *rpc.DomainEventCallbackBlockJobMsg:
		return e.Msg.Dom, true
	case *rpc.DomainEventCallbackDiskChangeMsg:
		return e.Msg.Dom, true
	case *rpc.DomainEventCallbackTrayChangeMsg:
		return e.Msg.Dom, true
	}
	return rpc.Domain{}, false
}
