package testlibvirt_test

import (
	"testing"
	"time"

	"github.com/openpf9/openpf9/internal/testlibvirt"
)

func TestGuestLivesAndDies(t *testing.T) {
	d := testlibvirt.Start(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(d.Define(testlibvirt.GuestXML("a", "")))
	must(d.Start("a"))
	if s, err := d.State("a"); s != "running" || err != nil {
		t.Fatalf("state %q, %v, want running", s, err)
	}
	pid, err := d.GuestPID("a")
	must(err)
	must(d.Restart())
	if again, err := d.GuestPID("a"); again != pid || err != nil {
		t.Fatalf("after a restart of the daemon the guest is %d, %v, want %d", again, err, pid)
	}
	must(d.KillGuest("a"))
	deadline := time.Now().Add(10 * time.Second)
	for {
		s, err := d.State("a")
		must(err)
		if s == "shut off" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("state %q after the death of QEMU, want shut off", s)
		}
	}
	must(d.Undefine("a"))
}
