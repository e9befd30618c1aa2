package testvcenter

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// answer does what a request asks for and returns the inside of its response.
func (s *Server) answer(c *call) ([]byte, error) {
	switch c.method {
	case "RetrieveServiceContent":
		return s.serviceContent(), nil
	case "Login":
		return s.login(c)
	case "RetrievePropertiesEx":
		return s.retrieve(c)
	}
	if c.session == nil {
		return nil, vimFault{&types.NotAuthenticated{}}
	}
	switch c.method {
	case "Logout":
		s.mu.Lock()
		delete(s.sessions, c.cookie)
		s.wake()
		s.mu.Unlock()
		return nil, nil
	case "CurrentTime":
		return element("returnval", time.Now().UTC()), nil
	case "TerminateSession":
		return nil, s.terminate(c)
	case "CreatePropertyCollector":
		return s.createCollector(c), nil
	case "DestroyPropertyCollector":
		return nil, s.destroyCollector(c)
	case "CreateFilter":
		return s.createFilter(c)
	case "CancelWaitForUpdates":
		return nil, s.cancelWait(c)
	case "WaitForUpdatesEx":
		return s.waitForUpdates(c)
	case "ContinueRetrievePropertiesEx":
		return s.retrieveMore(c)
	}
	return nil, vimFault{&types.MethodNotFound{}}
}

var (
	rootFolder     = types.ManagedObjectReference{Type: "Folder", Value: "group-d1"}
	sessionManager = types.ManagedObjectReference{Type: "SessionManager", Value: "SessionManager"}
)

func (s *Server) serviceContent() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return element("returnval", types.ServiceContent{
		RootFolder: rootFolder, About: s.about, SessionManager: &sessionManager,
		PropertyCollector: types.ManagedObjectReference{Type: "PropertyCollector", Value: "propertyCollector"},
	})
}

func (s *Server) login(c *call) ([]byte, error) {
	var req types.Login
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.PasswordsSeen++
	if c.session != nil || req.UserName != s.o.User || req.Password != s.o.Password {
		s.counts.Refused++
		return nil, vimFault{&types.InvalidLogin{}}
	}
	s.counts.Logins++
	s.next++
	k := &session{collectors: make(map[string]*collector), user: types.UserSession{
		Key: fmt.Sprintf("key-%d", s.next), UserName: req.UserName, LoginTime: time.Now().UTC(), LastActiveTime: time.Now().UTC(),
		Locale: "en", MessageLocale: "en", UserAgent: c.agent,
	}}
	cookie := fmt.Sprintf("cookie-%d", s.next)
	s.sessions[cookie] = k
	c.header.Set("Set-Cookie", (&http.Cookie{Name: cookieName, Value: cookie, Path: "/", HttpOnly: true, Secure: true}).String())
	return element("returnval", k.user), nil
}

func (s *Server) terminate(c *call) error {
	var req types.TerminateSession
	if err := c.decode(&req); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for cookie, k := range s.sessions {
		if slices.Contains(req.SessionId, k.user.Key) {
			delete(s.sessions, cookie)
		}
	}
	s.wake()
	return nil
}

// collector is a property collector with one filter.
type collector struct {
	paths   map[string][]string // by type
	initial []string            // ids that the first pass has still to show
	begun   bool
	blind   bool // shows no VMs
	seen    int  // of the inventory's changes
	version int
	before  string // the version before, after which last was answered
	last    []byte
	turn    int // of the wait that is under way
}

func (s *Server) createCollector(c *call) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	id := fmt.Sprintf("session[%d]", s.next)
	k := &collector{}
	if s.fault != nil && s.fault.kind == Amnesia && s.fault.left > -1 {
		k.blind = true
		if s.fault.left--; s.fault.left == -1 { // of both collectors of one pass
			s.fault.kind = None
		}
	}
	c.session.collectors[id] = k
	return fmt.Appendf(nil, `<returnval type="PropertyCollector">%s</returnval>`, id)
}

func (s *Server) destroyCollector(c *call) error {
	var req types.DestroyPropertyCollector
	if err := c.decode(&req); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.session.collectors[req.This.Value] == nil {
		return vimFault{&types.ManagedObjectNotFound{Obj: req.This}}
	}
	delete(c.session.collectors, req.This.Value)
	return nil
}

func (s *Server) createFilter(c *call) ([]byte, error) {
	var req types.CreateFilter
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := c.session.collectors[req.This.Value]
	if k == nil {
		return nil, vimFault{&types.ManagedObjectNotFound{Obj: req.This}}
	}
	k.paths = pathsOf(req.Spec)
	for _, paths := range k.paths {
		for _, p := range paths {
			if s.inventory.unknown[p] {
				return nil, vimFault{&types.InvalidProperty{Name: p}}
			}
		}
	}
	return fmt.Appendf(nil, `<returnval type="PropertyFilter">%s-f</returnval>`, req.This.Value), nil
}

func pathsOf(spec types.PropertyFilterSpec) map[string][]string {
	paths := make(map[string][]string)
	for _, p := range spec.PropSet {
		paths[p.Type] = append(paths[p.Type], p.PathSet...)
	}
	return paths
}

// waitForUpdates answers at once if there is something, or holds the request.
func (s *Server) waitForUpdates(c *call) ([]byte, error) {
	var req types.WaitForUpdatesEx
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	longest := time.Hour
	if req.Options != nil && req.Options.MaxWaitSeconds != nil {
		longest = time.Duration(*req.Options.MaxWaitSeconds) * time.Second
	}
	if longest > 0 && req.Version != "" {
		s.mu.Lock()
		s.counts.Waits++
		s.mu.Unlock()
	}
	late := time.NewTimer(longest)
	defer late.Stop()
	turn := 0
	for first := true; ; first = false {
		s.mu.Lock()
		if s.sessions[c.cookie] != c.session {
			s.mu.Unlock()
			if first {
				return nil, vimFault{&types.NotAuthenticated{}}
			}
			return nil, nil // a wait under way ends without a word
		}
		k := c.session.collectors[req.This.Value]
		if k == nil || k.paths == nil {
			s.mu.Unlock()
			return nil, vimFault{&types.ManagedObjectNotFound{Obj: req.This}}
		}
		if first { // which ends the wait before
			k.turn++
			turn = k.turn
			s.wake()
		}
		switch {
		case k.turn != turn:
			s.mu.Unlock()
			return nil, vimFault{&types.RequestCanceled{}}
		case !first || req.Version == k.current():
		case k.last != nil && req.Version == k.before: // its answer was lost
			again := k.last
			s.mu.Unlock()
			return again, nil
		default:
			s.mu.Unlock()
			return nil, vimFault{&types.InvalidCollectorVersion{}}
		}
		updates, more := s.inventory.next(k)
		change := s.change
		if len(updates) > 0 || more {
			k.before = k.current()
			k.version++
			k.last = updateSet(k.current(), updates, more)
			set := k.last
			s.mu.Unlock()
			c.page = more
			return set, nil
		}
		s.mu.Unlock()
		select {
		case <-change:
		case <-late.C:
			return nil, nil
		case <-c.done:
			return nil, nil
		}
	}
}

func (s *Server) cancelWait(c *call) error {
	var req types.CancelWaitForUpdates
	if err := c.decode(&req); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := c.session.collectors[req.This.Value]
	if k == nil {
		return vimFault{&types.ManagedObjectNotFound{Obj: req.This}}
	}
	k.turn++
	s.wake()
	return nil
}

func (k *collector) current() string {
	if k.version == 0 {
		return ""
	}
	return strconv.Itoa(k.version)
}

func updateSet(version string, updates []types.ObjectUpdate, more bool) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `<returnval><version>%s</version><filterSet><filter type="PropertyFilter">f</filter>`, version)
	for i := range updates {
		out.Write(element("objectSet", updates[i]))
	}
	out.WriteString("</filterSet>")
	if more {
		out.WriteString("<truncated>true</truncated>")
	}
	out.WriteString("</returnval>")
	return out.Bytes()
}

// retrieve answers reads of properties: of the session manager, and of the
// inventory from the root folder.
func (s *Server) retrieve(c *call) ([]byte, error) {
	var req types.RetrievePropertiesEx
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	if len(req.SpecSet) != 1 || len(req.SpecSet[0].ObjectSet) != 1 {
		return nil, vimFault{&types.InvalidRequest{}}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	start := req.SpecSet[0].ObjectSet[0].Obj
	switch {
	case c.session == nil: // what makes a session that is gone look like an empty vCenter
		return element("returnval", types.RetrieveResult{Objects: []types.ObjectContent{{
			Obj: start, MissingSet: []types.MissingProperty{{Path: "name", Fault: types.LocalizedMethodFault{Fault: &types.NotAuthenticated{}}}},
		}}}), nil
	case start == sessionManager:
		list := types.ArrayOfUserSession{}
		for _, k := range s.sessions {
			list.UserSession = append(list.UserSession, k.user)
		}
		return element("returnval", types.RetrieveResult{Objects: []types.ObjectContent{{
			Obj: start, PropSet: []types.DynamicProperty{{Name: "sessionList", Val: list}},
		}}}), nil
	}
	return s.read(pathsOf(req.SpecSet[0]), 0, max(int(req.Options.MaxObjects), 1)), nil
}

// retrieveMore goes on with a read. Its token says where and what.
func (s *Server) retrieveMore(c *call) ([]byte, error) {
	var req types.ContinueRetrievePropertiesEx
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	from, most, paths := parseToken(req.Token)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read(paths, from, most), nil
}

func (s *Server) read(paths map[string][]string, from, most int) []byte {
	var res types.RetrieveResult
	i := from
	for ; i < len(s.inventory.order) && len(res.Objects) < most; i++ {
		o := s.inventory.objects[s.inventory.order[i]]
		if o == nil || paths[o.ref.Type] == nil {
			continue
		}
		content := types.ObjectContent{Obj: o.ref}
		for _, p := range paths[o.ref.Type] {
			if v, ok := o.props[p]; ok {
				content.PropSet = append(content.PropSet, types.DynamicProperty{Name: p, Val: v})
			}
		}
		res.Objects = append(res.Objects, content)
	}
	if i < len(s.inventory.order) {
		res.Token = token(i, most, paths)
	}
	return element("returnval", res)
}

func token(from, most int, paths map[string][]string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d %d", from, most)
	for typ, list := range paths {
		fmt.Fprintf(&out, " %s:%s", typ, strings.Join(list, ","))
	}
	return out.String()
}

func parseToken(t string) (from, most int, paths map[string][]string) {
	fields := strings.Fields(t)
	paths = make(map[string][]string)
	if len(fields) < 2 {
		return 0, 1, paths
	}
	from, _ = strconv.Atoi(fields[0])
	most, _ = strconv.Atoi(fields[1])
	for _, f := range fields[2:] {
		typ, list, _ := strings.Cut(f, ":")
		paths[typ] = strings.Split(list, ",")
	}
	return from, most, paths
}
