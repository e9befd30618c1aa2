package testvcenter

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The paths of vCenter's REST interface that are known.
const (
	restRoot    = "/rest/com/vmware/cis/"
	restSession = restRoot + "session"
	restTag     = restRoot + "tagging/tag"
	restKind    = restRoot + "tagging/category"
	restOnTags  = restRoot + "tagging/tag-association"
	restLogin   = http.MethodPost + " " + restSession
	restHeader  = "vmware-api-session-id"
)

// restSessions are the sessions of the REST interface. The server's mu guards them.
type restSessions struct {
	used map[string]time.Time // by id: the last request
	peak int                  // of those that were there at once
}

// expire forgets who has asked for nothing for too long.
func (k *restSessions) expire(idle time.Duration) {
	for id, last := range k.used {
		if time.Since(last) > idle {
			delete(k.used, id)
		}
	}
}

// RESTSessions counts the sessions of the REST interface: those that are open, and
// the most that have been at once.
func (s *Server) RESTSessions() (open, peak int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest.expire(s.o.RESTIdle)
	return len(s.rest.used), s.rest.peak
}

// The ids of the one tag, which the first VMs have, and of its category.
const (
	tagID      = "urn:vmomi:InventoryServiceTag:1:GLOBAL"
	categoryID = "urn:vmomi:InventoryServiceCategory:1:GLOBAL"
)

// TagID is the id of the tag that the vCenter has.
func (s *Server) TagID() string { return tagID }

// serveREST answers one request of the REST interface.
func (s *Server) serveREST(w http.ResponseWriter, r *http.Request) {
	c := &call{kind: "application/json", method: r.Method + " " + r.URL.Path, done: r.Context().Done(), header: w.Header()}
	s.mu.Lock()
	s.counts.RESTCalls++
	f := s.fault
	s.mu.Unlock()
	if f.before(w, r, c) {
		return
	}
	value, status := s.answerREST(r)
	out, err := json.Marshal(map[string]any{"value": value})
	if err != nil {
		panic(err) // a mistake of this package
	}
	s.mu.Lock()
	s.counts.BytesOut += len(out)
	f = s.fault
	s.mu.Unlock()
	f.write(w, r, c, status, out)
}

func (s *Server) answerREST(r *http.Request) (value any, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest.expire(s.o.RESTIdle)
	if r.URL.Path == restSession && r.Method == http.MethodPost {
		return s.beginREST(r)
	}
	id := r.Header.Get(restHeader)
	if _, ok := s.rest.used[id]; !ok {
		return nil, http.StatusUnauthorized
	}
	s.rest.used[id] = time.Now()
	path, object, _ := strings.Cut(r.URL.Path, "/id:")
	switch {
	case path == restSession && r.Method == http.MethodDelete:
		delete(s.rest.used, id)
		return nil, http.StatusOK
	case path == restTag && object == "":
		return []string{tagID}, http.StatusOK
	case path == restTag:
		return map[string]string{"id": tagID, "name": "gold", "description": "fast", "category_id": categoryID}, http.StatusOK
	case path == restKind && object == "":
		return []string{categoryID, "not an id"}, http.StatusOK
	case path == restKind:
		return map[string]string{"id": categoryID, "name": "tier", "cardinality": "SINGLE"}, http.StatusOK
	case path == restOnTags:
		var on []map[string]string
		for _, vm := range s.inventory.there("VirtualMachine") {
			if len(on) < 3 {
				on = append(on, map[string]string{"type": "VirtualMachine", "id": vm})
			}
		}
		return []map[string]any{{"tag_id": tagID, "object_ids": on}}, http.StatusOK
	}
	return nil, http.StatusNotFound
}

// beginREST begins a session. The server's mu is held.
func (s *Server) beginREST(r *http.Request) (value any, status int) {
	s.counts.PasswordsSeen++
	if user, password, _ := r.BasicAuth(); user != s.o.User || password != s.o.Password {
		s.counts.Refused++
		return nil, http.StatusUnauthorized
	}
	s.next++
	id := fmt.Sprintf("rest-%d", s.next)
	s.rest.used[id] = time.Now()
	s.rest.peak = max(s.rest.peak, len(s.rest.used))
	return id, http.StatusOK
}
