package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/openpf9/openpf9/internal/api"
	"github.com/openpf9/openpf9/internal/httpapi"
	"github.com/openpf9/openpf9/internal/wire"
)

const (
	mostListed = 1000 // of a page
	usualPage  = 100
)

// Query selects actions. Zero fields select everything.
type Query struct {
	Host  wire.HostID
	VM    string // id of the target, or the name that it had then
	State string // of wire's, or StateOpen
	Limit int    // of the page; 0: 100
	After string // Continue of the page before
}

// StateOpen selects what has not ended.
const StateOpen = "open"

var states = []string{StateOpen, wire.ActionAccepted, wire.ActionRunning, wire.ActionSucceeded, wire.ActionFailed, wire.ActionRefused}

func (q *Query) selects(a *api.Action) bool {
	return (q.VM == "" || q.VM == a.Target.ID || q.VM == a.Name) &&
		(q.State == "" || q.State == a.State || q.State == StateOpen && !a.Done())
}

// place is where a page begins: with what was asked for before.
func (q *Query) place() (before int64, id string, err error) {
	if q.After == "" {
		return 1 << 62, "", nil
	}
	stamp, rest, found := strings.Cut(q.After, ".")
	before, err = strconv.ParseInt(stamp, 10, 64)
	if err != nil || !found {
		return 0, "", httpapi.Errorf(http.StatusBadRequest, "continue: not from a page of this list")
	}
	return before, rest, nil
}

// List returns a page of actions, newest first. It looks at no more than are kept.
func (m *Manager) List(ctx context.Context, q Query) (api.Actions, error) {
	if q.Limit <= 0 || q.Limit > mostListed {
		q.Limit = usualPage
	}
	before, id, err := q.place()
	if err != nil {
		return api.Actions{}, err
	}
	rows, err := m.cfg.DB.Read().QueryContext(ctx, `SELECT doc FROM action WHERE ($1 = '' OR host = $1) AND (requested < $2 OR requested = $2 AND id < $3)
		ORDER BY requested DESC, id DESC`, string(q.Host), before, id)
	if err != nil {
		return api.Actions{}, fmt.Errorf("list actions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	page := api.Actions{Items: []api.Action{}}
	for rows.Next() {
		var doc string
		var a api.Action
		if err := rows.Scan(&doc); err != nil {
			return api.Actions{}, fmt.Errorf("list actions: %w", err)
		}
		if err := json.Unmarshal([]byte(doc), &a); err != nil {
			return api.Actions{}, fmt.Errorf("list actions: %w", err)
		}
		m.refresh(&a)
		if !q.selects(&a) {
			continue
		}
		if len(page.Items) == q.Limit {
			last := page.Items[q.Limit-1]
			page.Continue = fmt.Sprintf("%d.%s", last.Requested.UnixMicro(), last.ID)
			break
		}
		page.Items = append(page.Items, a)
	}
	return page, rows.Err()
}

// refresh makes an action what it is now, if it is open, without a ticket.
func (m *Manager) refresh(a *api.Action) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.open[a.ID]; o != nil {
		*a = o.action
	}
}
