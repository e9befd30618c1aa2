package network

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/openpf9/openpf9/plugin"
	"github.com/openpf9/openpf9/plugin/inventory"
)

// OVS lists the bridges of Open vSwitch, which the kernel shows without their
// ports and tags. The zero value works; where ovsdb-server's socket does not
// exist every method returns [ErrAbsent]. It is a [plugin.Source] and a
// [plugin.Watcher].
type OVS struct {
	// Root is prefixed to Socket; empty means "/".
	Root string
	// Socket is ovsdb-server's; empty means /var/run/openvswitch/db.sock.
	Socket string
	// Timeout bounds each list; 0 means 5 s.
	Timeout time.Duration
	// Keepalive is the silence on a watch after which the server is asked
	// whether it lives; 0 means 30 s. It has Timeout to answer.
	Keepalive time.Duration

	// watching, if set, is called once the monitor is in place; for tests.
	watching func()
}

// Kinds are the kinds that OVS emits.
func (*OVS) Kinds() []string { return []string{inventory.KindOVSBridge} }

const ovsDatabase = "Open_vSwitch"

// ovsTables are the columns of interest. Statistics are not among them: they
// change every five seconds.
func ovsTables() map[string][]string {
	return map[string][]string{
		"Bridge":     {"name", "datapath_type", "datapath_id", "fail_mode", "controller", "ports"},
		"Port":       {"name", "tag", "trunks", "interfaces"},
		"Interface":  {"name", "type"},
		"Controller": {"target"},
	}
}

func (o *OVS) dial(ctx context.Context) (*ovsdb, error) {
	socket := filepath.Join("/", o.Root, cmp.Or(o.Socket, "/var/run/openvswitch/db.sock"))
	c, err := dialOVSDB(ctx, socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open vswitch: %w", ErrAbsent)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open vswitch: %w (add the agent's user to the group of %s)", err, socket)
	case err != nil:
		return nil, fmt.Errorf("open vswitch: %w", err)
	}
	return c, nil
}

// List reads all bridges in one transaction.
func (o *OVS) List(ctx context.Context, emit func(plugin.Resource)) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Timeout, 5*time.Second))
	defer cancel()
	c, err := o.dial(ctx)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	defer context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })()
	rows, err := readTables(c)
	if err != nil {
		return fmt.Errorf("open vswitch: %w", cmp.Or(ctx.Err(), err))
	}
	bridges, err := rows.bridges()
	if err != nil {
		return fmt.Errorf("open vswitch: %w", err)
	}
	for _, b := range bridges {
		emit(b)
	}
	return ctx.Err()
}

// ovsRow is a row of any table; columns it does not have are empty.
type ovsRow struct {
	UUID         ovsSet `json:"_uuid"`
	Name         string `json:"name"`
	DatapathType string `json:"datapath_type"`
	DatapathID   ovsSet `json:"datapath_id"`
	FailMode     ovsSet `json:"fail_mode"`
	Controller   ovsSet `json:"controller"`
	Ports        ovsSet `json:"ports"`
	Tag          ovsSet `json:"tag"`
	Trunks       ovsSet `json:"trunks"`
	Interfaces   ovsSet `json:"interfaces"`
	Type         string `json:"type"`
	Target       string `json:"target"`
}

// ovsRows are the rows of each table by their UUIDs.
type ovsRows map[string]map[string]ovsRow

func readTables(c *ovsdb) (ovsRows, error) {
	params := []any{ovsDatabase}
	var names []string
	for name, columns := range ovsTables() {
		names = append(names, name)
		params = append(params, map[string]any{
			"op": "select", "table": name, "where": []any{}, "columns": append([]string{"_uuid"}, columns...),
		})
	}
	var results []struct {
		Rows    []ovsRow `json:"rows"`
		Error   string   `json:"error"`
		Details string   `json:"details"`
	}
	if err := c.call("transact", params, &results, nil); err != nil {
		return nil, err
	}
	for _, r := range results {
		if r.Error != "" {
			return nil, fmt.Errorf("transact: %s: %s", r.Error, r.Details)
		}
	}
	if len(results) != len(names) {
		return nil, fmt.Errorf("transact: %d answers to %d questions", len(results), len(names))
	}
	all := make(ovsRows)
	for i, name := range names {
		all[name] = make(map[string]ovsRow, len(results[i].Rows))
		for _, row := range results[i].Rows {
			all[name][row.UUID.text()] = row
		}
	}
	return all, nil
}

// bridges puts the rows together.
func (t ovsRows) bridges() ([]plugin.Resource, error) {
	var out []plugin.Resource
	for id, row := range t["Bridge"] {
		b := inventory.OVSBridge{
			Name:         row.Name,
			DatapathType: row.DatapathType,
			DatapathID:   row.DatapathID.text(),
			FailMode:     row.FailMode.text(),
		}
		for _, c := range row.Controller {
			b.Controllers = append(b.Controllers, t["Controller"][c.text].Target)
		}
		slices.Sort(b.Controllers)
		for _, p := range row.Ports {
			port, ok := t["Port"][p.text]
			if !ok {
				return nil, fmt.Errorf("bridge %s: port %s is missing", row.Name, p.text)
			}
			b.Ports = append(b.Ports, t.port(port))
		}
		slices.SortFunc(b.Ports, func(a, b inventory.OVSPort) int { return cmp.Compare(a.Name, b.Name) })
		out = append(out, plugin.Resource{
			Key:  plugin.Key{Kind: inventory.KindOVSBridge, ID: id},
			Name: row.Name,
			Spec: b,
		})
	}
	slices.SortFunc(out, func(a, b plugin.Resource) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func (t ovsRows) port(row ovsRow) inventory.OVSPort {
	p := inventory.OVSPort{Name: row.Name}
	for _, tag := range row.Tag {
		p.Tag = tag.number
	}
	for _, trunk := range row.Trunks {
		p.Trunks = append(p.Trunks, trunk.number)
	}
	for _, i := range row.Interfaces {
		// An interface without a type is a system device.
		face := t["Interface"][i.text]
		p.Interfaces = append(p.Interfaces, fmt.Sprintf("%s (%s)", face.Name, cmp.Or(face.Type, "system")))
	}
	slices.Sort(p.Trunks)
	slices.Sort(p.Interfaces)
	return p
}

// Watch calls changed when a bridge, a port, an interface or a controller
// changes, except for what the server counts.
func (o *OVS) Watch(ctx context.Context, changed func(...plugin.Key)) error {
	timeout := cmp.Or(o.Timeout, 5*time.Second)
	dialCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := o.dial(dialCtx)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	defer context.AfterFunc(ctx, func() { _ = c.conn.Close() })()
	err = o.monitor(c, timeout, changed)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch open vswitch: %w", err)
}

// monitor returns only with an error.
func (o *OVS) monitor(c *ovsdb, timeout time.Duration, changed func(...plugin.Key)) error {
	tables := make(map[string]any)
	for name, columns := range ovsTables() {
		tables[name] = map[string]any{"columns": columns, "select": map[string]bool{"initial": false}}
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	update := func(rpcMessage) { changed() }
	var initial json.RawMessage
	if err := c.call("monitor", []any{ovsDatabase, "openpf9", tables}, &initial, update); err != nil {
		return err
	}
	if o.watching != nil {
		o.watching()
	}
	return c.listen(cmp.Or(o.Keepalive, 30*time.Second), timeout, update)
}
