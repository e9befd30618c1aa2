package uplink

import (
	"net"
	"testing"
)

func TestGone(t *testing.T) {
	for name, test := range map[string]struct {
		local net.Addr
		want  bool
	}{
		"there":  {&net.TCPAddr{IP: net.ParseIP("127.0.0.1"), Port: 1}, false},
		"gone":   {&net.TCPAddr{IP: net.ParseIP("192.0.2.11"), Port: 1}, true}, // of documents only
		"no TCP": {&net.UnixAddr{Name: "x"}, false},
	} {
		if got := gone(test.local); got != test.want {
			t.Errorf("%s: gone = %t", name, got)
		}
	}
}
