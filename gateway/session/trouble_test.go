package session

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/methods"

	"github.com/openpf9/openpf9/internal/testvcenter"
)

// failures are what a session has told of.
type failures struct {
	mu  sync.Mutex // guards all
	all []error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

func (f *failures) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.all...).Error()
}

func (f *failures) none() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all) == 0
}

func TestWhatIsNotAnsweredIsTold(t *testing.T) {
	for kind, want := range map[testvcenter.Fault]string{
		testvcenter.Refuse: "connection re", testvcenter.Freeze: "deadline exceeded",
		testvcenter.HalfReplies: "unexpected EOF", testvcenter.Unavailable: "503",
	} {
		for _, way := range []string{"the shared session", "the broker"} {
			t.Run(kind.String()+", "+way, func(t *testing.T) {
				v := start(t)
				var told failures
				o := pinned(v)
				o.Failed = told.add
				s := connect(t, o)
				c, err := s.Client(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ask := func(ctx context.Context) error {
					if way == "the broker" {
						return fetch(ctx, s)
					}
					_, err := methods.GetCurrentTime(ctx, c)
					return err
				}
				if err := ask(t.Context()); err != nil || !told.none() {
					t.Fatalf("before: %v, told %v", err, told.all)
				}
				v.Inject(kind)
				defer v.Clear()
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if err := ask(ctx); err == nil {
					t.Fatal("it is answered")
				}
				if !strings.Contains(told.text(), want) {
					t.Errorf("told %q, want %q", told.text(), want)
				}
			})
		}
	}
}

// fetch makes a request as the broker does, and reads the answer.
func fetch(ctx context.Context, s *Session) error {
	const body = `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><CurrentTime xmlns="urn:vim25"/></e:Body></e:Envelope>`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL().String(), strings.NewReader(body))
	if err != nil {
		return err
	}
	req.AddCookie(s.Live().Cookie())
	res, err := s.Transport().RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

func TestWhoLeavesIsNoFailure(t *testing.T) {
	v := start(t)
	var told failures
	o := pinned(v)
	o.Failed = told.add
	s := connect(t, o)
	c, err := s.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v.Inject(testvcenter.Freeze)
	defer v.Clear()
	ctx, cancel := context.WithCancel(t.Context())
	late := time.AfterFunc(100*time.Millisecond, cancel)
	defer late.Stop()
	if _, err := methods.GetCurrentTime(ctx, c); err == nil || !told.none() {
		t.Errorf("%v, told %v", err, told.all)
	}
}

func TestASessionOfAnotherUserIsChanged(t *testing.T) {
	v := start(t)
	a := Account{User: "gw@vsphere.local", Password: "secret"}
	var mu sync.Mutex
	o := pinned(v)
	o.Account = func() (Account, error) {
		mu.Lock()
		defer mu.Unlock()
		return a, nil
	}
	set := func(user, password string) {
		mu.Lock()
		defer mu.Unlock()
		a = Account{User: user, Password: password}
	}
	s := connect(t, o)
	if s.Live() != nil || s.OtherUser() {
		t.Error("there is a session before somebody has asked for one")
	}
	first, err := s.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set("gw@vsphere.local", "new")
	if c, err := s.Client(t.Context()); c != first || err != nil || s.OtherUser() {
		t.Errorf("with another password of the same user: another session, %v", err)
	}
	v.SetUser("two@vsphere.local")
	set("two@vsphere.local", "secret")
	if !s.OtherUser() {
		t.Error("the other user is not noticed")
	}
	if c, err := s.Client(t.Context()); c == first || err != nil || s.OtherUser() || v.Sessions() != 1 {
		t.Errorf("with another user: %v, %d sessions", err, v.Sessions())
	}
}

func TestARefusedLoginIsTold(t *testing.T) {
	for name, ask := range map[string]func(*Session) error{
		"the shared session": func(s *Session) error { _, err := s.Client(t.Context()); return err },
		"one of its own":     func(s *Session) error { _, err := s.Login(t.Context()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			v := start(t)
			v.SetPassword("another")
			var told failures
			o := pinned(v)
			o.Failed = told.add
			s := connect(t, o)
			for tried := 1; tried <= 2; tried++ { // the second is not sent, and is refused all the same
				if err := ask(s); !errors.Is(err, ErrRefused) || len(told.all) != tried || !errors.Is(told.all[tried-1], ErrRefused) {
					t.Fatalf("try %d: %v, told %v", tried, err, told.all)
				}
			}
			if n := v.Counts().Refused; n != 1 {
				t.Errorf("the account was tried %d times", n)
			}
		})
	}
}
