package protocol_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
)

// A host's side of one connection, from the dial to the end.
func ExampleSession() {
	host := func(ctx context.Context, socket string) error {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		s, err := protocol.Open(ctx, conn, protocol.Options{
			Agent:    "pf9-hostagent 0.1.0",
			Interval: time.Minute,
			Admit: func(h protocol.Hello) (json.RawMessage, error) {
				if h.Name != "acme" {
					return nil, fmt.Errorf("plugin %s is not enabled", h.Name)
				}
				return json.RawMessage(`{"array":"192.0.2.7"}`), nil
			},
			Apply: func(b protocol.Batch) error {
				if b.Whole {
					fmt.Println("now there are", len(b.Upserts))
				} else {
					fmt.Println(len(b.Upserts), "changed,", len(b.Deletes), "gone")
				}
				return nil
			},
			Status: func(st protocol.Status) { fmt.Println("the plugin is", st.Level, st.Text) },
		})
		if err != nil {
			return err // why it was refused; the connection is closed
		}
		return s.Run(ctx) // until the plugin leaves, breaks a rule or hangs, or ctx ends
	}
	_ = host
}
